"""Watching on Redis: servers that come and go, and what they keep for watchers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from settled.durable.ports import Write
from settled.errors import AccessDeniedError, BackendClosedError
from settled_redis.backend import RedisBackend
from tests.adapters.local.fixtures import ADA, BEN, stored
from tests.emulators.redis_servers import ALWAYS, Process, redis_binary, running, valkey_binary, wait_until

Binary = Callable[[], str]


@pytest.fixture(params=[redis_binary, valkey_binary], ids=["redis", "valkey"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Process]:
    """A server that a test may break."""
    with running(request.param(), tmp_path / "server", *ALWAYS) as server:
        yield server


@pytest.fixture
def backend(server: Process) -> Iterator[RedisBackend]:
    with closing(RedisBackend.open(server.url("?timeout=0.5"))) as backend:
        yield backend


def clients_that_track(server: Process) -> int:
    return int(server.client.info("clients")["tracking_clients"])


def threads() -> int:
    return sum(thread.name == "settled-redis-changes" for thread in threading.enumerate())


def test_the_server_keeps_nothing_when_nobody_watches(server: Process, backend: RedisBackend) -> None:
    assert clients_that_track(server) == 0
    with backend.watch(ADA, lambda: None), backend.watch(BEN, lambda: None):
        assert clients_that_track(server) == 1
    wait_until(lambda: clients_that_track(server) == 0, "the connections are closed")
    wait_until(lambda: threads() == 0, "the thread has ended")


def test_a_watcher_is_told_after_the_server_was_restarted(server: Process, backend: RedisBackend) -> None:
    changed = threading.Event()
    with backend.watch(ADA, changed.set):
        server.kill()
        server.start()
        # Once without a commit: it may have missed one.
        assert changed.wait(5)
        wait_until(lambda: clients_that_track(server) == 1, "it is tracked again")
        changed.clear()
        backend.finish(Write(ADA, stored(1), 0))
        assert changed.wait(5)


def test_a_watcher_is_told_when_its_connections_are_cut(server: Process, backend: RedisBackend) -> None:
    changed = threading.Event()
    with backend.watch(ADA, changed.set):
        server.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        assert changed.wait(5)
        changed.clear()
        backend.finish(Write(ADA, stored(1), 0))
        assert changed.wait(5)


def test_a_watch_can_begin_when_the_connections_were_cut_before(server: Process, backend: RedisBackend) -> None:
    with backend.watch(ADA, lambda: None):
        server.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        changed = threading.Event()
        with backend.watch(BEN, changed.set):
            backend.finish(Write(BEN, stored(1), 0))
            assert changed.wait(5)


def test_closing_the_backend_ends_the_thread(server: Process) -> None:
    backend = RedisBackend.open(server.url())
    with backend.watch(ADA, lambda: None):
        backend.close()
        wait_until(lambda: threads() == 0, "the thread has ended")
        wait_until(lambda: clients_that_track(server) == 0, "the connections are closed")
    with pytest.raises(BackendClosedError), backend.watch(ADA, lambda: None):
        pass


def test_a_user_who_may_not_be_told_is_refused(server: Process) -> None:
    server.client.execute_command(
        "ACL", "SETUSER", "ada", "on", "nopass", "~*", "+@all", "-client|tracking", "resetchannels"
    )
    url = server.url().replace("redis://", "redis://ada:x@")
    with closing(RedisBackend.open(url)) as backend:
        with pytest.raises(AccessDeniedError), backend.watch(ADA, lambda: None):
            pass
        backend.finish(Write(ADA, stored(1), 0))
    wait_until(lambda: threads() == 0, "the thread has ended")
