"""Timers in their table, until the queue finds them due.

No thread waits for a timer: each `receive` moves the due ones into the queue, in one transaction, so a timer is always
either in its table or in the queue.
"""

from __future__ import annotations

from collections.abc import Sequence

from settled.durable.headers import headers_from_text, headers_to_text
from settled.durable.messages import Message, Timer
from settled.key import Key
from settled_local.sqlite.connection import Connection, text
from settled_local.sqlite.database import Database


class SQLiteTimers:
    """The timers of a file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def schedule(self, timer: Timer) -> None:
        self._database.write(lambda db: schedule(db, timer))

    def cancel(self, timer_id: str) -> None:
        self._database.write(lambda db: cancel(db, timer_id))


def schedule(db: Connection, timer: Timer) -> None:
    """Do `Timers.schedule` within a transaction."""
    # OR REPLACE deletes the row of the same timer id: a timer that was replaced must not fire at its old time too.
    db.run(
        "INSERT OR REPLACE INTO timers (timer, due, machine, instance, id, body, headers) VALUES (?, ?, ?, ?, ?, ?, ?)",
        timer.id,
        timer.due,
        timer.message.key.machine,
        timer.message.key.instance,
        timer.message.id,
        timer.message.body,
        headers_to_text(timer.message.headers),
    )


def cancel(db: Connection, timer_id: str) -> None:
    """Do `Timers.cancel` within a transaction."""
    db.run("DELETE FROM timers WHERE timer=?", timer_id)


def pop_due(db: Connection, now: float, limit: int) -> Sequence[Message]:
    """Remove up to `limit` timers that are due and return their messages, earliest first."""
    rows = db.run(
        # The serial keeps timers with the same due time in the order in which they were scheduled.
        "SELECT serial, machine, instance, id, body, headers FROM timers WHERE due<=? ORDER BY due, serial LIMIT ?",
        now,
        limit,
    ).fetchall()
    for serial, *_ in rows:
        db.run("DELETE FROM timers WHERE serial=?", serial)
    return [
        Message(Key(text(machine), text(instance)), text(id), text(body), headers_from_text(headers))
        for _, machine, instance, id, body, headers in rows
    ]
