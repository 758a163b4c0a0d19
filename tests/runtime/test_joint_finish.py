"""Turns side by side: one call makes the commits of several keys, and brings the next messages with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from attrs import define, evolve, field

from settled import Key, Machine, OutcomeUnknownError, SettledError, TurnEnd, UnavailableError
from settled.durable import Capability, Delivery, Finished, Write
from settled_local.memory import MemoryBackend
from settled_runtime import Client, Host, StopSignal
from settled_runtime.host import turns_of
from settled_runtime.host_context import by_key
from settled_runtime.turn_runner import TurnRunner
from tests.durable.machines import add, appending


@define(eq=False)
class Counted(MemoryBackend):
    """Counts the calls of `finish_all`, and may let their answers come to `errors`, one after the other.

    An error after which nothing happened comes in place of the call; another one comes after it.
    """

    writes: list[list[Key]] = field(factory=list[list[Key]])
    errors: list[SettledError] = field(factory=list[SettledError])

    def __attrs_pre_init__(self) -> None:
        MemoryBackend.__init__(self)

    def finish_all(self, writes: Sequence[Write], receive: int = 0) -> Finished:
        self.writes.append([write.key for write in writes])
        error = self.errors.pop() if self.errors else None
        if isinstance(error, UnavailableError):
            raise error
        finished = super().finish_all(writes, receive)
        if error is not None:
            raise error
        return finished


class Alone(MemoryBackend):
    """Cannot finish for several keys at once."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        return super().capabilities - {Capability.JOINT_FINISH}


class Rounds:
    """Three instances of `machine` in `backend`, and a host for them."""

    names = ("ada", "ben", "cem")

    def __init__(self, machine: Machine[Any, Any], backend: MemoryBackend) -> None:
        self.backend, self.machine = backend, machine
        self.client = Client(machine, backend)
        self.host = Host([machine], backend)
        self.turns = turns_of(self.host)
        for name in self.names:
            self.client.start(name)
        self.host.handle(backend.queue.receive(10))

    def send(self, *numbers: int) -> None:
        for number in numbers:
            for name in self.names:
                self.client.send(name, add(number))

    def begin(self, limit: int = 100) -> list[TurnRunner]:
        return self.start(self.backend.queue.receive(limit))

    def start(self, deliveries: Sequence[Delivery]) -> list[TurnRunner]:
        groups = by_key(deliveries)
        return [self.turns.start(key, self.turns.hold(group), StopSignal()) for key, group in groups.items()]

    def applied(self) -> list[list[int]]:
        found = [self.client.get(name) for name in self.names]
        return [[] if each is None else each.context["applied"] for each in found]


@pytest.fixture
def backend() -> Counted:
    return Counted()


@pytest.fixture
def rounds(backend: Counted) -> Iterator[Rounds]:
    made = Rounds(appending(), backend)
    yield made
    made.host.close()


class TestTurnsOfSeveralKeys:
    def test_commit_in_one_call(self, rounds: Rounds, backend: Counted) -> None:
        rounds.send(1, 2)
        turns = rounds.begin()
        assert rounds.turns.commit_together(turns) == []
        assert [turn.end for turn in turns] == [TurnEnd.DONE] * 3
        assert rounds.applied() == [[1, 2]] * 3
        assert [len(keys) for keys in backend.writes] == [3]

    def test_bring_the_next_messages_with_it(self, rounds: Rounds, backend: Counted) -> None:
        rounds.send(1, 2)
        turns = rounds.begin(limit=3)
        ahead = rounds.turns.commit_together(turns, receive=10)
        assert len(ahead) == 6 - 3
        assert rounds.turns.commit_together(rounds.start(ahead), receive=10) == []
        assert rounds.applied() == [[1, 2]] * 3
        assert len(backend.writes) == 2

    def test_that_lose_a_race_are_computed_afresh_and_the_others_are_done(
        self, rounds: Rounds, backend: Counted
    ) -> None:
        rounds.send(1)
        turns = rounds.begin()
        key = Key(rounds.machine.id, "ben")
        stored = backend.store.load(key)
        assert stored is not None
        backend.store.commit(key, evolve(stored, version=stored.version + 1), stored.version)
        rounds.turns.commit_together(turns)
        assert [turn.end for turn in turns] == [TurnEnd.DONE] * 3
        assert rounds.applied() == [[1]] * 3
        assert backend.writes[1:] == [[key]]

    @pytest.mark.parametrize("error", [OutcomeUnknownError("lost"), UnavailableError("nobody there")])
    def test_whose_answer_is_lost_are_applied_once(self, rounds: Rounds, backend: Counted, error: SettledError) -> None:
        rounds.send(1)
        backend.errors.append(error)
        turns = rounds.begin()
        rounds.turns.commit_together(turns)
        assert [turn.end for turn in turns] == [TurnEnd.DONE] * 3
        assert rounds.applied() == [[1]] * 3

    def test_of_which_one_cannot_be_read_do_not_wait_for_it(self, rounds: Rounds, backend: Counted) -> None:
        rounds.send(1)
        key = Key(rounds.machine.id, "ben")
        stored = backend.store.load(key)
        assert stored is not None
        backend.store.commit(key, evolve(stored, version=stored.version + 1, body="{"), stored.version)
        turns = rounds.begin()
        rounds.turns.commit_together(turns)
        ends = {turn.key.instance: turn.end for turn in turns}
        assert ends["ada"] == ends["cem"] == TurnEnd.DONE
        assert isinstance(ends["ben"], SettledError)


class TestATurnThatHasSomethingToPerform:
    def test_leaves_the_others_after_its_commit(self, backend: Counted) -> None:
        reported: list[int] = []
        rounds = Rounds(appending(lambda a: reported.append(a.event["n"])), backend)
        rounds.send(1)
        rounds.client.send("ben", {"type": "TELL", "n": 7})
        turns = rounds.begin()
        rounds.turns.commit_together(turns)
        (slow,) = [turn for turn in turns if turn.end is None]
        assert slow.key.instance == "ben"
        assert reported == []
        assert slow.run() == TurnEnd.DONE
        assert reported == [7]
        rounds.host.close()


class TestABackendThatCannotFinishForSeveral:
    def test_leaves_the_turns_where_they_stand(self) -> None:
        rounds = Rounds(appending(), Alone())
        rounds.send(1)
        turns = rounds.begin()
        assert rounds.turns.commit_together(turns, receive=10) == ()
        assert [turn.end for turn in turns] == [None] * 3
        assert [turn.run() for turn in turns] == [TurnEnd.DONE] * 3
        rounds.host.close()
