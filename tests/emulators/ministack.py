"""SQS and EventBridge Scheduler on loopback, by ministack, which stands in for them.

What it does otherwise than AWS, as far as it matters here: an expired receipt still deletes, releases and extends
(by a clock of ours, it does not: see `ministack_server`); the Scheduler looks for what is due every ten seconds; roles
are not looked at.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.emulators.running import NotHere, free_port, running

ACCOUNT = "000000000000"
ROOT = Path(__file__).parents[2]


class Clock:
    """The clock of a ministack. It goes by the real one until it is told where to stand."""

    def __init__(self, control: int) -> None:
        self._wire = socket.create_connection(("127.0.0.1", control))
        self._lines = self._wire.makefile("rwb")

    def stand(self, at: float) -> None:
        """Stand still at `at`, in seconds since the epoch. What is due by then has fired when this returns."""
        self._tell(repr(at))

    def run(self) -> None:
        """Go on, as fast as the real one."""
        self._tell("run")

    def close(self) -> None:
        self._lines.close()
        self._wire.close()

    def _tell(self, line: str) -> None:
        self._lines.write(f"{line}\n".encode())
        self._lines.flush()
        answer = self._lines.readline()
        assert answer == b"done\n", f"ministack's clock was told {line}, and said {answer!r}"


@contextmanager
def ministack() -> Generator[str]:
    """A fresh ministack; its URL.

    Raises:
        NotHere: it is not installed.
    """
    with _started([shutil.which("ministack") or f"{os.path.dirname(sys.executable)}/ministack"]) as endpoint:
        yield endpoint


@contextmanager
def ministack_and_its_clock() -> Generator[tuple[str, Clock]]:
    """A fresh ministack; its URL, and its clock.

    Raises:
        NotHere: it is not installed.
    """
    control = free_port()
    with _started([sys.executable, "-m", "tests.emulators.ministack_server", str(control)]) as endpoint:
        clock = Clock(control)
        try:
            yield endpoint, clock
        finally:
            clock.close()


@contextmanager
def _started(command: Sequence[str]) -> Generator[str]:
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
    with running(command, port, environment, ROOT):
        yield f"http://127.0.0.1:{port}"
