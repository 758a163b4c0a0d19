"""Give a key space a new epoch, which it needs after its server was restored.

Redis has its own backups (RDB and AOF files), of all that a server holds.
"""

from __future__ import annotations

import os

from attrs import evolve

from settled.errors import BackendConfigError
from settled_redis import keyspace
from settled_redis.connect import connect
from settled_redis.url import Options, parse
from settled_runtime.url import without_credentials

_OWN = "is backed up and restored by copying the files of its servers, as docs/backup.md says"


def backup(url: str, target: str | os.PathLike[str]) -> None:
    """Raise BackendConfigError: a server writes its backups itself."""
    raise BackendConfigError(f"{without_credentials(url)}: {_OWN}")


def restore(source: str | os.PathLike[str], url: str) -> None:
    """Raise BackendConfigError: a server reads its backups itself, when it starts."""
    raise BackendConfigError(f"{without_credentials(url)}: {_OWN}. Then: settled new-epoch")


def renew_epoch(url: str) -> None:
    """Give the key space at `url` a new epoch, and refuse whoever has it open.

    Raises:
        BackendConfigError: there is no key space at `url`, or the server cannot be used.
        AccessDeniedError, RecordError, UnavailableError: as `RedisBackend.open`.
    """
    parsed = parse(url)
    options = evolve(Options(), **parsed.options)
    servers = connect(parsed, options)
    try:
        space = keyspace.find(servers, options.prefix)
        if space is None:
            raise BackendConfigError(f"{without_credentials(url)}: there are no keys of settled under {options.prefix}")
        keyspace.renew_epoch(servers, space)
    finally:
        servers.close()
