"""A server that was emptied, restored or replaced while backends have it open: each of their calls is refused (D1, D2).

Otherwise a sender would be told ok by a server that knows nothing of what it was told before, and a worker would begin
instances anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from settled.durable.ports import Backend, Write
from settled.errors import BackendConfigError, BackendReplacedError, OutcomeUnknownError, RecordError, SettledError
from settled.key import Key
from settled_redis import examine_redis
from settled_redis.backend import RedisBackend
from settled_redis.keyspace import KeySpace
from settled_runtime import Client, Worker
from settled_runtime.backups import renew_epoch
from tests.adapters.local.fixtures import ADA, ids, message, stored, timer
from tests.durable.machines import add, appending
from tests.emulators.redis_servers import (
    UNSYNCED,
    Process,
    redis_binary,
    running,
    running_cluster,
    valkey_binary,
)


@pytest.fixture(params=["redis", "valkey"], scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server of these tests alone, which they empty."""
    binary = redis_binary() if request.param == "redis" else valkey_binary()
    with running(binary, tmp_path_factory.mktemp(request.param), *UNSYNCED) as server:
        yield server


@pytest.fixture
def backend(server: Process) -> Iterator[RedisBackend]:
    server.client.flushall()
    with closing(RedisBackend.open(server.url())) as backend:
        yield backend


def empty(server: Process) -> None:
    server.client.flushall()


def empty_and_begin_anew(server: Process) -> None:
    server.client.flushall()
    RedisBackend.open(server.url()).close()


def evict(server: Process) -> None:
    """As an allkeys policy does."""
    server.client.delete("settled:{0}:epoch")


