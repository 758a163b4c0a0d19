"""An instance that has filled its store is halted like any other, and what comes after it is set aside."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest

from settled import Machine, Outcome, Policy, TooLargeError, assign, setup
from settled.data import parse
from settled.durable import Traits, Write
from settled.durable.commands import Command, Finish
from settled.durable.limits import MAX_ID_BYTES
from tests.support.virtual_world import LEASE, World

POLICY = Policy(lease=timedelta(seconds=LEASE), max_attempts=3)


class FullStore(World):
    """A world whose store keeps records, dead letters and commits of these sizes at most, in bytes."""

    largest_record: int = 10_000_000
    largest_dead_letter: int = 10_000_000
    largest_commit: int = 10_000_000
    largest_yet: int = 0

    def _perform(self, command: Command) -> Any:
        if isinstance(command, Finish):
            self.check(command.write)
        return super()._perform(command)

    def check(self, write: Write) -> None:
        record = size_of(write.stored.body) if write.stored else 0
        dead_letters = [size_of(each.message.body) for each in write.add_dead_letters]
        if record > self.largest_record or sum(dead_letters, record) > self.largest_commit:
            raise TooLargeError(f"{record} and {dead_letters} bytes")
        if dead_letters and max(dead_letters) > self.largest_dead_letter:
            raise TooLargeError(f"a dead letter of {max(dead_letters)} bytes")
        self.largest_yet = max(self.largest_yet, record)

    def leave_room_for(self, count: int) -> None:
        """Let the largest record so far be `count` bytes below the limit of the store."""
        self.largest_record = self.largest_yet + count

    def settle_with_errors(self) -> None:
        """Settle, and let the host try again after errors, as a worker does."""
        for _ in range(20):
            with suppress(TooLargeError):
                self.settle(until=self.now + 3600)
                return
            self.now += LEASE
        raise AssertionError("it does not settle")

    def ids_of_dead_letters(self) -> list[str]:
        return [each.message.id for each in self.dead_letters()]


def size_of(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def growing(*, repaired: bool = False) -> Machine[Any]:
    """Return a machine with a context that grows, and events that fail: in a guard, in an action, by their size.

    Once it is `repaired`, none fails, and its context shrinks with each event.
    """

    def fail(_args: Any) -> bool:
        if repaired:
            return True
        raise RuntimeError("é" * 2000)

    poison: Any = {"guard": "fails", "actions": "shrink"}
    return setup(
        guards={"fails": fail},
        actions={
            "report": fail,
            "grow": assign(text=lambda a: "" if repaired else a.context["text"] + a.event["text"]),
            "shrink": assign(text=""),
        },
    ).machine(
        {
            "id": "list",
            "initial": "open",
            "context": {"text": ""},
            "states": {
                "open": {
                    "tags": ["settled"],
                    "on": {"GROW": {"actions": "grow"}, "GUARDED": poison, "REPORTED": {"actions": "report"}},
                }
            },
        }
    )


def grown(before: Sequence[str] = (), *, characters: int = 100_000) -> FullStore:
    """Return a world with an instance whose context has grown, after it was sent messages with the ids `before`."""
    world = FullStore(growing(), policy=POLICY)
    world.start()
    for id in before:
        world.send("NOTHING", id=id)
    world.send({"type": "GROW", "text": "x" * characters})
    world.settle(until=world.now)
    return world


POISONS: dict[str, Any] = {
    "a guard": {"type": "GUARDED"},
    "an action": {"type": "REPORTED"},
    "its size": {"type": "GROW", "text": "x" * 10_000},
}


def longest(text: str, character: str = "i") -> str:
    """Return the longest id that ends with `text`."""
    return character * ((MAX_ID_BYTES - len(text)) // size_of(character)) + text


class TestAnInstanceWhoseRecordHasFilledItsStore:
    @pytest.mark.parametrize("room", range(0, 3000, 75))
    def test_is_halted_and_can_be_redriven(self, room: int) -> None:
        world = grown()
        world.leave_room_for(room)
        self.require_halt_and_redrive(world, POISONS["a guard"], "i")

    @pytest.mark.parametrize("character", ["i", "\0", '"', "é", "🙂"])
    @pytest.mark.parametrize("poison", POISONS)
    def test_is_halted_whatever_fails_and_whatever_the_ids(self, poison: str, character: str) -> None:
        # The record has the context a second time while the effects of an action are owed.
        world = grown(characters=50_000 if poison == "an action" else 100_000)
        world.leave_room_for(0 if poison != "an action" else 100_000)
        self.require_halt_and_redrive(world, POISONS[poison], character)

    def test_is_halted_however_many_messages_it_remembers(self) -> None:
        world = grown([longest(f"b{number}") for number in range(300)])
        world.leave_room_for(0)
        self.require_halt_and_redrive(world, POISONS["a guard"], "i")

    def test_is_halted_on_a_backend_whose_writes_are_atomic(self) -> None:
        world = grown()
        world.traits = Traits(atomic=True, fenced=True)
        world.leave_room_for(0)
        self.require_halt_and_redrive(world, POISONS["its size"], "i")

    def require_halt_and_redrive(self, world: FullStore, poison: Any, character: str) -> None:
        ids = [longest(f"m{number}", character) for number in range(13)]
        world.send(poison, id=ids[0])
        if poison == POISONS["an action"]:
            world.deliver()
            world.leave_room_for(0)
        for id in ids[1:]:
            world.send("NOTHING", id=id)
        world.settle_with_errors()
        assert str(world.record().halted).startswith(ids[0][:90])
        assert world.ids_of_dead_letters() == ids
        world.machine = growing(repaired=True)
        world.redrive()
        world.settle(until=world.now + 3600)
        assert world.record().halted is None
        assert world.dead_letters() == []

    def test_names_its_failure(self) -> None:
        world = grown()
        world.leave_room_for(0)
        world.send(POISONS["a guard"], id=longest("poison"))
        world.settle()
        halted = str(world.record().halted)
        assert halted.startswith(f"{longest('poison')} failed 3 times, at last with ")
        assert halted.endswith("é" * 50)

    def test_is_halted_by_an_invalid_message_that_it_cannot_remember(self) -> None:
        world = grown()
        world.policy = Policy(lease=timedelta(seconds=LEASE), max_attempts=1)
        world.leave_room_for(0)
        world.post("ada", "{", id="invalid")
        world.settle()
        assert "let the machine keep less in its context" in str(world.record().halted)
        assert world.ids_of_dead_letters() == ["invalid"]

    def test_is_halted_under_a_policy_that_skips(self) -> None:
        world = grown()
        world.policy = Policy(lease=timedelta(seconds=LEASE), max_attempts=3, failed_events="skip")
        world.leave_room_for(0)
        world.send(POISONS["a guard"], id=longest("poison"))
        world.settle()
        assert world.record().halted
        assert world.ids_of_dead_letters() == [longest("poison")]

    def test_forgets_the_oldest_messages_rather_than_keep_later_ones_waiting(self) -> None:
        world = grown()
        world.leave_room_for(0)
        ids = [longest(f"m{number}") for number in range(400)]
        world.send(POISONS["a guard"], id=ids[0])
        for id in ids[1:]:
            world.send("NOTHING", id=id)
        world.settle_with_errors()
        assert world.ids_of_dead_letters() == ids
        window = world.record().window
        assert window.outcome_of_id(ids[-1]) is Outcome.DEAD_LETTERED
        assert window.outcome_of_id(ids[1]) is None

    def test_forgets_none_while_there_is_room(self) -> None:
        world = grown([f"b{number}" for number in range(100)])
        world.leave_room_for(100_000)
        world.send(POISONS["a guard"], id="poison")
        world.settle()
        assert world.record().window.outcome_of_id("b0") is Outcome.IGNORED

    def test_can_be_deleted(self) -> None:
        world = grown()
        world.leave_room_for(0)
        for id in ("poison", "behind"):
            world.send(POISONS["a guard"], id=id)
        world.settle()
        world.delete()
        assert world.dead_letters() == []


class TestDeadLettersThatAreTooLargeTogether:
    def test_are_set_aside_one_by_one(self) -> None:
        world = FullStore(growing(), policy=POLICY)
        world.start()
        world.send(POISONS["a guard"], id="poison")
        world.settle(until=world.now + 600)
        world.largest_commit = 40_000
        for number in range(10):
            world.send({"type": "GROW", "text": "x" * 30_000}, id=f"large{number}")
        world.settle()
        assert world.ids_of_dead_letters() == ["poison", *(f"large{number}" for number in range(10))]
        world.machine = growing(repaired=True)
        world.redrive()
        world.settle()
        assert world.dead_letters() == []


LARGE = {"type": "GROW", "text": "é" * 20_000}


class TestADeadLetterThatTheStoreCannotKeep:
    """In place of its body it has a reference, and the instance goes on."""

    def test_says_what_was_left_out(self) -> None:
        world = self.started()
        world.post("ada", f"not JSON {'é' * 20_000}", id="foreign")
        world.settle()
        (letter,) = world.dead_letters()
        assert letter.reason.endswith("; the store cannot keep its body of 40,009 bytes, which was left out")
        reference = parse(letter.message.body)
        body = f"not JSON {'é' * 20_000}"
        assert reference == {
            "left_out": {"bytes": 40_009, "sha256": sha256(body.encode()).hexdigest()},
            "begins": body[:1000],
        }
        assert world.record().halted is None

    def test_may_be_that_of_a_message_that_failed(self) -> None:
        world = self.started()
        world.send({**POISONS["a guard"], "text": "x" * 20_000}, id="poison")
        world.settle()
        assert world.ids_of_dead_letters() == ["poison"]
        assert "left out" in world.dead_letters()[0].reason
        assert str(world.record().halted).startswith("poison failed 3 times")

    def test_may_be_that_of_a_message_that_was_skipped(self) -> None:
        world = self.started()
        world.policy = Policy(lease=timedelta(seconds=LEASE), max_attempts=3, failed_events="skip")
        world.send({**POISONS["a guard"], "text": "x" * 20_000}, id="poison")
        world.settle()
        assert world.ids_of_dead_letters() == ["poison"]
        assert world.record().halted is None

    def test_may_be_that_of_a_message_behind_it(self) -> None:
        world = self.started()
        for event in (POISONS["a guard"], LARGE, {"type": "GROW", "text": "x"}):
            world.send(event)
        world.settle()
        assert ["left out" in each.reason for each in world.dead_letters()] == [False, True, False]

    def test_stays_a_dead_letter_in_a_redrive(self) -> None:
        world = self.started()
        for event in (POISONS["a guard"], LARGE, {"type": "GROW", "text": "x"}):
            world.send(event, id=event.get("text", "poison")[:6])
        world.settle()
        world.machine = growing(repaired=True)
        world.redrive()
        world.settle()
        assert world.record().halted is None
        assert world.ids_of_dead_letters() == ["éééééé"]
        assert parse(world.dead_letters()[0].message.body)["left_out"]["bytes"] > 40_000

    def test_is_whole_if_only_its_record_was_too_large(self) -> None:
        world = grown()
        world.leave_room_for(0)
        world.send({**POISONS["a guard"], "text": "x" * 20_000}, id="poison")
        world.settle()
        assert len(world.dead_letters()[0].message.body) > 20_000

    def started(self) -> FullStore:
        world = FullStore(growing(), policy=POLICY)
        world.largest_dead_letter = 10_000
        world.start()
        world.settle(until=world.now)
        return world
