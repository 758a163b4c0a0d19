"""Runs every host test with both hosts, `Host` and `AsyncHost`, behind one interface."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Protocol

import pytest

from settled import Key, Machine, Policy, TurnEnd
from settled.durable import MAX_MESSAGE_BYTES
from settled_local.memory import MemoryBackend
from settled_runtime import AsyncHost, Client, Host, HostEvent, StopSignal
from settled_runtime.turn_gate import TurnGate

HOSTS = (Host, AsyncHost)


class Running(Protocol):
    """A host of one machine, a client of that machine, and the events that the host has reported."""

    client: Client[Any]
    backend: MemoryBackend
    events: list[HostEvent]

    @property
    def gate(self) -> TurnGate: ...

    def work(
        self, stop_signal: StopSignal | None = None, deadline: float | None = None
    ) -> Mapping[Key, TurnEnd | Exception]: ...


class _Running:
    def __init__(
        self,
        kind: type[Host] | type[AsyncHost],
        machine: Machine[Any],
        policy: Policy | None,
        lease: timedelta,
        largest_message: int,
    ) -> None:
        self.backend = MemoryBackend(lease=lease, largest_message=largest_message)
        self.events: list[HostEvent] = []
        self.client = Client(machine, self.backend)
        self._host = kind([machine], self.backend, policy=policy, observers=[self.events.append])

    @property
    def gate(self) -> TurnGate:
        return self._host._context.gate  # pyright: ignore[reportPrivateUsage]

    def work(
        self, stop_signal: StopSignal | None = None, deadline: float | None = None
    ) -> Mapping[Key, TurnEnd | Exception]:
        deliveries = self.backend.queue.receive(100)
        if isinstance(self._host, AsyncHost):
            return asyncio.run(self._host.handle(deliveries, stop_signal, deadline))
        return self._host.handle(deliveries, stop_signal, deadline)

    def close(self) -> None:
        self._host.close()


@pytest.fixture(params=HOSTS, ids=["host", "async host"])
def running(request: pytest.FixtureRequest) -> Iterator[Callable[..., Running]]:
    """Return a function that makes a host of a machine, on a backend in memory, with a client."""
    made: list[_Running] = []

    def make(
        machine: Machine[Any],
        policy: Policy | None = None,
        lease: timedelta = timedelta(seconds=5),
        largest_message: int = MAX_MESSAGE_BYTES,
    ) -> Running:
        made.append(_Running(request.param, machine, policy, lease, largest_message))
        return made[-1]

    yield make
    for each in made:
        each.close()
