"""Records and dead letters in their tables.

The statement that writes a record also checks its version, so no other commit can come in between.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from settled.durable.headers import headers_from_text, headers_to_text
from settled.durable.messages import Message
from settled.durable.ports import DELETED, DeadLetter, Index, Stored
from settled.errors import ConflictError
from settled.key import Key
from settled_local.sqlite.connection import Connection, SqlValue, text
from settled_local.sqlite.database import Database
from settled_runtime.watchers import Watchers


class SQLiteStore:
    """The store of a file."""

    def __init__(self, database: Database, watchers: Watchers) -> None:
        self._database = database
        self._watchers = watchers

    def load(self, key: Key) -> Stored | None:
        with self._database.reading() as db:
            row = db.run(
                "SELECT version, body, status, tags, updated FROM records WHERE machine=? AND instance=?",
                key.machine,
                key.instance,
            ).fetchone()
        if row is None:
            return None
        version, body, *index = row
        return Stored(version, text(body), _index(*index))

    def commit(
        self,
        key: Key,
        stored: Stored,
        expected: int,
        add_dead_letters: Sequence[DeadLetter] = (),
        remove_dead_letters: int = 0,
    ) -> None:
        self._database.write(lambda db: commit(db, key, stored, expected, add_dead_letters, remove_dead_letters))
        self._watchers.notify([key])

    def dead_letters(self, key: Key) -> Sequence[DeadLetter]:
        with self._database.reading() as db:
            rows = db.run(
                "SELECT id, body, headers, reason, at, detail FROM dead_letters"
                " WHERE machine=? AND instance=? ORDER BY position",
                key.machine,
                key.instance,
            ).fetchall()
        return [
            DeadLetter(Message(key, text(id), text(body), headers_from_text(headers)), text(reason), at, text(detail))
            for id, body, headers, reason, at, detail in rows
        ]

    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        self._database.write(lambda db: _delete(db, key, tombstone, expected))
        self._watchers.notify([key])

    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Sequence[tuple[Key, Stored]]:
        conditions = ["status<>?"]
        values: list[SqlValue] = [DELETED]
        if machine is not None:
            conditions.append("machine=?")
            values.append(machine)
        if status is not None:
            conditions.append("status=?")
            values.append(status)
        if after is not None and after.machine == machine:
            # Not the comparison of rows below: with it, SQLite would search the index for the machine only, and read
            # all of its instances up to the page.
            conditions.append("instance>?")
            values.append(after.instance)
        elif after is not None:
            conditions.append("(machine, instance) > (?, ?)")
            values += [after.machine, after.instance]
        statement = (
            "SELECT machine, instance, version, status, tags, updated FROM records"
            f" WHERE {' AND '.join(conditions)} ORDER BY machine, instance LIMIT ?"
        )
        with self._database.reading() as db:
            rows = db.run(statement, *values, limit).fetchall()
        return [
            (Key(text(machine), text(instance)), Stored(version, "", _index(*index)))
            for machine, instance, version, *index in rows
        ]


def commit(
    db: Connection,
    key: Key,
    stored: Stored,
    expected: int,
    add_dead_letters: Sequence[DeadLetter],
    remove_dead_letters: int,
) -> None:
    """Do `Store.commit` within a transaction, which the caller rolls back if this raises."""
    if expected == 0:
        _create(db, key, stored)
    else:
        _replace(db, key, stored, expected)
    if remove_dead_letters:
        db.run(
            "DELETE FROM dead_letters WHERE position IN"
            " (SELECT position FROM dead_letters WHERE machine=? AND instance=? ORDER BY position LIMIT ?)",
            key.machine,
            key.instance,
            remove_dead_letters,
        )
    # After `remove_dead_letters`: what a redrive puts back goes behind the dead letters that stay.
    for dead_letter in add_dead_letters:
        db.run(
            "INSERT INTO dead_letters (machine, instance, id, body, headers, reason, at, detail)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            key.machine,
            key.instance,
            dead_letter.message.id,
            dead_letter.message.body,
            headers_to_text(dead_letter.message.headers),
            dead_letter.reason,
            dead_letter.at,
            dead_letter.detail,
        )


def _delete(db: Connection, key: Key, tombstone: Stored, expected: int) -> None:
    commit(db, key, tombstone, expected, (), 0)
    db.run("DELETE FROM dead_letters WHERE machine=? AND instance=?", key.machine, key.instance)


def _create(db: Connection, key: Key, stored: Stored) -> None:
    # Not OR REPLACE: of two processes that create the same instance, one must fail.
    created = db.run(
        "INSERT OR IGNORE INTO records (machine, instance, version, status, tags, updated, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        key.machine,
        key.instance,
        stored.version,
        stored.index.status,
        json.dumps(stored.index.tags),
        stored.index.updated,
        stored.body,
    )
    if not created.rowcount:
        raise _conflict(db, key, 0)


def _replace(db: Connection, key: Key, stored: Stored, expected: int) -> None:
    # The row changes only if its version is `expected`: this condition is what lets one of two commits win.
    replaced = db.run(
        "UPDATE records SET version=?, tags=?, updated=?, body=? WHERE machine=? AND instance=? AND version=?",
        stored.version,
        json.dumps(stored.index.tags),
        stored.index.updated,
        stored.body,
        key.machine,
        key.instance,
        expected,
    )
    if not replaced.rowcount:
        raise _conflict(db, key, expected)
    # A statement of its own, because SQLite rewrites the index over a column that is set, even to the same value; this
    # one changes no row in nearly every commit.
    db.run(
        "UPDATE records SET status=? WHERE machine=? AND instance=? AND status<>?",
        stored.index.status,
        key.machine,
        key.instance,
        stored.index.status,
    )


def _conflict(db: Connection, key: Key, expected: int) -> ConflictError:
    row = db.run("SELECT version FROM records WHERE machine=? AND instance=?", key.machine, key.instance).fetchone()
    return ConflictError(f"{key}: expected version {expected}, found {row[0] if row else 0}")


def _index(status: str | bytes, tags: str, updated: float) -> Index:
    return Index(text(status), tuple(json.loads(tags)), updated)
