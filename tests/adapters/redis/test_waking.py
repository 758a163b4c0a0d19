"""A waiting receiver is woken by each event that it waits for (L1). Here it polls only every half a minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta

import pytest

from settled.durable.ports import Delivery
from settled.key import Key
from settled_redis import queue
from settled_redis.backend import RedisBackend
from tests.adapters.local.fixtures import ADA, BEN, ids, message, timer
from tests.adapters.redis.conftest import Opener
from tests.emulators.redis_servers import Process

SOON = 5.0
"""In seconds: far less than the poll interval, and far more than a wakeup takes."""


@pytest.fixture(params=[1, 4], ids=["one partition", "four partitions"])
def backend(
    request: pytest.FixtureRequest,
    redis: Process,
    opener: Callable[[Process], Opener],
    monkeypatch: pytest.MonkeyPatch,
) -> RedisBackend:
    """It uses the server's clock."""
    monkeypatch.setattr(queue, "POLL_INTERVAL", 30.0)
    return opener(redis)(
        clock=None, timeout=timedelta(minutes=1), lease=timedelta(seconds=30), partitions=request.param
    )


@pytest.fixture(params=[None, ("one", "signup")], ids=["for all machines", "for two machines"])
def waiting(
    request: pytest.FixtureRequest, backend: RedisBackend
) -> Iterator[Callable[[], Future[Sequence[Delivery]]]]:
    """Return a function that starts a thread that waits for one message."""
    with ThreadPoolExecutor(8) as threads:

        def wait() -> Future[Sequence[Delivery]]:
            future = threads.submit(backend.queue.receive, 1, 20.0, request.param)
            time.sleep(0.2)
            return future

        yield wait


Waiting = Callable[[], "Future[Sequence[Delivery]]"]


def hold(backend: RedisBackend) -> Sequence[Delivery]:
    """Send two messages and return the delivery of the first."""
    backend.queue.send([message(ADA, "a"), message(ADA, "b")])
    return backend.queue.receive(1)


def test_by_a_message(backend: RedisBackend, waiting: Waiting) -> None:
    waiter = waiting()
    backend.queue.send([message(ADA, "a")])
    assert ids(waiter.result(SOON)) == ["a"]


def test_by_an_acknowledgement_that_frees_the_next(backend: RedisBackend, waiting: Waiting) -> None:
    held = hold(backend)
    waiter = waiting()
    backend.queue.ack(held)
    assert ids(waiter.result(SOON)) == ["b"]


@pytest.mark.parametrize("delay", [0.0, 0.3])
def test_by_a_release(backend: RedisBackend, waiting: Waiting, delay: float) -> None:
    held = hold(backend)
    waiter = waiting()
    backend.queue.release(held, delay)
    assert ids(waiter.result(SOON)) == ["a"]


def test_by_a_release_behind_a_lease_that_was_extended(backend: RedisBackend, waiting: Waiting) -> None:
    backend.queue.send([message(ADA, "a"), message(BEN, "b")])
    held = {each.message.key: each for each in (*backend.queue.receive(1), *backend.queue.receive(1))}
    backend.queue.extend([held[BEN]], 0.6)
    waiter = waiting()
    backend.queue.extend([held[BEN]], 30)
    backend.queue.release([held[ADA]], 0.9)
    assert ids(waiter.result(SOON)) == ["a"]


def test_by_the_end_of_a_lease(backend: RedisBackend, waiting: Waiting) -> None:
    backend.queue.extend(hold(backend), 0.6)
    assert ids(waiting().result(SOON)) == ["a"]


def test_by_a_timer(backend: RedisBackend, waiting: Waiting) -> None:
    """Scheduled before the wait, during it, or earlier than the one that was next."""
    backend.timers.schedule(timer("known", time.time() + 0.5))
    assert ids(waiting().result(SOON)) == ["known"]
    backend.timers.schedule(timer("later", time.time() + 60, BEN))
    waiter = waiting()
    backend.timers.schedule(timer("earlier", time.time() + 0.3, BEN))
    assert ids(waiter.result(SOON)) == ["earlier"]


def test_each_by_a_message_of_its_own(backend: RedisBackend, waiting: Waiting) -> None:
    """Sent one by one, and together."""
    waiters = [waiting() for _ in range(4)]
    for n in range(2):
        backend.queue.send([message(Key("one", f"{n}"), f"{n}")])
    backend.queue.send([message(Key("one", f"{n}"), f"{n}") for n in (2, 3)])
    assert sorted(id for waiter in waiters for id in ids(waiter.result(SOON))) == ["0", "1", "2", "3"]


def test_each_by_a_timer_of_its_own(backend: RedisBackend, waiting: Waiting) -> None:
    waiters = [waiting() for _ in range(4)]
    due = time.time() + 0.4
    for n in range(4):
        backend.timers.schedule(timer(f"{n}", due, Key("one", f"{n}")))
    assert sorted(id for waiter in waiters for id in ids(waiter.result(SOON))) == ["0", "1", "2", "3"]


BILL = Key("billing", "1")


def scripts_run(redis: Process) -> int:
    """Return how many calls of the script the server has carried out."""
    return int(redis.client.info("commandstats")["cmdstat_evalsha"]["calls"])


class TestAReceiverForOneMachine:
    """Beside a receiver for another."""

    def test_is_woken_by_a_timer_that_the_other_fires(self, backend: RedisBackend) -> None:
        backend.timers.schedule(timer("reminder", time.time() + 0.5, BILL))
        with ThreadPoolExecutor(2) as threads:
            other = threads.submit(backend.queue.receive, 1, 2.0, {"signup"})
            time.sleep(0.1)
            waiter = threads.submit(backend.queue.receive, 1, 20.0, {"billing"})
            assert ids(waiter.result(SOON)) == ["reminder"]
            assert not other.result(SOON)

    def test_is_not_woken_by_messages_of_the_other(self, redis: Process, backend: RedisBackend) -> None:
        with ThreadPoolExecutor(1) as threads:
            waiter = threads.submit(backend.queue.receive, 1, 20.0, {"signup"})
            time.sleep(0.2)
            before = scripts_run(redis)
            for number in range(10):
                backend.queue.send([message(Key("billing", str(number)), "bill")])
            time.sleep(0.2)
            assert scripts_run(redis) - before == 10  # those of the sends
            backend.queue.send([message(ADA, "a")])
            assert ids(waiter.result(SOON)) == ["a"]

    def test_leaves_the_wakeup_of_the_other(self, backend: RedisBackend) -> None:
        """A message comes for each, and the receivers begin to wait only then."""
        with ThreadPoolExecutor(2) as threads:
            waiters = [threads.submit(backend.queue.receive, 1, 20.0, {each}) for each in ("signup", "billing")]
            time.sleep(0.2)
            backend.queue.send([message(BILL, "bill"), message(ADA, "a")])
            assert [ids(waiter.result(SOON)) for waiter in waiters] == [["a"], ["bill"]]
