"""The sign-up, run by processes that share nothing but a backend.

This process starts the others, one command each, and runs the mail server that receives the e-mail. It reads the code
from that e-mail, as a user would.
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
TIMEOUT = 60.0
"""How long a process may take, in seconds; longer than any command waits by default."""


def play(backend: str) -> None:
    """Sign Ada up on `backend`, from the form to an active account.

    Raises:
        RuntimeError: the sign-up did not end in `active`.
    """
    if backend.startswith("memory:"):
        raise RuntimeError("memory:// cannot be shared by processes: name another backend")
    with mail_server() as server:
        demo = Demo(backend, server.address, new_key(backend))
        submit(demo)
        code = send_the_email(demo, server)
        wait_for_ada(demo)
        verify(demo, code)
        show_result(demo)


def new_key(url: str) -> str:
    """Return a key that is not in the backend yet: the demo may have run on it before."""
    backend = connect(url)
    names = chain(["ada"], (f"ada-{number}" for number in count(2)))
    key = next(key for name in names if backend.store.load(key := Key("signup", name)) is None)
    backend.close()
    return str(key)


def submit(demo: Demo) -> None:
    demo.print_step("1", "Ada submits the form. Each command is a process, and ends when it has answered.")
    demo.run("start", demo.key)
    demo.run("send", demo.key, "SUBMIT", f"email={EMAIL}")


def send_the_email(demo: Demo, server: MailServer) -> str:
    demo.print_step("2", "A worker processes the queue. It draws a code, commits it, and only then sends it.")
    with demo.worker():
        demo.run("get", demo.key, "--until", "waitingForCode", show=False)
        mail = server.inbox.get(timeout=TIMEOUT)
        demo.print_note(f"the mail server received:  {mail['Subject']}")
        demo.print_note(f"under the idempotency key: {mail['Message-ID']}")
    found = re.search(r"\d{6}", str(mail["Subject"]))
    if found is None:
        raise RuntimeError("there is no code in the e-mail")
    return found[0]


def wait_for_ada(demo: Demo) -> None:
    demo.print_step("3", "Ada has a coffee, or a day off. No process runs now, and none has to.")
    shown = demo.get()
    demo.print_note(f"her sign-up is one record of {shown['size']} bytes, in the state {shown['state']}")
    demo.print_note(f"and a timer that ends it at   {shown['timers'][0]['due']}")


def verify(demo: Demo, code: str) -> None:
    demo.print_step("4", "She mistypes the code, then gets it right. Another worker continues where the first stopped.")
    wrong = f"{(int(code) + 1) % 10**6:06}"
    demo.run("send", demo.key, "VERIFY", f"code={wrong}")
    demo.run("send", demo.key, "VERIFY", f"code={code}")
    with demo.worker():
        demo.run("get", demo.key, "--until", "active", show=False)


def show_result(demo: Demo) -> None:
    shown = demo.get()
    demo.print_step("5", f"Ada is {shown['state']}. Her snapshot, as XState writes it:")
    demo.console.print_json(json.dumps(shown["snapshot"]), indent=2)
    demo.console.print(f"\n{demo.processes} processes, which shared only the backend, in {demo.seconds:.1f} s.")
    if shown["state"] != "active":
        raise RuntimeError(f"the sign-up ended in {shown['state']}")


@define
class Demo:
    """Runs commands, each in a process of its own, and prints a line about each."""

    backend: str
    mail: str
    key: str
    console: Console = field(factory=lambda: Console(highlight=False, soft_wrap=True))
    processes: int = 0
    began: float = field(factory=monotonic)

    @property
    def seconds(self) -> float:
        """The time since the start, in seconds."""
        return monotonic() - self.began

    def print_step(self, number: str, text: str) -> None:
        self.console.print(f"\n[bold]{number}  {text}[/bold]")

    def print_note(self, text: str) -> None:
        self.console.print(f"   {text}", markup=False)

    def run(self, *words: str, show: bool = True) -> str:
        """Run ``settled WORDS`` to its end, and return its output."""
        process = self._start(words)
        if show:
            self._print_command(words, process.pid)
        return self._finish(words, process)

    def get(self) -> dict[str, Any]:
        """Return what ``settled get`` shows of Ada."""
        self._print_command(("get", self.key), None)
        shown: dict[str, Any] = json.loads(self.run("get", self.key, "--json", show=False))
        return shown

    @contextmanager
    def worker(self) -> Generator[None]:
        """Run a worker within this block, and stop it at the end."""
        words = ("worker", os.path.relpath(HERE))
        process = self._start(words)
        self._print_command(words, process.pid)
        try:
            yield
        except Exception as error:
            process.kill()
            log = process.communicate()[1]
            raise RuntimeError(f"{error} The worker's log: {log}") from error
        process.send_signal(signal.SIGTERM)
        self._finish(words, process)
        self.print_note("the worker was asked to stop, and has stopped")

    def _start(self, words: tuple[str, ...]) -> subprocess.Popen[str]:
        self.processes += 1
        return subprocess.Popen(
            (sys.executable, "-m", "settled_cli", *words),
            env={**os.environ, "SETTLED_BACKEND": self.backend, "SIGNUP_SMTP": self.mail},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _finish(self, words: tuple[str, ...], process: subprocess.Popen[str]) -> str:
        output, errors = process.communicate(timeout=TIMEOUT)
        if process.returncode:
            raise RuntimeError(f"settled {shlex.join(words)}: exit status {process.returncode}: {errors}")
        return output

    def _print_command(self, words: tuple[str, ...], pid: int | None) -> None:
        process = "" if pid is None else f"[dim]  (process {pid})[/dim]"
        self.console.print(f"   [green]$ settled {shlex.join(words)}[/green]{process}")


@frozen
class MailServer:
    """A real SMTP server on this machine, and the e-mails that it has received."""

    address: str
    inbox: SimpleQueue[Message]


@contextmanager
def mail_server() -> Generator[MailServer]:
    """Run a mail server within this block."""
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
