"""A message that fails for good becomes a dead letter, and a redrive takes dead letters in order and loses none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from settled import Key, Outcome, Policy, TurnEnd, assign, setup
from settled.durable import Event
from settled.durable.commands import Finish, Load, LoadDeadLetters, Release, ReleaseReason
from settled.durable.messages import SenderPosition
from tests.durable import machines
from tests.durable.machines import add, appending, applied, tell
from tests.support.virtual_world import LEASE, World

PATIENT = Policy(lease=timedelta(seconds=LEASE), max_attempts=3)
FORGETFUL = Policy(lease=timedelta(seconds=LEASE), max_attempts=3, window=2)


class Switch:
    """A custom action that fails while it is off."""

    def __init__(self) -> None:
        self.on = False

    def __call__(self, _a: Any) -> None:
        if not self.on:
            raise ConnectionError("the printer is off")


def started(machine: Any = None) -> World:
    world = World(machine or appending(), policy=PATIENT)
    world.start()
    world.settle()
    return world


def poisoned() -> World:
    world = started()
    world.send(add(1))
    world.send(add(2, boom=True), id="poison")
    world.send(add(3), id="behind")
    world.settle()
    return world


class TestAMessageThatFails:
    def test_is_retried_with_backoff(self) -> None:
        world = started()
        world.send(add(1, boom=True))
        world.settle()
        releases = [command for command in world.commands if isinstance(command, Release)]
        assert [(each.delay, each.reason) for each in releases] == [
            (1.0, ReleaseReason.FAILED),
            (2.0, ReleaseReason.FAILED),
        ]
        assert releases[1].detail.startswith("2 of 3 times, now with")

    def test_is_counted_in_the_record(self) -> None:
        world = started()
        world.send(add(1, boom=True), id="poison")
        world.deliver()
        failing = world.record().failing
        assert failing is not None
        assert (failing.id, failing.count) == ("poison", 1)
        assert "boom" in failing.detail

    def test_is_dead_lettered_after_its_last_attempt_and_halts_the_instance(self) -> None:
        world = poisoned()
        assert [dead_letter.message.id for dead_letter in world.dead_letters()] == ["poison", "behind"]
        assert world.outcome("poison") is Outcome.DEAD_LETTERED
        assert world.record().halted is not None
        assert applied(world) == [1]

    def test_keeps_its_body_and_its_error(self) -> None:
        world = poisoned()
        assert '"boom":true' in world.dead_letters()[0].message.body
        assert "boom" in world.dead_letters()[0].detail

    def test_does_not_delay_other_instances(self) -> None:
        world = poisoned()
        world.start("bob")
        world.send(add(1), "bob")
        world.settle()
        assert world.snapshot("bob").context["applied"] == [1]

    def test_cannot_be_applied_by_a_worker_whose_lease_is_over(self) -> None:
        world = started()
        world.send(add(1, boom=True), id="poison")
        stale = world.backend.queue.receive(10)
        world.now += LEASE
        world.settle()
        assert world.outcome("poison") is Outcome.DEAD_LETTERED
        assert world.take(stale) is TurnEnd.LOST
        assert len(world.dead_letters()) == 1


class TestAnActionThatFails:
    def test_is_performed_again_under_the_same_key_and_then_halts_the_instance(self) -> None:
        world = started(appending(Switch()))
        world.send(tell(1))
        world.settle()
        assert world.performed("report") == [("list/ada/a/1/0", 1)] * 3
        assert applied(world) == [1]
        assert "the printer is off" in str(world.record().halted)

    def test_stays_in_the_outbox_and_is_performed_by_a_redrive(self) -> None:
        switch = Switch()
        world = started(appending(switch))
        world.send(tell(1))
        world.send(tell(2))
        world.settle()
        switch.on = True
        world.redrive()
        world.settle()
        assert applied(world) == [1, 2]
        keys = [key for key, _ in world.performed("report")]
        assert keys[-2:] == ["list/ada/a/1/0", "list/ada/a/2/0"]
        assert world.dead_letters() == []
        assert world.record().outbox == ()

    @pytest.mark.parametrize("later", [0, 1, 2, 5])
    def test_leaves_its_message_taken_although_the_window_forgets_it(self, later: int) -> None:
        switch = Switch()
        world = World(appending(switch), policy=FORGETFUL)
        world.start()
        world.send(tell(0))
        for number in range(1, later + 1):
            world.send(add(number))
        world.settle()
        switch.on = True
        world.redrive()
        world.settle()
        assert applied(world) == list(range(later + 1))
        assert world.dead_letters() == []
        assert world.record().taken_dead_letters == ()

    def test_stays_in_the_outbox_when_later_messages_are_dead_lettered(self) -> None:
        switch = Switch()
        world = started(appending(switch))
        world.send(tell(1))
        world.settle()
        world.send(add(2))
        world.settle()
        switch.on = True
        world.redrive()
        world.settle()
        assert applied(world) == [1, 2]
        assert [key for key, _ in world.performed("report")] == ["list/ada/a/1/0"] * 4


class TestAnActorsResultThatCannotBeApplied:
    """The actor has succeeded; the machine's own code fails."""

    def machine(self, raising: list[bool], calls: list[int]) -> Any:
        def work(_input: Any, _call: Any) -> int:
            calls.append(1)
            return len(calls)

        def picky(_a: Any) -> bool:
            if raising:
                raise ValueError("a bug")
            return True

        return setup(actors={"work": work}, guards={"picky": picky}).machine(
            {
                "id": "m",
                "initial": "a",
                "states": {
                    "a": {"tags": ["settled"], "on": {"GO": "b", "ALSO": {}}},
                    "b": {"invoke": {"src": "work", "onDone": {"guard": "picky", "target": "c"}}},
                    "c": {"tags": ["settled"]},
                },
            }
        )

    def test_does_not_run_the_actor_again(self) -> None:
        calls: list[int] = []
        world = World(self.machine([True], calls), policy=PATIENT)
        world.start()
        world.send("GO", id="go")
        world.settle()
        assert len(calls) == 1
        assert world.record().turn is not None
        assert [dead_letter.message.id for dead_letter in world.dead_letters()] == ["go"]

    def test_a_redrive_that_fails_again_keeps_the_order(self) -> None:
        world = World(self.machine([True], []), policy=PATIENT)
        world.start()
        world.send("GO", id="go")
        world.send("ALSO", id="also")
        world.settle()
        for _ in range(2):
            world.redrive()
            world.settle()
            assert [dead_letter.message.id for dead_letter in world.dead_letters()] == ["go", "also"]

    def test_a_redrive_starts_at_once(self) -> None:
        raising = [True]
        world = World(self.machine(raising, []), policy=PATIENT)
        world.start()
        world.send("GO")
        world.settle()
        raising.clear()
        world.redrive()
        world.settle(until=world.now)
        assert world.value() == "c"

    def test_a_redriven_dead_letter_whose_turn_fails_keeps_its_position(self) -> None:
        raising = [True]
        world = World(self.machine(raising, []), policy=PATIENT)
        for id in ("go", "also"):
            world.send(id.upper(), id=id)
        world.settle()
        world.start()
        world.settle()
        for _ in range(2):
            world.redrive()
            world.settle()
            assert [dead_letter.message.id for dead_letter in world.dead_letters()] == ["go", "also"]
        raising.clear()
        world.redrive()
        world.settle()
        assert world.value() == "c"
        assert world.dead_letters() == []

    @pytest.mark.parametrize("older", [0, 5])
    def test_a_redrive_takes_its_event_once_although_the_window_forgets_it(self, older: int) -> None:
        raising = [True]
        world = World(self.machine(raising, []), policy=FORGETFUL)
        world.start()
        for number in range(older):
            world.post("ada", "{", id=f"broken{number}")
        world.send("GO", id="go")
        world.send("ALSO", id="also")
        world.settle()
        raising.clear()
        world.redrive()
        world.settle()
        assert world.value() == "c"
        assert world.record().ordinal == 3  # its start, and each event once
        assert world.record().taken_dead_letters == ()

    def test_a_redrive_finishes_the_open_turn_before_older_dead_letters(self) -> None:
        raising = [True]
        world = World(self.machine(raising, []), policy=PATIENT)
        world.start()
        world.post("ada", "{", id="broken")
        world.send("GO", id="go")
        world.settle()
        raising.clear()
        world.redrive()
        world.settle()
        assert world.value() == "c"
        assert [dead_letter.message.id for dead_letter in world.dead_letters()] == ["broken"]

    def test_a_redrive_finishes_the_turn_once_the_bug_is_fixed(self) -> None:
        calls: list[int] = []
        raising = [True]
        world = World(self.machine(raising, calls), policy=PATIENT)
        world.start()
        world.send("GO", id="go")
        world.send("ALSO", id="also")
        world.settle()
        raising.clear()
        world.redrive()
        world.settle()
        assert world.value() == "c"
        assert calls == [1]
        assert world.outcome("go") is Outcome.TAKEN
        assert world.dead_letters() == []


