"""The sign-up on AWS: `work` runs its turns, and `http` serves HTTP. One bundle contains both functions."""

from __future__ import annotations

import os

from examples.signup.machine import machine
from settled_aws import anyone, http_handler, lambda_handler
from settled_runtime import Host, connect

backend = connect(os.environ["SETTLED_URL"])
work = lambda_handler(Host([machine], backend))
# Users have no accounts yet: see in the template who may invoke this function.
http = http_handler([machine], backend, authorize=anyone)
