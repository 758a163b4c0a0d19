"""HTTP: a Lambda function behind a function URL or an API Gateway that lets events in.

``PUT /MACHINE/INSTANCE`` starts an instance with the body as its input, ``POST`` sends it the event in the body, and
``GET`` looks at it. With ``?wait=SECONDS`` the answer is where the instance was at the end of the turn; without it, the
id of the message, which is in the queue. The header ``Idempotency-Key`` is that id, if it is given. Where it is not
certain that a message has left (503), the answer has the id under which it can be sent again.

Who may come in is for the URL or the gateway to say. What an instance remembers is not told: only its state, its tags
and its status.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from attrs import frozen

from settled import EventError, IdReusedError, Machine, OutcomeUnknownError, Snapshot, TooLargeError, UnavailableError
from settled.durable import Backend
from settled_aws.lambda_handler import Context, Event, begin_invocation
from settled_runtime import Client, EventRejectedError

TIME_TO_ANSWER = 1.0
"""For how many seconds before the function's end nothing is waited for."""


def http_handler(machines: Iterable[Machine[Any, Any]], backend: Backend) -> Callable[[Event, Context], Event]:
    """The handler of a Lambda function that lets events for `machines` in, over `backend`."""
    return _HttpHandler(backend, {machine.id: Client(machine, backend) for machine in machines})


@frozen
class HttpRequest:
    """What is taken from an event. The path is that of the instance, and what stands before it is the gateway's."""

    method: str
    machine: str
    instance: str
    body: str
    wait: float
    id: str | None

    @classmethod
    def of(cls, event: Event) -> HttpRequest:
        """The request in `event`: of a function URL or an HTTP API (format 2.0), or of a REST API (1.0).

        Raises:
            ValueError: the path names no instance, or the wait is no number.
        """
        about = _object(_object(event.get("requestContext")).get("http"))
        segments = str(event.get("rawPath") or event.get("path")).strip("/").split("/")
        if len(segments) < 2 or not segments[-1]:
            raise ValueError("expected /MACHINE/INSTANCE")
        headers = {name.lower(): str(value) for name, value in _object(event.get("headers")).items()}
        text = str(event.get("body") or "")
        return cls(
            method=str(about.get("method") or event.get("httpMethod")),
            machine=unquote(segments[-2]),
            instance=unquote(segments[-1]),
            body=base64.b64decode(text).decode() if event.get("isBase64Encoded") else text,
            wait=float(_object(event.get("queryStringParameters")).get("wait", 0.0)),
            id=headers.get("idempotency-key"),
        )


def _object(value: Any) -> Mapping[str, Any]:
    """`value`, for which gateways write null if there is nothing in it."""
    return value or {}


@frozen
class _HttpHandler:
    """What is called for each request."""

    backend: Backend
    clients: Mapping[str, Client[Any]]

    def __call__(self, event: Event, context: Context) -> Event:
        begin_invocation(self.backend)
        try:
            request = HttpRequest.of(event)
            client = self.clients.get(request.machine)
            if client is None:
                return _answer(404, {"error": f"there is no machine {request.machine!r}"})
            patience = context.get_remaining_time_in_millis() / 1000 - TIME_TO_ANSWER
            return _served(client, request, min(request.wait, max(0.0, patience)))
        except (EventError, ValueError) as error:
            return _answer(400, {"error": str(error)})
        except TooLargeError as error:
            return _answer(413, {"error": str(error)})
        except IdReusedError as error:
            return _answer(409, {"error": str(error)})
        except (UnavailableError, OutcomeUnknownError) as error:
            return _answer(503, {"error": str(error), "id": error.message_id})


def _served(client: Client[Any], request: HttpRequest, wait: float) -> Event:
    match request.method:
        case "GET":
            snapshot = client.get(request.instance)
            return _answer(404, {"error": "there is no such instance"}) if snapshot is None else _found(200, snapshot)
        case "PUT":
            id = client.start(request.instance, json.loads(request.body or "null"), message_id=request.id)
            return _waited(id, wait, lambda: client.outcome(request.instance, id, timeout=wait))
        case "POST" if wait > 0:
            id = request.id or secrets.token_urlsafe(12)
            event = json.loads(request.body)
            return _waited(id, wait, lambda: client.ask(request.instance, event, message_id=id, timeout=wait))
        case "POST":
            return _answer(202, {"id": client.send(request.instance, json.loads(request.body), message_id=request.id)})
        case method:
            return _answer(405, {"error": f"{method}: expected GET, PUT or POST"})


def _waited(id: str, wait: float, ask: Callable[[], Snapshot[Any]]) -> Event:
    if wait <= 0:
        return _answer(202, {"id": id})
    try:
        return _found(200, ask(), id)
    except EventRejectedError as error:
        if error.snapshot is None:
            return _answer(409, {"id": id, "error": str(error)})
        return _found(409, error.snapshot, id, str(error))
    except TimeoutError:
        return _answer(202, {"id": id})


def _found(status: int, snapshot: Snapshot[Any], id: str | None = None, error: str | None = None) -> Event:
    about = {"value": snapshot.value, "tags": sorted(snapshot.tags), "status": snapshot.status}
    said = {name: value for name, value in {"id": id, "error": error}.items() if value is not None}
    return _answer(status, {**said, **about})


def _answer(status: int, body: Mapping[str, Any]) -> Event:
    return {"statusCode": status, "headers": {"content-type": "application/json"}, "body": json.dumps(body)}
