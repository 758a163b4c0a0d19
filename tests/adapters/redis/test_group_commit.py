"""Concurrent calls are sent together (R1, R6, R10): each gets its own answers and its own error."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Timer
from types import FrameType
from typing import Any

import pytest
from redis.exceptions import ResponseError

from settled.durable.ports import Write
from settled.errors import ConflictError, OutcomeUnknownError, UnavailableError
from settled.key import Key
from settled_redis.connection import Request, ServerConnection
from settled_redis.url import Login, Options, parse
from settled_runtime.group_commit import GroupCommit
from tests.adapters.local.fixtures import ADA, BEN, ids, message, stored
from tests.adapters.redis.conftest import Opener
from tests.emulators.redis_servers import UNSYNCED, Process, redis_binary, running, wait_until


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[Process]:
    """A server that the test may kill."""
    with running(redis_binary(), tmp_path / "server", *UNSYNCED) as server:
        yield server


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def test_many_threads_share_a_backend(
    redis: Process, opener: Callable[[Process], Opener], threads: ThreadPoolExecutor
) -> None:
    """R1, R6, F1: each writes its own key, and all of them write one key."""
    backend = opener(redis)()

    def work(n: int) -> bool:
        key = Key("own", f"{n}")
        backend.queue.send([message(key, "a"), message(BEN, f"{n}")])
        backend.finish(Write(key, stored(1, f"{n}"), 0))
        assert backend.store.load(key) == stored(1, f"{n}")
        try:
            backend.store.commit(ADA, stored(1, f"{n}"), 0)
        except ConflictError:
            return False
        return True

    won = list(threads.map(work, range(100)))
    assert won.count(True) == 1
    assert backend.store.load(ADA) == stored(1, f"{won.index(True)}")
    taken: list[str] = []
    while held := backend.queue.receive(7):
        taken += ids(held)
        backend.queue.ack(held)
    assert sorted(taken) == sorted(["a"] * 100 + [f"{n}" for n in range(100)])


class TestAGroup:
    """While one call is under way, the others wait; then they are sent together."""

    @pytest.fixture
    def server(self, broken: Process) -> Iterator[ServerConnection]:
        with closing(
            ServerConnection(parse(broken.url()).address, Login(), Options(timeout=timedelta(seconds=0.5)))
        ) as server:
            yield server

    @pytest.fixture
    def together(self, server: ServerConnection, threads: ThreadPoolExecutor) -> Callable[..., list[Future[Any]]]:
        """Make calls wait, call `meanwhile`, and then have them sent together."""
        group = server._group  # pyright: ignore[reportPrivateUsage]

        def run(*calls: Callable[[], object], meanwhile: Callable[[], object] = lambda: None) -> list[Future[Any]]:
            under_way = Request(b"", 0, changes=False)
            assert group.join(under_way)
            group.take()
            futures: list[Future[Any]] = []
            for count, call in enumerate(calls, start=1):
                futures.append(threads.submit(call))
                wait_until(partial(_has_length, group, count), "the call to join")
            meanwhile()
            group.finish([under_way])
            return futures

        return run

    def test_gives_each_call_its_own_answers(
        self, broken: Process, server: ServerConnection, together: Callable[..., list[Future[Any]]]
    ) -> None:
        futures = together(
            lambda: server.ask([[b"SET", b"a", b"1"], [b"INCR", b"a"]], changes=True),
            lambda: server.ask([[b"NONSENSE"]], changes=False),
            lambda: server.ask([[b"GET", b"a"]], changes=False),
        )
        assert futures[0].result() == [b"OK", 2]
        assert isinstance(futures[1].result()[0], ResponseError)
        assert futures[2].result() == [b"2"]
        assert broken.client.info("clients")["connected_clients"] == 2

    @pytest.mark.parametrize("leads", [False, True])
    def test_continues_without_a_caller_that_is_interrupted(self, threads: ThreadPoolExecutor, leads: bool) -> None:
        """Ctrl-C, before it was to lead, and at that very moment."""
        group, under_way = GroupCommit[Request](), Request(b"", 0, changes=False)
        assert group.join(under_way)
        group.take()

        def interrupt(_number: int, _frame: FrameType | None) -> None:
            if leads:
                group.finish([under_way])
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGUSR1, interrupt)
        Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGUSR1)).start()
        with pytest.raises(KeyboardInterrupt):
            group.join(Request(b"", 0, changes=False))
        signal.signal(signal.SIGUSR1, before)
        if not leads:
            group.finish([under_way])
        assert threads.submit(group.join, Request(b"", 0, changes=False)).result(5)

    def test_that_breaks_gives_each_call_its_own_error(
        self, broken: Process, server: ServerConnection, together: Callable[..., list[Future[Any]]]
    ) -> None:
        """R10: answers that came before stay valid."""
        before, changing, looking = together(
            lambda: server.ask([[b"GET", b"a"]], changes=False),
            lambda: server.ask([[b"SET", b"a", b"1"]], changes=True),
            lambda: server.ask([[b"GET", b"a"]], changes=False),
            meanwhile=lambda: broken.client.execute_command("CLIENT", "PAUSE", 60_000, "WRITE"),
        )
        assert before.result() == [None]
        with pytest.raises(OutcomeUnknownError, match="the connection broke"):
            changing.result()
        with pytest.raises(UnavailableError, match="the connection broke"):
            looking.result()

    def test_that_cannot_connect_has_done_nothing(
        self, broken: Process, server: ServerConnection, together: Callable[..., list[Future[Any]]]
    ) -> None:
        futures = together(
            *[lambda: server.ask([[b"SET", b"a", b"1"]], changes=True) for _ in range(2)], meanwhile=broken.kill
        )
        for future in futures:
            with pytest.raises(UnavailableError, match="cannot be reached"):
                future.result()


def _has_length(group: GroupCommit[Request], count: int) -> bool:
    return len(group) == count
