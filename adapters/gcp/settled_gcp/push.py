"""Handle push requests: run the turn of the message in a request, and acknowledge it by the response.

A success status acknowledges the message. After any other status Pub/Sub pushes it again, before all later messages of
its key: for an ordering key Pub/Sub makes one request at a time. So any turn that is not done is answered with 503.
When Pub/Sub retries is up to the subscription's retry policy; a response cannot change it.

A handler cannot ask whether Pub/Sub still waits for its response. Pub/Sub pushes the message again when its ack
deadline ends, so a request releases its turn shortly before. If the message is pushed again while an older request
still works on the key, the new request is answered with 503.

Whoever reaches the handler's URL may send requests to it. Only those with a token that Google has signed for the
subscription's service account and our audience are handled (see `push_auth`), and nothing of any other one is read but
its method and its token. Whatever is requested, the response is 2xx or 4xx, or 503 while the turn cannot be run.

A platform such as Cloud Run suspends an idle container, and its monotonic clock. Each request therefore discards the
time that was known before it; the reads and commits of its turn bring the new time at no cost.
"""

from __future__ import annotations

import asyncio
import base64
import re
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Protocol, assert_never

from attrs import define, field, frozen

from settled import AccessDeniedError, Key, SettledError, TurnEnd, UnavailableError
from settled.data import parse, shortened
from settled.durable import Backend, Delivery, Message, Timer
from settled.durations import in_seconds
from settled_gcp.attempts import estimated_attempt
from settled_gcp.clock import ServerTime
from settled_gcp.envelope import decode_received
from settled_gcp.push_auth import CERTIFICATES, Caller, TokenVerifier
from settled_gcp.queue import PUSH_RECEIPT, SubscriptionQueue
from settled_runtime import CompositeBackend, Host, StopSignal
from settled_runtime.coded_backend import decoded, without_codec

RESERVE = timedelta(seconds=2)
"""Seconds before its end in which a request only releases its turn and responds."""

MAX_BODY_BYTES = 15_000_000
"""The largest body of a request: Pub/Sub's limit of 10 MB for a message, as base64, and the JSON around it."""

_LENGTH = re.compile(r"[0-9]{1,18}")
"""A Content-Length: ``int`` reads more than these."""

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class FlaskRequest(Protocol):
    """The part of Flask's request that is used; the functions framework passes such requests."""

    @property
    def method(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def get_data(self) -> bytes: ...


def push_handler(
    host: Host | Callable[[], Host],
    *,
    audience: str,
    email: str,
    timeout: timedelta | None = None,
    reserve: timedelta = RESERVE,
    concurrency: int = 80,
    certificates: str = CERTIFICATES,
) -> PushHandler:
    """Return a handler of push requests, for the functions framework, WSGI or ASGI.

    Args:
        host: handles the messages; or a function that creates the host at the first request. Use a function with
            servers that import the program and then fork their workers, as the functions framework does: neither gRPC
            clients nor open files work after a fork.
        audience: of the subscription's tokens.
        email: of the service account whose tokens the subscription sends.
        timeout: of a request, if it is shorter than the lease, the subscription's ack deadline.
        reserve: the time before its end in which a request only releases its turn and responds.
        concurrency: how many requests are handled at the same time with ASGI.
        certificates: the URL of Google's certificates.
    """
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="settled-push")
    create = (lambda: host) if isinstance(host, Host) else host
    limits = Limits(None if timeout is None else in_seconds(timeout, "timeout"), in_seconds(reserve, "reserve"))
    return PushHandler(TokenVerifier(Caller(audience, email), certificates), limits, pool, _LazyHost(create))


@frozen
class Limits:
    """The timeout of a request, if it is shorter than the lease, and the reserve at its end, in seconds."""

    timeout: float | None
    reserve: float

    @contextmanager
    def deadline(self, started: float, lease: float) -> Generator[StopSignal]:
        """Yield a signal that is set when a request, `started` then by the monotonic clock, must release its turn."""
        stop_signal, end = StopSignal(), started + min(lease, self.timeout or lease) - self.reserve
        timer = threading.Timer(end - time.monotonic(), stop_signal.set)
        timer.daemon = True
        timer.start()
        try:
            yield stop_signal
        finally:
            timer.cancel()


