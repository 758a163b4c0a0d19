"""The sign-up behind web routes: each sends an event, and waits for the turn that takes it.

The routes know the queue and the store, and no worker: turns are taken wherever a worker or a Lambda function of the
same backend runs.
"""

from __future__ import annotations

import os
from html import escape
from typing import Annotated, Any

from fastapi import Body, FastAPI, HTTPException
from fastapi.responses import HTMLResponse

from examples.signup.machine import machine
from settled import EventError, Snapshot
from settled_runtime import Client, EventRejectedError, connect

PATIENCE = float(os.environ.get("SIGNUP_PATIENCE", "20"))
"""For how many seconds a request waits for its turn."""

client = Client(machine, connect(os.environ.get("SETTLED_URL", "sqlite:///signup.db")))
app = FastAPI(title="Sign-up")


@app.post("/signups/{name}")
def submit(name: str, email: Annotated[str, Body(embed=True)]) -> dict[str, Any]:
    """The form was sent. The answer comes once the e-mail has left, or says why it could not."""
    client.start(name)
    return asked(name, {"type": "SUBMIT", "email": email})


@app.get("/signups/{name}/verify", response_class=HTMLResponse)
def link(name: str) -> str:
    """What the link in the e-mail leads to, today or tomorrow: a button, and no event.

    Mail programs and virus scanners follow links before anybody reads the e-mail, and a GET must not do anything.
    """
    return f'<form method="post"><button>Yes, I am {escape(name)}</button></form>'


@app.post("/signups/{name}/verify")
def click(name: str, code: str) -> dict[str, Any]:
    """The button behind the link was clicked. A form without an action posts to the address that it was found at."""
    return asked(name, {"type": "VERIFY", "code": code})


@app.get("/signups/{name}")
def look(name: str) -> dict[str, Any]:
    """Where the sign-up is."""
    snapshot = client.get(name)
    if snapshot is None:
        raise HTTPException(404, f"nobody has signed up as {name}")
    return shown(snapshot)


def asked(name: str, event: dict[str, Any]) -> dict[str, Any]:
    """Where the sign-up is after the turn of `event`.

    Raises:
        HTTPException: 400, it is no event; 409, it was rejected; 504, the turn goes on.
    """
    try:
        return shown(client.ask(name, event, timeout=PATIENCE))
    except EventError as error:
        raise HTTPException(400, str(error)) from error
    except EventRejectedError as error:
        found = {} if error.snapshot is None else shown(error.snapshot)
        raise HTTPException(409, {"error": str(error), **found}) from error
    except TimeoutError as error:
        raise HTTPException(504, str(error)) from error


def shown(snapshot: Snapshot[Any]) -> dict[str, Any]:
    """What strangers may know of a sign-up: neither its code nor its e-mail address."""
    return {"value": snapshot.value, "status": snapshot.status}