CHANGES = [empty, empty_and_begin_anew, evict]
CALLS: dict[str, Callable[[Backend], object]] = {
    "send": lambda backend: backend.queue.send([message(ADA, "b")]),
    "commit": lambda backend: backend.store.commit(ADA, stored(1), 0),
    "delete": lambda backend: backend.store.delete(ADA, stored(1), 0),
    "finish": lambda backend: backend.finish(Write(ADA, stored(1), sends=(message(ADA, "b"),))),
    "finish_all": lambda backend: backend.finish_all([Write(ADA, stored(1))], 1),
    "schedule": lambda backend: backend.timers.schedule(timer("t", 5.0)),
    "cancel": lambda backend: backend.timers.cancel("t"),
    "receive": lambda backend: backend.queue.receive(1),
    "load": lambda backend: backend.store.load(ADA),
    "dead_letters": lambda backend: backend.store.dead_letters(ADA),
    "scan": lambda backend: backend.store.scan(),
    "backlog": lambda backend: backend.queue.backlog(),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("call", CALLS)
def test_no_call_succeeds_any_more(
    server: Process, backend: RedisBackend, change: Callable[[Process], None], call: str
) -> None:
    backend.queue.send([message(ADA, "a")])
    change(server)
    before = sorted(server.client.scan_iter())
    with pytest.raises(BackendReplacedError, match="the server was emptied, restored or replaced since"):
        CALLS[call](backend)
    assert sorted(server.client.scan_iter()) == before


def test_leases_from_before_are_void(server: Process, backend: RedisBackend) -> None:
    backend.queue.send([message(ADA, "a")])
    held = backend.queue.receive(1)
    empty_and_begin_anew(server)
    with pytest.raises(BackendReplacedError):
        backend.queue.ack(held)
    with pytest.raises(BackendReplacedError):
        backend.queue.release(held)
    with pytest.raises(BackendReplacedError):
        backend.queue.extend(held, 30.0)


def test_several_writes_at_once_are_refused(server: Process, backend: RedisBackend) -> None:
    """Each of them may have been the last one before the server was emptied."""
    empty(server)
    with pytest.raises((BackendReplacedError, OutcomeUnknownError)):
        backend.finish_all([Write(ADA, stored(1)), Write(Key("signup", "ben"), stored(1))])
    assert not server.client.dbsize()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("is_busy", [True, False])
def test_a_worker_stops_with_the_error(
    server: Process, backend: RedisBackend, change: Callable[[Process], None], is_busy: bool
) -> None:
    machine = appending()
    client = Client(machine, backend)
    for name in ("a", "b", "c"):
        client.start(name)
    worker = Worker([machine], backend, observers=(), receive_wait=timedelta(seconds=0.1))
    with worker, ThreadPoolExecutor() as threads:

        def send() -> None:
            n = 0
            while True:
                n += 1
                for name in ("a", "b", "c"):
                    client.send(name, add(n))

        running_worker = threads.submit(worker.run)
        sending = threads.submit(send) if is_busy else None
        client.wait_for("a", value="open", timeout=timedelta(seconds=10))
        change(server)
        with pytest.raises(BackendReplacedError):
            running_worker.result(timeout=20)
        if sending is not None:
            with pytest.raises(SettledError) as told:
                sending.result(timeout=20)
            assert isinstance(told.value, (BackendReplacedError, OutcomeUnknownError))


class TestOneServerOfACluster:
    """The others still have their keys, and the format among them."""

    @pytest.fixture
    def servers(self, tmp_path: Path) -> Iterator[Sequence[Process]]:
        with running_cluster(redis_binary(), tmp_path) as servers:
            yield servers

    @staticmethod
    def keys_of(server: Process) -> tuple[Key, Key]:
        """Return a key whose partition `server` has, and one whose partition it has not."""
        space = KeySpace.of("settled:", 16, "")
        mine = {int(name.split(b"{")[1].split(b"}")[0]) for name in server.client.scan_iter("settled:{*}:epoch")}
        keys = [Key("m", f"{n}") for n in range(100)]
        inside = next(key for key in keys if space.of_key(key).number in mine)
        return inside, next(key for key in keys if space.of_key(key).number not in mine)

    def test_that_was_emptied_is_noticed(self, servers: Sequence[Process]) -> None:
        with closing(RedisBackend.open(servers[0].url())) as backend:
            lost, kept = self.keys_of(servers[1])
            servers[1].client.flushall()
            backend.queue.send([message(kept, "a")])
            with pytest.raises(BackendReplacedError):
                backend.queue.send([message(lost, "a")])
            with pytest.raises(OutcomeUnknownError, match="only 1 of 2 parts were done"):
                backend.queue.send([message(kept, "b"), message(lost, "b")])

    def test_that_was_emptied_is_refused_when_it_is_opened_until_the_loss_is_accepted(
        self, servers: Sequence[Process]
    ) -> None:
        RedisBackend.open(servers[0].url()).close()
        emptied = next(each for each in servers if not each.client.keys("settled:format"))
        with closing(RedisBackend.open(servers[0].url())) as backend:
            lost, kept = self.keys_of(emptied)
            backend.store.commit(kept, stored(1), 0)
        emptied.client.flushall()
        with pytest.raises(RecordError, match="were lost, or restored without the others: restore all of them"):
            RedisBackend.open(servers[0].url())
        with pytest.raises(RecordError, match="were lost"):
            examine_redis(servers[0].url())
        renew_epoch(servers[0].url())
        with closing(RedisBackend.open(servers[0].url())) as backend:
            assert backend.store.load(kept) == stored(1)
            assert backend.store.load(lost) is None


class TestANewEpoch:
    def test_refuses_whoever_has_the_keys_open_and_keeps_all(self, server: Process, backend: RedisBackend) -> None:
        backend.queue.send([message(ADA, "a")])
        backend.store.commit(ADA, stored(1), 0)
        before = json.loads(server.client.get("settled:format"))
        renew_epoch(server.url())
        epoch = server.client.get("settled:{0}:epoch").decode()
        assert json.loads(server.client.get("settled:format")) == {**before, "epoch": epoch}
        with pytest.raises(BackendReplacedError):
            backend.queue.send([message(ADA, "b")])
        with closing(RedisBackend.open(server.url())) as reopened:
            assert reopened.store.load(ADA) == stored(1)
            (delivery,) = reopened.queue.receive(9)
            assert delivery.message.id == "a"
            assert delivery.position is not None
            assert delivery.position.epoch == epoch != before["epoch"]

    def test_needs_keys(self, server: Process) -> None:
        with pytest.raises(BackendConfigError, match="there are no keys of settled under nothing:"):
            renew_epoch(server.url("?prefix=nothing:"))
        assert not server.client.keys("nothing:*")


def test_a_process_that_was_killed_while_it_created_the_keys_is_no_loss(server: Process) -> None:
    server.client.flushall()
    server.client.set("settled:{0}:epoch", "abc")
    with closing(RedisBackend.open(server.url())) as backend:
        backend.queue.send([message(ADA, "a")])
        assert ids(backend.queue.receive(1)) == ["a"]
