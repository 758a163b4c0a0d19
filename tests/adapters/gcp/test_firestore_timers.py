"""Timers in Firestore, and the sweeps for due ones."""

from __future__ import annotations

import time
from collections import abc
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from attrs import define, field

from settled import Key, TooLargeError
from settled.durable.messages import Message
from settled.durable.ports import Backlog, Delivery
from settled_gcp.documents import Collection
from settled_gcp.firestore_timers import FirestoreTimers, SweptQueue
from tests.support.builders import ADA, BEN, message, timer, watched


@define
class Clock:
    """A clock that the test sets."""

    time: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


@define
class FakeQueue:
    """An in-memory queue without leases."""

    sent: list[Message] = field(factory=list[Message])
    waits: list[float] = field(factory=list[float])

    def send(self, messages: Sequence[Message]) -> None:
        self.sent += messages

    def receive(self, limit: int, wait: float = 0.0, machines: abc.Collection[str] | None = None) -> Sequence[Delivery]:
        self.waits.append(wait)
        time.sleep(0.0 if self.sent else wait)
        some, self.sent = self.sent[:limit], self.sent[limit:]
        return [Delivery(each, each.id, 1, 0.0) for each in some]

    def ack(self, deliveries: Sequence[Delivery]) -> None: ...

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None: ...

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None: ...

    def set_aside(self, data: bytes, ordering: str, id: str) -> bool:
        return False

    def backlog(self) -> Sequence[Backlog]:
        return ()

    def withdraw(self, deliveries: Sequence[Delivery]) -> None: ...

    @property
    def ids(self) -> list[str]:
        return [each.id for each in self.sent]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def timers(documents: Any, collection: Collection, queue: FakeQueue, clock: Clock) -> FirestoreTimers:
    return FirestoreTimers(documents, collection, queue.send, clock)


