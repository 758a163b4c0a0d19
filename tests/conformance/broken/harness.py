"""The harness of a `Plain` backend, sound or broken."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field

from settled import Backend, Capability
from settled_conformance.harness import Kind, Opener, Point
from tests.conformance.broken.plain import Plain, World


@define(eq=False)
class PlainHarness:
    """Opens handles of the class `adapter`."""

    adapter: type[Plain] = Plain
    capabilities: frozenset[Capability] = frozenset(Capability)
    known_failures: Mapping[str, str] = {}
    world: World = field(factory=World, init=False)

    @property
    def kind(self) -> Kind:
        return Kind.MEMORY

    def open(self) -> Backend:
        return self.adapter(self.world)

    def reset(self) -> None:
        point = self.world.point
        self.world = World(point=point)

    def instrument(self, point: Point | None) -> None:
        self.world.point = point

    def now(self) -> float:
        return self.world.now

    def advance(self, seconds: float) -> None:
        self.world.now += seconds

    @property
    def tick(self) -> float:
        return 0.001

    @property
    def opener(self) -> Opener | None:
        return None


def plain() -> PlainHarness:
    """The sound one."""
    return PlainHarness()
