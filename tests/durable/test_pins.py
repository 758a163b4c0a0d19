"""A message that may be delivered again stays in the window, however small the window and long the redrive."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from settled import Policy
from settled.durable import Traits
from settled.durable.commands import Finish, PerformActions
from tests.durable.machines import add, appending, applied, tell
from tests.support.virtual_world import LEASE, World


def with_small_window(window: int = 2) -> World:
    return World(appending(), policy=Policy(window=window, lease=timedelta(seconds=LEASE)))


class TestABatchThatIsLongerThanTheWindow:
    def test_is_taken_once_if_its_acknowledgement_is_lost(self) -> None:
        world = with_small_window()
        world.start()
        world.settle()
        for n in range(8):
            world.send(tell(n))
        world.crash_at(PerformActions)
        world.deliver(limit=8)
        world.now += LEASE
        world.settle()
        assert applied(world) == [*range(8)]
        assert world.performed("report") == [(f"list/ada/a/{n}/0", 1) for n in range(1, 9)]

    @pytest.mark.parametrize("nth", range(1, 9))
    def test_is_taken_once_wherever_its_worker_dies(self, nth: int) -> None:
        world = with_small_window(window=1)
        world.start()
        world.settle()
        for n in range(6):
            world.send(tell(n) if n % 2 else add(n))
        world.crash_after(Finish, nth=nth)
        world.crash_at(PerformActions, nth=nth)
        world.settle()
        assert applied(world) == [*range(6)]


class TestARedriveThatIsLongerThanTheWindow:
    def test_does_not_evict_an_unacknowledged_message(self) -> None:
        world = with_small_window()
        for n in range(6):
            world.send(add(n))
        world.settle()
        world.start()
        world.settle()
        world.send(tell(99), id="paid")
        world.crash_after(PerformActions)
        world.deliver()
        world.now += LEASE
        assert world.redrive() == 6
        world.settle()
        assert applied(world) == [99, *range(6)]
        assert len({key for key, _ in world.performed("report")}) == 1


class TestThePinnedMessages:
    def test_are_at_most_those_of_one_receive(self) -> None:
        world = with_small_window()
        world.start()
        for n in range(30):
            world.send(add(n))
        while world.deliver(limit=4):
            assert len(world.record().window.pinned) <= 4
            assert world.record().window.count <= 2

    def test_include_acknowledged_ones_until_the_turn_ends(self) -> None:
        world = World(
            appending(),
            policy=Policy(window=1, lease=timedelta(seconds=LEASE)),
            traits=Traits(atomic=True, fenced=True),
        )
        world.start()
        for n in range(5):
            world.send(add(n, boom=n == 3))
        world.deliver(limit=6)
        assert len(world.record().window.pinned) == 4


class Bank:
    """An action that fails at first."""

    def __init__(self) -> None:
        self.failures = 1

    def __call__(self, _a: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the bank")


class TestAReceiveThatIsShorterThanTheOneBefore:
    @pytest.mark.parametrize("numbered", [True, False])
    def test_keeps_the_messages_behind_it_pinned(self, numbered: bool) -> None:
        world = World(appending(Bank()), policy=Policy(window=3, lease=timedelta(seconds=LEASE)))

        def deliver(limit: int) -> bool:
            ready = world.backend.queue.receive(limit)
            world.take([each if numbered else evolve(each, position=None) for each in ready])
            return bool(ready)

        world.start()
        deliver(1)
        for n in range(10):
            world.send(add(n) if n else tell(n))
        world.crash_at(PerformActions)
        deliver(10)
        world.now += LEASE
        deliver(3)
        for _ in range(20):
            world.now += 400
            deliver(10)
        assert applied(world) == [*range(10)]
        assert world.dead_letters() == []
