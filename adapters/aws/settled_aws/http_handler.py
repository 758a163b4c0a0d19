"""Handle HTTP requests in a Lambda function, behind a function URL or an API Gateway.

The handler authenticates nobody. Whoever can invoke the function can start every instance of its machines, send it
events and read its state, unless `authorize` refuses. So close one of three doors: give a function URL the AuthType
AWS_IAM, give the routes of a gateway an authorizer, or check the request in `authorize`, a token for example. The first
two know who calls, but not which instances are theirs: that is for `authorize` in any case.

``PUT /MACHINE/INSTANCE`` starts an instance with the body as its input, ``POST`` sends it the event in the body, and
``GET`` reads it. With ``?wait=SECONDS`` the response has the instance's state at the end of the turn; without it, 202
and the id of the message, which is in the queue. The header ``Idempotency-Key`` sets that id. The headers
``traceparent`` and ``tracestate``, and ``settled-header-NAME`` as NAME, become headers of the message. If the event was
ignored, rejected, failed, invalid or dead-lettered, the response is 409 and has its ``outcome`` and the ``reason``.

Whatever is requested, the response has a status of 2xx or 4xx. Only if the backend fails it is 503, with Retry-After,
and with the id under which a message that may have been queued can be sent again; what failed is logged.

Responses have an instance's state value, tags and status, but never its context; a reason may quote the error of an
actor.
"""

from __future__ import annotations

import base64
import json
import math
import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, TypeAlias
from urllib.parse import unquote

from attrs import field, frozen

from settled import EventError, IdReusedError, Key, LogicError, Machine, Outcome, RecordError, SettledError, Snapshot
from settled.data import is_object, parse_strictly, shortened
from settled.durable import Backend, check_headers
from settled.errors import OutcomeUnknownError, TooLargeError, UnavailableError
from settled.printable import printable
from settled_aws.lambda_handler import Context, Event, begin_invocation
from settled_runtime import Client, EventOutcomeError
from settled_runtime.events import logger, origin_of
from settled_runtime.host_context import machines_by_id

HEADER_PREFIX = "settled-header-"
"""The prefix of the HTTP headers that become headers of the message."""

TRACE_HEADERS = frozenset({"traceparent", "tracestate"})
"""The HTTP headers that become headers of the message under their own names: W3C's trace context."""

RESPONSE_RESERVE = 1.0
"""Seconds before the function's timeout at which a request stops waiting."""

RETRY_AFTER = 1
"""After how many seconds a client may repeat a request that the backend has failed."""


def http_handler(
    machines: Iterable[Machine[Any]], backend: Backend, *, authorize: Authorize
) -> Callable[[Event, Context], Event]:
    """Return the handler of a Lambda function that accepts starts and events for `machines` over `backend`.

    Args:
        machines: those that requests may name.
        backend: the backend of their instances.
        authorize: is called with each request first, and returns whether it may be carried out; `anyone` allows all.
            If it returns False or raises, the response is 403.

    Raises:
        DefinitionError: two of the machines, or of their child machines, have the same id.
    """
    served = tuple(machines)
    machines_by_id(served)
    return _HttpHandler(backend, authorize, {machine.id: Client(machine, backend) for machine in served})


@frozen
class HttpRequest:
    """An HTTP request. The last two segments of its path name the instance; a gateway's stage may precede them.

    Attributes:
        method: such as ``PUT``.
        machine: the id of the machine.
        instance: the name of the instance.
        body: the body, decoded.
        wait: how long to wait for the end of the turn, in seconds.
        id: the idempotency key; None if there is none.
        headers: those of the message.
        event: the whole event of Lambda, with what an authorizer found out: ``event["requestContext"]["authorizer"]``.
    """

    method: str
    machine: str
    instance: str
    body: str
    wait: float
    id: str | None
    headers: Mapping[str, str]
    event: Event = field(repr=False)

    @classmethod
    def of(cls, event: Event) -> HttpRequest:
        """Parse the event of a function URL or an HTTP API (payload format 2.0), or of a REST API (1.0).

        Raises:
            ValueError: the path names no instance, the body is no text, or ``wait`` is not a number.
        """
        fields = _object(event)
        http = _object(_object(fields.get("requestContext")).get("http"))
        segments = str(fields.get("rawPath") or fields.get("path")).strip("/").split("/")
        if len(segments) < 2 or not segments[-1]:
            raise ValueError("expected /MACHINE/INSTANCE")
        headers = {name.lower(): str(value) for name, value in _object(fields.get("headers")).items()}
        return cls(
            method=str(http.get("method") or fields.get("httpMethod")),
            machine=unquote(segments[-2]),
            instance=unquote(segments[-1]),
            body=_body(fields),
            wait=_seconds(_object(fields.get("queryStringParameters")).get("wait")),
            id=headers.get("idempotency-key"),
            headers={
                name.removeprefix(HEADER_PREFIX): value
                for name, value in headers.items()
                if name.startswith(HEADER_PREFIX) or (name in TRACE_HEADERS and _is_allowed(name, value))
            },
            event=fields,
        )

    def __str__(self) -> str:
        return printable(f"{self.method} {Key(self.machine, self.instance)}")


