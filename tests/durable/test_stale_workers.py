"""A worker that was frozen with its deliveries, for longer than its lease and beyond the reach of the window.

A fenced backend fails its commit. Elsewhere the position of the message in the queue shows that it was taken, and
without positions the lease is confirmed by extending it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from attrs import evolve

from settled import ConflictError, Outcome, Policy, TurnEnd
from settled.durable import CommitConflictError, Delivery, Position, Traits
from settled.durable.commands import Extend, Finish, Load, RunActors
from tests.durable.machines import SUBMIT, add, appending, applied, signup, tell
from tests.support.virtual_world import LEASE, World

FENCED, BARE = Traits(atomic=True, fenced=True), Traits()
CHECKS = ["fenced", "numbered", "extend"]
COUNT = 12


class Frozen(World):
    """A world whose deliveries have positions, unless `check` is ``extend``."""

    check: str = "fenced"

    def receive(self, limit: int = 10) -> Sequence[Delivery]:
        found = self.backend.queue.receive(limit)
        return [evolve(each, position=None) for each in found] if self.check == "extend" else found

    def settle(self, until: float = 10_000.0) -> None:
        while True:
            while deliveries := self.receive():
                self.take(deliveries)
            later = self.backend.next_due()
            if later > until:
                return
            self.now = max(self.now, later)


@pytest.fixture(params=CHECKS)
def world(request: pytest.FixtureRequest) -> Frozen:
    traits = FENCED if request.param == "fenced" else BARE
    world = Frozen(appending(), policy=Policy(window=3, lease=timedelta(seconds=LEASE), max_attempts=2), traits=traits)
    world.check = request.param
    world.start()
    world.settle()
    return world


def let_others_take(world: Frozen, *numbers: int) -> None:
    world.now += LEASE
    world.settle()
    for n in numbers:
        world.send(add(n), id=f"other {n}")
        world.settle()


class TestFrozenBeforeTheFirstLoad:
    def test_applies_no_event_again(self, world: Frozen) -> None:
        world.send(add(1), id="one")
        stale = world.receive()
        let_others_take(world, *range(2, COUNT))
        assert world.take(stale) is TurnEnd.LOST
        assert applied(world) == [*range(1, COUNT)]
        assert world.dead_letters() == []

    def test_applies_no_event_to_the_next_instance_of_the_key(self, world: Frozen) -> None:
        world.send(add(1), id="one")
        stale = world.receive()
        let_others_take(world, *range(2, COUNT))
        world.delete()
        world.start(id="next")
        world.settle()
        assert world.take(stale) is TurnEnd.LOST
        assert applied(world) == []

    def test_does_not_change_a_tombstone(self, world: Frozen) -> None:
        world.send(add(1), id="one")
        stale = world.receive()
        let_others_take(world, *range(2, COUNT))
        world.delete()
        version = world.version()
        assert world.take(stale) is TurnEnd.LOST
        assert world.version() == version
        assert world.dead_letters() == []

    def test_does_not_count_it_as_a_failure(self, world: Frozen) -> None:
        world.send(add(1, boom=True), id="one")
        stale = [evolve(each, attempt=99) for each in world.receive()]
        let_others_take(world)
        world.redrive()
        failing = world.record().failing
        assert world.take(stale) is TurnEnd.LOST
        assert world.record().failing == failing


class TestFrozenBetweenLoadAndCommit:
    def test_applies_no_event_again(self, world: Frozen) -> None:
        world.send(add(1), id="one")
        stale = world.receive()

        def freeze() -> None:
            let_others_take(world, *range(2, COUNT))

        world.before(Finish, freeze)
        assert world.take(stale) is TurnEnd.LOST
        assert applied(world) == [*range(1, COUNT)]

    def test_applies_no_event_to_the_next_instance_of_the_key(self, world: Frozen) -> None:
        world.send(add(1), id="one")
        stale = world.receive()

        def freeze() -> None:
            let_others_take(world, *range(2, COUNT))
            world.delete()
            world.start(id="next")
            world.settle()

        world.before(Finish, freeze)
        assert world.take(stale) is TurnEnd.LOST
        assert applied(world) == []


class TestFrozenBeforeATurnOfAnother:
    def test_does_not_resume_it(self) -> None:
        world = Frozen(signup(), policy=Policy(window=1, lease=timedelta(seconds=LEASE)), traits=FENCED)
        world.start()
        world.settle()
        world.send({"type": "NOISE"}, id="old")
        stale = world.receive()
        world.now += LEASE
        world.settle(until=world.now)
        world.send(SUBMIT)
        world.crash_after(Finish)
        world.take(world.receive())
        world.now += LEASE
        version = world.version()
        assert world.take(stale) is TurnEnd.LOST
        assert world.version() == version


class TestConfirmingTheLease:
    def test_happens_after_each_load_of_the_record(self) -> None:
        world = Frozen(appending())
        world.check = "extend"
        world.start()
        world.send(add(1))
        world.fail_at(Finish, ConflictError("another"))
        world.take(world.receive())
        loads = [type(each) for each in world.commands if isinstance(each, Load | Extend)]
        assert loads == [Load, Extend, Load, Extend]

    def test_happens_after_a_refusal_that_tells_the_record(self) -> None:
        world = Frozen(appending())
        world.check = "extend"
        world.start()
        found = world.backend.store.load(world.key())
        assert found is None
        world.settle()
        found = world.backend.store.load(world.key())
        assert found is not None
        world.send(add(1))
        world.fail_at(Finish, CommitConflictError("another", found, world.now))
        world.commands.clear()
        world.take(world.receive())
        loads = [type(each) for each in world.commands if isinstance(each, Load | Extend)]
        assert loads == [Load, Extend, Extend]

    def test_is_not_needed_with_fencing_or_positions(self) -> None:
        for traits in (FENCED, BARE):
            world = World(appending(), traits=traits)
            world.start()
            world.send(add(1))
            world.settle()
            assert not [each for each in world.commands if isinstance(each, Extend)]


class TestAPosition:
    def test_that_was_passed_makes_an_unknown_id_invalid(self) -> None:
        world = World(appending(), policy=Policy(window=1, lease=timedelta(seconds=LEASE)))
        world.start()
        for n in range(4):
            world.send(add(n))
            world.settle()
        world.send(add(9), id="again")
        (again,) = world.backend.queue.receive(1)
        assert again.position is not None
        restored = evolve(again, position=Position(again.position.epoch, 2))
        assert world.take([restored]) is TurnEnd.DONE
        assert applied(world) == [0, 1, 2, 3]
        (dead_letter,) = world.dead_letters()
        assert dead_letter.message.id == "again"
        assert "is number 2 of its queue, and all up to 5 were taken" in dead_letter.reason
        assert world.record().halted is None
        assert world.outcome("again") is Outcome.INVALID

    def test_of_another_epoch_says_nothing(self) -> None:
        world = World(appending())
        world.start()
        world.send(add(1))
        world.settle()
        world.send(add(2))
        (second,) = world.backend.queue.receive(1)
        world.take([evolve(second, position=Position("restored", 1))])
        assert applied(world) == [1, 2]
        assert world.record().high_water_mark == Position("restored", 1)

    def test_of_a_dead_letter_counts_as_passed(self) -> None:
        world = World(appending(), policy=Policy(lease=timedelta(seconds=LEASE), max_attempts=1))
        world.start()
        world.send(add(1, boom=True))
        world.settle()
        assert world.record().halted
        mark = world.record().high_water_mark
        assert mark is not None
        assert mark.number == 2

    def test_is_not_checked_in_a_redrive(self) -> None:
        world = World(appending())
        world.send(add(1))
        world.send(add(2))
        world.settle()
        world.start()
        world.settle()
        assert world.redrive() == 2
        world.settle()
        assert applied(world) == [1, 2]

    def test_of_the_message_of_an_open_turn_does_not_stop_it(self) -> None:
        world = World(signup())
        world.start()
        world.settle(until=world.now)
        world.send(SUBMIT)
        world.crash_after(Finish)
        world.deliver()
        world.now += LEASE
        world.settle(until=2_000)
        assert world.value() == "waiting"

    def test_of_a_message_that_was_taken_does_not_stop_its_actions(self) -> None:
        world = World(appending())
        world.start()
        world.settle()
        world.send(tell(1))
        world.crash_after(Finish)
        world.deliver()
        world.now += LEASE
        world.settle()
        assert world.performed("report") == [("list/ada/a/1/0", 1)]


class TestADeletionWhileATurnIsOpen:
    @pytest.mark.parametrize("numbered", [True, False])
    def test_keeps_the_message_of_the_turn_in_the_window(self, numbered: bool) -> None:
        world = World(signup())
        world.start()
        world.settle(until=world.now)
        world.send(SUBMIT, id="submit")
        world.crash_at(RunActors)
        ready = world.backend.queue.receive(10)
        world.take([each if numbered else evolve(each, position=None) for each in ready])
        assert world.record().turn is not None
        world.delete()
        world.start(id="again")
        world.now += LEASE
        ready = world.backend.queue.receive(10)
        world.take([each if numbered else evolve(each, position=None) for each in ready])
        assert world.value() == "form"
        assert world.dead_letters() == []
