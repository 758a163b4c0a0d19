"""SQS and EventBridge Scheduler on loopback, by ministack, which stands in for them.

What it does otherwise than AWS, as far as it matters here: an expired receipt still deletes, releases and extends; the
Scheduler looks for what is due every ten seconds; roles are not looked at.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec

from tests.emulators.running import NotHere, free_port, running

ACCOUNT = "000000000000"


@contextmanager
def ministack() -> Generator[str]:
    """A fresh ministack; its URL.

    Raises:
        NotHere: it is not installed.
    """
    if find_spec("ministack") is None:
        raise NotHere("ministack is not installed: pip install ministack==1.5.33")
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",  # it would listen on a port of its own
        "LOG_LEVEL": "ERROR",
    }
    command = [shutil.which("ministack") or f"{os.path.dirname(sys.executable)}/ministack"]
    with running(command, port, environment):
        yield f"http://127.0.0.1:{port}"
