"""Concurrent writers share one transaction and one wait for the disk (R1, R6, R9, D1, D2)."""

from __future__ import annotations

import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from settled.durable.ports import Write
from settled.errors import ConflictError, OutcomeUnknownError, TooLargeError, UnavailableError
from settled.key import Key
from settled_local import SQLiteBackend
from tests.adapters.local.fixtures import ADA, BEN, CEM, ids, message, stored

ROOT = Path(__file__).parents[3]


class Together:
    """Runs calls that share a transaction: a first one holds it open until all of them have joined."""

    def __init__(self, path: Path, timeout: float = 30) -> None:
        self.backend = SQLiteBackend.open(path, timeout=timedelta(seconds=timeout))
        self.began, self.go_on = threading.Event(), threading.Event()
        self._database = self.backend._database  # pyright: ignore[reportPrivateUsage]

    def run(self, *calls: Callable[[], object], commit: Callable[[], Any] = lambda: None) -> list[Any]:
        """Return the result or error of each of `calls`; `commit` is called in the transaction, after them."""
        with ThreadPoolExecutor(len(calls) + 2) as threads:
            first = threads.submit(self._database.write, self._hold)
            self.began.wait()
            futures = [self._queued(threads, call, behind) for behind, call in enumerate(calls)]
            last = threads.submit(self._database.write, lambda _: commit())
            self._until(len(calls) + 1)
            self.go_on.set()
            return [_outcome(future) for future in (*futures, last, first)][: len(calls)]

    def transactions(self, run: Callable[[], object]) -> int:
        """Return how many transactions were committed during `run`."""
        before = self.backend._database.changes.count  # pyright: ignore[reportPrivateUsage]
        run()
        return self.backend._database.changes.count - before  # pyright: ignore[reportPrivateUsage]

    def _hold(self, _: object) -> None:
        self.began.set()
        self.go_on.wait()

    def _queued(self, threads: ThreadPoolExecutor, call: Callable[[], object], behind: int) -> Future[object]:
        future = threads.submit(call)
        self._until(behind + 1)
        return future

    def _until(self, count: int) -> None:
        while len(self._database._group) < count:  # pyright: ignore[reportPrivateUsage]
            time.sleep(0.001)


def _outcome(future: Future[Any]) -> Any:
    return future.exception() or future.result()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "settled.db"


@pytest.fixture
def together(path: Path) -> Iterator[Together]:
    together = Together(path)
    with closing(together.backend):
        yield together


class TestOneTransaction:
    def test_serves_all_concurrent_writers(self, together: Together) -> None:
        finish = together.backend.finish

        def run() -> None:
            calls = [lambda key=key: finish(Write(key, stored(1))) for key in (ADA, BEN, CEM)]
            assert together.run(*calls) == [None] * 3

        assert together.transactions(run) == 1
        assert [together.backend.store.load(key) for key in (ADA, BEN, CEM)] == [stored(1)] * 3

    def test_keeps_the_order_of_arrival(self, together: Together) -> None:
        """F1."""
        send = together.backend.queue.send
        together.run(*(lambda id=id: send([message(ADA, id)]) for id in "abc"))
        assert ids(together.backend.queue.receive(5)) == ["a", "b", "c"]

    def test_undoes_only_what_conflicts(self, together: Together) -> None:
        """R6, R9: that write as a whole, and no other one."""
        backend = together.backend
        backend.store.commit(BEN, stored(1), 0)
        late = Write(BEN, stored(1, "late"), 0, sends=(message(CEM, "late"),))
        outcomes = together.run(
            lambda: backend.finish(Write(ADA, stored(1), sends=(message(CEM, "first"),))),
            lambda: backend.finish(late),
            lambda: backend.finish(Write(CEM, stored(1), sends=(message(CEM, "last"),))),
        )
        assert [type(outcome) for outcome in outcomes] == [type(None), ConflictError, type(None)]
        assert backend.store.load(BEN) == stored(1)
        assert ids(backend.queue.receive(5)) == ["first", "last"]

    def test_lets_one_of_two_commits_to_the_same_version_win(self, together: Together) -> None:
        """R1."""
        commit = together.backend.store.commit
        outcomes = together.run(*(lambda body=body: commit(ADA, stored(1, body), 0) for body in ("one", "two")))
        assert [type(outcome) for outcome in outcomes] == [type(None), ConflictError]
        assert together.backend.store.load(ADA) == stored(1, "one")

    def test_undoes_only_what_is_too_large(self, together: Together) -> None:
        backend = together.backend
        with backend._database.reading() as db:  # pyright: ignore[reportPrivateUsage]
            db._db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)  # pyright: ignore[reportPrivateUsage]
        outcomes = together.run(
            lambda: backend.queue.send([message(ADA, "a")]),
            lambda: backend.queue.send([message(ADA, "b"), message(ADA, "large", "x" * 20_000)]),
            lambda: backend.queue.send([message(ADA, "c")]),
        )
        assert [type(outcome) for outcome in outcomes] == [type(None), TooLargeError, type(None)]
        assert ids(backend.queue.receive(5)) == ["a", "c"]

    def test_undoes_only_the_first_if_it_fails(self, together: Together) -> None:
        """It has no savepoint, so the others get a new transaction."""
        backend = together.backend

        def fail(db: Any) -> None:
            db.run("INSERT INTO timers (timer, due, machine, instance, id, body) VALUES ('t', 0, '', '', '', '')")
            together._hold(db)  # pyright: ignore[reportPrivateUsage]
            raise ConflictError("on purpose")

        with ThreadPoolExecutor() as threads:
            first = threads.submit(backend._database.write, fail)  # pyright: ignore[reportPrivateUsage]
            together.began.wait()
            second = threads.submit(backend.queue.send, [message(ADA, "a")])
            together._until(1)  # pyright: ignore[reportPrivateUsage]
            together.go_on.set()
            assert isinstance(first.exception(), ConflictError)
            assert second.exception() is None
        assert ids(backend.queue.receive(5)) == ["a"]

    def test_waits_for_the_disk_if_one_of_them_does(self, together: Together) -> None:
        """D1: a receive may join the transaction of a send, but not the other way round."""
        backend, file = together.backend, together.backend._database  # pyright: ignore[reportPrivateUsage]

        def level(db: Any) -> object:
            return db.run("PRAGMA synchronous").fetchone()[0]

        def hold(db: Any) -> object:
            together._hold(db)  # pyright: ignore[reportPrivateUsage]
            return level(db)

        with ThreadPoolExecutor() as threads:
            leasing = threads.submit(file.write, hold, False)
            together.began.wait()
            durable = threads.submit(file.write, level)
            together._until(1)  # pyright: ignore[reportPrivateUsage]
            other = threads.submit(file.write, level, False)
            together._until(2)  # pyright: ignore[reportPrivateUsage]
            together.go_on.set()
            assert [leasing.result(), durable.result(), other.result()] == [1, 2, 2]
        assert backend.queue.receive(1) == ()


