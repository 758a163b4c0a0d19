"""The logic of the sign-up: the implementations of the names in ``signup.json``.

Guards and actions only compute. Whatever needs the outside world (random numbers, the mail server, the accounts) is an
actor: it runs after the step that invoked it was committed, and its result comes back as an event.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import smtplib
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import quote

from attrs import field, frozen
from attrs.validators import matches_re

from settled import Args, Call, Retry, actor, assign, setup

CONFIG = Path(__file__).with_name("signup.json").read_text(encoding="utf-8")
SMTP = os.environ.get("SIGNUP_SMTP", "127.0.0.1:2525")
"""The mail server, as HOST:PORT."""


@frozen
class Signup:
    """The context. Its names are those of the JSON."""

    email: str
    code: str
    wrongCodes: int
    account: str | None
    problem: str | None


@frozen
class Submit:
    """The form was sent."""

    email: str = field(validator=matches_re(r"[^@\s]+@[^@\s]+"))


@frozen
class Verify:
    """A code was typed in, or the link in the e-mail was clicked."""

    code: str


def code_matches(a: Args[Signup, Verify]) -> bool:
    return a.event.code == a.context.code


def is_last_try(a: Args[Signup, Verify]) -> bool:
    tries: int = a.params["tries"]
    return a.context.wrongCodes + 1 >= tries


def draw_code(input: None, call: Call) -> str:
    """Draw six digits. A guard or an action cannot: computed again after a crash, it would draw others."""
    return f"{secrets.randbelow(10**6):06}"


def send_email(input: dict[str, str], call: Call) -> None:
    """Send the code."""
    message = EmailMessage()
    # After a crash this runs again. The Message-ID is the same then, so the receiver can recognise the repetition.
    message["Message-ID"] = f"<{quote(call.idempotency_key)}@settled.example>"
    message["From"] = "Sign-up <signup@settled.example>"
    message["To"] = input["to"]
    message["Subject"] = f"{input['code']} is your code"
    message.set_content(f"Welcome! Your code is {input['code']}.\n\nIt is good for 24 hours.\n")
    host, _, port = SMTP.rpartition(":")
    with smtplib.SMTP(host, int(port), timeout=20) as server:
        server.send_message(message)


def create_account(input: dict[str, str], call: Call) -> str:
    """Stand in for a service of yours, which would be passed the idempotency key and make one account for each."""
    return f"account-{hashlib.sha256(call.idempotency_key.encode()).hexdigest()[:8]}"


def problem(a: Args[Signup]) -> str:
    return f"{a.event['error']['name']}: {a.event['error']['message']}"


machine = setup(
    context=Signup,
    events={"SUBMIT": Submit, "VERIFY": Verify},
    guards={"codeMatches": code_matches, "isLastTry": is_last_try},
    actions={
        "rememberEmail": assign(email=lambda a: a.event.email),
        "rememberCode": assign(code=lambda a: a.event["output"], wrongCodes=0, problem=None),
        "countWrongCode": assign(wrongCodes=lambda a: a.context.wrongCodes + 1),
        "rememberAccount": assign(account=lambda a: a.event["output"], problem=None),
        "rememberProblem": assign(problem=problem),
    },
    actors={
        "drawCode": draw_code,
        "sendEmail": actor(
            send_email,
            input=lambda a: {"to": a.context.email, "code": a.context.code},
            retry=Retry(attempts=5),
            timeout=timedelta(seconds=30),
        ),
        "createAccount": actor(create_account, input=lambda a: {"email": a.context.email}, retry=Retry(attempts=5)),
    },
    delays={"patience": timedelta(hours=24)},
).machine(CONFIG)
