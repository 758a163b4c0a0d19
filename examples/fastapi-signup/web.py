"""The sign-up as a web application: each route sends an event, and waits for its turn to end.

The routes use only the queue and the store. A worker, or a Lambda function of the same backend, runs the turns.

Anyone may call these routes, as befits a sign-up. An application whose users have accounts checks in each route that
the instance is the user's.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from html import escape
from typing import Annotated, Any

from fastapi import Body, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse

from examples.signup.machine import machine
from settled import EventError, SettledError, Snapshot, TooLargeError
from settled_runtime import AsyncClient, EventOutcomeError, connect

TIMEOUT = timedelta(seconds=float(os.environ.get("SIGNUP_TIMEOUT", "20")))
"""How long a request waits for its turn to end, in seconds."""

STREAM_TIMEOUT = timedelta(minutes=5)
"""How long a browser follows a sign-up before it connects anew, so that a server can stop."""

PAGE = """<!doctype html>
<title>NAME</title>
<h1>NAME</h1>
<p id="state">not signed up</p>
<script>
  const updates = new EventSource(location.pathname.replace(/live$/, "events"));
  updates.onmessage = ({data}) => {
    const {value, status} = JSON.parse(data);
    document.querySelector("#state").textContent = JSON.stringify(value);
    if (status !== "active") updates.close();
  };
</script>
"""

client = AsyncClient(machine, connect(os.environ.get("SETTLED_URL", "sqlite:///signup.db")))
app = FastAPI(title="Sign-up")


@app.post("/signups/{name}")
async def submit(name: str, email: Annotated[str, Body(embed=True)]) -> dict[str, Any]:
    """Submit the form. The answer comes when the e-mail was sent, or says why it could not be."""
    await client.start(name)
    return await ask(name, {"type": "SUBMIT", "email": email})


@app.get("/signups/{name}/verify", response_class=HTMLResponse)
def link(name: str) -> str:
    """Show a button. This is the target of the link in the e-mail, and sends no event.

    Mail programs and virus scanners follow links before the user reads the e-mail, so a GET must change nothing.
    """
    return f'<form method="post"><button>Yes, I am {escape(name)}</button></form>'


@app.post("/signups/{name}/verify")
async def verify(name: str, code: str) -> dict[str, Any]:
    """Verify the code. A form without an action posts to its own URL, so the code is in the query."""
    return await ask(name, {"type": "VERIFY", "code": code})


@app.get("/signups/{name}")
async def get(name: str) -> dict[str, Any]:
    """Return the state of a sign-up."""
    snapshot = await client.get(name)
    if snapshot is None:
        raise HTTPException(404, f"there is no sign-up {name}")
    return to_json(snapshot)


@app.get("/signups/{name}/live", response_class=HTMLResponse)
def live(name: str) -> str:
    """Show a page that follows a sign-up: what it shows changes with the instance."""
    return PAGE.replace("NAME", escape(name))


@app.get("/signups/{name}/events")
async def events(name: str) -> StreamingResponse:
    """Send each newer state of a sign-up as an event, until it has ended."""

    async def stream() -> AsyncIterator[str]:
        async for update in client.watch(name, timeout=STREAM_TIMEOUT):
            if update.snapshot is not None:
                yield f"id: {update.version}\ndata: {json.dumps(to_json(update.snapshot))}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@app.exception_handler(SettledError)
def refused(_: Request, error: SettledError) -> JSONResponse:
    """Answer a request that failed: with 400 or 413 if it is invalid, with 503 if the backend has failed."""
    if isinstance(error, EventError):
        return JSONResponse({"detail": str(error)}, 400)
    if isinstance(error, TooLargeError):
        return JSONResponse({"detail": str(error)}, 413)
    logging.getLogger("signup").error("%s: %s", type(error).__name__, error)
    return JSONResponse({"detail": "not available: try again"}, 503, {"Retry-After": "1"})


async def ask(name: str, event: dict[str, Any]) -> dict[str, Any]:
    """Send `event`, and return the state of the sign-up at the end of the turn.

    Raises:
        HTTPException: 409 if the event was not accepted, 504 if the turn did not end in time.
        SettledError: see `refused`.
    """
    try:
        return to_json(await client.ask(name, event, timeout=TIMEOUT))
    except EventOutcomeError as error:
        state = {} if error.snapshot is None else to_json(error.snapshot)
        answer = {"error": str(error), "outcome": error.outcome, "reason": error.reason}
        raise HTTPException(409, {**answer, **state}) from error
    except TimeoutError as error:
        raise HTTPException(504, str(error)) from error


def to_json(snapshot: Snapshot[Any]) -> dict[str, Any]:
    """Return what anyone may see of a sign-up: neither its code nor its e-mail address."""
    return {"value": snapshot.value, "status": snapshot.status}
