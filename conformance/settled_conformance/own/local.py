"""The harnesses of memory and of SQLite. Both take their time from a clock that is given to them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from attrs import define, field

from settled import Backend, Capability
from settled_conformance.harness import Kind, Opener, Point
from settled_local import MemoryBackend, SQLiteBackend

EPOCH = 1_000_000.0
"""A whole number, so that the time between two moments is exact."""


@define(eq=False)
class Clock:
    """A time that stands still until it is moved."""

    time: float = EPOCH

    def __call__(self) -> float:
        return self.time


@define(eq=False)
class MemoryHarness:
    """A backend in this process."""

    lease: float = 30.0
    _clock: Clock = field(factory=Clock, init=False)
    _backend: MemoryBackend = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.reset()

    @property
    def kind(self) -> Kind:
        return Kind.MEMORY

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset(Capability)

    def open(self) -> Backend:
        return self._backend

    def reset(self) -> None:
        self._clock = Clock()
        self._backend = MemoryBackend(lease=self.lease, clock=self._clock)

    def instrument(self, point: Point | None) -> None:
        """Each call is one atomic step."""

    def now(self) -> float:
        return self._clock.time

    def advance(self, seconds: float) -> None:
        self._clock.time += seconds

    @property
    def tick(self) -> float:
        return 0.001

    @property
    def opener(self) -> Opener | None:
        return None

    @property
    def known_failures(self) -> Mapping[str, str]:
        return {}


@define(eq=False)
class SQLiteHarness:
    """A file in a directory of its own, for each reset another one."""

    lease: float = 30.0
    _clock: Clock = field(factory=Clock, init=False)
    _directory: Path = field(init=False)
    _resets: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="settled-conformance-", dir=_fast()))

    def __del__(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def _file(self) -> Path:
        return self._directory / f"{self._resets}.db"

    @property
    def kind(self) -> Kind:
        return Kind.REAL

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset(Capability)

    def open(self) -> Backend:
        return SQLiteBackend.open(self._file, lease=self.lease, clock=self._clock)

    def reset(self) -> None:
        for file in self._directory.iterdir():
            file.unlink()
        self._resets += 1
        self._clock.time = EPOCH

    def instrument(self, point: Point | None) -> None:
        """Each call is one transaction."""

    def now(self) -> float:
        return self._clock.time

    def advance(self, seconds: float) -> None:
        self._clock.time += seconds

    @property
    def tick(self) -> float:
        return 0.001

    @property
    def opener(self) -> Opener | None:
        return partial(SQLiteBackend.open, str(self._file), lease=1.0)

    @property
    def known_failures(self) -> Mapping[str, str]:
        return {}


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
