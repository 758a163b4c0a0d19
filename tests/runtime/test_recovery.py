"""`recover_dropped` empties dead-letter queues, whoever works meanwhile, and leaves there what it cannot bring back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from attrs import define, evolve, field

from settled import ConflictError, Key, TooLargeError, UnsupportedError
from settled.durable import DeadLetter, Event, Message, Recovered, Start, Stored, encode
from settled_local import MemoryBackend
from settled_runtime import Client, CompositeBackend, DroppedMessage, Host, recover_dropped, recovery
from tests.durable.machines import add, appending

ADA, BEN = Key("list", "ada"), Key("list", "ben")


@define
class GivenUp:
    """A dead-letter queue in memory, which delivers `batch` messages at once. What was received is hidden for ever."""

    name: str = "given-up"
    has_timers_only: bool = False
    batch: int = 1000
    waiting: list[DroppedMessage] = field(factory=list[DroppedMessage])
    hidden: dict[str, DroppedMessage] = field(factory=dict[str, DroppedMessage])

    def put(self, key: Key, *numbers: int) -> None:
        for number in numbers:
            message = Message(key, f"add-{number}", encode(Event(add(number))))
            self.waiting.append(DroppedMessage(message, f"{key} {number}", f"{key} {number}", 0.0, message.body))

    def receive(self) -> Sequence[DroppedMessage]:
        some, self.waiting = self.waiting[: self.batch], self.waiting[self.batch :]
        self.hidden |= {each.receipt: each for each in some}
        return some

    def delete(self, messages: Sequence[DroppedMessage]) -> None:
        for each in messages:
            del self.hidden[each.receipt]


class Conflicting:
    """A store in which another commit comes first, once."""

    def __init__(self, store: Any) -> None:
        self._store, self._is_first = store, True

    def commit(self, *arguments: Any) -> None:
        if self._is_first:
            self._is_first = False
            raise ConflictError("another commit came first")
        self._store.commit(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Limited:
    """A store that takes seven dead letters in one write."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def commit(
        self, key: Key, stored: Stored, expected: int, added: Sequence[DeadLetter] = (), removed: int = 0
    ) -> None:
        if len(added) > 7:
            raise TooLargeError(f"{len(added)} dead letters at once; the limit is 7")
        self._store.commit(key, stored, expected, added, removed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture
def memory() -> MemoryBackend:
    return MemoryBackend(timedelta(seconds=5))


@pytest.fixture
def given_up() -> GivenUp:
    return GivenUp()


@pytest.fixture
def backend(memory: MemoryBackend, given_up: GivenUp) -> Iterator[CompositeBackend]:
    yield CompositeBackend(memory.store, memory.queue, memory.timers, dead_letter_queues=lambda: [given_up])


def work(backend: CompositeBackend) -> None:
    with Host([appending()], backend) as host:
        while held := backend.queue.receive(100):
            host.handle(held)


def applied(backend: CompositeBackend, instance: str) -> list[int]:
    snapshot = Client(appending(), backend).get(instance)
    assert snapshot is not None
    return list(snapshot.context["applied"])


def test_messages_of_several_instances_come_back_each_in_its_order(
    backend: CompositeBackend, given_up: GivenUp
) -> None:
    for instance in ("ada", "ben"):
        Client(appending(), backend).start(instance)
    work(backend)
    for number in range(120):
        given_up.put((ADA, BEN)[number % 2], number)
    report = recover_dropped(backend)
    assert [(each.key, len(each.added)) for each in report.recovered] == [(ADA, 50), (ADA, 10), (BEN, 50), (BEN, 10)]
    work(backend)
    assert applied(backend, "ada") == [*range(0, 120, 2)]
    assert applied(backend, "ben") == [*range(1, 120, 2)]
    assert given_up.hidden == {}


def test_a_commit_that_comes_first_is_waited_for(backend: CompositeBackend, given_up: GivenUp) -> None:
    given_up.put(ADA, 1)
    busy = evolve(backend, store=Conflicting(backend.store))
    (recovered,) = recover_dropped(busy).recovered
    assert recovered.added == ("add-1",)
    assert given_up.hidden == {}


def test_a_store_that_takes_fewer_in_one_write_gets_fewer(backend: CompositeBackend, given_up: GivenUp) -> None:
    Client(appending(), backend).start("ada")
    work(backend)
    given_up.put(ADA, *range(30))
    report = recover_dropped(evolve(backend, store=Limited(backend.store)))
    assert [id for each in report.recovered for id in each.added] == [f"add-{number}" for number in range(30)]
    assert (report.left, given_up.hidden) == ([], {})
    work(backend)
    assert applied(backend, "ada") == [*range(30)]


def test_what_no_write_takes_stays(backend: CompositeBackend, given_up: GivenUp) -> None:
    """Dead letters that are behind it have to be moved with each write, and there are too many of them."""
    Client(appending(), backend).start("ada")
    work(backend)
    stored = backend.store.load(ADA)
    assert stored is not None
    others = [DeadLetter(Message(ADA, f"{number}", "{}"), "is invalid", 0.0) for number in range(8)]
    backend.store.commit(ADA, evolve(stored, version=stored.version + 1), stored.version, others)
    given_up.put(ADA, 1, 2)
    report = recover_dropped(evolve(backend, store=Limited(backend.store)))
    assert [each.reason for each in report.left] == ["9 dead letters at once; the limit is 7"] * 2
    assert len(given_up.hidden) == 2


def test_after_messages_that_stay_no_later_ones_of_their_instance_come_back(
    backend: CompositeBackend, given_up: GivenUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "PATIENCE", -1.0)
    given_up.batch = 2
    given_up.put(ADA, 1, 2, 3)
    given_up.put(BEN, 4)
    busy = evolve(backend, store=Conflicting(backend.store))
    report = recover_dropped(busy)
    assert [each.added for each in report.recovered] == [("add-4",)]
    assert [each.reason for each in report.left] == ["another commit came first"] * 3
    assert [id for each in recover_dropped_again(busy, given_up) for id in each.added] == ["add-1", "add-2", "add-3"]


def recover_dropped_again(backend: CompositeBackend, given_up: GivenUp) -> Sequence[Recovered]:
    """Recover once what was hidden is so no longer."""
    given_up.waiting, given_up.hidden = [*given_up.hidden.values()], {}
    return recover_dropped(backend).recovered


def test_what_stays_is_named(backend: CompositeBackend, given_up: GivenUp) -> None:
    given_up.waiting.append(DroppedMessage(None, "1", "1", 0.0, "hello"))
    (left,) = recover_dropped(backend).left
    assert (left.queue, left.text, left.reason) == ("given-up", "hello", "is not settled's")
    assert [*given_up.hidden] == ["1"]


def test_messages_of_timers_are_sent_again(backend: CompositeBackend, given_up: GivenUp) -> None:
    given_up.has_timers_only = True
    message = Message(ADA, "t", encode(Start()))
    given_up.waiting.append(DroppedMessage(message, "1", "1", 0.0, ""))
    assert recover_dropped(backend).sent == [message]
    assert [each.message for each in backend.queue.receive(1)] == [message]
    assert given_up.hidden == {}


def test_a_backend_without_such_queues_has_nothing_to_recover(memory: MemoryBackend) -> None:
    with pytest.raises(UnsupportedError, match="gives up no message"):
        recover_dropped(memory)
    with pytest.raises(UnsupportedError, match="gives up no message"):
        recover_dropped(CompositeBackend(memory.store, memory.queue, memory.timers))
