"""An error after a commit never undoes the commit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from settled import (
    AccessDeniedError,
    Machine,
    OutcomeUnknownError,
    Policy,
    SettledError,
    TooLargeError,
    TurnEnd,
    UnavailableError,
    assign,
    send_to,
    setup,
)
from settled.durable import Traits
from settled.durable.commands import Command, Finish
from settled.durable.limits import MAX_ID_BYTES
from settled.durable.record_text import ROOM_BYTES
from tests.durable.machines import add, appending, applied, tell
from tests.support.virtual_world import LEASE, World


def appended(world: World) -> list[list[int]]:
    """Return the events applied in each committed version."""
    found: list[list[int]] = []
    for command in world.commands:
        if isinstance(command, Finish) and command.record is not None and command.write.stored is not None:
            snapshot = command.record.snapshot
            found.append(list(getattr(snapshot, "context", {"applied": []})["applied"]))
    return found


def failing(detail: str) -> Any:
    def report(_args: Any) -> None:
        raise RuntimeError(detail)

    return report


class TestACommitThatFailsAfterAnother:
    def test_does_not_undo_the_earlier_one(self) -> None:
        world = World(appending(failing("full")), policy=Policy(lease=timedelta(seconds=LEASE), max_attempts=9))
        world.start()
        world.settle()
        for each in (tell(0), add(1), tell(2)):
            world.send(each)
        for _ in range(3):  # the commit of the failure, and those without most of the error's text
            world.fail_at(Finish, TooLargeError("the record with its failure"), nth=2)
        with pytest.raises(TooLargeError):
            world.deliver()
        world.now += LEASE
        world.settle(until=world.now + 10)
        for earlier, later in zip(appended(world), appended(world)[1:], strict=False):
            assert later[: len(earlier)] == earlier
        assert applied(world) == [0, 1, 2]

    def test_keeps_only_the_beginning_of_the_error(self) -> None:
        world = World(appending(failing("x" * 100_000)), policy=Policy(lease=timedelta(seconds=LEASE), max_attempts=9))
        world.start()
        world.send(tell(0))
        world.settle(until=world.now)
        failing_now = world.record().failing
        assert failing_now is not None
        assert len(failing_now.detail) == 1000


class SmallStore(World):
    """A world whose store keeps at most `limit` characters in a record."""

    limit: int = 1_000_000

    def _perform(self, command: Command) -> Any:
        stored = command.write.stored if isinstance(command, Finish) else None
        if stored is not None and len(stored.body) > self.limit:
            raise TooLargeError(f"{len(stored.body)} characters, and the limit is {self.limit}")
        return super()._perform(command)

    def leave_room_for(self, characters: int) -> None:
        stored = self.backend.store.load(self.key())
        assert stored is not None
        self.limit = len(stored.body) + characters


class TestARecordThatIsNearlyFull:
    """There is room for the count of a failure, but not for the text of its error."""

    def test_halts_with_the_beginning_of_the_error(self) -> None:
        world = SmallStore(appending(failing("x" * 900)), policy=Policy(lease=timedelta(seconds=LEASE), max_attempts=3))
        world.start()
        world.settle(until=world.now)
        world.leave_room_for(600)
        world.send(tell(0), id="poison")
        world.settle()
        assert [dead_letter.message.id for dead_letter in world.dead_letters()] == ["poison"]
        assert str(world.record().halted).startswith("poison failed 3 times, at last with ")

    @pytest.mark.parametrize("ignored", [0, 3])
    def test_halts_without_the_reasons_of_outcomes(self, ignored: int) -> None:
        world = SmallStore(_with_long_errors(), policy=Policy(lease=timedelta(seconds=LEASE), max_attempts=3))
        world.start()
        for number in range(ignored):
            world.send("NOTHING", id=f"ignored{number}")
        world.settle(until=world.now)
        assert len(world.record().window.reasons) == ignored
        world.leave_room_for(0 if ignored else 250)
        world.send("POISON", id="poison")
        world.settle()
        assert str(world.record().halted).startswith("poison failed 3 times, at last with ")
        assert world.record().window.reasons == {}

    def test_still_dead_letters_what_comes_after_it_was_halted(self) -> None:
        world = SmallStore(appending(failing("x" * 900)), policy=Policy(lease=timedelta(seconds=LEASE), max_attempts=2))
        world.start()
        world.send(tell(0), id="poison")
        world.settle()
        world.leave_room_for(5)
        world.send(add(1), id="behind")
        world.settle()
        assert [dead_letter.message.id for dead_letter in world.dead_letters()] == ["poison", "behind"]
        assert str(world.record().halted).startswith("poison failed 2 times")


class TestARecordThatIsFull:
    """Its context has grown until the store takes no more of it."""

    @pytest.mark.parametrize("id", ["poison", "i" * MAX_ID_BYTES])
    def test_still_halts(self, id: str) -> None:
        world = self.grown_until_full()
        world.send("POISON", id=id)
        world.settle()
        assert [dead_letter.message.id for dead_letter in world.dead_letters()] == [id]
        assert str(world.record().halted).startswith(f"{id} failed 3 times, at last with ")

    def test_halts_when_it_would_grow(self) -> None:
        world = self.grown_until_full()
        world.send({"type": "GROW", "text": "x" * 1000}, id="more")
        world.settle()
        assert [dead_letter.message.id for dead_letter in world.dead_letters()] == ["more"]
        assert "and the limit is" in str(world.record().halted)

    def test_can_be_redriven_once_it_shrinks(self) -> None:
        world = self.grown_until_full()
        world.send("POISON", id="poison")
        world.settle()
        world.machine = _growing(repaired=True)
        world.redrive()
        world.settle()
        assert world.record().halted is None
        assert world.snapshot().context == {"text": ""}

    def test_keeps_room_for_a_failure_only_while_it_has_none(self) -> None:
        world = self.grown_until_full()
        full = self.size(world)
        world.send("POISON", id="poison")
        world.settle()
        assert full - ROOM_BYTES < self.size(world) <= full

    def test_is_no_larger_than_needed_while_it_is_small(self) -> None:
        world = SmallStore(_growing())
        world.start()
        world.settle(until=world.now)
        assert self.size(world) < 1000

    def grown_until_full(self) -> SmallStore:
        world = SmallStore(_growing(), policy=Policy(lease=timedelta(seconds=LEASE), max_attempts=3))
        world.start()
        world.send({"type": "GROW", "text": "x" * 100_000})
        world.settle(until=world.now)
        world.leave_room_for(0)
        return world

    def size(self, world: World) -> int:
        stored = world.backend.store.load(world.key())
        assert stored is not None
        return len(stored.body)


def _growing(*, repaired: bool = False) -> Machine[Any]:
    poison: Any = {"actions": "shrink"} if repaired else {"guard": "fails", "target": "open"}
    return setup(
        guards={"fails": failing("x" * 900)},
        actions={
            "grow": assign(text=lambda a: a.context["text"] + a.event["text"]),
            "shrink": assign(text=""),
        },
    ).machine(
        {
            "id": "list",
            "initial": "open",
            "context": {"text": ""},
            "states": {"open": {"tags": ["settled"], "on": {"GROW": {"actions": "grow"}, "POISON": poison}}},
        }
    )


class TestAResultThatIsTooLarge:
    """The record has room neither for the context with the result, nor for the result while it waits to be taken."""

    def test_fails_its_message_until_the_instance_is_halted(self) -> None:
        runs: list[int] = []

        def fetch(_input: Any, _call: Any) -> str:
            runs.append(1)
            return "x" * 100_000

        machine = setup(actors={"fetch": fetch}, actions={"keep": assign(kept=lambda a: a.event["output"])}).machine(
            {
                "id": "list",
                "initial": "open",
                "context": {"kept": None},
                "states": {
                    "open": {"tags": ["settled"], "on": {"FETCH": "fetching"}},
                    "fetching": {"invoke": {"src": "fetch", "onDone": {"target": "open", "actions": "keep"}}},
                },
            }
        )
        world = SmallStore(machine, policy=Policy(lease=timedelta(seconds=LEASE), max_attempts=3))
        world.limit = 20_000
        world.start()
        world.send("FETCH", id="fetch")
        world.settle()
        assert [dead_letter.message.id for dead_letter in world.dead_letters()] == ["fetch"]
        assert "and the limit is 20000: let the machine keep less in its context" in str(world.record().halted)
        assert len(runs) == 3


def _with_long_errors() -> Machine[Any]:
    return setup(guards={"fails": failing("x" * 900)}).machine(
        {"id": "list", "initial": "open", "states": {"open": {"on": {"POISON": {"guard": "fails", "target": "open"}}}}}
    )


class FailingSends(World):
    """A world whose backend commits, and then fails with `error` on the sends."""

    error: SettledError

    def _perform(self, command: Command) -> Any:
        if isinstance(command, Finish) and command.write.sends:
            stored = command.write.stored
            if stored is not None:
                self.backend.store.commit(command.write.key, stored, command.write.expected)
            raise self.error
        return super()._perform(command)


class TestASendThatFailsAfterTheCommit:
    @pytest.mark.parametrize("error", [TooLargeError("a message"), AccessDeniedError("no")])
    def test_fails_its_message_and_does_not_undo_the_commit(self, error: SettledError) -> None:
        machine = setup(
            actions={
                "append": assign(applied=lambda a: [*a.context["applied"], a.event["n"]]),
                "tell": send_to("hub/h", lambda a: {"type": "HEY"}),
            }
        ).machine(
            {
                "id": "list",
                "initial": "open",
                "context": {"applied": []},
                "states": {"open": {"tags": ["settled"], "on": {"ADD": {"actions": ["append", "tell"]}}}},
            }
        )
        world = FailingSends(machine, policy=Policy(lease=timedelta(seconds=LEASE), max_attempts=3))
        world.error = error
        world.start()
        world.settle()
        world.send({"type": "ADD", "n": 1})
        ends: list[TurnEnd | None] = []
        for _ in range(6):
            try:
                ends.append(world.deliver())
            except AccessDeniedError:
                ends.append(None)
            world.now += LEASE * 20
        assert applied(world) == [1]
        if isinstance(error, TooLargeError):
            assert TurnEnd.RELEASED in ends
            assert world.record().halted
            assert [entry.item for entry in world.record().outbox]


def _possible_errors() -> Iterator[tuple[Traits, type[SettledError], bool]]:
    """Yield the backend's traits, the error, and whether the write took effect in spite of it.

    On an atomic backend only OutcomeUnknownError leaves that possible.
    """
    for traits in (Traits(), Traits(atomic=True, fenced=True)):
        for error in (TooLargeError, AccessDeniedError, OutcomeUnknownError, UnavailableError):
            yield traits, error, False
            if error is OutcomeUnknownError or not traits.atomic:
                yield traits, error, True


class TestEachErrorOfAFinish:
    @pytest.mark.parametrize("nth", range(1, 6))
    @pytest.mark.parametrize(("traits", "error", "is_done"), [*_possible_errors()])
    def test_loses_no_event_and_applies_none_twice(
        self, traits: Traits, error: type[SettledError], is_done: bool, nth: int
    ) -> None:
        world = World(appending(), policy=Policy(lease=timedelta(seconds=LEASE)), traits=traits)
        world.start()
        for each in (add(0), tell(1), add(2), tell(3)):
            world.send(each)
        (world.lose_answer_of if is_done else world.fail_at)(Finish, error("once"), nth=nth)
        for _ in range(8):
            with suppress(SettledError):
                world.deliver(limit=3)
            world.now += LEASE
        world.settle()
        assert applied(world) == [0, 1, 2, 3]
        assert len({key for key, _ in world.performed("report")}) == 2
        assert world.dead_letters() == []
