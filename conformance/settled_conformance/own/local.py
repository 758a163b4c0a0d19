"""The harnesses of memory and of SQLite. Both take their time from a clock that is given to them."""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, cast

from settled import Backend, Capability, Queue, Store, Timers
from settled_conformance.harness import Harness, Kind, Opener, Point
from settled_local import MemoryBackend, SQLiteBackend
from settled_runtime import Separate

EPOCH = 1_000_000.0
"""A whole number, so that the time between two moments is exact."""


class Clock:
    """A time that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = EPOCH

    def __call__(self) -> float:
        return self.time


class MemoryHarness(Harness):
    """A backend in this process. Each call is one atomic step, so there is nothing to instrument."""

    kind = Kind.MEMORY
    capabilities = frozenset(Capability)
    tick = 0.001

    def __init__(self) -> None:
        self.reset()

    def open(self) -> Backend:
        return self._backend

    def reset(self) -> None:
        self._clock = Clock()
        self._backend = MemoryBackend(clock=self._clock)

    def now(self) -> float:
        return self._clock.time

    def advance(self, seconds: float) -> None:
        self._clock.time += seconds


class SQLiteHarness(Harness):
    """A file for each reset. Each call is one transaction, so there is nothing to instrument."""

    kind = Kind.REAL
    capabilities = frozenset(Capability)
    tick = 0.001

    def __init__(self) -> None:
        self._clock = Clock()
        self._directory = Path(tempfile.mkdtemp(prefix="settled-conformance-", dir=_fast()))
        self._resets = 0

    def __del__(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def _file(self) -> Path:
        return self._directory / f"{self._resets}.db"

    def open(self) -> Backend:
        return SQLiteBackend.open(self._file, clock=self._clock)

    def reset(self) -> None:
        for file in self._directory.iterdir():
            file.unlink()
        self._resets += 1
        self._clock.time = EPOCH

    def now(self) -> float:
        return self._clock.time

    def advance(self, seconds: float) -> None:
        self._clock.time += seconds

    def opener(self) -> Opener | None:
        return partial(SQLiteBackend.open, str(self._file), lease=1.0)


class MixedHarness(SQLiteHarness):
    """`Separate`: the records in SQLite, the queue and the timers in memory; each call of a port is a round trip."""

    kind = Kind.MEMORY
    capabilities = frozenset(Capability) - {Capability.ATOMIC_FINISH, Capability.JOINT_FINISH}

    def __init__(self) -> None:
        super().__init__()
        self._point: Point | None = None
        self._memory = MemoryBackend(clock=self._clock)

    def open(self) -> Backend:
        records, rest = super().open(), self._memory
        store = cast("Store", _Pointing(records.store, self._trip))
        queue = cast("Queue", _Pointing(rest.queue, self._trip))
        timers = cast("Timers", _Pointing(rest.timers, self._trip))
        return Separate(store, queue, timers, rest.lease, self.capabilities, (records.close,))

    def reset(self) -> None:
        super().reset()
        self._memory = MemoryBackend(clock=self._clock)

    def instrument(self, point: Point | None) -> None:
        self._point = point

    def opener(self) -> Opener | None:
        return None

    def _trip(self, name: str) -> None:
        if self._point is not None:
            self._point(name)


class _Pointing:
    """A port that says so before each of its calls."""

    def __init__(self, port: object, trip: Point) -> None:
        self._port, self._trip = port, trip

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._trip(name)
            return method(*args, **kwargs)

        return call


def _fast() -> str | None:
    """Where files cost little: what is explored is the order of things, and not the disk."""
    shared = "/dev/shm"
    return shared if os.access(shared, os.W_OK) else None


def memory() -> MemoryHarness:
    """What ``settled_local:memory`` is tested by."""
    return MemoryHarness()


def sqlite() -> SQLiteHarness:
    """What ``settled_local:sqlite`` is tested by."""
    return SQLiteHarness()


def mixed() -> MixedHarness:
    """`Separate` over two vendors: ``settled_local:mixed``."""
    return MixedHarness()
