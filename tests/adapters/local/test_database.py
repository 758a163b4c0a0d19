"""The SQLite file: which files can be opened, what can be wrong with them, and by whom they are used (D1, D2, D3)."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from settled.durable.ports import Write
from settled.errors import (
    AccessDeniedError,
    BackendClosedError,
    BackendConfigError,
    OutcomeUnknownError,
    RecordError,
    SettledError,
    TooLargeError,
    UnavailableError,
)
from settled.key import Key
from settled_local import SQLiteBackend
from settled_local.sqlite.connection import Connection
from settled_local.sqlite.errors import translated
from settled_local.sqlite.queue import send
from settled_local.sqlite.schema import APPLICATION
from tests.adapters.local.fixtures import ADA, ids, message, stored


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "settled.db"


@pytest.fixture
def backend(path: Path) -> Iterator[SQLiteBackend]:
    with closing(SQLiteBackend.open(path, timeout=timedelta(seconds=0.2))) as backend:
        yield backend


def sqlite(path: Path, *statements: str) -> object:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        return [db.execute(statement).fetchone() for statement in statements][-1]


class TestOpening:
    def test_accepts_an_empty_file(self, path: Path) -> None:
        path.touch()
        SQLiteBackend.open(path).close()
        assert sqlite(path, "PRAGMA application_id") == (APPLICATION,)

    def test_finds_what_was_stored_before(self, path: Path, backend: SQLiteBackend) -> None:
        """D1, D2."""
        backend.queue.send([message(ADA, "a")])
        backend.store.commit(ADA, stored(1), 0)
        backend.close()
        with closing(SQLiteBackend.open(path)) as reopened:
            assert reopened.store.load(ADA) == stored(1)
            assert ids(reopened.queue.receive(1)) == ["a"]

    def test_uses_a_write_ahead_log_and_waits_for_the_disk(self, path: Path, backend: SQLiteBackend) -> None:
        """D1, D2: except for writes that only lease."""
        assert sqlite(path, "PRAGMA journal_mode") == ("wal",)
        for durable, synchronous in ((True, 2), (False, 1), (True, 2)):
            file = backend._database  # pyright: ignore[reportPrivateUsage]
            assert file.write(lambda db: db.run("PRAGMA synchronous").fetchone(), durable) == (synchronous,)

    def test_accepts_a_file_that_others_create_at_the_same_time(self, tmp_path: Path) -> None:
        at_once = threading.Barrier(8)

        def create(name: str) -> None:
            at_once.wait()
            SQLiteBackend.open(tmp_path / name).close()

        with ThreadPoolExecutor(8) as threads:
            for n in range(20):
                list(threads.map(create, [f"{n}.db"] * 8))

    def test_leaves_the_database_of_another_application_as_it_is(self, path: Path) -> None:
        sqlite(path, "CREATE TABLE theirs (a)")
        before = path.read_bytes()
        with pytest.raises(RecordError, match=r"settled\.db: is the database of another application: use another file"):
            SQLiteBackend.open(path)
        assert path.read_bytes() == before

    def test_fails_on_the_file_of_a_newer_settled(self, path: Path, backend: SQLiteBackend) -> None:
        sqlite(path, "PRAGMA user_version=99")
        with pytest.raises(RecordError, match=r"by a newer settled \(format 99, this one reads 3 to 4\): update"):
            SQLiteBackend.open(path)

    def test_fails_on_the_file_of_a_settled_that_is_too_old(self, path: Path, backend: SQLiteBackend) -> None:
        sqlite(path, "PRAGMA user_version=2")
        with pytest.raises(RecordError, match=r"too old \(format 2, this one reads 3 to 4\): let that one"):
            SQLiteBackend.open(path)

    def test_leaves_a_text_file_as_it_is(self, path: Path) -> None:
        path.write_text("no database " * 100)
        with pytest.raises(RecordError, match="no SQLite database: use another file"):
            SQLiteBackend.open(path)
        assert path.read_text() == "no database " * 100

    def test_fails_on_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(BackendConfigError, match="must be a file"):
            SQLiteBackend.open(tmp_path)

    def test_fails_in_a_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(BackendConfigError, match="in a folder that exists"):
            SQLiteBackend.open(tmp_path / "nowhere" / "settled.db")

    def test_fails_if_tables_are_missing(self, path: Path, backend: SQLiteBackend) -> None:
        sqlite(path, "DROP TABLE records")
        with pytest.raises(RecordError, match="not as settled made them"):
            backend.store.load(ADA)


def test_a_record_with_a_byte_that_is_no_utf_8_is_reported_as_damaged(path: Path, backend: SQLiteBackend) -> None:
    backend.store.commit(ADA, stored(1), 0)
    sqlite(path, "UPDATE records SET body=CAST(x'7bff7d' AS TEXT)")
    with pytest.raises(RecordError, match="Could not decode"):
        backend.store.load(ADA)


class TestAFileThatCannotBeUsed:
    """Nothing has happened, and the error says what to do."""

    def test_locked_by_another_process(self, path: Path, backend: SQLiteBackend) -> None:
        """D3."""
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(UnavailableError, match="another process held the lock for too long") as caught:
                backend.queue.send([message(ADA, "a")])
            assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
            assert backend.store.load(ADA) is None
        assert not backend.queue.receive(1)
        backend.queue.send([message(ADA, "a")])
        assert ids(backend.queue.receive(1)) == ["a"]

    def test_locked_by_another_thread(self, backend: SQLiteBackend) -> None:
        held, done = threading.Event(), threading.Event()

        def hold(_: object) -> None:
            held.set()
            done.wait()

        with ThreadPoolExecutor() as threads:
            threads.submit(backend._database.write, hold)  # pyright: ignore[reportPrivateUsage]  # a call that is slow
            held.wait()
            with pytest.raises(UnavailableError, match=r"another thread held it for more than 0\.2 seconds"):
                backend.queue.send([message(ADA, "a")])
            done.set()

    def test_on_a_full_disk(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """D3, R9: simulated by a limit on the size of the file."""
        with closing(SQLiteBackend.open(path)) as backend:
            backend.store.commit(ADA, stored(1), 0)
            with backend._database.reading() as db:  # pyright: ignore[reportPrivateUsage]
                db.run("PRAGMA max_page_count=1")
            with pytest.raises(UnavailableError, match="the disk is full: free some space"):
                backend.finish(Write(ADA, stored(2, "x" * 100_000), 1, sends=(message(ADA, "a"),)))
            assert backend.store.load(ADA) == stored(1)
            assert not backend.queue.receive(1)

    def test_after_close(self, backend: SQLiteBackend) -> None:
        backend.close()
        backend.close()
        with pytest.raises(BackendClosedError, match="was closed"):
            backend.store.load(ADA)

    def test_closed_during_a_call(self, path: Path, backend: SQLiteBackend) -> None:
        """The call completes, and then its connection is closed."""

        def send_and_close(db: Connection) -> None:
            send(db, [message(ADA, "a")], 0.0)
            backend.close()

        backend._database.write(send_and_close)  # pyright: ignore[reportPrivateUsage]
        assert not path.with_name("settled.db-wal").exists()
        with closing(SQLiteBackend.open(path)) as reopened:
            assert ids(reopened.queue.receive(1)) == ["a"]

    def test_closed_while_receive_waits(self, backend: SQLiteBackend) -> None:
        with ThreadPoolExecutor() as threads:
            waiting = threads.submit(backend.queue.receive, 1, 60)
            time.sleep(0.05)
            backend.close()
            with pytest.raises(BackendClosedError, match="was closed"):
                waiting.result(timeout=10)

    def test_after_a_fork(self, backend: SQLiteBackend) -> None:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                backend.store.load(ADA)
            except BackendClosedError as error:
                os.write(write, str(error).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(write)
        with open(read, "rb") as said:
            assert b"open it again, after the fork" in said.read()


@pytest.mark.parametrize(
    ("code", "committing", "kind"),
    [
        (sqlite3.SQLITE_BUSY, True, UnavailableError),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, False, UnavailableError),
        (sqlite3.SQLITE_IOERR_WRITE, False, UnavailableError),
        (sqlite3.SQLITE_IOERR_FSYNC, True, OutcomeUnknownError),
        (sqlite3.SQLITE_FULL, True, UnavailableError),
        (sqlite3.SQLITE_TOOBIG, False, TooLargeError),
        (sqlite3.SQLITE_READONLY, False, AccessDeniedError),
        (sqlite3.SQLITE_CORRUPT, False, RecordError),
    ],
)
def test_an_error_says_whether_it_may_have_happened(code: int, committing: bool, kind: type[SettledError]) -> None:
    """R10: only a disk that fails during a commit leaves the outcome unknown."""
    error = sqlite3.OperationalError("said SQLite")
    error.sqlite_errorcode = code
    assert type(translated(error, "settled.db", committing)) is kind


def test_many_threads_that_come_and_go(path: Path) -> None:
    """R1, D1: each sends to its own key, and to one that all of them share."""
    with closing(SQLiteBackend.open(path)) as backend:

        def work(n: int) -> None:
            backend.queue.send([message(Key("signup", str(n)), "own"), message(ADA, str(n))])

        for _ in range(3):
            with ThreadPoolExecutor(8) as threads:
                list(threads.map(work, range(40)))
        taken: list[str] = []
        while deliveries := backend.queue.receive(7):
            taken += ids(deliveries)
            backend.queue.ack(deliveries)
        assert sorted(taken) == sorted(["own"] * 40 + [str(n) for n in range(40)])
