"""Messages that the queue has given up come back as dead letters, and are redriven before anything newer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from settled import ConflictError, Key, Machine, RecordError, actor, setup
from settled.durable import DeadLetter, Event, Message, Recovered, Start, Stored, encode, recover
from settled.durable.commands import PerformActions, RunActors
from tests.durable.machines import add, appending, applied, nothing, tell
from tests.durable.test_dead_letters import Switch, poisoned, started
from tests.support.virtual_world import LEASE, World


def dropped(world: World, event: Mapping[str, Any], id: str, at: float | None = None) -> DeadLetter:
    return DeadLetter(Message(world.key(), id, encode(Event(event))), "given up", world.now if at is None else at)


def recovered(world: World, letters: Sequence[DeadLetter]) -> Recovered:
    world.workers += 1
    result: Recovered = world.drive(recover(letters[0].message.key, letters, f"r{world.workers}"))
    return result


def letters_of(world: World) -> list[str]:
    return [each.message.id for each in world.dead_letters()]


def asking(is_final: Callable[[Any], bool]) -> Machine[Any]:
    """Asks on ASK, and `is_final` judges the answer."""
    return setup(actors={"ask": actor(nothing)}, guards={"isFinal": is_final}).machine(
        {
            "id": "asking",
            "initial": "idle",
            "states": {
                "idle": {"tags": ["settled"], "on": {"ASK": "asking"}},
                "asking": {"invoke": {"src": "ask", "onDone": [{"guard": "isFinal", "target": "end"}, "idle"]}},
                "end": {"type": "final"},
            },
        }
    )


def lose_messages(world: World) -> list[DeadLetter]:
    """Take what waits out of the queue, as dropped messages."""
    world.now += LEASE
    held = world.backend.queue.receive(10)
    world.backend.queue.ack(held)
    return [DeadLetter(each.message, "given up", world.now) for each in held]


class TestTheyAreTaken:
    def test_in_their_order_and_before_what_waits(self) -> None:
        world = started()
        world.send(add(5))
        result = recovered(world, [dropped(world, add(n), f"d{n}") for n in (1, 2, 3)])
        assert result == Recovered(world.key(), added=("d1", "d2", "d3"), known=(), halted=False, overtaken=False)
        world.settle()
        assert applied(world) == [1, 2, 3, 5]
        assert letters_of(world) == []

    def test_after_later_messages_that_were_taken_meanwhile_and_that_is_said(self) -> None:
        world = started()
        given_up = dropped(world, add(1), "d1")
        world.now += 1
        world.send(add(5))
        world.settle()
        assert recovered(world, [given_up]).overtaken
        world.settle()
        assert applied(world) == [5, 1]

    def test_once_however_often_they_are_recovered(self) -> None:
        world = started()
        letters = [dropped(world, add(n), f"d{n}") for n in (1, 2)]
        recovered(world, letters[:1])
        again = recovered(world, letters)
        assert (again.added, again.known) == (("d2",), ("d1",))
        world.settle()
        commits = world.version()
        assert recovered(world, letters).known == ("d1", "d2")
        assert (applied(world), world.version()) == ([1, 2], commits)

    def test_without_the_dead_letters_that_no_redrive_takes(self) -> None:
        world = started()
        world.send({"type": 7}, id="invalid")
        world.settle()
        recovered(world, [dropped(world, add(1), "d1")])
        assert letters_of(world) == ["d1", "invalid"]
        world.settle()
        assert (applied(world), letters_of(world)) == ([1], ["invalid"])

    def test_after_those_of_a_redrive_that_is_going_on(self) -> None:
        world = poisoned()
        assert world.redrive() == 2
        recovered(world, [dropped(world, add(4), "d4")])
        assert letters_of(world) == ["poison", "behind", "d4"]
        assert world.record().redriving == 3

    def test_by_a_machine_that_was_not_needed_to_recover_them(self) -> None:
        world = started()
        before = world.backend.store.load(world.key())
        recovered(world, [dropped(world, add(1), "d1")])
        after = world.backend.store.load(world.key())
        assert before is not None
        assert after is not None
        assert (after.index.status, after.index.tags) == (before.index.status, before.index.tags)
        assert world.snapshot().context == {"applied": []}

    def test_once_the_worker_of_an_open_turn_has_no_lease(self) -> None:
        world = World(asking(lambda a: False))
        world.start()
        world.settle()
        world.send("ASK", id="ask")
        world.crash_at(RunActors)
        world.deliver()
        letters = [dropped(world, {"type": "ASK"}, "d1")]
        with pytest.raises(ConflictError, match="a turn is open, and its worker has a lease"):
            recovered(world, letters)
        assert letters_of(world) == []
        world.now += LEASE
        recovered(world, letters)
        assert letters_of(world) == ["d1"]


class TestAHaltedInstance:
    def test_stays_halted_and_has_them_at_their_places(self) -> None:
        world = poisoned()
        halted, (poison, behind) = world.now, world.dead_letters()
        assert poison.at <= behind.at
        early = [dropped(world, add(n), f"e{n}", at=poison.at - 1) for n in (1, 2)]
        late = dropped(world, add(9), "late", at=halted + 1)
        result = recovered(world, [*early, late])
        assert (result.halted, letters_of(world)) == (True, ["e1", "e2", "poison", "behind", "late"])
        assert world.record().halted is not None
        assert world.backend.queue.receive(10) == []

    def test_keeps_the_one_first_whose_turn_is_open(self) -> None:
        def explode(_a: Any) -> bool:
            raise RuntimeError("the result cannot be taken")

        world = World(asking(explode))
        world.start()
        world.send("ASK", id="ask")
        world.settle()
        assert world.record().halted is not None
        assert world.record().turn is not None
        assert letters_of(world) == ["ask"]
        recovered(world, [dropped(world, {"type": "ASK"}, "early", at=0.0)])
        assert letters_of(world) == ["ask", "early"]


class TestWhatWasTaken:
    def test_is_finished_if_its_turn_is_open_without_waiting_for_the_lease(self) -> None:
        world = World(asking(lambda a: False))
        world.start()
        world.settle()
        world.send("ASK", id="ask")
        world.crash_at(RunActors)
        held = world.backend.queue.receive(10)
        world.take(held)
        world.backend.queue.ack(held)
        assert world.record().turn is not None
        assert world.record().outbox == ()
        result = recovered(world, [DeadLetter(held[0].message, "given up", world.now)])
        assert (result.added, result.known) == ((), ("ask",))
        world.deliver()
        assert [attempt for _, attempt in world.performed("ask")] == [2]
        assert world.record().turn is None

    def test_is_redriven_although_nobody_was_told_of_the_redrive(self) -> None:
        world = started()
        letters = [dropped(world, add(1), "d1")]
        recovered(world, letters)
        lose_messages(world)
        assert recovered(world, letters).known == ("d1",)
        world.settle(until=world.now)
        assert applied(world) == [1]

    def test_has_its_effects_performed(self) -> None:
        switch = Switch()
        switch.on = True
        world = started(appending(switch))
        world.send(tell(1), id="first")
        world.crash_at(PerformActions)
        world.deliver()
        (first,) = lose_messages(world)
        assert recovered(world, [first]).known == ("first",)
        world.settle(until=world.now)
        assert [key for key, _ in world.performed("report")] == ["list/ada/a/1/0"]
        assert applied(world) == [1]


class TestWithoutAnInstance:
    def test_a_start_creates_it(self) -> None:
        world = World(appending())
        start = DeadLetter(Message(world.key(), "start", encode(Start())), "given up", world.now)
        recovered(world, [start, dropped(world, add(1), "d1")])
        world.settle()
        assert applied(world) == [1]

    def test_a_start_begins_it_again_after_it_was_deleted_but_not_the_same_start(self) -> None:
        world = World(appending())
        world.start(id="first")
        world.send(add(1), id="one")
        world.settle()
        world.delete()
        letters = [DeadLetter(Message(world.key(), id, encode(Start())), "given up", 0.0) for id in ("first", "second")]
        result = recovered(world, [*letters, dropped(world, add(1), "one"), dropped(world, add(2), "two")])
        assert (result.added, result.known) == (("second", "two"), ("first", "one"))
        world.settle()
        assert applied(world) == [2]

    def test_an_event_becomes_invalid(self) -> None:
        world = World(appending())
        recovered(world, [dropped(world, add(1), "d1")])
        world.settle()
        assert [(each.message.id, each.reason) for each in world.dead_letters()] == [
            ("d1", "list/ada was never started")
        ]


def test_a_large_record_is_kept_as_it_is() -> None:
    """It has room for a failure, which a redrive has not."""
    world = started()
    large: Any = "x" * 100_000
    world.send(add(large))
    world.settle()
    before = world.backend.store.load(world.key())
    recovered(world, [dropped(world, add(2), "d2")])
    after = world.backend.store.load(world.key())
    assert before is not None
    assert after is not None
    assert len(after.body) < len(before.body) - 4_000
    world.settle()
    assert applied(world) == [large, 2]


def test_a_record_that_cannot_be_read_is_left_alone() -> None:
    world = started()
    damaged = Key("list", "damaged")
    stored = world.backend.store.load(world.key())
    assert stored is not None
    world.backend.store.commit(damaged, Stored(1, "{}", stored.index), 0)
    letter = DeadLetter(Message(damaged, "1", encode(Event(add(1)))), "given up", 0.0)
    with pytest.raises(RecordError, match="not a record of settled"):
        recovered(world, [letter])
    assert list(world.backend.store.dead_letters(damaged)) == []