Authorize: TypeAlias = Callable[[HttpRequest], bool]
"""Returns whether a request may be carried out."""


def anyone(request: HttpRequest) -> bool:
    """Authorize every request: for a function that only those can invoke who may do everything."""
    return True


def _body(fields: Mapping[str, Any]) -> str:
    body = fields.get("body") or ""  # gateways write null for an empty one
    if not isinstance(body, str):
        raise ValueError("the body is no text")
    return base64.b64decode(body, validate=True).decode() if fields.get("isBase64Encoded") else body


def _seconds(text: object) -> float:
    if text is None:
        return 0.0
    try:
        seconds = float(str(text))
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueError(f"wait={shortened(text)}: expected a number of seconds")
    return seconds


def _is_allowed(name: str, value: str) -> bool:
    """Return whether a message may have this header. Proxies add trace contexts: a long one must not fail a request."""
    try:
        check_headers({name: value})
    except EventError:
        return False
    return True


def _object(value: object) -> Mapping[str, Any]:
    return value if is_object(value) else {}  # gateways write null for an empty object


@frozen
class _HttpHandler:
    """The handler itself."""

    backend: Backend
    authorize: Authorize
    clients: Mapping[str, Client[Any]]

    def __call__(self, event: Event, context: Context) -> Event:
        begin_invocation(self.backend)
        try:
            request = HttpRequest.of(event)
        except ValueError as error:
            return _error(HTTPStatus.BAD_REQUEST, str(error))
        if not self._is_authorized(request):
            return _error(HTTPStatus.FORBIDDEN, "not allowed")
        client = self.clients.get(request.machine)
        if client is None:
            return _error(HTTPStatus.NOT_FOUND, f"there is no machine {shortened(request.machine)}")
        max_wait = context.get_remaining_time_in_millis() / 1000 - RESPONSE_RESERVE
        return _respond_safely(client, request, min(request.wait, max(0.0, max_wait)))

    def _is_authorized(self, request: HttpRequest) -> bool:
        try:
            return self.authorize(request)
        except Exception as error:
            logger.error("%s: authorize failed: %s", request, printable(origin_of(error)))
            return False


def _respond_safely(client: Client[Any], request: HttpRequest, wait: float) -> Event:
    """Carry out `request`; the response says which error there was."""
    try:
        return _respond(client, request, wait)
    except (EventError, ValueError) as error:
        return _error(HTTPStatus.BAD_REQUEST, str(error))
    except TooLargeError as error:
        return _error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error))
    except IdReusedError as error:
        return _error(HTTPStatus.CONFLICT, str(error))
    except (RecordError, LogicError) as error:
        # Its text may quote the record.
        logger.error("%s: %s", request, printable(origin_of(error)))
        return _error(HTTPStatus.CONFLICT, "this machine cannot read the instance")
    except SettledError as error:
        logger.error("%s: %s: %s", request, type(error).__name__, error)
        answer = {"error": "the backend is not available: try again", "id": getattr(error, "message_id", None)}
        return _response(HTTPStatus.SERVICE_UNAVAILABLE, answer, {"retry-after": f"{RETRY_AFTER}"})


def _respond(client: Client[Any], request: HttpRequest, wait: float) -> Event:
    match request.method:
        case "GET":
            snapshot = client.get(request.instance)
            if snapshot is None:
                return _error(HTTPStatus.NOT_FOUND, "there is no such instance")
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
            error = {"error": f"{shortened(method)}: expected GET, PUT or POST"}
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, error, {"allow": "GET, PUT, POST"})


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
    except (OutcomeUnknownError, UnavailableError) as error:
        error.message_id = id  # also if the message was sent, and its outcome could not be read
        raise


def _state(snapshot: Snapshot[Any]) -> Mapping[str, Any]:
    return {"value": snapshot.value, "tags": sorted(snapshot.tags), "status": snapshot.status}


def _error(status: HTTPStatus, text: str) -> Event:
    return _response(status, {"error": text})


def _response(status: int, body: Mapping[str, Any], headers: Mapping[str, str] = MappingProxyType({})) -> Event:
    content_type = {"content-type": "application/json"}
    return {"statusCode": int(status), "headers": {**content_type, **headers}, "body": json.dumps(body)}