@frozen
class PushResponse:
    """The response to a push request. Only a success status acknowledges the message."""

    status: HTTPStatus
    text: str = ""

    @property
    def line(self) -> str:
        """The status line for WSGI."""
        return f"{self.status.value} {self.status.phrase}"

    @property
    def headers(self) -> dict[str, str]:
        """The headers, but for the length of the body."""
        return {"Content-Type": "text/plain; charset=utf-8", **_HEADERS.get(self.status, {})}


_HEADERS: Mapping[HTTPStatus, Mapping[str, str]] = {
    HTTPStatus.METHOD_NOT_ALLOWED: {"Allow": "POST"},
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "Bearer"},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": "1"},  # for other clients: Pub/Sub goes by its retry policy
}
"""Headers that a response needs, by its status."""


_TOO_LARGE = PushResponse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


@frozen
class PushHandler:
    """Handles push requests through one of three interfaces: `function`, `wsgi` or `asgi`."""

    token_verifier: TokenVerifier
    limits: Limits
    pool: ThreadPoolExecutor
    host: _LazyHost
    _keys_in_progress: _KeysInProgress = field(factory=lambda: _KeysInProgress(), init=False)

    @property
    def function(self) -> Callable[[FlaskRequest], tuple[str, int, dict[str, str]]]:
        """The target of ``functions-framework --target=...``, of the signature type ``http``."""
        # A plain function, here and below: the framework, like some servers, does not accept other callables.

        def push(request: FlaskRequest) -> tuple[str, int, dict[str, str]]:
            headers = request.headers
            response = self.check_request(request.method, headers.get("Authorization"), headers.get("Content-Length"))
            response = response or self.handle_message(request.get_data())
            return response.text, response.status.value, response.headers

        return push

    @property
    def wsgi(self) -> Callable[[Mapping[str, Any], Callable[..., Any]], Iterable[bytes]]:
        """The WSGI application."""

        def push(environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            method, length = environ["REQUEST_METHOD"], environ.get("CONTENT_LENGTH")
            response = self.check_request(method, environ.get("HTTP_AUTHORIZATION"), length)
            response = response or self.handle_message(environ["wsgi.input"].read(int(length or 0)))
            body = response.text.encode()
            start_response(response.line, [*response.headers.items(), ("Content-Length", str(len(body)))])
            return [body]

        return push

    @property
    def asgi(self) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        """The ASGI application; turns run in threads."""

        async def push(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                raise ValueError(f"{scope['type']}: this application handles only HTTP")
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            length, authorization = headers.get("content-length"), headers.get("authorization")
            loop = asyncio.get_running_loop()
            response = await loop.run_in_executor(self.pool, self.check_request, scope["method"], authorization, length)
            if response is None:
                body = await _read_body(receive)
                response = await loop.run_in_executor(self.pool, self.handle_message, body)
            answer = [(name.lower().encode(), value.encode()) for name, value in response.headers.items()]
            await send({"type": "http.response.start", "status": response.status.value, "headers": answer})
            await send({"type": "http.response.body", "body": response.text.encode()})

        return push

    def check_request(self, method: str, authorization: str | None, length: str | None) -> PushResponse | None:
        """Return the response to a request that must not be handled; None if it comes from the subscription.

        `length` is the header Content-Length.
        """
        if method != "POST":
            return PushResponse(HTTPStatus.METHOD_NOT_ALLOWED)
        try:
            self.token_verifier.check(authorization)
        except AccessDeniedError as error:
            return PushResponse(HTTPStatus.UNAUTHORIZED, str(error))
        except UnavailableError as error:
            return PushResponse(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        if not _LENGTH.fullmatch(length or "0"):
            return PushResponse(HTTPStatus.BAD_REQUEST, "the Content-Length is no number")
        return _TOO_LARGE if int(length or 0) > MAX_BODY_BYTES else None

    def handle_message(self, body: bytes) -> PushResponse:
        """Run the turn of the message in the body of an authenticated request, and return the response."""
        started = time.monotonic()
        if len(body) > MAX_BODY_BYTES:
            return _TOO_LARGE
        try:
            request = PushRequest.of(body)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            return PushResponse(HTTPStatus.BAD_REQUEST, f"not a push request: {shortened(error)}")
        received = decode_received(request.data, request.ordering, request.id)
        try:
            host = self.host()
            if received is None:
                return _set_aside(host.backend, request)
            now = _time_after_resume(host.backend)
            message = _message_if_due(host.backend, received)
        except SettledError as error:
            return PushResponse(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        if message is None:
            return PushResponse(HTTPStatus.OK)
        lease = host.backend.lease.total_seconds()
        attempt = request.attempt or estimated_attempt(now - request.published, lease)
        delivery = decoded(host.backend, Delivery(message, PUSH_RECEIPT, attempt, now + lease))
        return self._run_turn(host, delivery, started)

    def _run_turn(self, host: Host, delivery: Delivery, started: float) -> PushResponse:
        key = delivery.message.key
        with self._keys_in_progress.claim(key) as is_claimed:
            if not is_claimed:  # pushed again while an older request, which Pub/Sub has given up, still runs
                return PushResponse(HTTPStatus.SERVICE_UNAVAILABLE, "another request has this key")
            with self.limits.deadline(started, host.backend.lease.total_seconds()) as stop_signal:
                end = host.handle([delivery], stop_signal)[key]
        if end is TurnEnd.DONE:
            return PushResponse(HTTPStatus.OK)
        return PushResponse(HTTPStatus.SERVICE_UNAVAILABLE, "the turn is not done")


def _set_aside(backend: Backend, request: PushRequest) -> PushResponse:
    """Respond to a message that is not settled's and names no instance: acknowledge it once it is set aside."""
    queue = without_codec(backend).queue
    if isinstance(queue, SubscriptionQueue) and queue.set_aside(request.data, request.ordering, request.id):
        return PushResponse(HTTPStatus.OK)
    return PushResponse(HTTPStatus.BAD_REQUEST, "not a message of settled, and its ordering key names no instance")


def _time_after_resume(backend: Backend) -> float:
    """Return a lower bound of the time. Discard the time that `backend` knows: this process may have been suspended."""
    below = without_codec(backend)
    if not (isinstance(below, CompositeBackend) and isinstance(below.clock, ServerTime)):
        return backend.now()
    below.clock.invalidate()
    # The exact time would take another read, and the turn's own responses will bring it. The lower bound only makes the
    # lease of the delivery end too early.
    return below.clock.lower_bound()


def _message_if_due(backend: Backend, received: Message | Timer) -> Message | None:
    """Return the message to handle. If it is a timer that is not due yet, schedule it again and return None."""
    match received:
        case Message():
            return received
        case Timer(_, message, due):
            if due <= backend.now():
                return message
            # Below the codec, if there is one: what was encoded is scheduled as it is.
            without_codec(backend).timers.schedule(received)
            return None
        case _:
            assert_never(received)


@frozen
class PushRequest:
    """The part of a push request's body that is used.

    `attempt` is 0 if Pub/Sub does not count. `published` is the time at which the message was, in seconds since the
    epoch.
    """

    id: str
    data: bytes
    ordering: str
    attempt: int
    published: float

    @classmethod
    def of(cls, body: bytes) -> PushRequest:
        """Parse `body`, in the format that Pub/Sub uses without payload unwrapping.

        Raises:
            ValueError, KeyError, TypeError, AttributeError, OverflowError: it has another format.
        """
        request = parse(body.decode())
        message = request["message"]
        data = base64.b64decode(message.get("data", ""), validate=True)
        ordering, attempt = str(message.get("orderingKey", "")), max(0, int(request.get("deliveryAttempt", 0)))
        published = datetime.fromisoformat(message["publishTime"]).timestamp()
        return cls(str(message["messageId"]), data, ordering, attempt, published)


@define(eq=False)
class _LazyHost:
    """Creates the host at its first call, and returns the same one at each."""

    create: Callable[[], Host]
    _host: Host | None = field(default=None, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def __call__(self) -> Host:
        with self._lock:
            if self._host is None:
                self._host = self.create()
            return self._host


@define(eq=False)
class _KeysInProgress:
    """The keys whose turns run in this process."""

    _keys: set[Key] = field(factory=set[Key])
    _lock: threading.Lock = field(factory=threading.Lock)

    @contextmanager
    def claim(self, key: Key) -> Generator[bool]:
        """Claim `key` for this block. Yield False if another request has claimed it."""
        with self._lock:
            is_claimed = key not in self._keys
            self._keys.add(key)
        try:
            yield is_claimed
        finally:
            if is_claimed:
                with self._lock:
                    self._keys.discard(key)


async def _read_body(receive: Receive) -> bytes:
    """Return the body of a request; stop reading once it is larger than allowed."""
    body, more = bytearray(), True
    while more and len(body) <= MAX_BODY_BYTES:
        event = await receive()
        body += event.get("body", b"")
        more = event.get("more_body", False)
    return bytes(body)
