"""Turns that commit together: one call makes the commits of several keys and brings the next messages."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, TypeVar

import pytest
from attrs import define, evolve, field

from settled import Key, Machine, OutcomeUnknownError, SettledError, TurnEnd, UnavailableError
from settled.durable import Capability, Delivery, FinishResult, Write
from settled_local.memory import MemoryBackend
from settled_runtime import Client, StopSignal
from settled_runtime.events import HostEvent, Observer, TurnEnded
from settled_runtime.host_context import HostContext
from settled_runtime.joint_commit import commit_together
from settled_runtime.turn_runner import TurnRunner, turns_for
from tests.durable.machines import add, appending

T = TypeVar("T")


@define(eq=False)
class CountingBackend(MemoryBackend):
    """Counts the calls of `finish_all`, and raises `errors` from them, one after the other.

    UnavailableError is raised instead of the call, any other error after it.
    """

    writes: list[list[Key]] = field(factory=list[list[Key]])
    errors: list[SettledError] = field(factory=list[SettledError])

    def __attrs_pre_init__(self) -> None:
        MemoryBackend.__init__(self)

    def finish_all(
        self, writes: Sequence[Write], receive: int = 0, machines: Collection[str] | None = None
    ) -> FinishResult:
        self.writes.append([write.key for write in writes])
        error = self.errors.pop() if self.errors else None
        if isinstance(error, UnavailableError):
            raise error
        finished = super().finish_all(writes, receive, machines)
        if error is not None:
            raise error
        return finished


class WithoutJointFinish(MemoryBackend):
    """Does not declare `Capability.JOINT_FINISH`."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        return super().capabilities - {Capability.JOINT_FINISH}


class Deployment:
    """Three instances of `machine` in `backend`, and a host for them."""

    names = ("ada", "ben", "cem")

    def __init__(self, machine: Machine[Any], backend: MemoryBackend, observers: Sequence[Observer] = ()) -> None:
        self.backend, self.machine = backend, machine
        self.client = Client(machine, backend)
        self.context = HostContext.of([machine], backend, None, observers)
        for name in self.names:
            self.client.start(name)
        for turn in self.begin():
            turn.run()

    def send(self, *numbers: int) -> None:
        for number in numbers:
            for name in self.names:
                self.client.send(name, add(number))

    def begin(self, limit: int = 100) -> Sequence[TurnRunner]:
        return self.start(self.backend.queue.receive(limit))

    def start(self, deliveries: Sequence[Delivery]) -> Sequence[TurnRunner]:
        return turns_for(self.context, deliveries, StopSignal())

    def commit_together(self, turns: Sequence[TurnRunner], receive: int = 0) -> Sequence[Delivery]:
        return commit_together(self.context, turns, lambda: receive)

    def applied(self) -> list[list[int]]:
        found = [self.client.get(name) for name in self.names]
        return [[] if each is None else each.context["applied"] for each in found]


def _only(kind: type[T], found: list[T]) -> Observer:
    """Return an observer that collects the events of this kind."""

    def observe(event: HostEvent) -> None:
        if isinstance(event, kind):
            found.append(event)

    return observe


@pytest.fixture
def backend() -> CountingBackend:
    return CountingBackend()


@pytest.fixture
def deployment(backend: CountingBackend) -> Iterator[Deployment]:
    made = Deployment(appending(), backend)
    yield made
    made.context.leases.close()


