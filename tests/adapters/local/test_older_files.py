"""A file that an older settled has written: migrated when it is opened, and its instances go on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from settled import Key
from settled.durable import Message
from settled_local import SQLiteBackend
from settled_local.sqlite.schema import OLDEST, VERSION
from tests.adapters.local.fixtures import LEASE, Clock
from tests.support.older_world import STARTED, OlderInstances

OLDER = Path(__file__).parent / "older"


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.now = STARTED
    return clock


@pytest.fixture(params=range(OLDEST, VERSION))
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of each older version."""
    path = tmp_path / "older.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript((OLDER / f"{request.param}.sql").read_text())
    return path


@pytest.fixture
def backend(path: Path, clock: Clock) -> Iterator[SQLiteBackend]:
    with closing(SQLiteBackend.open(path, lease=timedelta(seconds=LEASE), clock=clock)) as backend:
        yield backend


def columns(path: Path) -> dict[str, set[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        # Name, type, not null, default and primary key; not the position, which a migration cannot choose.
        return {table: {row[1:] for row in db.execute(f"PRAGMA table_info({table})")} for table in tables}


class TestTheFile:
    def test_has_the_tables_of_a_new_one(self, path: Path, backend: SQLiteBackend, tmp_path: Path) -> None:
        new = tmp_path / "new.db"
        SQLiteBackend.open(new).close()
        assert columns(path) == columns(new)
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)

    def test_is_migrated_once_by_several_that_open_it_at_the_same_time(self, path: Path) -> None:
        with ThreadPoolExecutor(8) as threads:
            for opened in [threads.submit(SQLiteBackend.open, path) for _ in range(8)]:
                opened.result().close()

    def test_is_left_as_it_is_if_the_migration_fails(self, path: Path) -> None:
        with closing(sqlite3.connect(path)) as db:
            db.executescript("DROP TABLE dead_letters")
            before = list(db.iterdump())
            version = db.execute("PRAGMA user_version").fetchone()
        with pytest.raises(Exception, match="not as settled made them"):
            SQLiteBackend.open(path)
        with closing(sqlite3.connect(path)) as db:
            assert (list(db.iterdump()), db.execute("PRAGMA user_version").fetchone()) == (before, version)


class TestItsInstances(OlderInstances):
    pass


def test_a_process_of_the_older_version_that_has_the_file_open_goes_on(path: Path, clock: Clock) -> None:
    """Its statements do not name the new column."""
    with closing(sqlite3.connect(path, isolation_level=None)) as older:
        older.execute("SELECT count(*) FROM messages").fetchone()
        with closing(SQLiteBackend.open(path, lease=timedelta(seconds=LEASE), clock=clock)) as backend:
            older.execute("INSERT INTO messages (group_id, number, attempts, id, body) VALUES (4, 3, 0, 'later', '{}')")
            older.execute("UPDATE message_groups SET tail=3 WHERE group_id=4")
            found = [each.message for each in backend.queue.receive(10) if each.message.id == "later"]
            assert found == [Message(Key("order", "queued"), "later", "{}")]
