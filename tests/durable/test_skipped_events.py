"""With ``Policy(failed_events="skip")`` an event that keeps failing becomes a dead letter, and its instance goes on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from settled import Key, Outcome, Policy, assign, setup
from settled.durable import Event
from settled.durable.commands import Finish, LoadDeadLetters, Release
from settled.durable.messages import SenderPosition
from tests.durable import machines
from tests.durable.machines import add, appending, applied, tell
from tests.support.virtual_world import LEASE, Crash, World

SKIPPING = Policy(lease=timedelta(seconds=LEASE), max_attempts=3, failed_events="skip")


def started(machine: Any = None, policy: Policy = SKIPPING) -> World:
    world = World(machine or appending(), policy=policy)
    world.start()
    world.settle()
    return world


def skipped() -> World:
    world = started()
    world.send(add(1), id="one")
    world.send(add(2, boom=True), id="poison")
    world.send(add(3), id="behind")
    world.settle()
    return world


def dead_letters(world: World) -> list[str]:
    return [each.message.id for each in world.dead_letters()]


class TestAnEventThatKeepsFailing:
    def test_is_retried_first(self) -> None:
        world = skipped()
        assert [command.delay for command in world.commands if isinstance(command, Release)] == [1.0, 2.0]

    def test_becomes_a_dead_letter_and_the_next_ones_are_taken(self) -> None:
        world = skipped()
        assert dead_letters(world) == ["poison"]
        assert "boom" in world.dead_letters()[0].detail
        assert (world.record().halted, world.record().failing) == (None, None)
        assert applied(world) == [1, 3]

    def test_has_an_outcome_and_a_reason_for_its_sender(self) -> None:
        world = skipped()
        assert world.outcome("poison") is Outcome.DEAD_LETTERED
        assert "boom" in str(world.reason("poison"))

    def test_is_known_when_it_is_repeated(self) -> None:
        world = skipped()
        world.backend.queue.send([world.dead_letters()[0].message])
        world.take([world.stray(Event(add(2, boom=True)), "poison")])
        world.settle()
        assert dead_letters(world) == ["poison"]
        assert applied(world) == [1, 3]

    @pytest.mark.parametrize("nth", range(1, 9))
    @pytest.mark.parametrize("after", [False, True])
    def test_is_skipped_once_wherever_a_worker_dies(self, nth: int, after: bool) -> None:
        world = started()
        world.send(add(2, boom=True), id="poison")
        world.send(add(3), id="behind")
        (world.crash_after if after else world.crash_at)(Finish, nth=nth)
        world.settle()
        assert dead_letters(world) == ["poison"]
        assert applied(world) == [3]

    def test_of_another_machine_is_skipped_too(self) -> None:
        world = started()
        sender = SenderPosition(Key("other", "bob"), "b", 1, 0)
        for _ in range(3):
            world.take([world.stray(Event(add(1, boom=True), sender), "settled:1")])
        assert dead_letters(world) == ["settled:1"]
        assert world.record().halted is None

    def test_is_skipped_where_it_would_make_a_context_that_is_not_json(self) -> None:
        machine = setup(actions={"spoil": assign(item=lambda a: object())}).machine(
            {
                "id": "m",
                "initial": "a",
                "context": {},
                "states": {"a": {"tags": ["settled"], "on": {"SPOIL": {"actions": "spoil"}}}},
            }
        )
        world = started(machine)
        world.send("SPOIL", id="spoil")
        world.settle()
        assert dead_letters(world) == ["spoil"]
        assert world.record().halted is None

    def test_is_skipped_too_if_it_ends_its_workers(self) -> None:
        def guard(_a: Any) -> bool:
            raise Crash

        machine = setup(guards={"guard": guard}).machine(
            {
                "id": "m",
                "initial": "a",
                "states": {
                    "a": {"tags": ["settled"], "on": {"GO": {"guard": "guard"}, "END": "b"}},
                    "b": {"type": "final"},
                },
            }
        )
        world = started(machine)
        world.send("GO", id="go")
        world.send("END", id="end")
        world.settle()
        assert dead_letters(world) == ["go"]
        records = [each.record for each in world.commands if isinstance(each, Finish) and each.record]
        assert {record.watch.message_id for record in records if record.watch} == {"go"}
        assert (world.value(), world.record().watch) == ("b", None)


def _always(_a: Any) -> bool:
    return True


class TestARedrive:
    def test_applies_it_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = skipped()
        monkeypatch.setattr(machines, "sound", _always)
        world.machine = appending()
        assert world.redrive() == 1
        world.settle()
        assert applied(world) == [1, 3, 2]
        assert dead_letters(world) == []
        assert world.outcome("poison") is Outcome.TAKEN
        assert world.redrive() == 0

    def test_skips_it_again_if_it_still_fails_and_takes_those_behind_it(self) -> None:
        world = skipped()
        world.post("ada", "{", id="broken")
        world.settle()
        world.redrive()
        world.send(add(4))
        world.settle()
        assert dead_letters(world) == ["poison", "broken"]
        assert (world.record().halted, world.record().redriving) == (None, None)
        assert applied(world) == [1, 3, 4]

    @pytest.mark.parametrize("command", [LoadDeadLetters, Finish])
    @pytest.mark.parametrize("nth", range(1, 7))
    def test_neither_loses_nor_repeats_it_wherever_a_worker_dies(self, command: type[Any], nth: int) -> None:
        world = skipped()
        world.redrive()
        world.crash_after(command, nth=nth)
        world.settle()
        assert dead_letters(world) == ["poison"]
        assert (world.record().halted, world.record().redriving) == (None, None)
        assert applied(world) == [1, 3]

    def test_skips_none_if_an_action_of_one_that_was_taken_fails(self) -> None:
        mended = list[bool]()

        def mail(_a: Any) -> None:
            if not mended:
                raise ConnectionError("the mail server is down")

        world = started(appending(mail))
        for number, id in ((1, "one"), (2, "two"), (3, "three")):
            world.send(tell(number), id=id)
            world.settle()
        assert dead_letters(world) == ["one", "two", "three"]
        world.redrive()
        world.settle()
        assert world.record().halted is not None
        assert (dead_letters(world), applied(world)) == (["one", "two", "three"], [1])
        assert not any(each.reason.startswith("failed") for each in world.dead_letters()[1:])
        mended.append(True)
        world.redrive()
        world.settle()
        assert (dead_letters(world), applied(world)) == ([], [1, 2, 3])


class TestWhatIsNotSkipped:
    """The instance might wait for it for ever, or it has had effects: the instance is halted."""

    def test_an_event_whose_action_fails(self) -> None:
        def fail(_a: Any) -> None:
            raise ConnectionError("the printer is off")

        world = started(appending(fail))
        world.send(tell(1), id="tell")
        world.settle()
        assert world.record().halted is not None
        assert applied(world) == [1]

    def test_an_event_whose_turn_is_open(self) -> None:
        machine = setup(actors={"work": lambda input, call: 1}, guards={"bad": lambda a: 1 / 0 > 1}).machine(
            {
                "id": "m",
                "initial": "a",
                "states": {
                    "a": {"tags": ["settled"], "on": {"GO": "b"}},
                    "b": {"invoke": {"src": "work", "onDone": {"guard": "bad", "target": "a"}}},
                },
            }
        )
        world = started(machine)
        world.send("GO")
        world.settle()
        assert world.record().halted is not None
        assert world.record().turn is not None

    def test_a_timer(self) -> None:
        machine = setup(guards={"bad": lambda a: 1 / 0 > 1}).machine(
            {
                "id": "m",
                "initial": "a",
                "states": {"a": {"tags": ["settled"], "after": {"1000": {"guard": "bad", "target": "b"}}}, "b": {}},
            }
        )
        world = started(machine)
        assert world.record().halted is not None

    def test_an_event_for_a_snapshot_that_cannot_be_read(self) -> None:
        world = started()
        world.machine = setup().machine({"id": "list", "initial": "other", "states": {"other": {"tags": ["settled"]}}})
        world.send(add(1), id="one")
        world.settle()
        assert [each.message.id for each in world.backend.store.dead_letters(world.key())] == ["one"]
        world.machine = appending()
        assert world.record().halted is not None

    def test_anything_by_default(self) -> None:
        world = started(policy=Policy(lease=timedelta(seconds=LEASE), max_attempts=3))
        world.send(add(1, boom=True))
        world.settle()
        assert world.record().halted is not None
