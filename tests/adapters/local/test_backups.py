"""Backups: made while workers run, put back as a new file, and what goes on in it (D1, D2, D6, X4, F9)."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from settled import Machine, setup
from settled.durable.messages import Event, decode
from settled.errors import BackendConfigError, BackendReplacedError, RecordError
from settled.key import Key
from settled_local import SQLiteBackend
from settled_local.sqlite.backup import backup, restore
from settled_runtime import Client, Worker
from settled_runtime.backups import backup as backup_by_url
from settled_runtime.backups import restore as restore_by_url
from tests.adapters.local.fixtures import ADA, BEN, ids, message, stored
from tests.durable.machines import add, appending

NAMES = [f"i{n}" for n in range(5)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "settled.db"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "copy.db"


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def epoch_of(path: Path) -> str:
    """Return the epoch of the positions of the file at `path`."""
    with closing(SQLiteBackend.open(path)) as backend:
        backend.queue.send([message(BEN, f"{time.time()}")])
        (delivery,) = backend.queue.receive(1)
        backend.queue.ack([delivery])
    assert delivery.position is not None
    return delivery.position.epoch


@pytest.fixture
def backend(path: Path) -> Iterator[SQLiteBackend]:
    with closing(SQLiteBackend.open(path)) as backend:
        yield backend


class TestABackup:
    def test_is_one_whole_file_that_only_its_owner_may_read(
        self, path: Path, copy: Path, backend: SQLiteBackend
    ) -> None:
        """Also of what is still in the log."""
        backend.queue.send([message(ADA, "a")])
        backup(url(path), copy)
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        assert sorted(each.name for each in copy.parent.iterdir() if "copy" in each.name) == ["copy.db"]
        with closing(sqlite3.connect(f"file:{copy}?immutable=1", uri=True)) as db:
            assert db.execute("SELECT id FROM messages").fetchall() == [("a",)]

    @pytest.mark.parametrize("existing", ["copy.db", "copy.db-wal"])
    def test_overwrites_nothing(self, path: Path, copy: Path, backend: SQLiteBackend, existing: str) -> None:
        copy.with_name(existing).write_text("kept")
        with pytest.raises(BackendConfigError, match=rf"{existing}: exists, and is not overwritten"):
            backup(url(path), copy)
        assert copy.with_name(existing).read_text() == "kept"

    def test_that_fails_leaves_nothing(self, path: Path, copy: Path, tmp_path: Path) -> None:
        with pytest.raises(BackendConfigError):
            backup(url(path), copy)
        path.write_text("no database " * 100)
        with pytest.raises(RecordError, match="no SQLite database"):
            backup(url(path), copy)
        with pytest.raises(BackendConfigError, match=r"copy\.db: cannot be created \(No such file or directory\)"):
            backup(url(path), tmp_path / "nowhere" / "copy.db")
        assert list(tmp_path.iterdir()) == [path]

    def test_is_not_made_of_what_is_not_settled_s(self, path: Path, copy: Path, backend: SQLiteBackend) -> None:
        for statement, reason in (
            ("PRAGMA application_id=7", "is not a file of settled"),
            ("PRAGMA user_version=99", r"by a newer settled \(format 99\): update settled"),
        ):
            with closing(sqlite3.connect(path, isolation_level=None)) as db:
                db.execute(statement)
            with pytest.raises(RecordError, match=reason):
                backup(url(path), copy)
            with closing(sqlite3.connect(path, isolation_level=None)) as db:
                db.execute("PRAGMA application_id=0x5E771ED")

    def test_is_not_made_of_a_damaged_file(self, path: Path, copy: Path) -> None:
        with closing(SQLiteBackend.open(path)) as backend:
            for n in range(1, 40):
                backend.store.commit(Key("signup", f"{n}"), stored(1, "x" * 1000), 0)
        content = bytearray(path.read_bytes())
        content[-20_000:-15_000] = b"?" * 5000
        path.write_bytes(content)
        with pytest.raises(RecordError, match="damaged"):
            backup(url(path), copy)
        assert not copy.exists()

    def test_is_made_of_a_file_of_an_older_settled(self, path: Path, copy: Path) -> None:
        with closing(sqlite3.connect(path)) as db:
            db.executescript((Path(__file__).parent / "older" / "3.sql").read_text())
        backup(url(path), copy)
        SQLiteBackend.open(copy).close()

    def test_is_not_made_of_a_mixture_of_two_files(self, path: Path, copy: Path, tmp_path: Path) -> None:
        other = tmp_path / "other.db"
        SQLiteBackend.open(other).close()
        with closing(SQLiteBackend.open(path)) as backend:
            backend.queue.send([message(ADA, "a")])
            shutil.copy(f"{path}-wal", f"{other}-wal")
        path.unlink()
        other.rename(path)
        shutil.move(f"{other}-wal", f"{path}-wal")
        moved = tmp_path / "moved.db"
        shutil.copy(path, moved)
        moved.replace(path)
        with pytest.raises(BackendConfigError, match="SQLite would mix the two"):
            backup(url(path), copy)


class TestARestoredFile:
    def test_is_new_and_has_a_new_epoch(self, path: Path, copy: Path, backend: SQLiteBackend, tmp_path: Path) -> None:
        """F9: its messages get numbers that the file it was made of has given to others."""
        backup(url(path), copy)
        restored = [tmp_path / "one.db", tmp_path / "two.db"]
        for each in restored:
            restore(copy, url(each))
            assert stat.S_IMODE(each.stat().st_mode) == 0o600
        assert len({epoch_of(each) for each in (path, *restored)}) == 3

    def test_has_a_new_epoch_even_where_the_original_was(self, path: Path, copy: Path) -> None:
        """F9: copied over the original, it has the same inode."""
        before = epoch_of(path)
        backup(url(path), copy)
        path.write_bytes(copy.read_bytes())
        assert epoch_of(path) != before

    def test_replaces_no_file(self, path: Path, copy: Path, backend: SQLiteBackend) -> None:
        backup(url(path), copy)
        with pytest.raises(BackendConfigError, match="exists, and is not overwritten"):
            restore(copy, url(path))
        path.rename(path.with_name("moved.db"))
        with pytest.raises(BackendConfigError, match=r"settled\.db-wal: exists, and is not overwritten"):
            restore(copy, url(path))
        with pytest.raises(BackendReplacedError):
            backend.queue.send([message(ADA, "a")])

    def test_may_be_made_of_a_backup_that_nobody_may_write(self, path: Path, copy: Path, tmp_path: Path) -> None:
        SQLiteBackend.open(path).close()
        backup(url(path), copy)
        before = copy.read_bytes()
        restore(copy, url(tmp_path / "restored.db"))
        assert copy.read_bytes() == before
        assert not list(tmp_path.glob("copy.db-*"))


def test_backends_are_backed_up_by_their_urls(path: Path, copy: Path, backend: SQLiteBackend, tmp_path: Path) -> None:
    backend.queue.send([message(ADA, "a")])
    backup_by_url(url(path), copy)
    restore_by_url(copy, url(tmp_path / "restored.db"))
    with closing(SQLiteBackend.open(tmp_path / "restored.db")) as restored:
        assert ids(restored.queue.receive(1)) == ["a"]
    with pytest.raises(
        BackendConfigError, match=r"^nosuch://\*\*\*@host: settled has no tools for this, only for redis://"
    ):
        backup_by_url("nosuch://ada:secret@host", tmp_path / "other")
    assert not (tmp_path / "other").exists()


@contextmanager
def working(machine: Machine[Any], backend: SQLiteBackend) -> Generator[Client[Any]]:
    with Worker([machine], backend, receive_wait=timedelta(seconds=0.05)).running():
        yield Client(machine, backend)


def applied(client: Client[Any], name: str) -> list[int]:
    snapshot = client.get(name)
    return [] if snapshot is None else list(snapshot.context["applied"])


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def waiting_in(path: Path, name: str) -> list[int]:
    """Return the numbers in the messages of an instance that wait in the file at `path`, in their order."""
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute(
            "SELECT body FROM messages JOIN message_groups USING (group_id) WHERE instance=? ORDER BY number", (name,)
        ).fetchall()
    events: list[Any] = [content.event for (body,) in rows if isinstance(content := decode(body), Event)]
    return [event["n"] for event in events]


def test_workers_go_on_with_exactly_what_the_backup_had(path: Path, copy: Path, tmp_path: Path) -> None:
    """X4, D1: nothing of it is lost or applied twice, and nothing that comes later is swallowed."""
    machine, restored = appending(), tmp_path / "restored.db"
    with (
        closing(SQLiteBackend.open(path, lease=timedelta(seconds=1))) as backend,
        working(machine, backend) as client,
        ThreadPoolExecutor() as threads,
    ):
        for name in NAMES:
            client.start(name)

        def send() -> None:
            for n in range(150):
                for name in NAMES:
                    client.send(name, add(n), message_id=f"{name}-{n}")

        sending = threads.submit(send)
        eventually(lambda: all(len(applied(client, name)) > 20 for name in NAMES))
        backup(url(path), copy)
        assert not sending.done()
        sending.result()
        eventually(lambda: all(applied(client, name) == list(range(150)) for name in NAMES))
    restore(copy, url(restored))
    with closing(SQLiteBackend.open(restored)) as backend:
        client = Client(machine, backend)
        had = {name: applied(client, name) + waiting_in(restored, name) for name in NAMES}
        for name in NAMES:
            assert had[name] == list(range(len(had[name])))
            assert 20 < len(had[name]) < 150
            # Senders repeat what they have sent last, some of which is in the backup and some of which is lost.
            for n in range(len(had[name]) - 10, 150):
                client.send(name, add(n), message_id=f"{name}-{n}")
        with working(machine, backend):
            eventually(lambda: all(149 in applied(client, name) for name in NAMES))
        for name in NAMES:
            assert applied(client, name) == list(range(150))


def test_timers_of_the_backup_fire_once(path: Path, copy: Path, tmp_path: Path) -> None:
    """T2: also those that have fired in the original meanwhile."""
    machine = setup(delays={"soon": timedelta(seconds=0.3)}).machine(
        {
            "id": "bell",
            "initial": "still",
            "states": {
                "still": {"tags": ["settled"], "after": {"soon": "rung"}},
                "rung": {"tags": ["settled"], "on": {"RESET": "still"}},
            },
        }
    )
    with closing(SQLiteBackend.open(path)) as backend, working(machine, backend) as client:
        client.start("front")
        client.wait_for("front", value="still")
        backup(url(path), copy)
        client.wait_for("front", value="rung", timeout=timedelta(seconds=10))
    restore(copy, url(tmp_path / "restored.db"))
    with closing(SQLiteBackend.open(tmp_path / "restored.db")) as backend:
        snapshot = Client(machine, backend).get("front")
        assert snapshot is not None
        assert snapshot.value == "still"
        with working(machine, backend) as client:
            client.wait_for("front", value="rung", timeout=timedelta(seconds=10))
    with closing(sqlite3.connect(tmp_path / "restored.db")) as db:
        assert db.execute("SELECT count(*) FROM timers").fetchone() == (0,)
