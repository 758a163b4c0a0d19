"""The sign-up on AWS: `work` runs its turns, and `http` serves HTTP. One bundle contains both functions."""

from __future__ import annotations

import os

from examples.signup.machine import machine
from settled_aws import http_handler, lambda_handler
from settled_runtime import Host, connect

backend = connect(os.environ["SETTLED_URL"])
work = lambda_handler(Host([machine], backend))
http = http_handler([machine], backend)
