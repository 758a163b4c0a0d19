"""SQS and EventBridge Scheduler on loopback, emulated by ministack.

Differences from AWS that matter here: an expired receipt handle still deletes, releases and extends (not on a virtual
clock: see `ministack_server`); the Scheduler checks for due schedules every ten seconds; roles are not checked.
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
    """The clock of a ministack process: the real one, until it is stopped."""

    def __init__(self, control: int) -> None:
        self._wire = socket.create_connection(("127.0.0.1", control))
        self._lines = self._wire.makefile("rwb")

    def stop_at(self, at: float) -> None:
        """Stop the clock at `at`, in seconds since the epoch. What is due by then has fired when this returns."""
        self._send(repr(at))

    def run(self) -> None:
        """Let the clock run again, at the real rate."""
        self._send("run")

    def close(self) -> None:
        self._lines.close()
        self._wire.close()

    def _send(self, line: str) -> None:
        self._lines.write(f"{line}\n".encode())
        self._lines.flush()
        answer = self._lines.readline()
        assert answer == b"done\n", f"ministack's clock answered {line} with {answer!r}"


@contextmanager
def ministack() -> Generator[str]:
    """Start a new ministack; yield its URL.

    Raises:
        NotHere: it is not installed.
    """
    with _started([shutil.which("ministack") or f"{os.path.dirname(sys.executable)}/ministack"]) as endpoint:
        yield endpoint


@contextmanager
def ministack_and_its_clock() -> Generator[tuple[str, Clock]]:
    """Start a new ministack on a virtual clock; yield its URL and its clock.

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
        "IOT_MTLS_ENABLED": "0",  # it would listen on another port
        "LOG_LEVEL": "ERROR",
    }
    with running(command, port, environment, ROOT):
        yield f"http://127.0.0.1:{port}"
