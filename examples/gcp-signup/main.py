"""The sign-up on Google Cloud: `push` runs a turn for each request of Pub/Sub.

``functions-framework --target=push --source=main.py`` serves it. Users send their requests to the web application of
``examples/fastapi-signup``.
"""

from __future__ import annotations

import os

from examples.signup.machine import machine
from settled_gcp import CERTIFICATES, push_handler
from settled_runtime import Host, connect


def host() -> Host:
    """Make the host in the process that runs the turns, because the framework forks after it has imported this file."""
    return Host([machine], connect(os.environ["SETTLED_URL"]))


push = push_handler(
    host,
    audience=os.environ["PUSH_AUDIENCE"],
    email=os.environ["PUSH_EMAIL"],
    certificates=os.environ.get("PUSH_CERTIFICATES", CERTIFICATES),
).function
