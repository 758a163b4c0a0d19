"""Timers in their table, until the queue finds them due.

There is no clock of their own to run: whoever asks the queue for messages moves what is due into it, in the same
transaction, so a timer is in one of the two places whatever happens.
"""

from __future__ import annotations

from collections.abc import Sequence

from settled.durable.messages import Message, Timer
from settled.key import Key
from settled_local.sqlite.connection import Connection, text
from settled_local.sqlite.database import Database


class SQLiteTimers:
    """The timers of a file."""

    def __init__(self, file: Database) -> None:
        self._file = file

    def schedule(self, timer: Timer) -> None:
        self._file.write(lambda db: schedule(db, timer))

    def cancel(self, timer_id: str) -> None:
        self._file.write(lambda db: cancel(db, timer_id))


def schedule(db: Connection, timer: Timer) -> None:
    """`Timers.schedule` within a transaction."""
    db.run(
        "INSERT OR REPLACE INTO timers (timer, due, machine, instance, id, body) VALUES (?, ?, ?, ?, ?, ?)",
        timer.id,
        timer.due,
        timer.message.key.machine,
        timer.message.key.instance,
        timer.message.id,
        timer.message.body,
    )


def cancel(db: Connection, timer_id: str) -> None:
    """`Timers.cancel` within a transaction."""
    db.run("DELETE FROM timers WHERE timer=?", timer_id)


def pop_due(db: Connection, now: float, limit: int) -> Sequence[Message]:
    """Take out the messages of up to `limit` timers that are due, in the order in which they are."""
    rows = db.run(
        "SELECT serial, machine, instance, id, body FROM timers WHERE due<=? ORDER BY due, serial LIMIT ?",
        now,
        limit,
    ).fetchall()
    for serial, *_ in rows:
        db.run("DELETE FROM timers WHERE serial=?", serial)
    return [
        Message(Key(text(machine), text(instance)), text(id), text(body)) for _, machine, instance, id, body in rows
    ]
