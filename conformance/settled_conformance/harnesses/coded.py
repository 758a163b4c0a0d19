"""A harness with a codec: the suite, run on what goes through the codec and back, on any backend."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from settled import Key
from settled.durable import Backend
from settled_conformance.harness import Harness, Opener, Point
from settled_runtime import Codec, CodedBackend


class CodedHarness(Harness):
    """The backend of `harness`, behind the codec that `make_codec` returns.

    Each handle has a codec of its own, as each process has. `make_codec` is pickled for other processes.
    """

    def __init__(self, harness: Harness, make_codec: Callable[[], Codec]) -> None:
        self._harness, self._make_codec = harness, make_codec
        self.kind, self.tick = harness.kind, harness.tick
        self.capabilities, self.features = harness.capabilities, harness.features
        self.known_failures = harness.known_failures

    def open(self) -> Backend:
        return CodedBackend(self._harness.open(), self._make_codec())

    def reset(self) -> None:
        self._harness.reset()

    def instrument(self, point: Point | None) -> None:
        self._harness.instrument(point)

    def now(self) -> float:
        return self._harness.now()

    def advance(self, seconds: float) -> None:
        self._harness.advance(seconds)

    def limit_deduplication(self, count: int) -> None:
        self._harness.limit_deduplication(count)

    def backup(self) -> Callable[[], None]:
        return self._harness.backup()

    def fast_forward(self, key: Key, number: int) -> None:
        self._harness.fast_forward(key, number)

    def opener(self) -> Opener | None:
        below = self._harness.opener()
        return None if below is None else partial(_open, below, self._make_codec)


def _open(below: Opener, make_codec: Callable[[], Codec]) -> Backend:
    return CodedBackend(below(), make_codec())
