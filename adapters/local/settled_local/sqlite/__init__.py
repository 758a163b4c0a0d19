"""A backend in one SQLite file, for any number of processes and threads of one machine.

The file is the only truth: nothing but open connections is kept between two calls, so a process may be killed at any
point and another one continues. Each call is all or nothing, `SQLiteBackend.finish` included; concurrent calls of one
process share a transaction.

Whatever was sent, committed or acknowledged is on the disk when the call returns (``synchronous=FULL``). A call that
only leases, releases or extends does not wait for the disk: its effect outlives every process, and only a crash of the
whole machine can undo it, which ends all processes that held a lease as well.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any

from settled.durable.limits import MAX_MESSAGE_BYTES
from settled.durable.ports import Capability, ClosedOnExit, FinishResult, Write
from settled.durations import in_seconds
from settled.errors import LeaseLostError, SettledError
from settled.key import Key
from settled_local.sqlite.connection import Connection
from settled_local.sqlite.database import Database
from settled_local.sqlite.file_changes import FileChanges
from settled_local.sqlite.queue import SQLiteQueue, ack, holds, send
from settled_local.sqlite.schema import prepare
from settled_local.sqlite.store import SQLiteStore, commit
from settled_local.sqlite.timers import SQLiteTimers, cancel, schedule
from settled_local.sqlite.watchers import SQLiteWatchers
from settled_local.url import sqlite_options

__all__ = ["SQLiteBackend"]

CAPABILITIES = frozenset(
    {
        Capability.ATOMIC_FINISH,
        Capability.JOINT_FINISH,
        Capability.FENCED_FINISH,
        Capability.POSITIONS,
        Capability.SELECTIVE_RECEIVE,
        Capability.BACKLOG,
        Capability.SCAN,
        Capability.WATCH,
        Capability.DEDUPLICATION,
        Capability.NO_DELIVERY_AFTER_ACK,
        Capability.NO_DELIVERY_AFTER_CANCEL,
    }
)


class SQLiteBackend(ClosedOnExit):
    """A store, a queue and timers in one file; `SQLiteBackend.open` makes one."""

    def __init__(
        self,
        database: Database,
        epoch: str,
        lease: timedelta,
        remember: int,
        clock: Callable[[], float],
        largest_message: int,
    ) -> None:
        self._database = database
        self._clock = clock
        self._lease = lease
        self._remember = remember
        self._largest_message = largest_message
        self._watchers = SQLiteWatchers(database)
        self._changes = FileChanges(database, self._file_changed)
        self._store = SQLiteStore(database, self._watchers)
        self._queue = SQLiteQueue(database, epoch, in_seconds(lease, "lease"), remember, clock, self._changes)
        self._timers = SQLiteTimers(database)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        lease: timedelta = timedelta(seconds=30),
        remember: int = 1000,
        timeout: timedelta = timedelta(seconds=5),
        clock: Callable[[], float] = time.time,
        largest_message: int = MAX_MESSAGE_BYTES,
    ) -> SQLiteBackend:
        """Open the file at `path`, or at the URL ``sqlite:///FILE?OPTIONS``, and create it if it does not exist.

        A new file can be read and written by this user alone; create it beforehand to give it another mode. Options in
        the URL take precedence over these arguments.

        Args:
            path: a path, or a URL.
            lease: how long a new lease lasts.
            remember: how many ids of acknowledged messages the queue deduplicates by, for each key. A message that is
                repeated after more than that many others counts as a new one.
            timeout: after how long a call that finds the file locked raises `UnavailableError`.
            clock: returns seconds since the epoch.
            largest_message: how many bytes the body of a message may have.

        Raises:
            BackendConfigError: the file cannot be opened, or the URL is malformed.
            AccessDeniedError: this process may not write to the file.
            RecordError: the file belongs to another application, or to another version of settled.
        """
        name = os.fspath(path)
        if name.startswith("sqlite:"):
            given: dict[str, Any] = {"lease": lease, "remember": remember, "timeout": timeout, "clock": clock}
            given["largest_message"] = largest_message
            return cls.open(**{**given, **sqlite_options(name)})
        _create_private(name)
        database = Database(name, in_seconds(timeout, "timeout"))
        try:
            epoch = prepare(database)
        except BaseException:
            database.close()
            raise
        return cls(database, epoch, lease, remember, clock, largest_message)

    @property
    def store(self) -> SQLiteStore:
        return self._store

    @property
    def queue(self) -> SQLiteQueue:
        return self._queue

    @property
    def timers(self) -> SQLiteTimers:
        return self._timers

    @property
    def capabilities(self) -> frozenset[Capability]:
        return CAPABILITIES

    @property
    def lease(self) -> timedelta:
        return self._lease

    @property
    def resolution(self) -> timedelta:
        return timedelta()

    @property
    def largest_message(self) -> int:
        return self._largest_message

    @property
    def retention(self) -> None:
        """None: a message waits until it is taken."""
        return None

    def now(self) -> float:
        return self._clock()

    def finish(self, write: Write) -> None:
        self._database.write(lambda db: self._finish(db, write))
        if self._watchers.by_key and write.stored is not None:
            self._watchers.notify([write.key])

    def finish_all(
        self, writes: Sequence[Write], receive: int = 0, machines: Collection[str] | None = None
    ) -> FinishResult:
        def finish(db: Connection) -> FinishResult:
            refused: dict[Key, SettledError] = {}
            for write in writes:
                try:
                    # A savepoint for each write: one that fails must not undo the others of its transaction.
                    db.attempt(partial(self._finish, db, write))
                except SettledError as error:
                    refused[write.key] = error
            return FinishResult(refused, tuple(self._queue.lease_ready(db, receive, machines)))

        result = self._database.write(finish, durable=bool(writes))
        if self._watchers.by_key:
            self._watchers.notify([write.key for write in writes if write.key not in result.errors])
        return result

    @contextmanager
    def watch(self, key: Key, changed: Callable[[], object]) -> Generator[None]:
        with self._changes.followed(), self._watchers.added(key, changed):
            yield

    def _finish(self, db: Connection, write: Write) -> None:
        now = self._clock()
        if write.stored is not None:
            commit(db, write.key, write.stored, write.expected, write.add_dead_letters, write.remove_dead_letters)
            # Within the same transaction: a check before it could pass, and the lease be taken over until the commit.
            if write.holder is not None and not holds(db, write.holder, now):
                raise LeaseLostError(f"{write.key}: its lease was lost")
        send(db, write.sends, now)
        for timer in write.timers:
            schedule(db, timer)
        for timer_id in write.cancels:
            cancel(db, timer_id)
        ack(db, write.acks, now, self._remember)

    def close(self) -> None:
        self._changes.close()
        self._database.close()

    def _file_changed(self, db: Connection) -> None:
        self._database.changes.increment()
        self._watchers.notify_of_commits(db)


def _create_private(path: str) -> None:
    """Create the file at `path` for this user alone, if there is none; SQLite gives its -wal and -shm the same mode."""
    if path == ":memory:":
        return
    # O_EXCL also keeps an existing file from being opened here: closing it would end the locks of this process on it.
    # The target of a link: O_EXCL would take the link for a file.
    with suppress(OSError):  # it exists, or SQLite will say why it cannot be created
        os.close(os.open(os.path.realpath(path), os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