class TestTurnsOfSeveralKeys:
    def test_commit_in_one_call(self, deployment: Deployment, backend: CountingBackend) -> None:
        deployment.send(1, 2)
        turns = deployment.begin()
        assert deployment.commit_together(turns) == ()
        assert [turn.end for turn in turns] == [TurnEnd.DONE] * 3
        assert deployment.applied() == [[1, 2]] * 3
        assert [len(keys) for keys in backend.writes] == [3]

    def test_are_over_once(self, backend: CountingBackend) -> None:
        ended: list[TurnEnded] = []
        deployment = Deployment(appending(), backend, observers=[_only(TurnEnded, ended)])
        ended.clear()
        deployment.send(1)
        turns = deployment.begin()
        deployment.commit_together(turns)
        assert [turn.run() for turn in turns] == [TurnEnd.DONE] * 3
        assert len(ended) == 3
        deployment.context.leases.close()

    def test_receive_the_next_messages_with_their_commit(
        self, deployment: Deployment, backend: CountingBackend
    ) -> None:
        deployment.send(1, 2)
        turns = deployment.begin(limit=3)
        prefetched = deployment.commit_together(turns, receive=10)
        assert len(prefetched) == 6 - 3
        assert deployment.commit_together(deployment.start(prefetched), receive=10) == ()
        assert deployment.applied() == [[1, 2]] * 3
        assert len(backend.writes) == 2

    def test_that_conflict_are_computed_again_and_the_others_are_done(
        self, deployment: Deployment, backend: CountingBackend
    ) -> None:
        deployment.send(1)
        turns = deployment.begin()
        key = Key(deployment.machine.id, "ben")
        stored = backend.store.load(key)
        assert stored is not None
        backend.store.commit(key, evolve(stored, version=stored.version + 1), stored.version)
        deployment.commit_together(turns)
        assert [turn.end for turn in turns] == [TurnEnd.DONE] * 3
        assert deployment.applied() == [[1]] * 3
        assert backend.writes[1:] == [[key]]

    @pytest.mark.parametrize("error", [OutcomeUnknownError("lost"), UnavailableError("no route")])
    def test_are_applied_once_if_the_commit_fails_or_its_answer_is_lost(
        self, deployment: Deployment, backend: CountingBackend, error: SettledError
    ) -> None:
        deployment.send(1)
        backend.errors.append(error)
        turns = deployment.begin()
        deployment.commit_together(turns)
        assert [turn.end for turn in turns] == [TurnEnd.DONE] * 3
        assert deployment.applied() == [[1]] * 3

    def test_are_done_although_one_of_them_cannot_be_read(
        self, deployment: Deployment, backend: CountingBackend
    ) -> None:
        deployment.send(1)
        key = Key(deployment.machine.id, "ben")
        stored = backend.store.load(key)
        assert stored is not None
        backend.store.commit(key, evolve(stored, version=stored.version + 1, body="{"), stored.version)
        turns = deployment.begin()
        deployment.commit_together(turns)
        ends = {turn.key.instance: turn.end for turn in turns}
        assert ends["ada"] == ends["cem"] == TurnEnd.DONE
        assert isinstance(ends["ben"], SettledError)


class TestATurnWithAnAction:
    def test_stops_after_its_commit_and_performs_the_action_by_itself(self, backend: CountingBackend) -> None:
        reported: list[int] = []
        deployment = Deployment(appending(lambda a: reported.append(a.event["n"])), backend)
        deployment.send(1)
        deployment.client.send("ben", {"type": "TELL", "n": 7})
        turns = deployment.begin()
        deployment.commit_together(turns)
        (slow,) = [turn for turn in turns if turn.end is None]
        assert slow.key.instance == "ben"
        assert reported == []
        assert slow.run() == TurnEnd.DONE
        assert reported == [7]
        deployment.context.leases.close()

    def test_is_put_back_before_its_commit_if_no_thread_is_free(self, backend: CountingBackend) -> None:
        deployment = Deployment(appending(lambda a: None), backend)
        deployment.send(1)
        deployment.client.send("ben", {"type": "TELL", "n": 7})
        turns = deployment.begin()
        commit_together(deployment.context, turns, take_thread=lambda: False)
        assert {turn.key.instance: turn.end for turn in turns} == {
            "ada": TurnEnd.DONE,
            "ben": TurnEnd.RELEASED,
            "cem": TurnEnd.DONE,
        }
        assert deployment.applied() == [[1], [], [1]]
        assert {each.message.key.instance for each in backend.queue.receive(10)} == {"ben"}
        deployment.context.leases.close()


class TestABackendWithoutJointFinish:
    def test_begins_no_turn(self) -> None:
        deployment = Deployment(appending(), WithoutJointFinish())
        deployment.send(1)
        turns = deployment.begin()
        assert deployment.commit_together(turns, receive=10) == ()
        assert [turn.end for turn in turns] == [None] * 3
        assert [turn.run() for turn in turns] == [TurnEnd.DONE] * 3
        deployment.context.leases.close()
