"""Push: a request takes the one message in it through its turn, and its answer is the acknowledgement.

With success the message is gone. With anything else it comes again, before all later ones of its key: of a key Pub/Sub
has one request under way at a time. So what did not end well is answered with 503, however it ended. How long Pub/Sub
then waits is for the subscription's retry policy to say, and nobody can tell it otherwise.

Nobody can be asked whether Pub/Sub still waits for the answer. And between two requests an instance may stand still,
and its clock with it: so each request takes the time anew, which costs nothing where the record is read.

What runs when the time of a request is nearly over is abandoned and handed back, because Pub/Sub sends the message
again once its ack deadline has passed. Should it come while an older request still has the key, it is turned away.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Protocol, assert_never

from attrs import define, field, frozen

from settled import AccessDeniedError, Key, SettledError, TurnEnd, UnavailableError
from settled.durable import Backend, Delivery, Message, Timer
from settled_gcp.clock import ServerTime
from settled_gcp.envelope import arrived
from settled_gcp.push_auth import CERTIFICATES, Caller, TokenVerifier
from settled_gcp.queue import PUSHED
from settled_runtime import CompositeBackend, Host, StopSignal

RESERVE = 2.0
"""For how many seconds before its end a request does nothing but hand back and answer."""

LARGEST_BODY = 15_000_000
"""How many bytes a request may have: ten megabytes as base64, and what stands around them."""

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class FlaskRequest(Protocol):
    """What is asked of the request that the functions framework hands over."""

    @property
    def method(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def content_length(self) -> int | None: ...

    def get_data(self) -> bytes: ...


def push_handler(
    host: Host | Callable[[], Host],
    *,
    audience: str,
    email: str,
    timeout: float | None = None,
    reserve: float = RESERVE,
    concurrency: int = 80,
    certificates: str = CERTIFICATES,
) -> PushHandler:
    """What takes push requests through `host`, for whatever serves HTTP.

    Args:
        host: who takes messages through their turns, or what makes it when the first request comes. A server that
            forks its workers after it has imported a program, as the functions framework does, needs the latter:
            neither clients nor files that were opened before a fork work after it.
        audience: what the subscription's tokens are for.
        email: the service account that the subscription pushes as.
        timeout: for how many seconds a request may last, if that is less than the lease, which is the subscription's
            ack deadline.
        reserve: for how many seconds before its end a request does nothing but hand back and answer.
        concurrency: how many requests are taken at the same time by way of ASGI.
        certificates: where Google's are.
    """
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="settled-push")
    make = (lambda: host) if isinstance(host, Host) else host
    limits = Limits(timeout, reserve)
    return PushHandler(TokenVerifier(Caller(audience, email), certificates), limits, pool, _Once(make))


@frozen
class Limits:
    """For how many seconds a request may last, if not for a lease; and the last of them, in which nothing is begun."""

    timeout: float | None
    reserve: float

    @contextmanager
    def watched(self, began: float, lease: float) -> Generator[StopSignal]:
        """Yield an interruption that is set when a request that `began` then must hand back, if this block still runs.

        It goes by the monotonic clock, which nobody sets, and for which no server has to be asked.
        """
        interruption, end = StopSignal(), began + min(lease, self.timeout or lease) - self.reserve
        alarm = threading.Timer(end - time.monotonic(), interruption.set)
        alarm.daemon = True
        alarm.start()
        try:
            yield interruption
        finally:
            alarm.cancel()


@frozen
class PushResponse:
    """What a request is answered with. Only success acknowledges."""

    status: HTTPStatus
    text: str = ""

    @property
    def line(self) -> str:
        """As WSGI writes a status."""
        return f"{self.status.value} {self.status.phrase}"


@frozen
class PushHandler:
    """Push requests by three ways in. They are plain functions, because some servers take nothing else."""

    doorkeeper: TokenVerifier
    limits: Limits
    pool: ThreadPoolExecutor
    host: _Once
    _busy: _Busy = field(factory=lambda: _Busy(), init=False)

    @property
    def function(self) -> Callable[[FlaskRequest], tuple[str, int]]:
        """The target of ``functions-framework --target=...``, of the signature type ``http``."""

        def push(request: FlaskRequest) -> tuple[str, int]:
            headers = request.headers
            answer = self.refused(request.method, headers.get("Authorization"), request.content_length)
            answer = answer or self.taken(request.get_data())
            return answer.text, answer.status.value

        return push

    @property
    def wsgi(self) -> Callable[[Mapping[str, Any], Callable[..., Any]], Iterable[bytes]]:
        """The application for a server of WSGI."""

        def push(environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            length = int(environ.get("CONTENT_LENGTH") or 0)
            answer = self.refused(environ["REQUEST_METHOD"], environ.get("HTTP_AUTHORIZATION"), length)
            answer = answer or self.taken(environ["wsgi.input"].read(length))
            body = answer.text.encode()
            start_response(answer.line, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
            return [body]

        return push

    @property
    def asgi(self) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        """The application for a server of ASGI; turns run in threads."""

        async def push(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                raise ValueError(f"{scope['type']}: this application knows only HTTP")
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            length, authorization = int(headers.get("content-length", "0")), headers.get("authorization")
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(self.pool, self.refused, scope["method"], authorization, length)
            if answer is None:
                body = await _read(receive)
                answer = await loop.run_in_executor(self.pool, self.taken, body)
            start = {"type": "http.response.start", "status": answer.status.value}
            await send({**start, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": answer.text.encode()})

        return push

    def refused(self, method: str, authorization: str | None, length: int | None) -> PushResponse | None:
        """The answer to a request that is not even read; None if it is Pub/Sub's."""
        if method != "POST":
            return PushResponse(HTTPStatus.METHOD_NOT_ALLOWED)
        try:
            self.doorkeeper.check(authorization)
        except AccessDeniedError as error:
            return PushResponse(HTTPStatus.UNAUTHORIZED, str(error))
        except UnavailableError as error:
            return PushResponse(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        if (length or 0) > LARGEST_BODY:
            return PushResponse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return None

    def taken(self, body: bytes) -> PushResponse:
        """The answer to a request of Pub/Sub's, after the turn of its message."""
        began = time.monotonic()
        try:
            pushed = Pushed.of(body)
        except (ValueError, KeyError, TypeError) as error:
            return PushResponse(HTTPStatus.BAD_REQUEST, f"not a push request with an ordering key: {error!r}")
        found = arrived(pushed.data, pushed.ordering)
        if found is None:
            return PushResponse(HTTPStatus.BAD_REQUEST, "not a message of settled, or in the order of another key")
        host = self.host()
        try:
            now = _awake(host.backend)
            message = _due(host.backend, found)
        except SettledError as error:
            return PushResponse(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        if message is None:
            return PushResponse(HTTPStatus.OK)
        return self._turned(host, Delivery(message, PUSHED, pushed.attempt, now + host.backend.lease), began)

    def _turned(self, host: Host, delivery: Delivery, began: float) -> PushResponse:
        key = delivery.message.key
        with self._busy.alone(key) as is_alone:
            if not is_alone:
                return PushResponse(HTTPStatus.SERVICE_UNAVAILABLE, "another request has this key")
            with self.limits.watched(began, host.backend.lease) as interruption:
                end = host.handle([delivery], interruption)[key]
        if end is TurnEnd.DONE:
            return PushResponse(HTTPStatus.OK)
        return PushResponse(HTTPStatus.SERVICE_UNAVAILABLE, "the turn is not over")


def _awake(backend: Backend) -> float:
    """A time that is over for sure. This machine's clock is believed no more: it may have stood still until now."""
    if not (isinstance(backend, CompositeBackend) and isinstance(backend.clock, ServerTime)):
        return backend.now()
    backend.clock.doubt()
    return backend.clock.at_least()  # The time itself would be one read more, and the turn's own answers will tell it.


def _due(backend: Backend, found: Message | Timer) -> Message | None:
    """The message to take; None if it was a timer before its time, because nobody waits so long at once."""
    match found:
        case Message():
            return found
        case Timer(_, message, due):
            if due <= backend.now():
                return message
            backend.timers.schedule(found)
            return None
        case _:
            assert_never(found)


@frozen
class Pushed:
    """What is taken from the body of a push request."""

    data: bytes
    ordering: str
    attempt: int

    @classmethod
    def of(cls, body: bytes) -> Pushed:
        """What `body` says, as Pub/Sub writes it when it is not told to unwrap the message.

        Raises:
            ValueError, KeyError, TypeError: it is written otherwise.
        """
        request = json.loads(body)
        message = request["message"]
        data = base64.b64decode(message.get("data", ""), validate=True)
        return cls(data, str(message["orderingKey"]), int(request.get("deliveryAttempt", 1)))


@define(eq=False)
class _Once:
    """The host that `make` makes, made when it is first called for."""

    make: Callable[[], Host]
    _made: Host | None = field(default=None, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def __call__(self) -> Host:
        with self._lock:
            if self._made is None:
                self._made = self.make()
            return self._made


@define(eq=False)
class _Busy:
    """The keys that have a turn in this process."""

    _keys: set[Key] = field(factory=set[Key])
    _lock: threading.Lock = field(factory=threading.Lock)

    @contextmanager
    def alone(self, key: Key) -> Generator[bool]:
        """Whether nobody else is at `key` during this block."""
        with self._lock:
            is_alone = key not in self._keys
            self._keys.add(key)
        try:
            yield is_alone
        finally:
            if is_alone:
                with self._lock:
                    self._keys.discard(key)


async def _read(receive: Receive) -> bytes:
    """The body of a request, cut off behind the largest that there may be."""
    body, more = bytearray(), True
    while more and len(body) <= LARGEST_BODY:
        event = await receive()
        body += event.get("body", b"")
        more = event.get("more_body", False)
    return bytes(body)
