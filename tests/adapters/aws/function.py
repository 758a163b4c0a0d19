"""The Lambda functions of the tests."""

from __future__ import annotations

import os
from datetime import timedelta

from settled import Backoff, Policy
from settled_aws import anyone, http_handler, lambda_handler
from settled_runtime import Host, connect
from tests.support.traced_machine import MACHINE

POLICY = Policy(max_attempts=3, backoff=Backoff(first=timedelta(0)))
RESERVE = timedelta(seconds=float(os.environ.get("RESERVE", "1")))

if "SETTLED_URL" in os.environ:
    backend = connect(os.environ["SETTLED_URL"])
    handler = lambda_handler(Host([MACHINE], backend, policy=POLICY), reserve=RESERVE)
    http = http_handler([MACHINE], backend, authorize=anyone)
