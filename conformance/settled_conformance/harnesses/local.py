"""The harnesses of the memory and SQLite backends, and of composites of both. All run by a virtual clock."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Sequence
from copy import copy
from datetime import timedelta
from functools import partial
from pathlib import Path
from sqlite3 import connect
from typing import Any, cast

from attrs import evolve

from settled import Key
from settled.durable import Backend, Capability, Delivery, Queue, Store, Timers
from settled_conformance.harness import BackendKind, Harness, HarnessFeature, Opener, Point
from settled_conformance.harnesses.required import REQUIRED
from settled_local import MemoryBackend, SQLiteBackend
from settled_local.memory.queue import MessageGroup
from settled_runtime import CompositeBackend

EPOCH = 1_000_000.0
"""The start of virtual time: a whole number, so that differences of times are exact floats."""


RETENTION = timedelta(hours=60)
"""For how long the queue of a `ForgetfulHarness` keeps a message: longer than any worker is late in a schedule."""


class Clock:
    """A clock that moves only when its `time` is set."""

    def __init__(self) -> None:
        self.time = EPOCH

    def __call__(self) -> float:
        return self.time


class MemoryHarness(Harness):
    """The memory backend. Each call is atomic, so there is nothing to instrument."""

    kind = BackendKind.MEMORY
    capabilities = REQUIRED
    features = frozenset(HarnessFeature) - {HarnessFeature.DATA_LOSS}  # its data are lost only with its process
    tick = 0.001

    def __init__(self) -> None:
        self.reset()

    def open(self) -> Backend:
        return self._backend

    def reset(self) -> None:
        self._clock = Clock()
        self._backend = MemoryBackend(clock=self._clock)

    def limit_deduplication(self, count: int) -> None:
        self._backend = MemoryBackend(clock=self._clock, remember=count)

    def backup(self) -> Callable[[], None]:
        store = vars(self._backend.store)
        kept = {name: copy(part) for name, part in store.items() if hasattr(part, "items")}
        return lambda: store.update({name: copy(part) for name, part in kept.items()})

    def fast_forward(self, key: Key, number: int) -> None:
        records, groups = vars(self._backend.store)["_stored"], vars(self._backend.queue)["_groups"]
        records[key] = evolve(records[key], version=number)
        group = groups.setdefault(key, MessageGroup())
        group.tail = group.token = number

    def now(self) -> float:
        return self._clock.time

    def advance(self, seconds: float) -> None:
        self._clock.time += seconds


class SQLiteHarness(Harness):
    """The SQLite backend, with a new file for each reset. Each call is one transaction, so nothing is instrumented."""

    kind = BackendKind.REAL
    capabilities = REQUIRED
    features = frozenset({HarnessFeature.DEDUPLICATION_LIMIT, HarnessFeature.FAST_FORWARD, HarnessFeature.DATA_LOSS})
    tick = 0.001

    def __init__(self) -> None:
        self._clock = Clock()
        self._directory = Path(tempfile.mkdtemp(prefix="settled-conformance-", dir=_memory_directory()))
        self._resets, self._remember = 0, 1000

    def __del__(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def _file(self) -> Path:
        return self._directory / f"{self._resets}.db"

    def open(self) -> Backend:
        return SQLiteBackend.open(self._file, clock=self._clock, remember=self._remember)

    def lose_data(self) -> None:
        for file in self._directory.iterdir():
            file.unlink()

    def reset(self) -> None:
        self.lose_data()
        self._resets, self._remember = self._resets + 1, 1000
        self._clock.time = EPOCH

    def limit_deduplication(self, count: int) -> None:
        self._remember = count

    def fast_forward(self, key: Key, number: int) -> None:
        with contextlib.closing(connect(self._file)) as db, db:
            row = (number, key.machine, key.instance)
            db.execute("UPDATE records SET version=? WHERE machine=? AND instance=?", row)
            db.execute(
                "INSERT INTO message_groups (tail, machine, instance, token, last_leased) VALUES (?1, ?2, ?3, ?1, 0)"
                " ON CONFLICT (machine, instance) DO UPDATE SET tail=?1, token=?1",
                row,
            )

    def now(self) -> float:
        return self._clock.time

    def advance(self, seconds: float) -> None:
        self._clock.time += seconds

    def opener(self) -> Opener | None:
        return partial(SQLiteBackend.open, str(self._file), lease=timedelta(seconds=1))


class MixedHarness(SQLiteHarness):
    """A `CompositeBackend`: records in SQLite, queue and timers in memory. Each port call is a round trip."""

    kind = BackendKind.MEMORY
    features = frozenset({HarnessFeature.DEDUPLICATION_LIMIT})
    capabilities = REQUIRED - {
        Capability.ATOMIC_FINISH,
        Capability.JOINT_FINISH,
        Capability.FENCED_FINISH,
    }

    def __init__(self) -> None:
        super().__init__()
        self._point: Point | None = None
        self._memory = MemoryBackend(clock=self._clock)

    def open(self) -> Backend:
        records, rest = super().open(), self._memory
        store = cast("Store", _Instrumented(records.store, self._before_round_trip))
        queue = cast("Queue", _Instrumented(rest.queue, self._before_round_trip))
        timers = cast("Timers", _Instrumented(rest.timers, self._before_round_trip))
        closing = (records.close,)
        return CompositeBackend(
            store, queue, timers, rest.lease, self.capabilities, closing, self._clock, watching=records.watch
        )

    def reset(self) -> None:
        super().reset()
        self._memory = MemoryBackend(clock=self._clock)

    def limit_deduplication(self, count: int) -> None:
        self._memory = MemoryBackend(clock=self._clock, remember=count)

    def instrument(self, point: Point | None) -> None:
        self._point = point

    def opener(self) -> Opener | None:
        return None

    def _before_round_trip(self, name: str) -> None:
        if self._point is not None:
            self._point(name)


class UnnumberedHarness(MixedHarness):
    """A `MixedHarness` whose queue has no positions, so that turns must ask it whether a lease was lost."""

    capabilities = MixedHarness.capabilities - {Capability.POSITIONS}

    def open(self) -> Backend:
        mixed = super().open()
        queue = cast("Queue", _Unnumbered(mixed.queue))
        closing = (mixed.close,)
        return CompositeBackend(
            mixed.store,
            queue,
            mixed.timers,
            mixed.lease,
            self.capabilities,
            closing,
            self._clock,
            watching=mixed.watch,
        )


class ForgetfulHarness(MixedHarness):
    """A `MixedHarness` whose queue forgets a message that was not acknowledged within `RETENTION`, as SQS' does."""

    def open(self) -> Backend:
        mixed = super().open()
        queue = cast("Queue", ForgetfulQueue(mixed.queue, self._memory.queue, self._clock, RETENTION))
        return CompositeBackend(
            mixed.store,
            queue,
            mixed.timers,
            mixed.lease,
            self.capabilities,
            (mixed.close,),
            clock=self._clock,
            retention=RETENTION,
            watching=mixed.watch,
        )


