"""A turn that waits for long, on the emulators of vendors whose queues forget messages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from settled import Policy
from settled.durable import Backend
from settled.durable.ports import POSTPONED
from settled_runtime import Client, Host
from tests.runtime.machines import cooling

MINUTE = 60.0


def check_that_a_long_wait_leaves_the_queue(backend: Backend, advance: Callable[[float], None]) -> None:
    """Let a turn wait for ten minutes, on an empty `backend` whose clock `advance` moves, and send it events."""
    machine = cooling(timedelta(minutes=10))
    client, host = Client(machine, backend), Host([machine], backend, policy=Policy(suspend_after=timedelta(minutes=1)))

    def work() -> None:
        for _ in range(5):
            while deliveries := backend.queue.receive(10):
                host.handle(deliveries)
            advance(1.0)

    def note(n: int) -> None:
        client.send("ada", {"type": "NOTE", "n": n})

    client.start("ada")
    client.send("ada", {"type": "COOL"})
    note(1)
    work()
    advance(5 * MINUTE)
    assert not backend.queue.receive(10)
    note(2)
    note(3)
    work()
    assert [letter.reason for letter in client.dead_letters("ada")] == [POSTPONED] * 3
    advance(7 * MINUTE)
    note(4)
    work()
    snapshot = client.get("ada")
    assert snapshot is not None and snapshot.value == "ready"
    assert snapshot.context["notes"] == [1, 2, 3, 4]
    assert not client.dead_letters("ada")
