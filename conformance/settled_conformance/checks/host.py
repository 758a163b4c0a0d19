"""`HostFixture`: a real host and client of one machine, over the backend of a check."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from settled import Key, Machine, Policy
from settled.durable import Backend, Delivery
from settled_conformance.fixture import BackendFixture
from settled_conformance.simulator.history import HistoryMachine, history_of, with_history
from settled_runtime import Client, Host

TWO_ATTEMPTS = Policy(max_attempts=2)


class HostFixture:
    """A client and a host of `machine`, over the first handle of `fixture`, or over `backend`."""

    def __init__(
        self,
        fixture: BackendFixture,
        machine: Machine[Any],
        backend: Backend | None = None,
        policy: Policy = TWO_ATTEMPTS,
    ) -> None:
        self.fixture, self.machine = fixture, machine
        handle = backend or fixture.backend
        self.client = Client(machine, handle)
        self.host = Host([machine], handle, policy=policy, observers=())

    def run_until_idle(self) -> list[Delivery]:
        """Handle messages until none is left, and return all deliveries."""
        taken = list[Delivery]()
        for _ in range(200):
            found = self.fixture.receive()
            if not found:
                return taken
            taken += found
            self.host.handle(found)
        self.fixture.require(False, "the host never came to rest")
        return taken

    def run_until_dead_lettered(self) -> None:
        """Run, and let time pass, until failing messages have used up their attempts."""
        for _ in range(6):
            self.run_until_idle()
            self.fixture.advance(3.0)

    def entries(self, instance: str) -> list[str]:
        """Return the ids of the events that `instance` has taken."""
        snapshot = self.client.get(instance)
        return [event["id"] for event in history_of(snapshot)] if snapshot else []

    def close(self) -> None:
        self.host.close()


def listing(broken: Collection[str] = (), tell: Callable[[Any], object] | None = None) -> HistoryMachine:
    """Return a machine that takes every event, and performs `tell` for it; events of the types in `broken` fail."""

    def check(args: Any) -> bool:
        if args.event["type"] in broken:
            raise RuntimeError(f"{args.event['type']} is broken")
        return True

    return with_history(
        {
            "id": "list",
            "context": {},
            "initial": "open",
            "states": {"open": {"tags": ["settled"], "on": {"*": {"guard": "check", "actions": ["tell"]}}}},
        },
        guards={"check": check},
        actions={"tell": tell or _perform},
    )


def _perform(_a: Any) -> None:
    """An action without a body."""


def event(id: str, type: str = "E") -> Mapping[str, str]:
    return {"type": type, "id": id}


def key_of(service: HostFixture, instance: str = "a") -> Key:
    return Key(service.machine.id, instance)
