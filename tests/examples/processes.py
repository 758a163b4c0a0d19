"""Real processes, and a real mail server, for tests that need them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from attrs import define, field

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
"""How long anything may take on a busy machine, in seconds."""


@define(eq=False)
class MailServer:
    """Receives e-mails. While `hangs_at` names an SMTP command, it does not answer that command."""

    hangs_at: str | None = None
    address: str = ""
    mails: list[Message] = field(factory=list[Message])
    stuck: threading.Semaphore = field(factory=lambda: threading.Semaphore(0))
    """Released each time a client sends the command that is not answered."""

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        await self._perhaps_hang("MAIL")
        envelope.mail_from = address
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(message_from_bytes(envelope.original_content))
        await self._perhaps_hang("DATA")
        return "250 OK"

    async def _perhaps_hang(self, command: str) -> None:
        if self.hangs_at == command:
            self.stuck.release()
            await asyncio.sleep(3600)


@contextmanager
def mail_server() -> Generator[MailServer]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    server = MailServer(address=f"127.0.0.1:{port}")
    controller = Controller(server, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield server
    finally:
        controller.stop()


@contextmanager
def worker(*words: str, **environment: str) -> Generator[subprocess.Popen[str]]:
    """Run ``settled worker WORDS`` in a process of its own, and kill it at the end of the block."""
    process = subprocess.Popen(
        (sys.executable, "-m", "settled_cli", "worker", *words),
        cwd=ROOT,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def stop(process: subprocess.Popen[str]) -> int:
    """Send SIGTERM to `process`, as a deployment does, and return its exit status."""
    process.send_signal(signal.SIGTERM)
    return process.wait(PATIENCE)
