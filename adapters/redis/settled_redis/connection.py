"""The connections to one server, and how commands are sent over them.

This uses redis-py's connections and not its client: the client does not say whether a command had been sent before its
connection broke, and that is the difference between `UnavailableError` and `OutcomeUnknownError`.

A command that was not sent completely was not carried out, because a server reads a whole command first. A connection
is used by one call at a time, from any thread; free ones are pooled. Calls that arrive while another one is under way
are sent together (see `GroupCommit`).
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
from settled_redis.errors import CONNECTION_ERRORS, is_answer, translated
from settled_redis.url import Address, Login, Options
from settled_runtime.group_commit import GroupCommit, Ticket

RedisCommand: TypeAlias = Sequence[bytes]

MAX_UNCHECKED_IDLE = 0.01
"""Seconds for which an idle connection is assumed to be open; after that it is checked before it is used."""


class RawConnection(Protocol):
    """The part of redis-py's `Connection` that is used here."""

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def can_read(self, timeout: float = 0) -> bool: ...
    def send_packed_command(self, command: Sequence[bytes], check_health: bool = True) -> None: ...
    def read_response(self) -> Any: ...


@define(eq=False)
class Request(Ticket):
    """One call's packed `commands`, how many there are, and the server's answers or the error of the connection.

    `changes` says whether a lost answer leaves it unknown what has happened.
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
        self._class = SSLConnection if login.tls else Connection
        self._lock = threading.Lock()
        self._group = GroupCommit[Request]()
        # Each with the time at which it was last used.
        self._free: list[tuple[RawConnection, float]] = []
        self._process = os.getpid()
        self._closed = False

    def ask(self, commands: Sequence[RedisCommand], changes: bool) -> list[Any]:
        """Send `commands` together and return the answer to each; an answer that is an error is returned, not raised.

        Args:
            commands: the commands, each as its words.
            changes: whether they change something, so that a lost answer raises `OutcomeUnknownError`.

        Raises:
            UnavailableError, AccessDeniedError, BackendConfigError, BackendClosedError: nothing happened.
            OutcomeUnknownError: it may have happened.
        """
        self._reset_after_fork()
        request = _request(commands, changes)
        if self._group.join(request):
            requests: Sequence[Request] = ()
            try:
                requests = self._group.take()
                self._exchange(requests)
            finally:
                # Whatever happened, or the other threads would wait for ever.
                self._group.finish(requests)
        if request.error is not None:
            raise request.error
        return request.answers

    def ask_alone(self, command: RedisCommand) -> Any:
        """Send `command`, which blocks at the server and changes nothing, on a connection of its own.

        In a group, the other calls would wait for it.
        """
        self._reset_after_fork()
        request = _request([command], changes=False)
        self._exchange([request])
        if request.error is not None:
            raise request.error
        return request.answers[0]

    def open_alone(self) -> RawConnection:
        """Open a connection that only the caller uses, and closes.

        Raises:
            UnavailableError, AccessDeniedError, BackendConfigError, BackendClosedError: it cannot be opened.
        """
        self._reset_after_fork()
        if self._closed:
            raise BackendClosedError(f"{self.address}: this backend was closed")
        return self._open()

    def close_free_connections(self) -> None:
        """Close the connections that are not in use, so that the next call opens one."""
        with self._lock:
            free, self._free = self._free, []
        for connection, _ in free:
            connection.disconnect()

    def close(self) -> None:
        """Close every connection; those in use are closed when their call ends."""
        with self._lock:
            self._closed = True
        self.close_free_connections()

    def _exchange(self, requests: Sequence[Request]) -> None:
        """Send `requests` and read their answers. Each gets its answers, or the error that prevented them."""
        try:
            connection = self._acquire()
        except BaseException as error:
            for request in requests:
                request.error = error
            return
        try:
            self._send(connection, requests)
            for request in requests:
                for _ in range(request.count):
                    request.answers.append(self._read(connection))
        except BaseException as error:
            # Its answers may still come, and would be taken for those of the next call.
            connection.disconnect()
            for request in requests:
                if len(request.answers) < request.count:
                    request.error = self._failure(error, request)
            return
        self._release(connection)

    def _send(self, connection: RawConnection, requests: Sequence[Request]) -> None:
        try:
            connection.send_packed_command([b"".join([request.commands for request in requests])], check_health=False)
        except CONNECTION_ERRORS as error:
            # Of several commands, those in front may have been sent completely.
            if len(requests) == 1 and requests[0].count == 1:
                raise _NotSent(str(error)) from error
            raise

    def _read(self, connection: RawConnection) -> Any:
        try:
            return connection.read_response()
        except Exception as error:
            # redis-py counts some answers as connection errors, LOADING among them, and closes the connection itself.
            if is_answer(error) and not isinstance(error, CONNECTION_ERRORS):
                return error
            raise

    def _failure(self, error: BaseException, request: Request) -> BaseException:
        """Return the error to raise for `request`, because `error` came before its last answer."""
        if not isinstance(error, Exception):
            return error
        if is_answer(error):
            failure: SettledError = translated(error, str(self.address))
        elif isinstance(error, (*CONNECTION_ERRORS, _NotSent)):
            text = f"{self.address}: the connection broke ({error})"
            is_unknown = request.changes and not isinstance(error, _NotSent)
            failure = OutcomeUnknownError(text) if is_unknown else UnavailableError(text)
        else:
            return error
        failure.__cause__ = error
        return failure

    def _reset_after_fork(self) -> None:
        if self._process != os.getpid():
            # The sockets are the parent's too: each process would read the other's answers. And a lock may be held by a
            # thread that does not exist in this process.
            self._lock, self._group = threading.Lock(), GroupCommit[Request]()
            self._free, self._process = [], os.getpid()

    def _acquire(self) -> RawConnection:
        """Return a connection for the caller alone: the one used last, or a new one."""
        while True:
            with self._lock:
                if self._closed:
                    raise BackendClosedError(f"{self.address}: this backend was closed")
                connection, used_at = self._free.pop() if self._free else (None, 0.0)
            if connection is None:
                return self._open()
            # A connection that the server closed meanwhile would break only after the command was sent, and leave it
            # unknown whether it happened.
            if time.monotonic() - used_at < MAX_UNCHECKED_IDLE or _is_open(connection):
                return connection
            connection.disconnect()

    def _open(self) -> RawConnection:
        connection = cast("RawConnection", self._class(**self._arguments))
        try:
            connection.connect()
        except Exception as error:
            connection.disconnect()
            raise translated(error, str(self.address)) from error
        return connection

    def _release(self, connection: RawConnection) -> None:
        with self._lock:
            if not self._closed:
                self._free.append((connection, time.monotonic()))
                return
        connection.disconnect()


class _NotSent(Exception):
    """The command was not sent completely, so the server has not carried it out."""


def _request(commands: Sequence[RedisCommand], changes: bool) -> Request:
    return Request(b"".join([packed(command) for command in commands]), len(commands), changes)


def packed(command: RedisCommand) -> bytes:
    """Return `command` in RESP, Redis's protocol."""
    return b"*%d\r\n" % len(command) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in command])


def _is_open(connection: RawConnection) -> bool:
    # No answer is outstanding, so if there is something to read, it can only be the end of the connection.
    try:
        return not connection.can_read()
    except CONNECTION_ERRORS:
        return False


def _arguments(address: Address, login: Login, options: Options) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "host": address.host,
        "port": address.port,
        "db": login.database,
        "username": login.username,
        "password": login.password,
        "socket_timeout": options.timeout.total_seconds(),
        "socket_connect_timeout": options.timeout.total_seconds(),
        "socket_keepalive": True,
        "protocol": 2,
        # No automatic retries: after a lost answer, the repeated commit would report a conflict with itself.
        "retry": Retry(NoBackoff(), 0),
    }
    if login.tls:
        arguments |= {
            "ssl_ca_certs": options.ca,
            "ssl_certfile": options.certificate,
            "ssl_keyfile": options.private_key,
        }
    return arguments
