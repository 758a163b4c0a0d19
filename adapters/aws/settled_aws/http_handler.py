"""Handle HTTP requests in a Lambda function, behind a function URL or an API Gateway.

``PUT /MACHINE/INSTANCE`` starts an instance with the body as its input, ``POST`` sends it the event in the body, and
``GET`` reads it. With ``?wait=SECONDS`` the response has the instance's state at the end of the turn; without it, 202
and the id of the message, which is in the queue. The header ``Idempotency-Key`` sets that id. The headers
``traceparent`` and ``tracestate``, and ``settled-header-NAME`` as NAME, become headers of the message. If the event was
ignored, rejected, failed, invalid or dead-lettered, the response is 409 and has its ``outcome`` and the ``reason``. If
it is unknown whether a message was queued, the response is 503 and has the id under which it can be sent again.

Authorization is up to the function URL or the gateway. Responses have an instance's state value, tags and status, but
never its context; a reason may quote the error of an actor.
"""

from __future__ import annotations

import base64
import json
import math
import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import unquote

from attrs import frozen

from settled import (
    EventError,
    IdReusedError,
    Machine,
    Outcome,
    OutcomeUnknownError,
    Snapshot,
    TooLargeError,
    UnavailableError,
)
from settled.data import parse_strictly
from settled.durable import Backend, check_headers
from settled_aws.lambda_handler import Context, Event, begin_invocation
from settled_runtime import Client, EventOutcomeError
from settled_runtime.host_context import machines_by_id

HEADER_PREFIX = "settled-header-"
"""The prefix of the HTTP headers that become headers of the message."""

TRACE_HEADERS = frozenset({"traceparent", "tracestate"})
"""The HTTP headers that become headers of the message under their own names: W3C's trace context."""

RESPONSE_RESERVE = 1.0
"""Seconds before the function's timeout at which a request stops waiting."""


def http_handler(machines: Iterable[Machine[Any]], backend: Backend) -> Callable[[Event, Context], Event]:
    """Return the handler of a Lambda function that accepts starts and events for `machines` over `backend`.

    Raises:
        DefinitionError: two of them, or of their child machines, have the same id.
    """
    served = tuple(machines)
    machines_by_id(served)
    return _HttpHandler(backend, {machine.id: Client(machine, backend) for machine in served})


@frozen
class HttpRequest:
    """An HTTP request. The last two segments of its path name the instance; a gateway's stage may precede them."""

    method: str
    machine: str
    instance: str
    body: str
    wait: float
    id: str | None
    headers: Mapping[str, str]

    @classmethod
    def of(cls, event: Event) -> HttpRequest:
        """Parse the event of a function URL or an HTTP API (payload format 2.0), or of a REST API (1.0).

        Raises:
            ValueError: the path names no instance, or ``wait`` is not a number.
        """
        http = _object(_object(event.get("requestContext")).get("http"))
        segments = str(event.get("rawPath") or event.get("path")).strip("/").split("/")
        if len(segments) < 2 or not segments[-1]:
            raise ValueError("expected /MACHINE/INSTANCE")
        headers = {name.lower(): str(value) for name, value in _object(event.get("headers")).items()}
        text = str(event.get("body") or "")
        return cls(
            method=str(http.get("method") or event.get("httpMethod")),
            machine=unquote(segments[-2]),
            instance=unquote(segments[-1]),
            body=base64.b64decode(text).decode() if event.get("isBase64Encoded") else text,
            wait=_seconds(_object(event.get("queryStringParameters")).get("wait", 0.0)),
            id=headers.get("idempotency-key"),
            headers={
                name.removeprefix(HEADER_PREFIX): value
                for name, value in headers.items()
                if name.startswith(HEADER_PREFIX) or (name in TRACE_HEADERS and _is_allowed(name, value))
            },
        )


def _seconds(text: object) -> float:
    seconds = float(str(text))
    if not math.isfinite(seconds):
        raise ValueError(f"wait={text}: expected a number of seconds")
    return seconds


def _is_allowed(name: str, value: str) -> bool:
    """Return whether a message may have this header. Proxies add trace contexts: a long one must not fail a request."""
    try:
        check_headers({name: value})
    except EventError:
        return False
    return True


def _object(value: Any) -> Mapping[str, Any]:
    return value or {}  # gateways write null for an empty object


@frozen
class _HttpHandler:
    """The handler itself."""

    backend: Backend
    clients: Mapping[str, Client[Any]]

    def __call__(self, event: Event, context: Context) -> Event:
        begin_invocation(self.backend)
        try:
            request = HttpRequest.of(event)
            client = self.clients.get(request.machine)
            if client is None:
                return _response(404, {"error": f"there is no machine {request.machine!r}"})
            max_wait = context.get_remaining_time_in_millis() / 1000 - RESPONSE_RESERVE
            return _respond(client, request, min(request.wait, max(0.0, max_wait)))
        except (EventError, ValueError) as error:
            return _response(400, {"error": str(error)})
        except TooLargeError as error:
            return _response(413, {"error": str(error)})
        except IdReusedError as error:
            return _response(409, {"error": str(error)})
        except (UnavailableError, OutcomeUnknownError) as error:
            return _response(503, {"error": str(error), "id": error.message_id})


def _respond(client: Client[Any], request: HttpRequest, wait: float) -> Event:
    match request.method:
        case "GET":
            snapshot = client.get(request.instance)
            if snapshot is None:
                return _response(404, {"error": "there is no such instance"})
            return _response(200, _state(snapshot))
        case "PUT":
            input, headers = parse_strictly(request.body or "null"), request.headers
            id = client.start(request.instance, input, message_id=request.id, headers=headers)
            answer = partial(client.outcome, request.instance, id, timeout=timedelta(seconds=wait))
            return _respond_after(id, wait, answer, is_start=True)
        case "POST" if wait > 0:
            id = request.id or secrets.token_urlsafe(12)  # chosen here: the response must name it after a timeout, too
            event = parse_strictly(request.body)
            ask = partial(
                client.ask,
                request.instance,
                event,
                message_id=id,
                timeout=timedelta(seconds=wait),
                headers=request.headers,
            )
            return _respond_after(id, wait, ask)
        case "POST":
            event = parse_strictly(request.body)
            id = client.send(request.instance, event, message_id=request.id, headers=request.headers)
            return _response(202, {"id": id})
        case method:
            return _response(405, {"error": f"{method}: expected GET, PUT or POST"})


def _respond_after(id: str, wait: float, ask: Callable[[], Snapshot[Any]], *, is_start: bool = False) -> Event:
    if wait <= 0:
        return _response(202, {"id": id})
    try:
        return _response(200, {"id": id, **_state(ask())})
    except EventOutcomeError as error:
        if is_start and error.outcome is Outcome.IGNORED and error.snapshot is not None:
            return _response(200, {"id": id, **_state(error.snapshot)})  # it exists, as a PUT demands
        state: Mapping[str, Any] = {} if error.snapshot is None else _state(error.snapshot)
        why = {"error": str(error), "outcome": error.outcome, "reason": error.reason}
        return _response(409, {"id": id, **why, **state})
    except TimeoutError:
        return _response(202, {"id": id})


def _state(snapshot: Snapshot[Any]) -> Mapping[str, Any]:
    return {"value": snapshot.value, "tags": sorted(snapshot.tags), "status": snapshot.status}


def _response(status: int, body: Mapping[str, Any]) -> Event:
    return {"statusCode": status, "headers": {"content-type": "application/json"}, "body": json.dumps(body)}
