"""A receive that waits wakes when there is something, however that came about (D1, T2, R2)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from settled.durable.ports import Delivery, Write
from settled.key import Key
from tests.adapters.local.fixtures import ADA, Place, ids, message, timer

OTHER = Key("signup", "somebody else")


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def test_nothing_is_waited_for_in_vain(place: Place) -> None:
    begun = time.monotonic()
    assert not place.queue.receive(1, wait=0.1)
    assert 0.1 <= time.monotonic() - begun < 1
    assert not place.queue.receive(0, wait=60)


def test_what_is_there_is_not_waited_for(place: Place) -> None:
    place.send(ADA, "a")
    assert ids(place.queue.receive(10, wait=60)) == ["a"]


def expire(place: Place, held: list[Delivery]) -> None:
    place.clock.now = held[0].until


WAKES: dict[str, Callable[[Place, list[Delivery]], object]] = {
    "ack": lambda place, held: place.queue.ack(held),
    "release": lambda place, held: place.queue.release(held),
    "finish": lambda place, held: place.backend.finish(Write(ADA, acks=tuple(held))),
    "expiry": expire,
    "send": lambda place, held: place.queue.send([message(OTHER, "x")]),
    "send elsewhere": lambda place, held: place.again().queue.send([message(OTHER, "x")]),
    "due timer": lambda place, held: place.timers.schedule(timer("x", 0.0, OTHER)),
}


@pytest.mark.parametrize("wake", list(WAKES.values()), ids=list(WAKES))
def test_whatever_makes_a_message_ready_wakes_it(
    place: Place, threads: ThreadPoolExecutor, wake: Callable[[Place, list[Delivery]], object]
) -> None:
    place.send(ADA, "a", "b")
    held = place.take()
    waiting = threads.submit(place.queue.receive, 1, 60)
    time.sleep(0.05)
    assert not waiting.done()
    begun = time.monotonic()
    wake(place, held)
    assert len(waiting.result(timeout=10)) == 1
    assert time.monotonic() - begun < 1


def test_what_this_process_does_wakes_it_without_another_look(
    place: Place, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("settled_local.memory.queue.POLL_INTERVAL", 30)
    monkeypatch.setattr("settled_local.sqlite.queue.POLL_INTERVAL", 30)
    waiting = threads.submit(place.queue.receive, 1, 60)
    time.sleep(0.05)
    place.send(ADA, "a")
    assert ids(waiting.result(timeout=10)) == ["a"]


def test_a_timer_that_is_due_while_it_waits(place: Place, threads: ThreadPoolExecutor) -> None:
    place.timers.schedule(timer("t", place.clock.now + 3600))
    waiting = threads.submit(place.queue.receive, 1, 60)
    time.sleep(0.05)
    assert not waiting.done()
    place.clock.now += 3600
    assert ids(waiting.result(timeout=10)) == ["t"]


def test_each_message_goes_to_one_of_many_that_wait(place: Place, threads: ThreadPoolExecutor) -> None:
    """R1: and nobody who could have one goes on waiting."""
    waiting = [threads.submit(place.queue.receive, 1, 60) for _ in range(8)]
    time.sleep(0.05)
    for n in range(8):
        place.queue.send([message(Key("signup", str(n)), str(n))])
    received = [delivery for call in waiting for delivery in call.result(timeout=10)]
    assert sorted(ids(received)) == [str(n) for n in range(8)]


def test_waiting_costs_little(place: Place, threads: ThreadPoolExecutor) -> None:
    begun = time.process_time()
    calls = [threads.submit(place.queue.receive, 1, 0.5) for _ in range(4)]
    assert not any(call.result() for call in calls)
    assert time.process_time() - begun < 0.25
