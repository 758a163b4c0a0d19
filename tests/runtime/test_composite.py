"""`CompositeBackend`: a store, a queue and timers that know nothing of each other, as one backend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from settled import ConflictError, Key, UnavailableError
from settled.durable import Capability, Message, Stored, Timer
from settled.durable.ports import Delivery, Index, Write
from settled_local.memory import MemoryBackend
from settled_local.memory.queue import MemoryQueue
from settled_local.sqlite import SQLiteBackend
from settled_runtime import Client, CompositeBackend, Host
from tests.durable.machines import add, appending, tell

ADA = Key("list", "ada")


@pytest.fixture
def mixed(tmp_path: Path) -> Iterator[CompositeBackend]:
    """Records in SQLite, messages and timers in memory."""
    sqlite, memory = SQLiteBackend.open(tmp_path / "store.db"), MemoryBackend()
    backend = CompositeBackend(sqlite.store, memory.queue, memory.timers, closing=(sqlite.close, memory.close))
    yield backend
    backend.close()


def stored(version: int) -> Stored:
    return Stored(version, f"v{version}", Index("active"))


def receive(backend: Any) -> Sequence[Delivery]:
    found: Sequence[Delivery] = backend.queue.receive(10)
    return found


class TestMixedVendors:
    def test_run_a_machine(self, mixed: CompositeBackend) -> None:
        host, client = Host([appending()], mixed), Client(appending(), mixed)
        client.start("ada")
        for n in range(3):
            client.send("ada", tell(n))
        host.handle(receive(mixed))
        host.close()
        snapshot = client.get("ada")
        assert snapshot is not None
        assert snapshot.context["applied"] == [0, 1, 2]
        assert receive(mixed) == []

    def test_declare_no_capability_by_default(self, mixed: CompositeBackend) -> None:
        assert mixed.capabilities == frozenset()
        assert Capability.ATOMIC_FINISH not in mixed.capabilities


class TestTheOrderOfAWrite:
    def test_nothing_is_sent_if_the_commit_conflicts(self, mixed: CompositeBackend) -> None:
        mixed.store.commit(ADA, stored(1), 0)
        write = Write(ADA, stored(1), 0, sends=(Message(ADA, "m", "{}"),))
        with pytest.raises(ConflictError):
            mixed.finish(write)
        assert receive(mixed) == []

    def test_nothing_is_acknowledged_if_a_send_fails(self, mixed: CompositeBackend) -> None:
        mixed.queue.send([Message(ADA, "first", "{}")])
        (delivery,) = receive(mixed)

        class Broken(MemoryQueue):
            def send(self, messages: Sequence[Message]) -> None:
                raise UnavailableError("no route")

        mixed.queue.__class__ = Broken
        write = Write(ADA, stored(1), 0, sends=(Message(ADA, "m", "{}"),), acks=(delivery,))
        with pytest.raises(UnavailableError):
            mixed.finish(write)
        mixed.queue.release([delivery])
        assert [each.message.id for each in receive(mixed)] == ["first"]

    def test_every_part_of_a_write_is_done(self, mixed: CompositeBackend) -> None:
        mixed.queue.send([Message(ADA, "first", "{}")])
        (delivery,) = receive(mixed)
        late = Message(ADA, "late", "{}")
        write = Write(
            ADA,
            stored(1),
            0,
            sends=(Message(ADA, "next", "{}"),),
            timers=(Timer("t", late, delivery.lease_until), Timer("u", evolve(late, id="never"), 0.0)),
            cancels=("u",),
            acks=(delivery,),
        )
        mixed.finish(write)
        assert [each.message.id for each in mixed.queue.receive(10)] == ["next"]
        assert mixed.store.load(ADA) == stored(1)


def test_an_event_is_applied_once_although_writes_are_not_atomic(mixed: CompositeBackend) -> None:
    host, client = Host([appending()], mixed), Client(appending(), mixed)
    client.start("ada")
    client.send("ada", add(1), message_id="one")
    deliveries = receive(mixed)
    host.handle(deliveries)
    host.handle(deliveries)
    host.close()
    snapshot = client.get("ada")
    assert snapshot is not None
    assert snapshot.context["applied"] == [1]
