"""A backend in one SQLite file, for any number of processes and threads of one machine.

The file is the only truth: nothing is cached between two calls but open connections, so a process may be killed at any
point and another one goes on. Each call is all or nothing, `SQLiteBackend.finish` too; those of several threads that
come together share a transaction.

What was sent, committed or acknowledged is on the disk when the call returns (``synchronous=FULL``). What only leases,
releases or extends is not waited for: it outlives every process, and only the machine's own fall can take it back,
together with all who held a lease.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from settled.durable.ports import Capability, Finished, Write
from settled.errors import LeaseLostError, SettledError
from settled.key import Key
from settled_local.sqlite.connection import Connection
from settled_local.sqlite.database import Database
from settled_local.sqlite.queue import SQLiteQueue, ack, holds, send
from settled_local.sqlite.schema import prepare
from settled_local.sqlite.store import SQLiteStore, commit
from settled_local.sqlite.timers import SQLiteTimers, cancel, schedule
from settled_local.url import sqlite_options

__all__ = ["SQLiteBackend"]


class SQLiteBackend:
    """A store, a queue and timers in one file; `SQLiteBackend.open` makes one."""

    def __init__(self, file: Database, epoch: str, lease: float, remember: int, clock: Callable[[], float]) -> None:
        self._file = file
        self._clock = clock
        self._lease = lease
        self._remember = remember
        self._store = SQLiteStore(file)
        self._queue = SQLiteQueue(file, epoch, lease, remember, clock)
        self._timers = SQLiteTimers(file)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        lease: float = 30.0,
        remember: int = 1000,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> SQLiteBackend:
        """Open the file at `path`, or at the URL ``sqlite:///FILE?OPTIONS``, and create it if it is not there.

        `lease` and `timeout` are in seconds; `timeout` is how long a call waits for the others to let go of the file
        before it is `Unavailable`. `remember` is how many acknowledged ids the queue knows again, for each key: a
        message that is repeated later than that is a new one. `clock` gives seconds since the epoch. The first three
        may stand in the URL instead, and then go before these arguments.

        Raises:
            Denied: the path cannot be opened, or the URL is not understood.
            RecordError: the file is something else, or a newer settled wrote it.
        """
        name = os.fspath(path)
        if name.startswith("sqlite:"):
            given: dict[str, Any] = {"lease": lease, "remember": remember, "timeout": timeout, "clock": clock}
            return cls.open(**{**given, **sqlite_options(name)})
        file = Database(name, timeout)
        try:
            epoch = prepare(file)
        except BaseException:
            file.close()
            raise
        return cls(file, epoch, lease, remember, clock)

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
        return frozenset(Capability)

    @property
    def lease(self) -> float:
        return self._lease

    @property
    def resolution(self) -> float:
        return 0.0

    def now(self) -> float:
        return self._clock()

    def finish(self, write: Write) -> None:
        self._file.write(lambda db: self._finish(db, write))

    def finish_all(self, writes: Sequence[Write], receive: int = 0) -> Finished:
        def finish(db: Connection) -> Finished:
            refused: dict[Key, SettledError] = {}
            for write in writes:
                try:
                    db.attempt(partial(self._finish, db, write))
                except SettledError as error:
                    refused[write.key] = error
            return Finished(refused, tuple(self._queue.hand_out(db, receive)))

        return self._file.write(finish, durable=bool(writes))

    def _finish(self, db: Connection, write: Write) -> None:
        now = self._clock()
        if write.stored is not None:
            commit(db, write.key, write.stored, write.expected, write.bury, write.unbury)
            if write.holder is not None and not holds(db, write.holder, now):
                raise LeaseLostError(f"{write.key}: its lease was lost")
        send(db, write.sends)
        for timer in write.timers:
            schedule(db, timer)
        for timer_id in write.cancels:
            cancel(db, timer_id)
        ack(db, write.acks, now, self._remember)

    def close(self) -> None:
        self._file.close()
