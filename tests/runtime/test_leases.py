"""Leases are renewed while a turn runs, so that no other worker receives its messages."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest

from settled import Call, ConflictError, Key, UnavailableError
from settled.durable import Delivery, Event, Message, Start, encode
from settled_local.memory import MemoryBackend
from settled_local.memory.queue import MemoryQueue
from settled_runtime import AsyncHost, Client, Host, HostEvent
from settled_runtime.held_deliveries import HeldDeliveries
from settled_runtime.leases import LeaseRenewer
from tests.runtime.machines import greeter

ADA = Key("greeter", "ada")
LEASE = 0.3


def nobody(_event: HostEvent) -> None:
    """An observer that does nothing."""


def hold(renewer: LeaseRenewer, deliveries: Sequence[Delivery]) -> HeldDeliveries:
    """Let `renewer` renew `deliveries`, and return them."""
    held = HeldDeliveries.of(deliveries)
    renewer.renew(held)
    return held


@pytest.fixture
def backend() -> MemoryBackend:
    backend = MemoryBackend(lease=timedelta(seconds=LEASE))
    backend.queue.send([Message(ADA, "start", encode(Start()))])
    return backend


@pytest.fixture
def renewer(backend: MemoryBackend) -> Iterator[LeaseRenewer]:
    renewer = LeaseRenewer(backend.queue, LEASE, nobody)
    yield renewer
    renewer.close()


class TestHeldDeliveries:
    def test_are_not_delivered_again_however_long_they_are_held(
        self, backend: MemoryBackend, renewer: LeaseRenewer
    ) -> None:
        hold(renewer, backend.queue.receive(1))
        time.sleep(2.5 * LEASE)
        assert backend.queue.receive(1) == []

    def test_are_delivered_again_once_they_are_not_renewed_any_more(
        self, backend: MemoryBackend, renewer: LeaseRenewer
    ) -> None:
        renewer.stop_renewing(hold(renewer, backend.queue.receive(1)))
        time.sleep(1.2 * LEASE)
        assert len(backend.queue.receive(1)) == 1

    def test_know_that_a_lease_was_lost(self, backend: MemoryBackend, renewer: LeaseRenewer) -> None:
        deliveries = backend.queue.receive(1)
        time.sleep(1.1 * LEASE)
        backend.queue.receive(1)
        held = hold(renewer, deliveries)
        time.sleep(0.7 * LEASE)
        assert held.lost

    def test_are_not_lost_by_being_acknowledged(self, backend: MemoryBackend, renewer: LeaseRenewer) -> None:
        held = hold(renewer, backend.queue.receive(1))
        backend.queue.ack(held.deliveries)
        held.drop(held.deliveries)
        time.sleep(0.7 * LEASE)
        assert not held.lost


class FailingQueue(MemoryQueue):
    """A queue that cannot be reached at the first renewal, and reports a lost lease at the later ones."""

    calls = 0

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        self.calls += 1
        raise UnavailableError("no route") if self.calls == 1 else ConflictError("gone")


class TestARenewalThatFails:
    def test_is_tried_again_within_the_lease(self, backend: MemoryBackend) -> None:
        failing_queue = backend.queue
        failing_queue.__class__ = FailingQueue
        renewer = LeaseRenewer(failing_queue, 0.06, nobody)
        held = hold(renewer, backend.queue.receive(1))
        time.sleep(0.03)
        assert not held.lost
        time.sleep(0.1)
        assert held.lost
        renewer.close()


class TestATurnThatOutlivesItsLease:
    def test_keeps_its_messages(self, backend: MemoryBackend) -> None:
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

    def test_lets_an_actor_know_that_the_lease_was_lost(self, backend: MemoryBackend) -> None:
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


def hello(_input: Any, _call: Any) -> str:
    return "hello"


def test_a_cancelled_handle_renews_nothing_any_more() -> None:
    """Also if it was cancelled before its turns began."""
    backend = MemoryBackend()
    Client(greeter(hello), backend).start("ada")

    async def cancel_at_once(host: AsyncHost) -> None:
        handling = asyncio.create_task(host.handle(backend.queue.receive(1)))
        await asyncio.sleep(0)
        handling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await handling

    with AsyncHost([greeter(hello)], backend) as host:
        asyncio.run(cancel_at_once(host))
        held = host._context.leases._held  # pyright: ignore[reportPrivateUsage]
        assert held == set()
