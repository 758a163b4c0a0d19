"""The harness of `Plain` backends, correct or faulty."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from attrs import evolve

from settled import Key
from settled.durable import Backend, Capability
from settled_conformance.harness import BackendKind, Harness, HarnessFeature, Point
from tests.conformance.faulty.reference import MessageGroup, Plain, World


class PlainHarness(Harness):
    """A harness whose handles are of the class `adapter`."""

    kind = BackendKind.MEMORY
    features = frozenset({HarnessFeature.FAST_FORWARD, HarnessFeature.DEDUPLICATION_LIMIT, HarnessFeature.DATA_LOSS})
    tick = 0.001

    def __init__(
        self,
        adapter: type[Plain] = Plain,
        capabilities: frozenset[Capability] = frozenset(Capability),
        known_failures: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.adapter, self.capabilities, self.known_failures = adapter, capabilities, known_failures
        self.world = World()

    def open(self) -> Backend:
        return self.adapter(self.world)

    def reset(self) -> None:
        self.world = World(point=self.world.point)

    def lose_data(self) -> None:
        self.world.epoch += 1
        for part in (self.world.records, self.world.dead_letters, self.world.groups, self.world.timers):
            part.clear()

    def fast_forward(self, key: Key, number: int) -> None:
        self.world.records[key] = evolve(self.world.records[key], version=number)
        self.world.groups.setdefault(key, MessageGroup()).tail = number
        self.world.tokens = number

    def limit_deduplication(self, count: int) -> None:
        self.world.deduplication_limit = count

    def instrument(self, point: Point | None) -> None:
        self.world.point = point

    def now(self) -> float:
        return self.world.now

    def advance(self, seconds: float) -> None:
        self.world.now += seconds


def plain() -> PlainHarness:
    """Return the harness of the correct backend."""
    return PlainHarness()
