"""Broken connections and failing servers: the error of a call, and what has happened (R10, D1, D2).

All of it is done to real servers.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from settled.durable.ports import Write
from settled.errors import (
    BackendClosedError,
    OutcomeUnknownError,
    SettledError,
    TooLargeError,
    UnavailableError,
)
from settled.key import Key
from settled_redis.backend import RedisBackend
from tests.adapters.local.fixtures import ADA, BEN, ids, message, stored, timer, tombstone
from tests.emulators.redis_proxy import Proxy, proxy_to
from tests.emulators.redis_servers import ALWAYS, IN_MEMORY, UNSYNCED, Process, redis_binary, running, wait_until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Process]:
    """A server that a test may break."""
    with running(redis_binary(), tmp_path / "server", *UNSYNCED) as server:
        yield server


@pytest.fixture
def backend(server: Process) -> Iterator[RedisBackend]:
    with closing(RedisBackend.open(server.url("?timeout=0.5"))) as backend:
        yield backend


CHANGES: dict[str, Callable[[RedisBackend], object]] = {
    "send": lambda backend: backend.queue.send([message(BEN, "b")]),
    "commit": lambda backend: backend.store.commit(BEN, stored(1), 0),
    "finish": lambda backend: backend.finish(Write(BEN, stored(1), 0)),
    "schedule": lambda backend: backend.timers.schedule(timer("t", 0.0)),
    "cancel": lambda backend: backend.timers.cancel("t"),
    "delete": lambda backend: backend.store.delete(ADA, tombstone(2), 1),
}
READS: dict[str, Callable[[RedisBackend], object]] = {
    "load": lambda backend: backend.store.load(ADA),
    "dead letters": lambda backend: backend.store.dead_letters(ADA),
    "scan": lambda backend: backend.store.scan(),
    "receive": lambda backend: backend.queue.receive(1),
    "waiting receive": lambda backend: backend.queue.receive(1, wait=5),
}


class TestAServerThatDoesNotAnswer:
    @pytest.fixture(autouse=True)
    def pause(self, server: Process, backend: RedisBackend) -> None:
        backend.store.commit(ADA, stored(1), 0)
        server.client.execute_command("CLIENT", "PAUSE", 60_000, "ALL")

    @pytest.mark.parametrize("call", CHANGES.values(), ids=CHANGES)
    def test_leaves_the_outcome_of_a_change_unknown(
        self, backend: RedisBackend, call: Callable[[RedisBackend], object]
    ) -> None:
        with pytest.raises(OutcomeUnknownError, match="the connection broke"):
            call(backend)

    @pytest.mark.parametrize("call", READS.values(), ids=READS)
    def test_is_unavailable_for_reads(self, backend: RedisBackend, call: Callable[[RedisBackend], object]) -> None:
        """A read has changed nothing, and leased messages are delivered again."""
        with pytest.raises(UnavailableError, match="the connection broke"):
            call(backend)


class TestALostAnswer:
    """The server has carried out the call."""

    @pytest.fixture
    def proxy(self, server: Process) -> Iterator[Proxy]:
        with proxy_to(server.port) as proxy:
            yield proxy

    @pytest.fixture
    def far(self, proxy: Proxy) -> Iterator[RedisBackend]:
        with closing(RedisBackend.open(proxy.url("?lease=0.3"))) as far:
            far.timers.cancel("anything, so that the server knows the script")
            yield far

    def test_to_a_finish_can_be_resolved_by_a_load(
        self, proxy: Proxy, far: RedisBackend, backend: RedisBackend
    ) -> None:
        """R10: it was done once, and as a whole."""
        far.queue.send([message(ADA, "a")])
        held = far.queue.receive(1)
        proxy.lose_answers.set()
        with pytest.raises(OutcomeUnknownError):
            far.finish(Write(ADA, stored(1), 0, sends=(message(BEN, "b"),), acks=tuple(held)))
        proxy.lose_answers.clear()
        assert far.store.load(ADA) == stored(1)
        assert ids(backend.queue.receive(5)) == ["b"]

    def test_to_a_send_can_be_repeated(self, proxy: Proxy, far: RedisBackend) -> None:
        """F7, X1."""
        proxy.lose_answers.set()
        with pytest.raises(OutcomeUnknownError):
            far.queue.send([message(ADA, "a"), message(ADA, "b")])
        proxy.lose_answers.clear()
        far.queue.send([message(ADA, "c")])
        far.queue.send([message(ADA, "a"), message(ADA, "b")])
        assert ids(far.queue.receive(5)) == ["a", "b", "c"]

    def test_to_a_receive_costs_a_lease(self, proxy: Proxy, far: RedisBackend) -> None:
        """D3: it also costs an attempt."""
        far.queue.send([message(ADA, "a")])
        proxy.lose_answers.set()
        with pytest.raises(UnavailableError):
            far.queue.receive(1)
        proxy.lose_answers.clear()
        assert not far.queue.receive(1)
        assert [delivery.attempt for delivery in far.queue.receive(1, wait=5)] == [2]


class TestAConnectionThatWasClosed:
    def test_while_it_was_idle_is_replaced(self, server: Process, backend: RedisBackend) -> None:
        backend.queue.send([message(ADA, "a")])
        time.sleep(0.05)
        server.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        backend.queue.send([message(ADA, "b")])
        assert ids(backend.queue.receive(5)) == ["a", "b"]

    def test_under_a_waiting_receive_is_unavailable(self, server: Process, backend: RedisBackend) -> None:
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(backend.queue.receive, 1, 5)
            wait_until(lambda: server.client.info("clients")["blocked_clients"] == 1, "it to wait")
            server.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            with pytest.raises(UnavailableError):
                waiting.result(timeout=5)

    def test_is_never_shared_with_a_child(self, backend: RedisBackend) -> None:
        """A process that was forked opens its own."""
        backend.queue.send([message(ADA, "a")])
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                os.write(write, b"".join(b"%d" % len(backend.queue.receive(5)) for _ in range(20)))
            os._exit(0)
        for n in range(50):
            assert backend.store.load(Key("m", f"{n}")) is None
        os.waitpid(child, 0)
        os.close(write)
        with open(read, "rb") as said:
            assert said.read() == b"1" + b"0" * 19

    def test_by_close_stays_closed(self, backend: RedisBackend) -> None:
        backend.close()
        backend.close()
        with pytest.raises(BackendClosedError, match="was closed"):
            backend.store.load(ADA)


def test_a_server_that_was_killed(server: Process, backend: RedisBackend) -> None:
    """Nothing happened, whatever the call."""
    time.sleep(0.05)
    server.kill()
    for call in (*CHANGES.values(), *READS.values()):
        with pytest.raises(UnavailableError, match="cannot be reached"):
            call(backend)


def test_a_server_that_has_forgotten_its_scripts(server: Process, backend: RedisBackend) -> None:
    """NOSCRIPT: the script is sent again."""
    for n in range(3):
        backend.queue.send([message(ADA, f"{n}")])
        server.client.script_flush()
    assert ids(backend.queue.receive(5)) == ["0", "1", "2"]
    server.client.script_flush()
    writes = [Write(key, stored(1), 0, sends=(message(key, "x"),)) for key in (ADA, BEN)]
    assert not backend.finish_all(writes).errors
    assert [backend.store.load(key) for key in (ADA, BEN)] == [stored(1), stored(1)]


class TestAServerThatIsOutOfMemory:
    @pytest.fixture(autouse=True)
    def fill(self, server: Process, backend: RedisBackend) -> None:
        backend.store.commit(ADA, stored(1), 0)
        backend.queue.send([message(ADA, "a"), message(ADA, "b")])
        server.set("maxmemory-policy", "noeviction")
        server.set("maxmemory", "1")

    def test_refuses_writes_that_need_memory(self, backend: RedisBackend) -> None:
        """OOM, R9: nothing of such a call is done."""
        held = backend.queue.receive(1)
        write = Write(ADA, stored(2, "x" * 1000), 1, sends=(message(BEN, "b"),), acks=tuple(held))
        calls: tuple[Callable[[], None], ...] = (
            lambda: backend.finish(write),
            lambda: backend.queue.send([message(BEN, "b")]),
            lambda: backend.timers.schedule(timer("t", 0.0)),
        )
        for call in calls:
            with pytest.raises(UnavailableError, match="out of memory: raise its maxmemory"):
                call()
        assert backend.store.load(ADA) == stored(1)
        assert not backend.queue.receive(1)

    def test_continues_with_the_messages_it_has(self, server: Process, backend: RedisBackend) -> None:
        """Calls that free memory never fail; and once there is some, nothing is missing."""
        held = backend.queue.receive(1)
        assert ids(held) == ["a"]
        backend.queue.ack(held)
        assert ids(backend.queue.receive(1)) == ["b"]
        server.set("maxmemory", "0")
        backend.finish(Write(ADA, stored(2), 1))

    def test_redelivers_messages_whose_lease_cannot_be_extended(self, server: Process) -> None:
        """D2: extending or releasing a lease needs memory; its end does not."""
        with closing(RedisBackend.open(server.url("?lease=0.3"))) as backend:
            held = backend.queue.receive(1)
            with pytest.raises(UnavailableError, match="out of memory"):
                backend.queue.extend(held, 60)
            with pytest.raises(UnavailableError, match="out of memory"):
                backend.queue.release(held)
            assert ids(backend.queue.receive(1, wait=10)) == ["a"]


def test_a_server_that_has_become_a_replica(tmp_path: Path, server: Process, backend: RedisBackend) -> None:
    """READONLY: nothing happened, and once there is a primary at the address, calls succeed."""
    with running(redis_binary(), tmp_path / "other", *UNSYNCED) as other:
        backend.queue.send([message(ADA, "a")])
        server.client.replicaof("127.0.0.1", other.port)
        with pytest.raises(UnavailableError, match="another server was promoted"):
            backend.queue.send([message(ADA, "b")])
        server.client.replicaof("NO", "ONE")
        backend.queue.send([message(BEN, "c")])


def test_a_server_that_is_still_reading_its_data(tmp_path: Path) -> None:
    """LOADING."""
    with (
        running(redis_binary(), tmp_path, *IN_MEMORY) as server,
        closing(RedisBackend.open(server.url("?check_durability=no"))) as backend,
    ):
        server.client.mset({f"filler{n}": "x" * 500 for n in range(2000)})
        backend.queue.send([message(ADA, "a")])
        server.client.save()
        server.kill()
        server.start(False, "--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
        with pytest.raises(UnavailableError, match="still reading its data"):
            backend.queue.receive(1)
        with pytest.raises(UnavailableError, match="still reading its data"):
            RedisBackend.open(server.url("?check_durability=no"))
        wait_until(server.answers, "it to have read them")
        assert ids(backend.queue.receive(1)) == ["a"]


def test_a_text_that_is_too_large(server: Process) -> None:
    """D6, R9: the call fails before anything is sent."""
    server.set("proto-max-bulk-len", "1mb")
    with closing(RedisBackend.open(server.url())) as backend:
        large = "é" * 600_000
        with pytest.raises(TooLargeError, match=r"1200\d\d\d bytes; the limit of one request to Redis is 1048576"):
            backend.queue.send([message(ADA, "fits"), message(ADA, "does not", large)])
        with pytest.raises(TooLargeError):
            backend.finish(Write(ADA, stored(1, large), 0, sends=(message(ADA, "a"),)))
        assert backend.store.load(ADA) is None
        assert not backend.queue.receive(5)


class Writer:
    """Commits one version after another in a thread, each with a message; `answered` is the last that was answered."""

    def __init__(self, backend: RedisBackend) -> None:
        self.answered = 0
        self._backend = backend
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def wait_for(self, count: int) -> None:
        wait_until(lambda: self.answered >= count, f"{count} answers")

    def _write(self) -> None:
        while not self._stopping.is_set():
            version = self.answered
            sends = (message(BEN, f"{version + 1}"),)
            try:
                self._backend.finish(Write(ADA, stored(version + 1), version, sends=sends))
            except SettledError:
                with suppress(SettledError):
                    found = self._backend.store.load(ADA)
                    self.answered = found.version if found else 0
            else:
                self.answered = version + 1


@pytest.mark.parametrize("rounds", [3])
def test_a_killed_server_has_all_that_it_had_answered(tmp_path: Path, rounds: int) -> None:
    """D1, D2, R9: ``kill -9``, with every write on the disk before its answer."""
    with running(redis_binary(), tmp_path, *ALWAYS) as server:
        for _ in range(rounds):
            with closing(RedisBackend.open(server.url("?lease=0.2"))) as backend:
                found = backend.store.load(ADA)
                before = found.version if found else 0
                with Writer(backend) as writer:
                    writer.answered = before
                    writer.wait_for(before + 50)
                    server.kill()
                    answered = writer.answered
                    server.start()
                    writer.wait_for(answered + 5)
        with closing(RedisBackend.open(server.url())) as backend:
            last = backend.store.load(ADA)
            assert last is not None
            sent: list[str] = []
            while held := backend.queue.receive(100):
                sent += ids(held)
                backend.queue.ack(held)
        assert sent == [f"{n + 1}" for n in range(last.version)]


@pytest.fixture
def pair(tmp_path: Path) -> Generator[tuple[Process, Process]]:
    """A primary and its replica."""
    with (
        running(redis_binary(), tmp_path / "primary", *UNSYNCED, "--repl-diskless-sync-delay", "0") as primary,
        running(redis_binary(), tmp_path / "replica", *UNSYNCED) as replica,
    ):
        replica.client.replicaof("127.0.0.1", primary.port)
        wait_until(lambda: replica.client.info("replication")["master_link_status"] == "up", "the replica to follow")
        yield primary, replica


class TestAFailover:
    def test_keeps_what_was_answered(self, pair: tuple[Process, Process]) -> None:
        """D1, D2: because each write waits for the replica."""
        primary, replica = pair
        with closing(RedisBackend.open(primary.url("?replicas=1"))) as backend, Writer(backend) as writer:
            writer.wait_for(30)
            primary.kill()
            answered = writer.answered
        replica.client.replicaof("NO", "ONE")
        with closing(RedisBackend.open(replica.url())) as backend:
            found = backend.store.load(ADA)
            assert found is not None
            assert found.version >= answered
            assert len(backend.queue.receive(1000)) == found.version

    def test_is_waited_for_no_longer_than_a_call_may_take(self, pair: tuple[Process, Process]) -> None:
        """D2: a write that no replica has may be lost yet, so its outcome is unknown."""
        primary, replica = pair
        with closing(RedisBackend.open(primary.url("?replicas=1&timeout=60"))) as patient:
            patient.store.commit(ADA, stored(1), 0)
        with closing(RedisBackend.open(primary.url("?replicas=1&timeout=0.6"))) as backend:
            replica.kill()
            with pytest.raises(OutcomeUnknownError, match="only 0 of 1 replicas"):
                backend.store.commit(ADA, stored(2), 1)
            assert backend.store.load(ADA) == stored(2)
