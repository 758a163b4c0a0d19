"""A waiting receive wakes when a message becomes ready, for whichever reason (D1, T2, R2)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from settled.durable.ports import Delivery, Write
from settled.key import Key
from tests.adapters.local.fixtures import ADA, BackendEnv, ids, message, timer

OTHER = Key("signup", "other")


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def test_receive_waits_no_longer_than_asked(env: BackendEnv) -> None:
    begun = time.monotonic()
    assert not env.queue.receive(1, wait=0.1)
    assert 0.1 <= time.monotonic() - begun < 1
    assert not env.queue.receive(0, wait=60)


def test_receive_does_not_wait_if_a_message_is_ready(env: BackendEnv) -> None:
    env.send(ADA, "a")
    assert ids(env.queue.receive(10, wait=60)) == ["a"]


def expire(env: BackendEnv, held: list[Delivery]) -> None:
    env.clock.now = held[0].lease_until


WAKES: dict[str, Callable[[BackendEnv, list[Delivery]], object]] = {
    "ack": lambda env, held: env.queue.ack(held),
    "release": lambda env, held: env.queue.release(held),
    "finish": lambda env, held: env.backend.finish(Write(ADA, acks=tuple(held))),
    "expiry": expire,
    "send": lambda env, held: env.queue.send([message(OTHER, "x")]),
    "send by another backend object": lambda env, held: env.reopen().queue.send([message(OTHER, "x")]),
    "due timer": lambda env, held: env.timers.schedule(timer("x", 0.0, OTHER)),
}


@pytest.mark.parametrize("wake", list(WAKES.values()), ids=list(WAKES))
def test_receive_wakes_when_a_message_becomes_ready(
    env: BackendEnv, threads: ThreadPoolExecutor, wake: Callable[[BackendEnv, list[Delivery]], object]
) -> None:
    env.send(ADA, "a", "b")
    held = env.take()
    waiting = threads.submit(env.queue.receive, 1, 60)
    time.sleep(0.05)
    assert not waiting.done()
    begun = time.monotonic()
    wake(env, held)
    assert len(waiting.result(timeout=10)) == 1
    assert time.monotonic() - begun < 1


def test_changes_by_this_process_wake_receive_without_polling(
    env: BackendEnv, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("settled_local.memory.queue.POLL_INTERVAL", 30)
    monkeypatch.setattr("settled_local.sqlite.queue.LONGEST_WAIT", 30)
    waiting = threads.submit(env.queue.receive, 1, 60)
    time.sleep(0.05)
    env.send(ADA, "a")
    assert ids(waiting.result(timeout=10)) == ["a"]


def test_receive_returns_a_timer_that_comes_due_while_it_waits(env: BackendEnv, threads: ThreadPoolExecutor) -> None:
    env.timers.schedule(timer("t", env.clock.now + 3600))
    waiting = threads.submit(env.queue.receive, 1, 60)
    time.sleep(0.05)
    assert not waiting.done()
    env.clock.now += 3600
    assert ids(waiting.result(timeout=10)) == ["t"]


def test_each_message_goes_to_one_of_many_receivers(env: BackendEnv, threads: ThreadPoolExecutor) -> None:
    """R1: no receiver goes on waiting while there is a message."""
    waiting = [threads.submit(env.queue.receive, 1, 60) for _ in range(8)]
    time.sleep(0.05)
    for n in range(8):
        env.queue.send([message(Key("signup", str(n)), str(n))])
    received = [delivery for call in waiting for delivery in call.result(timeout=10)]
    assert sorted(ids(received)) == [str(n) for n in range(8)]


def test_waiting_uses_little_cpu(env: BackendEnv, threads: ThreadPoolExecutor) -> None:
    begun = time.process_time()
    calls = [threads.submit(env.queue.receive, 1, 0.5) for _ in range(4)]
    assert not any(call.result() for call in calls)
    assert time.process_time() - begun < 0.25
