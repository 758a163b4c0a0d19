"""The raw loops: one committed write for each event and nothing else, as fast as the database allows."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from bench.sample import Meter, Sample

BODY = "x" * 300
"""About the size of the record of a new instance."""


class Raw(Protocol):
    """A raw loop, which is closed after its last run."""

    def run(self, count: int) -> Sample: ...

    def close(self) -> None: ...


class RawSQLite:
    """Updates one row, in a SQLite file beside that of settled, with the same settings."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("CREATE TABLE records (key TEXT PRIMARY KEY, version INTEGER, body TEXT)")
        self._db.execute("INSERT INTO records VALUES ('one', 0, '')")

    def run(self, count: int) -> Sample:
        return _timed(count, lambda: self._db.execute("UPDATE records SET version=version+1, body=?", (BODY,)))

    def close(self) -> None:
        self._db.close()


class RawRedis:
    """Sets one key by a script, on the server that settled uses."""

    def __init__(self, url: str, key: str) -> None:
        from redis import Redis

        # redis-py does not annotate its options.
        self._redis: Any = Redis.from_url(url)  # pyright: ignore[reportUnknownMemberType]
        self._key = key
        self._script = self._redis.register_script(
            "redis.call('HINCRBY', KEYS[1], 'version', 1) redis.call('HSET', KEYS[1], 'body', ARGV[1])"
        )

    def run(self, count: int) -> Sample:
        return _timed(count, lambda: self._script(keys=[self._key], args=[BODY]))

    def close(self) -> None:
        self._redis.delete(self._key)
        self._redis.close()


def _timed(count: int, write: Callable[[], object]) -> Sample:
    latencies: list[float] = []
    meter = Meter()
    for _ in range(count):
        began = time.perf_counter()
        write()
        latencies.append(time.perf_counter() - began)
    return meter.read(count, latencies)
