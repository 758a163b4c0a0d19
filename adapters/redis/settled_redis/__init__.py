"""A place to live on Redis or Valkey, one server or a cluster.

The law of an adapter: it translates, one vendor call for one port call, and the vendor's errors into settled's. It
neither retries nor encodes, and it does not know what a statechart is.

The way in is `open_redis`. Below it, from the ports down to the wire: `backend` with `queue`, `store` and `timers`;
`performer`, which performs `steps` by one script, ``script.lua``, over the names of a `keyspace`, and tells a `clock`
what time it was there; `cluster` and `server`, which carry commands to where they belong, together if they come
together; `errors`, which says what went wrong. `url` and `opening` lead there, and `doctor` looks at what all this
rests on. The vendor's client is imported when the first URL is opened.
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
    """The backend on the server or cluster that a URL such as ``redis://localhost:6379/0?lease=30`` names.

    The schemes are ``redis``, ``rediss`` (TLS), ``valkey`` and ``valkeys``. `settled_redis.url.OPTIONS` has the
    options.

    Raises:
        Denied: the URL is not understood, the password was refused, or the server is too old.
        RecordError: the keys there are something else's, or another version of settled wrote them.
        Unavailable: nobody answered.
    """
    try:
        from settled_redis.backend import RedisBackend  # noqa: PLC0415 (the vendor's client is imported here)
    except ImportError as error:
        raise BackendConfigError(_MISSING.format(error)) from error
    return RedisBackend.open(url)


def examine_redis(url: str) -> Sequence[BackendProblem]:
    """How the server or cluster at `url` is set up to lose what was acknowledged; see `settled_redis.doctor`.

    Raises:
        Denied, RecordError, Unavailable: as `open_redis`.
    """
    try:
        from settled_redis.doctor import examine  # noqa: PLC0415 (the vendor's client is imported here)
    except ImportError as error:
        raise BackendConfigError(_MISSING.format(error)) from error
    return examine(url)
