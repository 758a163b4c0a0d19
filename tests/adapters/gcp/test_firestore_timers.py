"""Timers that are documents, and the looks for those that are due."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from attrs import define, field

from settled import Key, TooLargeError
from settled.durable.messages import Message
from settled.durable.ports import Delivery
from settled_gcp.documents import Collection
from settled_gcp.firestore_timers import FirestoreTimers, SweptQueue
from tests.support.builders import ADA, BEN, message, timer, watched


@define
class Clock:
    """A clock that is set by hand."""

    time: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


@define
class Line:
    """A queue in memory: what is sent is handed out at once."""

    sent: list[Message] = field(factory=list[Message])
    asked: list[float] = field(factory=list[float])

    def send(self, messages: Sequence[Message]) -> None:
        self.sent += messages

    def receive(self, limit: int, wait: float = 0.0) -> Sequence[Delivery]:
        self.asked.append(wait)
        time.sleep(0.0 if self.sent else wait)
        some, self.sent = self.sent[:limit], self.sent[limit:]
        return [Delivery(each, each.id, 1, 0.0) for each in some]

    def ack(self, deliveries: Sequence[Delivery]) -> None: ...

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None: ...

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None: ...

    @property
    def ids(self) -> list[str]:
        return [each.id for each in self.sent]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def timers(documents: Any, collection: Collection, line: Line, clock: Clock) -> FirestoreTimers:
    return FirestoreTimers(documents, collection, line.send, clock)


class TestSweep:
    def test_what_is_due_is_sent_once_and_what_is_not_waits(
        self, timers: FirestoreTimers, line: Line, clock: Clock
    ) -> None:
        timers.schedule(timer("late", clock() + 60.5, BEN))
        timers.schedule(timer("soon", clock() + 1.5))
        assert timers.sweep() == 0
        clock.time += 1.25
        assert timers.sweep() == 0
        clock.time += 0.25
        assert timers.sweep() == 1
        assert line.sent == [message(ADA, "soon")]
        assert timers.sweep() == 0
        clock.time += 100
        assert timers.sweep() == 1
        assert line.ids == ["soon", "late"]

    def test_what_is_due_already_is_sent_at_once(self, timers: FirestoreTimers, line: Line, clock: Clock) -> None:
        timers.schedule(timer("t", clock() + 60))
        timers.schedule(timer("t", clock() - 1))
        assert line.ids == ["t"]
        clock.time += 100
        assert timers.sweep() == 0

    def test_the_longest_due_go_first_and_no_more_than_asked_for(
        self, timers: FirestoreTimers, line: Line, clock: Clock
    ) -> None:
        for number in (3, 1, 4, 2):
            timers.schedule(timer(f"{number}", clock() + number))
        clock.time += 10
        assert timers.sweep(limit=3) == 3
        assert line.ids == ["1", "2", "3"]
        assert timers.sweep(limit=3) == 1

    def test_a_cancelled_one_does_not_come_and_an_unknown_one_is_no_error(
        self, timers: FirestoreTimers, clock: Clock
    ) -> None:
        timers.schedule(timer("t", clock() + 1))
        timers.cancel("t")
        timers.cancel("t")
        timers.cancel("never scheduled")
        clock.time += 10
        assert timers.sweep() == 0

    def test_a_replaced_one_comes_at_its_new_time_only(self, timers: FirestoreTimers, line: Line, clock: Clock) -> None:
        timers.schedule(timer("t", clock() + 1))
        timers.schedule(timer("t", clock() + 20))
        clock.time += 10
        assert timers.sweep() == 0
        clock.time += 10
        assert timers.sweep() == 1
        assert line.ids == ["t"]

    def test_one_that_is_put_off_while_it_is_swept_is_not_forgotten(
        self, documents: Any, collection: Collection, clock: Clock
    ) -> None:
        timers = FirestoreTimers(documents, collection, lambda _: None, clock)

        def put_off(messages: Sequence[Message]) -> None:
            timers.schedule(timer("t", clock() + 20))

        timers.schedule(timer("t", clock() + 1))
        clock.time += 10
        assert FirestoreTimers(documents, collection, put_off, clock).sweep() == 1
        clock.time += 20
        assert timers.sweep() == 1

    def test_what_could_not_be_sent_stays(self, documents: Any, collection: Collection, clock: Clock) -> None:
        def fail(messages: Sequence[Message]) -> None:
            raise ConnectionError

        timers = FirestoreTimers(documents, collection, fail, clock)
        timers.schedule(timer("t", clock() + 1))
        clock.time += 10
        for _ in range(2):
            with pytest.raises(ConnectionError):
                timers.sweep()

    def test_what_is_not_settleds_is_left(
        self, documents: Any, collection: Collection, timers: FirestoreTimers, clock: Clock
    ) -> None:
        name = f"{collection.parent}/{collection.timers}/theirs"
        written = {"name": name, "fields": {"due": {"double_value": 1.0}}}
        documents.commit(request={"database": collection.database, "writes": [{"update": written}]})
        timers.schedule(timer("t", clock() + 1))
        clock.time += 10
        assert timers.sweep() == 1

    def test_odd_texts_come_back(self, timers: FirestoreTimers, line: Line, clock: Clock) -> None:
        odd = timer("\ud83d\0é🙂", clock() + 1, Key("a/b", "\ud800"))
        timers.schedule(odd)
        clock.time += 10
        timers.sweep()
        assert line.sent == [odd.message]

    def test_more_than_a_document_holds_is_refused(self, timers: FirestoreTimers, clock: Clock) -> None:
        large = timer("t", clock() + 1)
        with pytest.raises(TooLargeError, match=r"the timer t: 1,048,\d\d\d bytes"):
            timers.schedule(type(large)(large.id, message(ADA, "t", "x" * 1_048_400), large.due))


class TestWhoLooks:
    def test_whoever_receives_looks_first(self, timers: FirestoreTimers, line: Line, clock: Clock) -> None:
        timers.schedule(timer("t", clock() + 1))
        clock.time += 10
        assert [each.message.id for each in SweptQueue(line, timers, clock=clock).receive(10)] == ["t"]

    def test_where_nothing_was_due_nobody_looks_again_so_soon(
        self, documents: Any, collection: Collection, line: Line, clock: Clock
    ) -> None:
        looks = list[str]()
        timers = FirestoreTimers(watched(documents, looks.append), collection, line.send, clock)
        queue = SweptQueue(line, timers, every=5.0, clock=clock)
        for _ in range(10):
            clock.time += 1
            queue.receive(10)
        assert looks == ["run_query"] * 2

    def test_where_some_were_due_somebody_looks_for_more(
        self, timers: FirestoreTimers, line: Line, clock: Clock
    ) -> None:
        for number in range(150):
            timers.schedule(timer(f"{number}", clock() + 1))
        clock.time += 10
        queue = SweptQueue(line, timers, clock=clock)
        assert len(queue.receive(1000)) == 100
        assert len(queue.receive(1000)) == 50

    def test_a_long_wait_is_broken_off_for_looks(self, timers: FirestoreTimers, line: Line) -> None:
        queue = SweptQueue(line, timers, every=0.05)
        queue.receive(10, wait=0.2)
        assert len(line.asked) >= 3
        assert sum(line.asked) == pytest.approx(0.2, abs=0.05)
