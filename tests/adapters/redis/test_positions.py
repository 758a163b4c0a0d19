"""Each message of a key has a position of its own (O4, X3), for as long as the key space exists."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from settled.durable.ports import Delivery, Position
from settled.key import Key
from settled_redis import keyspace
from settled_redis.backend import RedisBackend
from settled_redis.topology import Topology
from tests.adapters.local.fixtures import ADA, BEN, LEASE, BackendEnv, message, stored, timer, tombstone
from tests.adapters.redis.conftest import Opener
from tests.emulators.redis_servers import ALWAYS, Process, redis_binary, running


@pytest.fixture
def env(any_env: BackendEnv) -> BackendEnv:
    return any_env


def numbers(deliveries: Sequence[Delivery]) -> list[int]:
    return [position(each).number for each in deliveries]


def position(delivery: Delivery) -> Position:
    assert delivery.position is not None
    return delivery.position


def taken(env: BackendEnv, limit: int = 10) -> list[int]:
    """Receive and acknowledge all messages, and return their numbers in the order of their delivery."""
    found: list[int] = []
    while deliveries := env.take(limit):
        found += numbers(deliveries)
        env.queue.ack(deliveries)
    return found


class TestANumber:
    def test_grows_with_each_message_of_a_key(self, env: BackendEnv) -> None:
        env.send(ADA, "a", "b", "c")
        env.send(BEN, "a")
        env.send(ADA, "d")
        env.timers.schedule(timer("t", env.clock.now, ADA))
        found: dict[Key, list[int]] = {ADA: [], BEN: []}
        while deliveries := env.take(2):
            for each in deliveries:
                found[each.message.key].append(position(each).number)
            env.queue.ack(deliveries)
        assert found[ADA] == sorted(set(found[ADA]))
        assert (len(found[ADA]), len(found[BEN])) == (5, 1)

    def test_is_the_same_in_each_hand_out(self, env: BackendEnv) -> None:
        """D3: for every receiver, whatever else is acknowledged."""
        env.send(ADA, "a", "b", "c")
        first = env.take(3)
        env.queue.ack([first[1]])
        env.queue.release([first[0]])
        env.send(ADA, "d")
        second = env.reopen().queue.receive(10)
        assert [each.message.id for each in second] == ["a", "c", "d"]
        assert [each.position for each in second[:2]] == [first[0].position, first[2].position]
        env.clock.now += LEASE
        assert [each.position for each in env.take(10)] == [each.position for each in second]

    def test_never_begins_again(self, env: BackendEnv) -> None:
        """Not after the queue was empty, not after the instance was deleted, and not for a new backend object."""
        env.store.commit(ADA, stored(1), 0)
        env.send(ADA, "a", "b")
        before = taken(env)
        env.send(ADA, "c")
        before += taken(env)
        env.store.delete(ADA, tombstone(2), 1)
        env.send(ADA, "d")
        before += taken(env, limit=1)
        reopened = env.reopen()
        reopened.queue.send([message(ADA, "e")])
        before += numbers(reopened.queue.receive(1))
        assert before == sorted(set(before))
        assert len(before) == 5

    def test_is_not_used_up_by_a_repetition(self, env: BackendEnv) -> None:
        env.send(ADA, "a", "a", "b")
        env.send(ADA, "a", "c")
        first, second, third = taken(env)
        assert (second, third) == (first + 1, first + 2)


class TestTheEpoch:
    def test_is_the_same_in_the_whole_key_space(self, env: BackendEnv) -> None:
        for n in range(8):
            env.send(Key("m", f"{n}"), "a")
        mine, others = env.take(4), list[Delivery]()
        while len(others) < 4:
            others += env.reopen().queue.receive(4)
        epochs = {position(each).epoch for each in (*mine, *others)}
        assert len(epochs) == 1
        assert all(epochs)

    def test_differs_between_two_key_spaces(self, redis: Process, prefix: str) -> None:
        """Even if the second one has the prefix of the first."""
        epochs: list[str] = []
        for each in ("first", "second"):
            with closing(RedisBackend.open(redis.url(), prefix=prefix)) as backend:
                backend.queue.send([message(ADA, each)])
                epochs.append(position(backend.queue.receive(1)[0]).epoch)
            redis.client.delete(*redis.client.keys(f"{prefix.replace('[', '?')}*"))
        assert epochs[0] != epochs[1]

    def test_is_the_first_one_s_if_two_create_it_at_once(
        self, redis: Process, opener: Callable[[Process], Opener], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read, open_it, first = keyspace.read_format, opener(redis), list[RedisBackend]()

        def come_second(servers: Topology, prefix: str) -> bytes | None:
            found = read(servers, prefix)
            monkeypatch.undo()
            first.append(open_it())
            return found

        monkeypatch.setattr(keyspace, "read_format", come_second)
        second = open_it()
        second.queue.send([message(ADA, "a"), message(BEN, "b")])
        (mine,), (other,) = second.queue.receive(1), first[0].queue.receive(1)
        assert position(mine).epoch == position(other).epoch


def test_it_outlives_the_server_s_process(tmp_path: Path) -> None:
    """D2: ``kill -9``; open backends and new ones continue with the same positions."""
    with running(redis_binary(), tmp_path, *ALWAYS) as server, closing(RedisBackend.open(server.url())) as backend:
        backend.queue.send([message(ADA, "a"), message(ADA, "b")])
        held = backend.queue.receive(1)
        backend.queue.ack(held)
        server.kill()
        server.start()
        time.sleep(0.05)
        (next_one,) = backend.queue.receive(1)
        backend.queue.release([next_one])
        with closing(RedisBackend.open(server.url())) as other:
            assert position(other.queue.receive(1)[0]) == position(next_one)
        assert position(next_one).epoch == position(held[0]).epoch
        assert position(next_one).number > position(held[0]).number
