"""The sign-up as a web application: each route sends an event, and waits for its turn to end.

The routes use only the queue and the store. A worker, or a Lambda function of the same backend, runs the turns.
"""

from __future__ import annotations

import os
from datetime import timedelta
from html import escape
from typing import Annotated, Any

from fastapi import Body, FastAPI, HTTPException
from fastapi.responses import HTMLResponse

from examples.signup.machine import machine
from settled import EventError, Snapshot
from settled_runtime import Client, EventOutcomeError, connect

TIMEOUT = timedelta(seconds=float(os.environ.get("SIGNUP_TIMEOUT", "20")))
"""How long a request waits for its turn to end, in seconds."""

client = Client(machine, connect(os.environ.get("SETTLED_URL", "sqlite:///signup.db")))
app = FastAPI(title="Sign-up")


@app.post("/signups/{name}")
def submit(name: str, email: Annotated[str, Body(embed=True)]) -> dict[str, Any]:
    """Submit the form. The answer comes when the e-mail was sent, or says why it could not be."""
    client.start(name)
    return ask(name, {"type": "SUBMIT", "email": email})


@app.get("/signups/{name}/verify", response_class=HTMLResponse)
def link(name: str) -> str:
    """Show a button. This is the target of the link in the e-mail, and sends no event.

    Mail programs and virus scanners follow links before the user reads the e-mail, so a GET must change nothing.
    """
    return f'<form method="post"><button>Yes, I am {escape(name)}</button></form>'


@app.post("/signups/{name}/verify")
def verify(name: str, code: str) -> dict[str, Any]:
    """Verify the code. A form without an action posts to its own URL, so the code is in the query."""
    return ask(name, {"type": "VERIFY", "code": code})


@app.get("/signups/{name}")
def get(name: str) -> dict[str, Any]:
    """Return the state of a sign-up."""
    snapshot = client.get(name)
    if snapshot is None:
        raise HTTPException(404, f"there is no sign-up {name}")
    return to_json(snapshot)


def ask(name: str, event: dict[str, Any]) -> dict[str, Any]:
    """Send `event`, and return the state of the sign-up at the end of the turn.

    Raises:
        HTTPException: 400 if the event is invalid, 409 if it was not accepted, 504 if the turn did not end in time.
    """
    try:
        return to_json(client.ask(name, event, timeout=TIMEOUT))
    except EventError as error:
        raise HTTPException(400, str(error)) from error
    except EventOutcomeError as error:
        state = {} if error.snapshot is None else to_json(error.snapshot)
        answer = {"error": str(error), "outcome": error.outcome, "reason": error.reason}
        raise HTTPException(409, {**answer, **state}) from error
    except TimeoutError as error:
        raise HTTPException(504, str(error)) from error


def to_json(snapshot: Snapshot[Any]) -> dict[str, Any]:
    """Return what anyone may see of a sign-up: neither its code nor its e-mail address."""
    return {"value": snapshot.value, "status": snapshot.status}