class TestTheSharedCommit:
    """If it fails, it fails for each of the writers."""

    def test_is_unknown_to_all_if_the_disk_fails(self, together: Together) -> None:
        """R10: simulated by a limit on the size of the file, set just before the commit."""
        large = "x" * 1_000_000
        with file_size_limit() as limit:
            outcomes = together.run(
                lambda: together.backend.store.commit(ADA, stored(1, large), 0),
                lambda: together.backend.store.commit(BEN, stored(1), 0),
                commit=limit,
            )
        assert [type(outcome) for outcome in outcomes] == [OutcomeUnknownError, OutcomeUnknownError]
        assert outcomes[0] is not outcomes[1]
        assert [together.backend.store.load(key) for key in (ADA, BEN)] == [None, None]
        together.backend.store.commit(ADA, stored(1), 0)

    def test_does_not_begin_while_another_process_holds_the_file(self, path: Path) -> None:
        """D3."""
        with (
            closing(SQLiteBackend.open(path, timeout=timedelta(seconds=0.3))) as backend,
            ThreadPoolExecutor(3) as threads,
        ):
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                sends = [threads.submit(backend.queue.send, [message(ADA, id)]) for id in "abc"]
                assert [type(send.exception()) for send in sends] == [UnavailableError] * 3
            backend.queue.send([message(ADA, "d")])
            assert ids(backend.queue.receive(5)) == ["d"]


@contextmanager
def file_size_limit() -> Generator[Callable[[], None]]:
    """Yield a function that limits the size of this process's files to 300 kB, until the block ends."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


FINISHERS = r"""
import sys, threading
from datetime import timedelta
from settled.durable.messages import *
from settled.durable.ports import *
from settled_local import SQLiteBackend
backend = SQLiteBackend.open(sys.argv[1], timeout=timedelta(seconds=30))
def work(n):
    key = Key("list", str(n))
    for version in range(1, 100_000):
        sends = (Message(key, str(version), "{}"),)
        backend.finish(Write(key, Stored(version, str(version), Index("active")), version - 1, sends=sends))
        sys.stdout.write(f"{n} {version}\n")
        sys.stdout.flush()
for n in range(8):
    threading.Thread(target=work, args=[n]).start()
"""


@pytest.mark.parametrize("seconds", [0.2, 0.3, 0.5])
def test_kill_9_loses_no_answered_write_and_leaves_none_half_done(path: Path, seconds: float) -> None:
    """D1, D2, R9: ``kill -9`` while eight threads finish together."""
    with closing(SQLiteBackend.open(path)) as backend:
        process = subprocess.Popen([sys.executable, "-c", FINISHERS, str(path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        said = [process.stdout.readline()]
        time.sleep(seconds)
        process.kill()
        said += process.stdout.readlines()
        process.wait()
        process.stdout.close()
        answered = dict[str, int]()
        for line in said:
            n, version = line.split()
            answered[n] = int(version)
        assert answered
        sent = dict[str, list[str]]()
        while deliveries := backend.queue.receive(1000):
            for delivery in deliveries:
                sent.setdefault(delivery.message.key.instance, []).append(delivery.message.id)
            backend.queue.ack(deliveries)
        for n in map(str, range(8)):
            stored = backend.store.load(Key("list", n))
            reached = stored.version if stored else 0
            assert reached >= answered.get(n, 0)
            assert sent.get(n, []) == [str(each) for each in range(1, reached + 1)]
