"""Reading a URL: the server's address, the login, and settled's own options.

The law of this module: no message and no repr shows a password.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from attrs import field, frozen

from settled.durable.limits import MAX_MESSAGE_BYTES
from settled.durations import is_duration
from settled.errors import BackendConfigError
from settled_runtime.url import count, duration, message_size, number, options_in, without_credentials

_SCHEMES: Mapping[str, bool] = {"redis": False, "rediss": True, "valkey": False, "valkeys": True}
"""The known schemes, and whether they mean TLS."""


@frozen
class Options:
    """The options after the question mark.

    Attributes:
        lease: how long a new lease lasts.
        remember: how many ids of acknowledged messages the queue deduplicates by, for each key.
        prefix: the beginning of all keys.
        partitions: into how many partitions the keys are divided. None takes the number that the key space has, and for
            a new one 1 on a single server and 16 on a cluster. It cannot be changed later.
        replicas: how many replicas must have received a write before it is acknowledged.
        timeout: how long one call may take.
        check_durability: whether to refuse servers whose settings lose acknowledged writes.
        largest_message: how many bytes the body of a message may have.
        ca, certificate, private_key: files for TLS, as redis-py's ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile``.
    """

    lease: timedelta = field(default=timedelta(seconds=30), validator=is_duration)
    remember: int = 100
    prefix: str = "settled:"
    partitions: int | None = None
    replicas: int = 0
    timeout: timedelta = field(default=timedelta(seconds=5), validator=is_duration)
    check_durability: bool = True
    largest_message: int = MAX_MESSAGE_BYTES
    ca: str | None = None
    certificate: str | None = None
    private_key: str | None = None


@frozen
class Address:
    """The host and port of a server."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@frozen
class Login:
    """The user, database and transport for a connection, whichever the address."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    tls: bool = False


@frozen
class RedisUrl:
    """The parts of a URL; `options` has only those of the `Options` that it names."""

    address: Address
    login: Login
    options: Mapping[str, Any]


def parse(url: str) -> RedisUrl:
    """Parse ``redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE][?OPTIONS]``.

    Raises:
        BackendConfigError: `url` is malformed, or has an unknown option.
    """
    shown = without_credentials(url)
    malformed = BackendConfigError(
        f"{shown}: expected redis://HOST:PORT/DATABASE, and %2F, %3F and %23 for /, ? and # in a password"
    )
    try:
        parts = urlsplit(url)
        port = 6379 if parts.port is None else parts.port
    except ValueError:
        raise malformed from None  # the original error may quote a part of the password
    if parts.scheme not in _SCHEMES:
        raise BackendConfigError(f"{shown}: expected redis://HOST:PORT, or rediss, valkey or valkeys instead of redis")
    # A fragment, or an @ in the path, is a password with an unquoted character in it.
    if not parts.hostname or parts.fragment or "@" in parts.path:
        raise malformed
    login = Login(
        unquote(parts.username) if parts.username else None,
        unquote(parts.password) if parts.password else None,
        _database(parts.path, shown),
        _SCHEMES[parts.scheme],
    )
    return RedisUrl(Address(parts.hostname, port), login, options_in(parts.query, OPTIONS, shown))


def _database(path: str, shown: str) -> int:
    text = path.removeprefix("/")
    if not text:
        return 0
    if not text.isascii() or not text.isdigit():
        raise BackendConfigError(f"{shown}: {text!r} is no database: expected its number, as in redis://HOST:PORT/0")
    return int(text)


def _file(text: str) -> str:
    if not Path(text).is_file():
        raise ValueError("there is no such file")
    return text


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("expected yes or no")
    return text == "yes"


def _prefix(text: str) -> str:
    # The first brace of a key begins its hash tag, which must be the partition: see `settled_redis.keyspace`.
    if not text or "{" in text or "}" in text:
        raise ValueError("expected some text without braces")
    return text


OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "lease": duration,
    "remember": count,
    "prefix": _prefix,
    "partitions": count,
    "replicas": partial(number, least=0),
    "timeout": duration,
    "check_durability": _yes_or_no,
    "largest_message": message_size,
    "ca": _file,
    "certificate": _file,
    "private_key": _file,
}
"""The function that reads each option; it raises ValueError for a wrong value."""
