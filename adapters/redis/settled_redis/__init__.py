"""The adapter for Redis and Valkey, one server or a cluster.

The law of an adapter: it translates, one vendor call for one port call, and the vendor's errors into settled's. It
neither retries nor encodes, and it does not know what a statechart is.

`open_redis` is the entry point. Below it, from the ports down to the network: `backend` with `queue`, `store` and
`timers`; `script_client`, which runs ``script.lua`` with the `script_args` and the keys of a `keyspace`, and keeps a
`clock` of the servers' time; `cluster` or `topology.SingleServer`, which send commands to the server that has their
slot; `connection`, which sends those of concurrent calls together; and `errors`, which translates. `url` and `connect`
read the URL and find the servers. `durability` and `doctor` examine the servers' settings, and `backup` is for a server
that was restored. The vendor's client is imported when the
first URL is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from settled.errors import BackendConfigError

if TYPE_CHECKING:
    from settled_redis.backend import RedisBackend
    from settled_runtime.doctor import BackendProblem

__all__ = ["examine_redis", "open_redis"]

_MISSING = "redis://: its packages are not installed ({}). Try: pip install 'settled[redis]'"


def open_redis(url: str) -> RedisBackend:
    """Open the backend on the server or cluster that a URL such as ``redis://localhost:6379/0?lease=30`` names.

    The schemes are ``redis``, ``rediss`` (TLS), ``valkey`` and ``valkeys``; `settled_redis.url.OPTIONS` has the
    options.

    Raises:
        BackendConfigError: the URL is malformed, the server is too old or loses acknowledged writes, or the packages
            are not installed.
        AccessDeniedError: the server refused the user, the password, or a command.
        RecordError: the keys under the prefix belong to another application, or to another version of settled.
        UnavailableError: no server answered.
    """
    try:
        from settled_redis.backend import RedisBackend  # noqa: PLC0415 (the vendor's client is imported here)
    except ImportError as error:
        raise BackendConfigError(_MISSING.format(error)) from error
    return RedisBackend.open(url)


def examine_redis(url: str) -> Sequence[BackendProblem]:
    """Return the settings of the servers at `url` that can lose acknowledged writes; see `settled_redis.doctor`.

    Raises:
        BackendConfigError, AccessDeniedError, RecordError, UnavailableError: as `open_redis`.
    """
    try:
        from settled_redis.doctor import examine  # noqa: PLC0415 (the vendor's client is imported here)
    except ImportError as error:
        raise BackendConfigError(_MISSING.format(error)) from error
    return examine(url)
