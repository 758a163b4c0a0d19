"""The raw loops: what a vendor gives to somebody who wants one committed write for each event, and nothing else."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from bench.sample import Meter, Sample

BODY = "x" * 300
"""About what a record of a young instance weighs."""


class Raw(Protocol):
    """A loop, and how to end it."""

    def run(self, count: int) -> Sample: ...

    def close(self) -> None: ...


class RawSQLite:
    """One row that is updated, in a file of its own beside ours, with the same settings."""

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
    """One key that is set by a script, on the server that ours uses."""

    def __init__(self, url: str, key: str) -> None:
        from redis import Redis

        # redis-py says of its options only that they are some.
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