class ForgetfulQueue:
    """A queue that forgets what was not acknowledged within `retention` in `memory`, the queue below it."""

    def __init__(self, queue: Queue, memory: Queue, clock: Callable[[], float], retention: timedelta) -> None:
        self._queue, self._memory, self._clock, self._retention = queue, memory, clock, retention.total_seconds()

    def receive(self, limit: int, wait: float = 0.0, machines: Collection[str] | None = None) -> Sequence[Delivery]:
        self._forget()
        return self._queue.receive(limit, wait, machines)

    def _forget(self) -> None:
        queue, now = vars(self._memory), self._clock()
        oldest = now - self._retention
        for key, group in queue["_groups"].items():
            if not group.receipts or group.leased_until <= now:
                for number in [number for number, waiting in group.waiting.items() if waiting.sent < oldest]:
                    del group.waiting[number]
                if not group.waiting:
                    queue["leases"].remove(key)
                    self._no_longer_ready(key)

    def _no_longer_ready(self, key: Key) -> None:
        ready = vars(self._memory)["_ready"]
        keys = ready.get(key.machine, {})
        keys.pop(key, None)
        if not keys:
            ready.pop(key.machine, None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


class _Unnumbered:
    """A queue that hides the positions of its deliveries."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def receive(self, limit: int, wait: float = 0.0, machines: Collection[str] | None = None) -> Sequence[Delivery]:
        return [evolve(delivery, position=None) for delivery in self._queue.receive(limit, wait, machines)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


class _Instrumented:
    """A port that announces each call as a round trip."""

    def __init__(self, port: object, before_round_trip: Point) -> None:
        self._port, self._before_round_trip = port, before_round_trip

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._before_round_trip(name)
            return method(*args, **kwargs)

        return call


def forgetful() -> ForgetfulHarness:
    """Return the harness of ``settled_local:forgetful``: a composite whose queue keeps messages for 60 hours."""
    return ForgetfulHarness()


def unnumbered() -> UnnumberedHarness:
    """Return the harness of ``settled_local:unnumbered``: a composite whose queue has no positions."""
    return UnnumberedHarness()


def _memory_directory() -> str | None:
    """Return a directory in memory if there is one: the suite tests ordering, not the disk."""
    shared = "/dev/shm"
    return shared if os.access(shared, os.W_OK) else None


def memory() -> MemoryHarness:
    """Return the harness of ``settled_local:memory``."""
    return MemoryHarness()


def sqlite() -> SQLiteHarness:
    """Return the harness of ``settled_local:sqlite``."""
    return SQLiteHarness()


def mixed() -> MixedHarness:
    """Return the harness of ``settled_local:mixed``: a composite of two backends."""
    return MixedHarness()
