"""A file that is deleted, moved or replaced while it is open, and a log that lies beside another file than its own.

Nothing is acknowledged that goes into a file which nobody will ever open again (D1, D2).
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from settled.durable.ports import Write
from settled.errors import BackendClosedError, BackendConfigError, BackendReplacedError
from settled_local import SQLiteBackend
from settled_local.sqlite.backup import restore
from settled_runtime import Worker
from tests.adapters.local.fixtures import ADA, ids, message, stored, timer
from tests.durable.machines import appending

ROOT = Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "settled.db"


@pytest.fixture
def backend(path: Path) -> Iterator[SQLiteBackend]:
    with closing(SQLiteBackend.open(path)) as backend:
        yield backend


def delete(path: Path) -> None:
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()


def move(path: Path) -> None:
    path.rename(path.with_name("moved.db"))


def replace(path: Path) -> None:
    other = path.with_name("other.db")
    SQLiteBackend.open(other).close()
    other.replace(path)


CHANGES = [delete, move, replace]
CALLS: dict[str, Callable[[SQLiteBackend], object]] = {
    "send": lambda backend: backend.queue.send([message(ADA, "b")]),
    "commit": lambda backend: backend.store.commit(ADA, stored(1), 0),
    "finish": lambda backend: backend.finish(Write(ADA, stored(1), sends=(message(ADA, "b"),))),
    "finish_all": lambda backend: backend.finish_all([Write(ADA, stored(1))], 1),
    "schedule": lambda backend: backend.timers.schedule(timer("t", 5.0)),
    "receive": lambda backend: backend.queue.receive(1),
    "load": lambda backend: backend.store.load(ADA),
    "scan": lambda backend: backend.store.scan(),
    "backlog": lambda backend: backend.queue.backlog(),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("call", CALLS)
def test_no_call_succeeds_any_more(
    path: Path, backend: SQLiteBackend, change: Callable[[Path], None], call: str
) -> None:
    backend.queue.send([message(ADA, "a")])
    change(path)
    with pytest.raises(BackendReplacedError, match=r"settled\.db: this file was deleted, moved or replaced"):
        CALLS[call](backend)


@pytest.mark.parametrize("change", CHANGES)
def test_a_write_is_refused_that_began_before(
    path: Path, backend: SQLiteBackend, change: Callable[[Path], None]
) -> None:
    file = backend._database  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(BackendReplacedError):
        file.write(lambda db: change(path))


@pytest.mark.parametrize("change", CHANGES)
def test_a_waiting_receive_ends(path: Path, backend: SQLiteBackend, change: Callable[[Path], None]) -> None:
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(backend.queue.receive, 1, 30)
        change(path)
        with pytest.raises(BackendReplacedError):
            waiting.result(timeout=10)


@pytest.mark.parametrize("change", CHANGES)
def test_an_idle_worker_stops_with_the_error(
    path: Path, backend: SQLiteBackend, change: Callable[[Path], None]
) -> None:
    worker = Worker([appending()], backend, observers=(), receive_wait=timedelta(seconds=0.1))
    with worker, ThreadPoolExecutor() as threads:
        running = threads.submit(worker.run)
        change(path)
        with pytest.raises(BackendReplacedError):
            running.result(timeout=10)


def test_a_worker_process_ends_with_one_line(path: Path, tmp_path: Path) -> None:
    SQLiteBackend.open(path).close()
    command = ["worker", "tests.cli.door_machine:doors", "--backend", f"sqlite:///{path}"]
    with subprocess.Popen(
        [sys.executable, "-m", "settled_cli", *command], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("settled: serving door")
        move(path)
        _, log = process.communicate(timeout=30)
    assert process.returncode == 1
    assert log.splitlines()[-1].startswith(f"settled: {path}: this file was deleted, moved or replaced")


@pytest.mark.parametrize("replacement", [None, b"", b"another log"])
def test_no_write_succeeds_after_its_log_was_deleted(
    path: Path, backend: SQLiteBackend, replacement: bytes | None
) -> None:
    """D1: the next process would find the file without what was written to the log."""
    backend.queue.send([message(ADA, "a")])
    log = path.with_name("settled.db-wal")
    log.unlink()
    if replacement is not None:
        log.write_bytes(replacement)
    with pytest.raises(BackendReplacedError, match=r"settled\.db-wal: this file was deleted, moved or replaced"):
        backend.queue.send([message(ADA, "b")])


def test_no_first_write_succeeds_after_the_log_was_deleted(path: Path) -> None:
    SQLiteBackend.open(path).close()
    with closing(SQLiteBackend.open(path)) as keeper, closing(SQLiteBackend.open(path)) as backend:
        keeper.queue.send([message(ADA, "a")])
        assert backend.store.load(ADA) is None
        path.with_name(f"{path.name}-wal").unlink()
        with pytest.raises(BackendReplacedError):
            backend.queue.send([message(ADA, "b")])


def test_a_forked_process_is_told_so_while_a_thread_writes(backend: SQLiteBackend) -> None:
    # A thread that is not in the forked process leads the group of writers there, for ever.
    backend._database._group._busy = True  # pyright: ignore[reportPrivateUsage]
    backend._database._connections._process = -1  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(BackendClosedError, match="forked"):
        backend.queue.send([message(ADA, "a")])


def test_what_was_told_ok_is_in_the_file_that_was_there(path: Path) -> None:
    """D1: a sender goes on while the file is moved away; all that it was told ok is in the moved file."""
    moved = path.with_name("moved.db")
    told_ok: list[str] = []
    with closing(SQLiteBackend.open(path)) as backend, ThreadPoolExecutor() as threads:

        def send() -> None:
            with suppress(BackendReplacedError):
                for n in range(100_000):
                    backend.queue.send([message(ADA, f"{n}")])
                    told_ok.append(f"{n}")

        sending = threads.submit(send)
        while len(told_ok) < 50:
            assert not sending.done()
        path.rename(moved)
        sending.result(timeout=30)
    # Its log has kept its name.
    path.with_name("settled.db-wal").rename(path.with_name("moved.db-wal"))
    with closing(SQLiteBackend.open(moved)) as found:
        assert ids(found.queue.receive(200_000)) == told_ok


def test_a_process_may_change_its_folder(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(SQLiteBackend.open("settled.db")) as backend, ThreadPoolExecutor(4) as threads:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        list(threads.map(backend.queue.send, ([message(ADA, f"{n}")] for n in range(40))))
        assert len(backend.queue.receive(100)) == 40
    assert not list((tmp_path / "elsewhere").iterdir())


class TestALogOfAnotherFile:
    """SQLite would replay it: the file would be a mixture of two."""

    @pytest.fixture(autouse=True)
    def patience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("settled_local.sqlite.file_identity.PATIENCE", 0.1)

    def crash(self, path: Path, *names: str) -> None:
        """Leave the file as a process does that is killed after it has sent messages of these ids."""
        send = (
            "import os, sys, settled_local as s; from settled.durable.messages import *; "
            "b = s.SQLiteBackend.open(sys.argv[1]); "
            "[b.queue.send([Message(Key('signup', 'ada'), id, '{}')]) for id in sys.argv[2:]]; os._exit(0)"
        )
        subprocess.run([sys.executable, "-c", send, str(path), *names], check=True)
        assert path.with_name(f"{path.name}-wal").stat().st_size

    @pytest.fixture
    def copy(self, path: Path, tmp_path: Path) -> Path:
        """A copy of the file as it was with the message "a", before it crashed."""
        copy = tmp_path / "copy.db"
        with closing(SQLiteBackend.open(path)) as backend:
            backend.queue.send([message(ADA, "a")])
        shutil.copy(path, copy)
        self.crash(path, "b", "c")
        return copy

    def test_is_not_replayed_into_a_copy_that_was_put_in_its_place(self, path: Path, copy: Path) -> None:
        copy.replace(path)
        with pytest.raises(
            BackendConfigError, match=r"settled\.db: was copied here, and settled\.db-wal beside it may"
        ):
            SQLiteBackend.open(path)

    def test_can_be_deleted_as_the_error_says(self, path: Path, copy: Path) -> None:
        copy.replace(path)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        with closing(SQLiteBackend.open(path)) as backend:
            assert ids(backend.queue.receive(9)) == ["a"]

    def test_that_was_copied_with_its_file_is_kept_by_a_restore(self, path: Path, copy: Path, tmp_path: Path) -> None:
        moved, whole = tmp_path / "moved.db", tmp_path / "whole.db"
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{moved}{suffix}")
        with pytest.raises(BackendConfigError, match="settled restore"):
            SQLiteBackend.open(moved)
        restore(moved, f"sqlite:///{whole}")
        with closing(SQLiteBackend.open(whole)) as backend:
            assert ids(backend.queue.receive(9)) == ["a", "b", "c"]

    @pytest.mark.parametrize("is_empty", [False, True])
    def test_is_not_deleted_with_a_file_that_is_begun_anew(self, path: Path, copy: Path, is_empty: bool) -> None:
        """The file was moved, and its latest commits are in the log."""
        moved, log = path.with_name("moved.db"), path.with_name("settled.db-wal")
        path.rename(moved)
        if is_empty:
            path.touch()
        content = log.read_bytes()
        with pytest.raises(BackendConfigError, match=r"is missing or empty, but settled\.db-wal is there"):
            SQLiteBackend.open(path)
        assert log.read_bytes() == content
        path.unlink(missing_ok=True)
        moved.rename(path)
        with closing(SQLiteBackend.open(path)) as backend:
            assert ids(backend.queue.receive(9)) == ["a", "b", "c"]

    def test_is_that_of_another_process_which_opens_the_copy_too(self, path: Path, tmp_path: Path) -> None:
        """As when several workers are started after a restore."""
        SQLiteBackend.open(path).close()
        open_it = "import sys, settled_local as s; s.SQLiteBackend.open(sys.argv[1]).close()"
        for n in range(3):
            copy = tmp_path / f"{n}.db"
            shutil.copy(path, copy)
            processes = [subprocess.Popen([sys.executable, "-c", open_it, str(copy)]) for _ in range(6)]
            assert [process.wait(timeout=60) for process in processes] == [0] * 6

    def test_is_its_own_although_a_reader_came_before_the_process_that_opened_the_copy_first(
        self, path: Path, tmp_path: Path
    ) -> None:
        """A checkpoint stops at what a reader still needs."""
        SQLiteBackend.open(path).close()
        copy = tmp_path / "copy.db"
        shutil.copy(path, copy)
        with closing(sqlite3.connect(copy, isolation_level=None)) as reader, ThreadPoolExecutor() as threads:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM epochs").fetchone()
            opening = threads.submit(SQLiteBackend.open, copy)
            time.sleep(0.1)
            reader.execute("COMMIT")
            with closing(opening.result()):
                SQLiteBackend.open(copy).close()

    def test_is_replayed_after_a_crash(self, path: Path, copy: Path) -> None:
        with closing(SQLiteBackend.open(path)) as backend:
            assert ids(backend.queue.receive(9)) == ["a", "b", "c"]

    def test_is_replayed_after_a_crash_of_a_new_file(self, path: Path) -> None:
        self.crash(path, "a")
        with closing(SQLiteBackend.open(path)) as backend:
            assert ids(backend.queue.receive(9)) == ["a"]

    def test_is_replayed_after_a_crash_of_the_first_process_that_opened_a_copy(
        self, path: Path, tmp_path: Path
    ) -> None:
        SQLiteBackend.open(path).close()
        copy = tmp_path / "copy.db"
        shutil.copy(path, copy)
        self.crash(copy, "a")
        with closing(SQLiteBackend.open(copy)) as backend:
            assert ids(backend.queue.receive(9)) == ["a"]
