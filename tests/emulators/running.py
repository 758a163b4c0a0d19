"""Run servers as processes: start them on a free port, wait until they answer, and end them by process id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 60.0
"""How long a server may take until its port answers, in seconds."""


class NotHere(Exception):
    """The server is not available on this machine; the message says why."""


def free_port() -> int:
    """Return a port of loopback that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ending_with_us(command: Sequence[str]) -> Sequence[str]:
    """Return a command that runs `command` in the same process, and no longer than this process, whatever ends it."""
    launcher = str(Path(__file__).with_name("launcher.py"))
    return [sys.executable, "-I", "-S", launcher, str(os.getpid()), *command]


@contextmanager
def running(
    command: Sequence[str], port: int, environment: Mapping[str, str], folder: Path | None = None
) -> Generator[None]:
    """Run `command` until its port answers, and end it after this block."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            ending_with_us(command), env=dict(environment), cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
        try:
            if not _answers(process, port):
                log.seek(0)
                raise AssertionError(f"{command[0]} did not start: {log.read().decode(errors='replace')[-2000:]}")
            yield
        finally:
            _end(process)


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.05)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