def _always(_a: Any) -> bool:
    return True


class TestRedrive:
    def fixed(self, monkeypatch: pytest.MonkeyPatch) -> World:
        world = poisoned()
        monkeypatch.setattr(machines, "sound", _always)
        world.machine = appending()
        return world

    def test_takes_the_dead_letters_in_order_before_anything_newer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = self.fixed(monkeypatch)
        assert world.redrive() == 2
        world.send(add(4))
        world.settle()
        assert applied(world) == [1, 2, 3, 4]
        assert world.dead_letters() == []
        assert world.record().halted is None

    def test_comes_first_even_if_newer_messages_are_ahead_in_the_queue(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = self.fixed(monkeypatch)
        world.send(add(4))
        world.redrive()
        world.settle()
        assert applied(world) == [1, 2, 3, 4]

    @pytest.mark.parametrize("command", [Load, LoadDeadLetters, Finish])
    @pytest.mark.parametrize("nth", [1, 2, 3])
    @pytest.mark.parametrize("after", [False, True])
    def test_loses_and_repeats_nothing_wherever_a_worker_dies(
        self, monkeypatch: pytest.MonkeyPatch, command: type[Any], nth: int, after: bool
    ) -> None:
        world = self.fixed(monkeypatch)
        world.redrive()
        (world.crash_after if after else world.crash_at)(command, nth=nth)
        world.send(add(4))
        world.settle()
        assert applied(world) == [1, 2, 3, 4]
        assert world.dead_letters() == []

    def test_that_fails_again_keeps_the_other_dead_letters(self) -> None:
        world = poisoned()
        world.redrive()
        world.send(add(4), id="newest")
        world.settle()
        assert applied(world) == [1]
        assert [dead_letter.message.id for dead_letter in world.dead_letters()] == ["poison", "behind", "newest"]
        assert world.record().halted is not None

    def test_without_dead_letters_does_nothing(self) -> None:
        world = started()
        version = world.version()
        assert world.redrive() == 0
        assert world.version() == version

    def test_may_be_repeated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = self.fixed(monkeypatch)
        assert [world.redrive(), world.redrive()] == [2, 2]
        world.settle()
        assert applied(world) == [1, 2, 3]

    def test_a_duplicate_of_a_dead_letter_is_not_added_twice(self) -> None:
        world = poisoned()
        duplicate = world.dead_letters()[1].message
        world.backend.queue.send([duplicate])
        world.settle()
        assert len(world.dead_letters()) == 2


class TestAContextThatIsNotJson:
    def test_fails_the_message_with_the_path_and_loses_nothing(self) -> None:
        machine = setup(actions={"spoil": assign(cart=lambda a: {"item": object()})}).machine(
            {
                "id": "m",
                "initial": "a",
                "context": {},
                "states": {"a": {"tags": ["settled"], "on": {"SPOIL": {"actions": "spoil"}, "OK": "a"}}},
            }
        )
        world = World(machine, policy=PATIENT)
        world.start()
        world.send("OK", id="ok")
        world.send("SPOIL", id="spoil")
        world.settle()
        assert world.outcome("ok") is Outcome.TAKEN
        assert [dead_letter.message.id for dead_letter in world.dead_letters()] == ["spoil"]
        assert "cart.item" in world.dead_letters()[0].detail
        assert world.snapshot().context == {}


class TestTheActionOfAMessageBehindOthers:
    def test_counts_as_a_failure_of_that_message(self) -> None:
        switch = Switch()

        def fine(_a: Any) -> None:
            pass

        machine = setup(actions={"fine": fine, "print": switch}).machine(
            {
                "id": "m",
                "initial": "a",
                "states": {"a": {"on": {"OK": {"actions": "fine"}, "BAD": {"actions": "print"}}}},
            }
        )
        world = World(machine, policy=Policy(lease=timedelta(seconds=LEASE), max_attempts=2))
        world.start()
        world.settle()
        world.send("OK", id="good")
        world.send("BAD", id="bad")
        world.settle()
        assert [dead_letter.message.id for dead_letter in world.dead_letters()] == ["bad"]


class TestADeadLetterFromAnotherInstance:
    def test_is_taken_in_a_redrive_although_later_ones_of_its_sender_were_taken(self) -> None:
        world = World(appending(), policy=Policy(lease=timedelta(seconds=LEASE), window=2, max_attempts=1))
        sender = Key("other", "bob")

        def receive(version: int) -> None:
            event = Event(add(version), SenderPosition(sender, "b", version, 0))
            world.take([world.stray(event, f"settled:{version}")])

        receive(1)
        world.start()
        world.settle()
        for version in range(2, 6):
            receive(version)
        assert [dead_letter.message.id for dead_letter in world.dead_letters()] == ["settled:1"]
        assert world.redrive() == 1
        world.settle()
        assert sorted(applied(world)) == [1, 2, 3, 4, 5]
