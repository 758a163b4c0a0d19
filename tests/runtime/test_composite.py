"""A store, a queue and timers of different vendors, as one backend."""

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
    """The records in SQLite, the messages in memory."""
    sqlite, memory = SQLiteBackend.open(tmp_path / "store.db"), MemoryBackend()
    separate = CompositeBackend(sqlite.store, memory.queue, memory.timers, closing=(sqlite.close, memory.close))
    yield separate
    separate.close()


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

    def test_promise_nothing_that_their_parts_do_not(self, mixed: CompositeBackend) -> None:
        assert mixed.capabilities == frozenset()
        assert Capability.ATOMIC_FINISH not in mixed.capabilities


class TestItsOrder:
    def test_nothing_is_sent_when_the_commit_is_refused(self, mixed: CompositeBackend) -> None:
        mixed.store.commit(ADA, stored(1), 0)
        write = Write(ADA, stored(1), 0, sends=(Message(ADA, "m", "{}"),))
        with pytest.raises(ConflictError):
            mixed.finish(write)
        assert receive(mixed) == []

    def test_nothing_is_acknowledged_when_a_send_fails(self, mixed: CompositeBackend) -> None:
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

    def test_all_of_a_write_is_done_and_the_next_is_handed_out(self, mixed: CompositeBackend) -> None:
        mixed.queue.send([Message(ADA, "first", "{}")])
        (delivery,) = receive(mixed)
        late = Message(ADA, "late", "{}")
        write = Write(
            ADA,
            stored(1),
            0,
            sends=(Message(ADA, "next", "{}"),),
            timers=(Timer("t", late, delivery.until), Timer("u", evolve(late, id="never"), 0.0)),
            cancels=("u",),
            acks=(delivery,),
        )
        mixed.finish(write)
        assert [each.message.id for each in mixed.queue.receive(10)] == ["next"]
        assert mixed.store.load(ADA) == stored(1)


def test_an_event_is_taken_once_though_nothing_is_atomic(mixed: CompositeBackend) -> None:
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
