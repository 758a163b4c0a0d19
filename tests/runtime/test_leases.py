"""What is held is extended while its turn runs, so that nobody else is handed it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from settled import Call, ConflictError, Key, UnavailableError
from settled.durable import Delivery, Event, Message, Start, encode
from settled_local.memory import MemoryBackend
from settled_local.memory.queue import MemoryQueue
from settled_runtime import Host
from settled_runtime.leases import LeaseRenewer
from tests.runtime.machines import greeter

ADA = Key("greeter", "ada")
LEASE = 0.3


@pytest.fixture
def backend() -> MemoryBackend:
    backend = MemoryBackend(lease=LEASE)
    backend.queue.send([Message(ADA, "start", encode(Start()))])
    return backend


@pytest.fixture
def keeper(backend: MemoryBackend) -> Iterator[LeaseRenewer]:
    keeper = LeaseRenewer(backend.queue, LEASE)
    yield keeper
    keeper.close()


class TestWhatIsHeld:
    def test_is_handed_to_nobody_else_however_long_it_takes(self, backend: MemoryBackend, keeper: LeaseRenewer) -> None:
        keeper.hold(backend.queue.receive(1))
        time.sleep(2.5 * LEASE)
        assert backend.queue.receive(1) == []

    def test_comes_back_once_it_is_let_go(self, backend: MemoryBackend, keeper: LeaseRenewer) -> None:
        keeper.stop_renewing(keeper.hold(backend.queue.receive(1)))
        time.sleep(1.2 * LEASE)
        assert len(backend.queue.receive(1)) == 1

    def test_knows_when_it_was_lost(self, backend: MemoryBackend, keeper: LeaseRenewer) -> None:
        deliveries = backend.queue.receive(1)
        time.sleep(1.1 * LEASE)
        backend.queue.receive(1)
        held = keeper.hold(deliveries)
        time.sleep(0.7 * LEASE)
        assert held.lost

    def test_is_not_lost_by_being_acknowledged(self, backend: MemoryBackend, keeper: LeaseRenewer) -> None:
        held = keeper.hold(backend.queue.receive(1))
        backend.queue.ack(held.deliveries)
        held.drop(held.deliveries)
        time.sleep(0.7 * LEASE)
        assert not held.lost


class Flaky(MemoryQueue):
    """A queue whose extensions fail: first it cannot be reached, then the lease is gone."""

    calls = 0

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        self.calls += 1
        raise UnavailableError("no route") if self.calls == 1 else ConflictError("gone")


class TestAnExtensionThatFails:
    def test_is_tried_again_within_the_lease(self, backend: MemoryBackend) -> None:
        flaky = backend.queue
        flaky.__class__ = Flaky
        keeper = LeaseRenewer(flaky, 0.06)
        held = keeper.hold(backend.queue.receive(1))
        time.sleep(0.03)
        assert not held.lost
        time.sleep(0.1)
        assert held.lost
        keeper.close()


class TestATurnThatOutlivesItsLease:
    def test_keeps_its_message(self, backend: MemoryBackend) -> None:
        calls: list[Call] = []

        def slow(_input: Any, call: Call) -> None:
            calls.append(call)
            time.sleep(2.5 * LEASE)

        backend.queue.send([Message(ADA, "go", encode(Event({"type": "GREET"})))])
        hosts = [Host([greeter(slow)], backend), Host([greeter(slow)], backend)]
        first = threading.Thread(target=lambda: hosts[0].handle(backend.queue.receive(10)))
        first.start()
        for _ in range(10):
            time.sleep(LEASE / 5)
            hosts[1].handle(backend.queue.receive(10))
        first.join()
        for host in hosts:
            host.close()
        assert len(calls) == 1

    def test_tells_what_runs_when_the_lease_is_lost(self, backend: MemoryBackend) -> None:
        lost: list[bool] = []

        def slow(_input: Any, call: Call) -> None:
            backend.queue.release(deliveries)
            backend.queue.receive(10)
            time.sleep(0.7 * LEASE)
            lost.append(call.lease_lost())

        backend.queue.send([Message(ADA, "go", encode(Event({"type": "GREET"})))])
        host = Host([greeter(slow)], backend)
        deliveries = backend.queue.receive(10)
        host.handle(deliveries)
        host.close()
        assert lost == [True]
