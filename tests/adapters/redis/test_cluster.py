"""A cluster that changes while it is used (D1, D2, F1): slots are moved, and servers fail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from redis.crc import key_slot

from settled.errors import OutcomeUnknownError, UnavailableError
from settled.key import Key
from settled_redis.backend import RedisBackend
from settled_redis.keyspace import KeySpace
from tests.adapters.local.fixtures import ids, message, stored, timer
from tests.emulators.redis_servers import (
    Process,
    cluster_server,
    meet,
    redis_binary,
    running_cluster,
    wait_until,
)

PARTITIONS = 16


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[Process]]:
    with running_cluster(redis_binary(), tmp_path_factory.mktemp("nodes")) as servers:
        yield servers


def owner(nodes: Sequence[Process], slot: int) -> Process:
    return next(node for node in nodes if slot in slots_of(node))


def slots_of(node: Process) -> list[int]:
    """Return the slots that `node` has, as it says itself."""
    (line,) = [line for line in node.lines("CLUSTER", "NODES") if "myself" in line]
    slots: list[int] = []
    for word in line.split()[8:]:
        first, _, last = word.partition("-")
        if first.isdigit():
            slots += range(int(first), int(last or first) + 1)
    return slots


def id_of(node: Process) -> str:
    return node.lines("CLUSTER", "MYID")[0]


def knows_a_replica(node: Process) -> bool:
    return any("slave" in line.split()[2] for line in node.lines("CLUSTER", "NODES"))


def has_followed(replica: Process, master: Process) -> bool:
    """Return whether `replica` has received all writes of `master`. WAIT considers only those of its own connection."""
    written = master.client.info("replication")["master_repl_offset"]
    return bool(replica.client.info("replication")["slave_repl_offset"] >= written)


def key_in(space: KeySpace, number: int) -> Key:
    """Return a key of the partition of this number."""
    return next(key for n in range(1000) if space.of_key(key := Key("m", f"{n}")).number == number)


def test_the_partitions_are_spread_over_the_servers(nodes: Sequence[Process], prefix: str) -> None:
    with closing(RedisBackend.open(nodes[0].url(), prefix=prefix)) as backend:
        space = KeySpace.of(prefix, PARTITIONS, "")
        owners = {owner(nodes, partition.slot).port for partition in space.partitions}
        assert owners == {node.port for node in nodes}
        for partition in space.partitions:
            key = key_in(space, partition.number)
            backend.store.commit(key, stored(1), 0)
            assert backend.store.load(key) == stored(1)
        assert len(backend.store.scan()) == PARTITIONS


def test_every_key_of_an_instance_is_in_the_slot_of_its_partition(nodes: Sequence[Process], prefix: str) -> None:
    with closing(RedisBackend.open(nodes[0].url(), prefix=prefix)) as backend:
        backend.queue.send([message(Key("m{x}", "{y}"), "a")])
        backend.store.commit(Key("m{x}", "{y}"), stored(1), 0)
    slot = KeySpace.of(prefix, PARTITIONS, "").of_key(Key("m{x}", "{y}")).slot
    names = [name for node in nodes for name in node.client.scan_iter(f"{prefix}*") if b"{y}" in name]
    assert len(names) == 4
    assert {key_slot(name) for name in names} == {slot}


@pytest.mark.parametrize("number", [3])
def test_a_slot_that_moves(nodes: Sequence[Process], prefix: str, number: int) -> None:
    """TRYAGAIN, ASK, MOVED: it is unavailable while it is moved, and unchanged afterwards."""
    space = KeySpace.of(prefix, PARTITIONS, "")
    slot, key, other_key = space.partitions[number].slot, key_in(space, number), key_in(space, number + 1)
    old = owner(nodes, slot)
    new = next(node for node in nodes if node is not old)
    with closing(RedisBackend.open(nodes[0].url(), prefix=prefix)) as backend:
        backend.store.commit(key, stored(1), 0)
        backend.queue.send([message(key, "before")])
        new.client.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", id_of(old))
        old.client.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", id_of(new))
        names = old.client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100)
        for name in names:
            old.client.migrate("127.0.0.1", new.port, [name], 0, 5000)
            with pytest.raises(UnavailableError, match="is being moved"):
                backend.queue.send([message(key, "while it moves")])
            with pytest.raises(UnavailableError, match="is being moved"):
                backend.store.commit(key, stored(2), 1)
            backend.queue.send([message(other_key, name.decode())])
            held = backend.queue.receive(10)
            assert ids(held) == [name.decode()]
            backend.queue.ack(held)
        for node in (new, old, *nodes):
            node.client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", id_of(new))
        backend.queue.send([message(key, "after")])
        held = backend.queue.receive(10, wait=5)
        assert ids(held) == ["before", "after"]
        backend.queue.ack(held)
        assert backend.store.load(key) == stored(1)


def test_a_server_that_fails_is_replaced(tmp_path: Path) -> None:
    """D1, D2: nothing that its replica had received is lost, and the other servers remain available."""
    with (
        running_cluster(redis_binary(), tmp_path / "masters") as masters,
        cluster_server(redis_binary(), tmp_path / "replica") as replica,
    ):
        meet(replica, masters[0])
        wait_until(lambda: len(replica.lines("CLUSTER", "NODES")) == 4, "the replica to know the cluster")
        replica.client.execute_command("CLUSTER", "REPLICATE", id_of(masters[0]))
        wait_until(lambda: replica.client.info("replication")["master_link_status"] == "up", "it to follow")
        for master in masters:
            # A master that does not know of the replica yet never votes for it.
            wait_until(partial(knows_a_replica, master), "every master to know the replica")
        space = KeySpace.of("settled:", PARTITIONS, "")
        mine = [each for each in space.partitions if each.slot in slots_of(masters[0])]
        other = next(each for each in space.partitions if each.slot in slots_of(masters[1]))
        key, other_key = key_in(space, mine[0].number), key_in(space, other.number)
        with closing(RedisBackend.open(masters[1].url("?timeout=1"))) as backend:
            backend.store.commit(key, stored(1), 0)
            backend.queue.send([message(key, "a")])
            wait_until(lambda: has_followed(replica, masters[0]), "the replica to receive it")
            masters[0].kill()
            with pytest.raises((UnavailableError, OutcomeUnknownError)):
                backend.store.commit(key, stored(2), 1)
            backend.store.commit(other_key, stored(1), 0)

            def works() -> bool:
                try:
                    return backend.store.load(key) == stored(1)
                except UnavailableError:
                    return False

            wait_until(works, "the replica to be promoted")
            backend.store.commit(key, stored(2), 1)
            backend.queue.send([message(key, "b")])
            held = list(backend.queue.receive(10, wait=5))
            assert ids(held) == ["a", "b"]


def test_a_timer_for_a_server_that_is_down_delays_no_message(tmp_path: Path) -> None:
    """F6: it is stored in one partition, and its message goes to another one, whose server is down."""
    with running_cluster(redis_binary(), tmp_path / "cluster") as nodes:
        for node in nodes:
            node.client.config_set("cluster-require-full-coverage", "no")
        space = KeySpace.of("settled:", PARTITIONS, "")
        first = owner(nodes, space.partitions[0].slot)  # receivers wait there
        gone, alive = (node for node in nodes if node is not first)
        lost, here, there = (
            next(each for each in space.partitions[1:] if each.slot in slots_of(node)) for node in (gone, alive, first)
        )
        timer_id = next(f"{n}" for n in range(1000) if space.of_timer(f"{n}") == here)
        with closing(RedisBackend.open(first.url("?timeout=1"))) as backend:
            backend.timers.schedule(timer(timer_id, 0.0, key_in(space, lost.number)))
            gone.kill()
            for n in range(PARTITIONS):
                backend.queue.send([message(key_in(space, there.number), f"{n}")])
                held = backend.queue.receive(1, wait=5)
                assert ids(held) == [f"{n}"]
                backend.queue.ack(held)
