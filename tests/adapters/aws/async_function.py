"""The Lambda function of ``function``, with an `AsyncHost`."""

from __future__ import annotations

import os

from settled_aws import lambda_handler
from settled_runtime import AsyncHost, connect
from tests.adapters.aws.function import POLICY, RESERVE
from tests.support.traced_machine import MACHINE

if "SETTLED_URL" in os.environ:
    handler = lambda_handler(AsyncHost([MACHINE], connect(os.environ["SETTLED_URL"]), policy=POLICY), reserve=RESERVE)
