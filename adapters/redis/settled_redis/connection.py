"""One server: its open connections, and how commands travel to it.

Of redis-py this uses the connection and not the client: a client does not say whether a command had left before its
connection broke, and that is the difference between `Unavailable` and `Unknown`.

A command that could not be sent to its end was not carried out, because a server reads a whole one first. A connection
is used by one call at a time, from whatever thread; those that are free wait here for the next call.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, cast

from attrs import define, field
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection
from redis.retry import Retry

from settled.errors import BackendClosedError, OutcomeUnknownError, SettledError, UnavailableError
from settled_redis.errors import LOST, is_answer, translated
from settled_redis.url import Address, Login, Options
from settled_runtime.group_commit import GroupCommit, Ticket

RedisCommand: TypeAlias = Sequence[bytes]

TRUST = 0.01
"""For how many seconds an idle connection is trusted to be open; after that, it is looked at before it is used."""


class Wire(Protocol):
    """What is needed of redis-py's connection."""

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def can_read(self, timeout: float = 0) -> bool: ...
    def send_packed_command(self, command: Sequence[bytes], check_health: bool = True) -> None: ...
    def read_response(self) -> Any: ...


@define(eq=False)
class Request(Ticket):
    """One caller's packed `commands`, how many there are, and what the server answers.

    `changes`: a lost answer leaves it unknown whether they took effect.
    """

    commands: bytes
    count: int
    changes: bool
    answers: list[Any] = field(factory=list[Any])
    error: SettledError | BaseException | None = None


class ServerConnection:
    """The server at `address`."""

    def __init__(self, address: Address, login: Login, options: Options) -> None:
        self.address = address
        self._arguments = _arguments(address, login, options)
        self._kind = SSLConnection if login.tls else Connection
        self._lock = threading.Lock()
        self._group = GroupCommit[Request]()
        self._free: list[tuple[Wire, float]] = []
        self._process = os.getpid()
        self._closed = False

    def ask(self, commands: Sequence[RedisCommand], changes: bool) -> list[Any]:
        """Send `commands` together. Returns an answer for each; one that is an error is returned, not raised.

        Args:
            changes: something is different once they are carried out, so a lost answer is `Unknown`.

        Raises:
            Unavailable, Denied: nothing happened.
            Unknown: it may have happened.
        """
        self._notice_a_fork()
        request = _request(commands, changes)
        if self._group.join(request):
            requests: Sequence[Request] = ()
            try:
                requests = self._group.take()
                self._carry(requests)
            finally:
                self._group.finish(requests)
        if request.error is not None:
            raise request.error
        return request.answers

    def ask_alone(self, command: RedisCommand) -> Any:
        """As `ask`, for a command whose answer may be long in coming, and that changes nothing."""
        self._notice_a_fork()
        request = _request([command], changes=False)
        self._carry([request])
        if request.error is not None:
            raise request.error
        return request.answers[0]

    def forget(self) -> None:
        """Close the connections that are free: the address may mean another server by now."""
        with self._lock:
            free, self._free = self._free, []
        for wire, _ in free:
            wire.disconnect()

    def close(self) -> None:
        """Close every connection; those in use are closed when their call ends."""
        with self._lock:
            self._closed = True
        self.forget()

    def _carry(self, requests: Sequence[Request]) -> None:
        """Send what is in `requests`, and fill in their answers, or the error that came in between."""
        try:
            wire = self._take()
        except BaseException as error:
            for request in requests:
                request.error = error
            return
        try:
            self._send(wire, requests)
            for request in requests:
                for _ in range(request.count):
                    request.answers.append(self._read(wire))
        except BaseException as error:
            wire.disconnect()
            for request in requests:
                if len(request.answers) < request.count:
                    request.error = self._lost(error, request)
            return
        self._give(wire)

    def _send(self, wire: Wire, requests: Sequence[Request]) -> None:
        try:
            wire.send_packed_command([b"".join([request.commands for request in requests])], check_health=False)
        except LOST as error:
            if len(requests) == 1 and requests[0].count == 1:
                raise _Unsent(str(error)) from error
            raise

    def _read(self, wire: Wire) -> Any:
        try:
            return wire.read_response()
        except Exception as error:
            if is_answer(error) and not isinstance(error, LOST):
                return error
            raise

    def _lost(self, error: BaseException, request: Request) -> BaseException:
        """What `request` comes to, because the connection broke with `error`."""
        if not isinstance(error, Exception):
            return error
        if is_answer(error):
            found: SettledError = translated(error, str(self.address))
        elif isinstance(error, (*LOST, _Unsent)):
            text = f"{self.address}: the connection broke ({error})"
            unknown = request.changes and not isinstance(error, _Unsent)
            found = OutcomeUnknownError(text) if unknown else UnavailableError(text)
        else:
            return error
        found.__cause__ = error
        return found

    def _notice_a_fork(self) -> None:
        if self._process != os.getpid():
            # The sockets are the parent's too: whoever shares them gets the other's answers.
            self._lock, self._group = threading.Lock(), GroupCommit[Request]()
            self._free, self._process = [], os.getpid()

    def _take(self) -> Wire:
        """A connection that nobody else has: the one used last, or a new one."""
        while True:
            with self._lock:
                if self._closed:
                    raise BackendClosedError(f"{self.address}: this backend was closed")
                wire, used = self._free.pop() if self._free else (None, 0.0)
            if wire is None:
                return self._open()
            if time.monotonic() - used < TRUST or _is_open(wire):
                return wire
            wire.disconnect()

    def _open(self) -> Wire:
        wire = cast("Wire", self._kind(**self._arguments))
        try:
            wire.connect()
        except Exception as error:
            wire.disconnect()
            raise translated(error, str(self.address)) from error
        return wire

    def _give(self, wire: Wire) -> None:
        with self._lock:
            if not self._closed:
                self._free.append((wire, time.monotonic()))
                return
        wire.disconnect()


class _Unsent(Exception):
    """The command did not leave whole, so nobody has carried it out."""


def _request(commands: Sequence[RedisCommand], changes: bool) -> Request:
    return Request(b"".join([packed(command) for command in commands]), len(commands), changes)


def packed(command: RedisCommand) -> bytes:
    """`command` as it goes over the wire."""
    return b"*%d\r\n" % len(command) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in command])


def _is_open(wire: Wire) -> bool:
    """Whether nothing has come in: there is no answer to wait for, so it could only be the connection's end."""
    try:
        return not wire.can_read()
    except LOST:
        return False


def _arguments(address: Address, login: Login, options: Options) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "host": address.host,
        "port": address.port,
        "db": login.database,
        "username": login.username,
        "password": login.password,
        "socket_timeout": options.timeout,
        "socket_connect_timeout": options.timeout,
        "socket_keepalive": True,
        "protocol": 2,
        # A retry that nobody sees makes a lost answer look like a conflict.
        "retry": Retry(NoBackoff(), 0),
    }
    if login.tls:
        arguments |= {
            "ssl_ca_certs": options.ca,
            "ssl_certfile": options.certificate,
            "ssl_keyfile": options.private_key,
        }
    return arguments