class TestSweep:
    def test_due_timers_are_sent_once_and_others_wait(
        self, timers: FirestoreTimers, queue: FakeQueue, clock: Clock
    ) -> None:
        timers.schedule(timer("late", clock() + 60.5, BEN))
        timers.schedule(timer("soon", clock() + 1.5))
        assert timers.sweep() == 0
        clock.time += 1.25
        assert timers.sweep() == 0
        clock.time += 0.25
        assert timers.sweep() == 1
        assert queue.sent == [message(ADA, "soon")]
        assert timers.sweep() == 0
        clock.time += 100
        assert timers.sweep() == 1
        assert queue.ids == ["soon", "late"]

    def test_a_timer_that_is_due_already_is_sent_at_once(
        self, timers: FirestoreTimers, queue: FakeQueue, clock: Clock
    ) -> None:
        timers.schedule(timer("t", clock() + 60))
        timers.schedule(timer("t", clock() - 1))
        assert queue.ids == ["t"]
        clock.time += 100
        assert timers.sweep() == 0

    def test_the_longest_due_are_sent_first_up_to_the_limit(
        self, timers: FirestoreTimers, queue: FakeQueue, clock: Clock
    ) -> None:
        for number in (3, 1, 4, 2):
            timers.schedule(timer(f"{number}", clock() + number))
        clock.time += 10
        assert timers.sweep(limit=3) == 3
        assert queue.ids == ["1", "2", "3"]
        assert timers.sweep(limit=3) == 1

    def test_a_cancelled_timer_is_not_sent_and_an_unknown_one_is_no_error(
        self, timers: FirestoreTimers, clock: Clock
    ) -> None:
        timers.schedule(timer("t", clock() + 1))
        timers.cancel("t")
        timers.cancel("t")
        timers.cancel("never scheduled")
        clock.time += 10
        assert timers.sweep() == 0

    def test_a_replaced_timer_is_sent_at_its_new_time_only(
        self, timers: FirestoreTimers, queue: FakeQueue, clock: Clock
    ) -> None:
        timers.schedule(timer("t", clock() + 1))
        timers.schedule(timer("t", clock() + 20))
        clock.time += 10
        assert timers.sweep() == 0
        clock.time += 10
        assert timers.sweep() == 1
        assert queue.ids == ["t"]

    def test_a_timer_that_is_rescheduled_during_a_sweep_is_not_deleted(
        self, documents: Any, collection: Collection, clock: Clock
    ) -> None:
        timers = FirestoreTimers(documents, collection, lambda _: None, clock)

        def reschedule(messages: Sequence[Message]) -> None:
            timers.schedule(timer("t", clock() + 20))

        timers.schedule(timer("t", clock() + 1))
        clock.time += 10
        assert FirestoreTimers(documents, collection, reschedule, clock).sweep() == 1
        clock.time += 20
        assert timers.sweep() == 1

    def test_a_timer_that_could_not_be_sent_stays(self, documents: Any, collection: Collection, clock: Clock) -> None:
        def fail(messages: Sequence[Message]) -> None:
            raise ConnectionError

        timers = FirestoreTimers(documents, collection, fail, clock)
        timers.schedule(timer("t", clock() + 1))
        clock.time += 10
        for _ in range(2):
            with pytest.raises(ConnectionError):
                timers.sweep()

    def test_a_document_that_is_not_settleds_is_left_alone(
        self, documents: Any, collection: Collection, timers: FirestoreTimers, clock: Clock
    ) -> None:
        name = f"{collection.parent}/{collection.timers}/theirs"
        written = {"name": name, "fields": {"due": {"double_value": 1.0}}}
        documents.commit(request={"database": collection.database, "writes": [{"update": written}]})
        timers.schedule(timer("t", clock() + 1))
        clock.time += 10
        assert timers.sweep() == 1

    def test_odd_texts_round_trip(self, timers: FirestoreTimers, queue: FakeQueue, clock: Clock) -> None:
        odd = timer("\ud83d\0é🙂", clock() + 1, Key("a/b", "\ud800"))
        timers.schedule(odd)
        clock.time += 10
        timers.sweep()
        assert queue.sent == [odd.message]

    def test_a_message_larger_than_a_document_is_too_large(self, timers: FirestoreTimers, clock: Clock) -> None:
        large = timer("t", clock() + 1)
        with pytest.raises(TooLargeError, match=r"the timer t: 1,048,\d\d\d bytes"):
            timers.schedule(type(large)(large.id, message(ADA, "t", "x" * 1_048_400), large.due))


class TestSweptQueue:
    def test_receive_sweeps_first(self, timers: FirestoreTimers, queue: FakeQueue, clock: Clock) -> None:
        timers.schedule(timer("t", clock() + 1))
        clock.time += 10
        assert [each.message.id for each in SweptQueue(queue, timers, clock=clock).receive(10)] == ["t"]

    def test_after_an_empty_sweep_it_does_not_sweep_for_some_time(
        self, documents: Any, collection: Collection, queue: FakeQueue, clock: Clock
    ) -> None:
        sweeps = list[str]()
        timers = FirestoreTimers(watched(documents, sweeps.append), collection, queue.send, clock)
        swept = SweptQueue(queue, timers, every=timedelta(seconds=5), clock=clock)
        for _ in range(10):
            clock.time += 1
            swept.receive(10)
        assert sweeps == ["run_query"] * 2

    def test_after_a_sweep_that_found_timers_it_sweeps_again(
        self, timers: FirestoreTimers, queue: FakeQueue, clock: Clock
    ) -> None:
        for number in range(150):
            timers.schedule(timer(f"{number}", clock() + 1))
        clock.time += 10
        swept = SweptQueue(queue, timers, clock=clock)
        assert len(swept.receive(1000)) == 100
        assert len(swept.receive(1000)) == 50

    def test_a_long_wait_is_interrupted_by_sweeps(self, timers: FirestoreTimers, queue: FakeQueue) -> None:
        swept = SweptQueue(queue, timers, every=timedelta(seconds=0.05))
        swept.receive(10, wait=0.2)
        assert len(queue.waits) >= 3
        assert sum(queue.waits) == pytest.approx(0.2, abs=0.05)
