"""The sign-up on Google Cloud: `push` takes its turns, one for each request that Pub/Sub makes.

``functions-framework --target=push --source=main.py`` serves it. The door, through which people come in, is the web
application of ``examples/fastapi-signup``.
"""

from __future__ import annotations

import os

from examples.signup.machine import machine
from settled_gcp import CERTIFICATES, push_handler
from settled_runtime import Host, connect


def host() -> Host:
    """What takes the turns, made in the process that takes them: the framework forks after it has read this file."""
    return Host([machine], connect(os.environ["SETTLED_URL"]))


push = push_handler(
    host,
    audience=os.environ["PUSH_AUDIENCE"],
    email=os.environ["PUSH_EMAIL"],
    certificates=os.environ.get("PUSH_CERTIFICATES", CERTIFICATES),
).function
