"""A worker is killed by SIGKILL in the middle of an effect, and another one finishes the turn."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from examples.signup.machine import machine
from settled import Key, Outcome, done_event, fold
from settled.durable import Backend, Record, record_from_json
from settled_runtime import Client, EventOutcomeError, connect
from tests.examples.processes import PATIENCE, MailServer, mail_server, stop, worker

ADA = Key("signup", "ada")
SUBMIT = {"type": "SUBMIT", "email": "ada@example.org"}


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A SQLite file of this test, with a short lease."""
    return f"sqlite:///{tmp_path}/signup.db?lease=1"


@pytest.fixture
def backend(url: str) -> Iterator[Backend]:
    backend = connect(url)
    yield backend
    backend.close()


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


def record(backend: Backend) -> Record:
    stored = backend.store.load(ADA)
    assert stored is not None and stored.body is not None
    return record_from_json(machine, ADA, stored.body)


def verify(code: str) -> dict[str, Any]:
    return {"type": "VERIFY", "code": code}


def kill_a_worker_at_the_mail_server(url: str, mail: MailServer) -> None:
    """Start a worker, and kill it while it waits for an answer of the mail server."""
    with worker("examples/signup", SETTLED_BACKEND=url, SIGNUP_SMTP=mail.address) as process:
        assert mail.stuck.acquire(timeout=PATIENCE), _log(process)
        process.send_signal(signal.SIGKILL)
        assert process.wait(PATIENCE) == -signal.SIGKILL


def _log(process: subprocess.Popen[str]) -> str:
    process.kill()
    return f"no worker came to the e-mail: {process.communicate()[1]}"


@pytest.mark.parametrize("command", ["MAIL", "DATA"])
def test_a_worker_that_is_killed_while_it_sends_the_email(
    command: str, url: str, backend: Backend, mail: MailServer
) -> None:
    """`command` is the one that the mail server does not answer: it has the e-mail only after DATA."""
    client = Client(machine, backend)
    client.start("ada")
    client.send("ada", SUBMIT)

    mail.hangs_at = command
    kill_a_worker_at_the_mail_server(url, mail)
    open_turn = record(backend).turn
    assert open_turn is not None and [call.src for call in open_turn.actors] == ["sendEmail"]
    early = client.send("ada", verify("no code"))
    kill_a_worker_at_the_mail_server(url, mail)

    mail.hangs_at = None
    with worker("examples/signup", SETTLED_BACKEND=url, SIGNUP_SMTP=mail.address) as process:
        with pytest.raises(EventOutcomeError) as answer:
            client.outcome("ada", early, timeout=timedelta(seconds=PATIENCE))
        assert answer.value.outcome is Outcome.REJECTED, "the event waited until the turn had ended"
        (code,) = {match[0] for each in mail.mails if (match := re.search(r"\d{6}", str(each["Subject"])))}
        snapshot = client.ask("ada", verify(code), timeout=timedelta(seconds=PATIENCE))
        assert stop(process) == 0

    assert snapshot.value == "active"
    assert len(mail.mails) == (3 if command == "DATA" else 1)
    (message_id,) = {str(each["Message-ID"]) for each in mail.mails}
    assert re.fullmatch(r"<signup/ada/[0-9a-f]{16}\.\d+/1/2@settled\.example>", message_id)
    assert snapshot == fold(
        machine,
        (
            SUBMIT,
            done_event("drawCode", code),
            done_event("sendEmail", None),
            verify("no code"),
            verify(code),
            done_event("createAccount", snapshot.context.account),
        ),
    )
    assert record(backend).ordinal == 4, "the start, the form, and two codes: each accepted once"
    assert not client.dead_letters("ada")
    assert not backend.queue.receive(1)
