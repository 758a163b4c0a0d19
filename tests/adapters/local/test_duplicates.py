"""Deduplication by the queue (X1, X2, X3, X8, X9): for how long, and at what cost (X5, G1)."""

from __future__ import annotations

from pathlib import Path

import pytest

from settled.durable.ports import Capability
from settled.errors import IdReusedError
from settled_local import MemoryBackend, SQLiteBackend
from tests.adapters.local.fixtures import ADA, BEN, LEASE, BackendEnv, Local, ids, message


def both(path: Path, remember: int) -> list[Local]:
    return [MemoryBackend(remember=remember), SQLiteBackend.open(path / "settled.db", remember=remember)]


class TestARepeat:
    def test_while_the_first_one_waits_is_not_added(self, env: BackendEnv) -> None:
        """X1."""
        assert Capability.DEDUPLICATION in env.backend.capabilities
        env.send(ADA, "a", "a")
        env.send(ADA, "a")
        assert env.drain() == ["a"]

    def test_while_the_first_one_is_leased_is_not_added(self, env: BackendEnv) -> None:
        """X1."""
        env.send(ADA, "a")
        held = env.take()
        env.send(ADA, "a")
        env.queue.ack(held)
        assert env.take() == []

    def test_after_the_first_one_was_acknowledged_is_not_added(self, env: BackendEnv) -> None:
        """X3: however long ago that was."""
        env.send(ADA, "a")
        env.drain()
        env.clock.now += 1_000_000
        env.send(ADA, "a")
        assert env.take() == []
        assert not env.reopen().queue.receive(1)

    def test_for_another_key_is_another_message(self, env: BackendEnv) -> None:
        """X2."""
        env.send(ADA, "a")
        env.send(BEN, "a")
        assert len(env.drain()) == 2

    def test_with_another_body_fails(self, env: BackendEnv) -> None:
        """X11: no message of that call is sent."""
        env.queue.send([message(ADA, "a", "first")])
        with pytest.raises(IdReusedError, match="the id 'a' belongs to another message"):
            env.queue.send([message(ADA, "b"), message(ADA, "a", "second")])
        assert [delivery.message.body for delivery in env.take(2)] == ["first"]

    def test_with_another_body_fails_after_the_first_was_acknowledged(self, env: BackendEnv) -> None:
        """X11."""
        env.queue.send([message(ADA, "a", "first")])
        assert env.drain() == ["a"]
        with pytest.raises(IdReusedError):
            env.queue.send([message(ADA, "a", "second")])

    def test_with_another_body_in_the_same_call_fails(self, env: BackendEnv) -> None:
        """X11."""
        with pytest.raises(IdReusedError):
            env.queue.send([message(ADA, "a", "first"), message(ADA, "a", "second")])
        assert env.drain() == []


def test_equal_bodies_are_distinct_messages(env: BackendEnv) -> None:
    """X8."""
    env.queue.send([message(ADA, "a", "same"), message(ADA, "b", "same")])
    assert env.drain() == ["a", "b"]


def test_a_redelivered_message_keeps_its_id(env: BackendEnv) -> None:
    """X9."""
    env.send(ADA, "a")
    first = env.take()
    env.clock.now += LEASE
    assert [delivery.message for delivery in env.take()] == [delivery.message for delivery in first]


def test_only_the_newest_ids_are_kept(tmp_path: Path) -> None:
    """X5: as many as `remember`, not counting those of waiting messages."""
    for backend in both(tmp_path, remember=8):
        sent = [f"m{n}" for n in range(40)]
        for id in sent:
            backend.queue.send([message(ADA, id)])
        for _ in sent:
            backend.queue.ack(backend.queue.receive(1))
            backend.queue.send([message(ADA, id) for id in sent[-8:]])
        assert not backend.queue.receive(1)
        backend.queue.send([message(ADA, sent[0])])
        assert ids(backend.queue.receive(1)) == sent[:1]
        backend.close()


def test_the_id_of_a_waiting_message_is_not_forgotten(tmp_path: Path) -> None:
    """X1: even if more than `remember` messages were acknowledged since."""
    for backend in both(tmp_path, remember=2):
        sent = [f"m{n}" for n in range(20)]
        backend.queue.send([message(ADA, id) for id in sent])
        batch = backend.queue.receive(20)
        backend.queue.ack(batch[1:])
        backend.queue.send([message(ADA, sent[0])])
        backend.queue.ack(batch[:1])
        assert not backend.queue.receive(1)
        backend.close()


def test_the_file_does_not_grow_with_the_number_of_messages(tmp_path: Path) -> None:
    """G1: one key, four thousand messages."""
    path = tmp_path / "settled.db"
    backend = SQLiteBackend.open(path, remember=100)
    sizes: list[int] = []
    for start in (0, 2000):
        for batch in range(start, start + 2000, 50):
            backend.queue.send([message(ADA, f"{n:036d}") for n in range(batch, batch + 50)])
            backend.queue.ack(backend.queue.receive(50))
        sizes.append(path.stat().st_size + Path(f"{path}-wal").stat().st_size)
    backend.close()
    assert sizes[1] < 1.2 * sizes[0]
