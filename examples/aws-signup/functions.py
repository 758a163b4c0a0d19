"""The sign-up on AWS: `work` takes its turns, and `door` lets people in. Both are functions of one bundle."""

from __future__ import annotations

import os

from examples.signup.machine import machine
from settled_aws import http_handler, lambda_handler
from settled_runtime import Host, connect

backend = connect(os.environ["SETTLED_URL"])
work = lambda_handler(Host([machine], backend))
door = http_handler([machine], backend)
