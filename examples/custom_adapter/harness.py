"""The harness of `FileBackend` for the conformance suite; `make` is its factory."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from datetime import timedelta
from functools import partial
from pathlib import Path

from examples.custom_adapter.adapter import FileBackend
from settled.durable import Backend, Capability
from settled_conformance import BackendKind, Harness, Opener, Point

FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A directory in memory, if there is one: the suite tests ordering, not the disk."""


class FileHarness(Harness):
    """A new directory for each reset, and a clock that moves only in `advance`."""

    kind = BackendKind.REAL
    capabilities = frozenset(
        {
            Capability.SELECTIVE_RECEIVE,
            Capability.BACKLOG,
            Capability.NO_DELIVERY_AFTER_ACK,
            Capability.NO_DELIVERY_AFTER_CANCEL,
        }
    )
    tick = 0.001

    def __init__(self) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="custom-adapter-", dir=FAST))
        self._resets, self._time = 0, 0.0
        self._point: Point | None = None
        weakref.finalize(self, shutil.rmtree, self._root, ignore_errors=True)
        self.reset()

    @property
    def _directory(self) -> Path:
        return self._root / str(self._resets)

    def open(self) -> Backend:
        return FileBackend(self._directory, clock=self.now, before_write=self._before_write)

    def reset(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)
        self._resets, self._time = self._resets + 1, 1_000_000.0

    def instrument(self, point: Point | None) -> None:
        self._point = point

    def now(self) -> float:
        return self._time

    def advance(self, seconds: float) -> None:
        self._time += seconds

    def opener(self) -> Opener | None:
        return partial(FileBackend, self._directory, lease=timedelta(seconds=1))

    def _before_write(self, name: str) -> None:
        if self._point is not None:
            self._point(name)


def make() -> FileHarness:
    """Return the harness for ``settled conformance examples.custom_adapter.harness:make``."""
    return FileHarness()
