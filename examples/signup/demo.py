"""The sign-up, played by processes that never meet.

This one only directs: it starts the others, one command each, and keeps the mail server that the e-mail goes to. What
passes from one process to the next is in the backend and nowhere else; the code is read out of the e-mail.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message
from itertools import chain, count
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from attrs import define, field, frozen
from rich.console import Console

from settled import Key
from settled_runtime import connect

HERE = Path(__file__).parent
EMAIL = "ada@example.org"
PATIENCE = 60.0
"""How long a process may take, in seconds: longer than any of them waits by itself."""


def play(backend: str) -> None:
    """Take Ada from the form to an active account, on `backend`.

    Raises:
        RuntimeError: she did not get there.
    """
    if backend.startswith("memory:"):
        raise RuntimeError("memory:// cannot be shared by processes: name another backend")
    with mail_server() as server:
        stage = Stage(backend, server.address, new_key(backend))
        submit(stage)
        code = send_the_email(stage, server)
        wait_for_ada(stage)
        verify(stage, code)
        curtain(stage)


def new_key(backend: str) -> str:
    """An Ada who is not in `backend` yet: it may be one that has seen this play before."""
    place = connect(backend)
    names = chain(["ada"], (f"ada-{number}" for number in count(2)))
    key = next(key for name in names if place.store.load(key := Key("signup", name)) is None)
    place.close()
    return str(key)


def submit(stage: Stage) -> None:
    stage.say("1", "Ada sends the form. Each command is a process, and is gone when it has answered.")
    stage.run("start", stage.key)
    stage.run("send", stage.key, "SUBMIT", f"email={EMAIL}")


def send_the_email(stage: Stage, server: MailServer) -> str:
    stage.say("2", "A worker takes what is in the queue. It draws a code, writes it down, and only then sends it.")
    with stage.worker():
        stage.run("get", stage.key, "--until", "waitingForCode", show=False)
        mail = server.inbox.get(timeout=PATIENCE)
        stage.note(f"the mail server has received: {mail['Subject']}")
        stage.note(f"under the idempotency key:    {mail['Message-ID']}")
    found = re.search(r"\d{6}", str(mail["Subject"]))
    if found is None:
        raise RuntimeError("there is no code in the e-mail")
    return found[0]


def wait_for_ada(stage: Stage) -> None:
    stage.say("3", "Ada has a coffee, or a day off. No process runs now, and none needs to.")
    seen = stage.get()
    stage.note(f"all there is of her is one record of {seen['size']} bytes, in the state {seen['state']}")
    stage.note(f"and a timer that would end it: {seen['timers'][0]['due']}")


def verify(stage: Stage, code: str) -> None:
    stage.say("4", "She mistypes the code, then gets it right. Another worker goes on where the first one stopped.")
    wrong = f"{(int(code) + 1) % 10**6:06}"
    stage.run("send", stage.key, "VERIFY", f"code={wrong}")
    stage.run("send", stage.key, "VERIFY", f"code={code}")
    with stage.worker():
        stage.run("get", stage.key, "--until", "active", show=False)


def curtain(stage: Stage) -> None:
    seen = stage.get()
    stage.say("5", f"Ada is {seen['state']}. Her snapshot, as XState writes it:")
    stage.console.print_json(json.dumps(seen["snapshot"]), indent=2)
    stage.console.print(f"\n{stage.processes} processes, none of which knew of another, in {stage.seconds:.1f} s.")
    if seen["state"] != "active":
        raise RuntimeError(f"the sign-up ended in {seen['state']}")


@define
class Stage:
    """Where processes come and go, each with a line about it."""

    backend: str
    mail: str
    key: str
    console: Console = field(factory=lambda: Console(highlight=False, soft_wrap=True))
    processes: int = 0
    began: float = field(factory=monotonic)

    @property
    def seconds(self) -> float:
        """Since the curtain rose."""
        return monotonic() - self.began

    def say(self, number: str, text: str) -> None:
        self.console.print(f"\n[bold]{number}  {text}[/bold]")

    def note(self, text: str) -> None:
        self.console.print(f"   {text}", markup=False)

    def run(self, *words: str, show: bool = True) -> str:
        """Run ``settled WORDS`` to its end. Returns what it printed."""
        process = self._begin(words)
        if show:
            self._announce(words, process.pid)
        return self._ended(words, process)

    def get(self) -> dict[str, Any]:
        """What ``settled get`` sees of Ada."""
        self._announce(("get", self.key), None)
        seen: dict[str, Any] = json.loads(self.run("get", self.key, "--json", show=False))
        return seen

    @contextmanager
    def worker(self) -> Generator[None]:
        """A worker runs within this block, and is told to stop at its end."""
        words = ("worker", os.path.relpath(HERE))
        process = self._begin(words)
        self._announce(words, process.pid)
        try:
            yield
        except Exception as error:
            process.kill()
            log = process.communicate()[1]
            raise RuntimeError(f"{error} The worker's log: {log}") from error
        process.send_signal(signal.SIGTERM)
        self._ended(words, process)
        self.note("the worker is told to stop, and has stopped")

    def _begin(self, words: tuple[str, ...]) -> subprocess.Popen[str]:
        self.processes += 1
        return subprocess.Popen(
            (sys.executable, "-m", "settled_cli", *words),
            env={**os.environ, "SETTLED_BACKEND": self.backend, "SIGNUP_SMTP": self.mail},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _ended(self, words: tuple[str, ...], process: subprocess.Popen[str]) -> str:
        output, complaint = process.communicate(timeout=PATIENCE)
        if process.returncode:
            raise RuntimeError(f"settled {shlex.join(words)}: exit status {process.returncode}: {complaint}")
        return output

    def _announce(self, words: tuple[str, ...], pid: int | None) -> None:
        process = "" if pid is None else f"[dim]  (process {pid})[/dim]"
        self.console.print(f"   [green]$ settled {shlex.join(words)}[/green]{process}")


@frozen
class MailServer:
    """A real SMTP server on this machine, and what it has received."""

    address: str
    inbox: SimpleQueue[Message]


@contextmanager
def mail_server() -> Generator[MailServer]:
    """A mail server runs within this block."""
    inbox: SimpleQueue[Message] = SimpleQueue()
    controller = Controller(_Receiver(inbox), hostname="127.0.0.1", port=_free_port())
    controller.start()
    try:
        yield MailServer(f"127.0.0.1:{controller.port}", inbox)
    finally:
        controller.stop()


@frozen
class _Receiver:
    inbox: SimpleQueue[Message]

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.inbox.put(message_from_bytes(envelope.original_content or b""))
        return "250 OK"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
