"""One file, its open connections, and the transactions on it.

A connection is used by one call at a time, from whatever thread; those that are free wait here for the next call, so
that threads may come and go. The writers of this process queue up at a lock of their own: to wait for each other at
the file's lock they would have to look at it again and again.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager

from settled.errors import Denied, Unavailable
from settled_local.sqlite.connection import Connection
from settled_local.sqlite.errors import translated


class File:
    """The file at `path`; a call that finds it locked gives up after `timeout` seconds."""

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        self.changes = Changes()
        self._timeout = timeout
        self._writer = threading.Lock()
        self._connections = _Connections(path, timeout)

    @contextmanager
    def reading(self) -> Generator[Connection, None, None]:
        """A connection to read with: each statement sees what was committed last.

        Raises:
            Unavailable, Denied, RecordError: see `translated`.
        """
        try:
            db = self._connections.take()
            try:
                yield db
            finally:
                self._connections.give(db)
        except sqlite3.Error as error:
            raise translated(error, self.path) from error

    @contextmanager
    def writing(self, durable: bool = True) -> Generator[Connection, None, None]:
        """A transaction: all that is done in it happens at its end, or nothing does if anything is raised.

        One that is not `durable` outlives this process, but perhaps not the machine.

        Raises:
            Unknown: it may have happened.
            Unavailable, TooLarge, Denied, RecordError: nothing happened; see `translated`.
        """
        if not self._writer.acquire(timeout=self._timeout):
            raise Unavailable(f"{self.path}: another thread did not let go of it in {self._timeout} seconds")
        committing = False
        try:
            db = self._connections.take()
            try:
                db.commit_durably(durable)
                db.run("BEGIN IMMEDIATE")
                yield db
                committing = True
                db.run("COMMIT")
            finally:
                self._connections.give(db)
        except sqlite3.Error as error:
            raise translated(error, self.path, committing) from error
        finally:
            self._writer.release()
        self.changes.happened()

    def close(self) -> None:
        """Close every connection; those in use are closed when their call ends."""
        self._connections.close()
        self.changes.happened()


class Changes:
    """Lets threads wait until another thread of this process has changed the file."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0

    @property
    def count(self) -> int:
        """How many there have been. Read it before you look into the file, so that none falls in between."""
        return self._count

    def happened(self) -> None:
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    def wait(self, known: int, timeout: float) -> None:
        """Return once there were more than `known`, or after `timeout` seconds."""
        with self._condition:
            self._condition.wait_for(lambda: self._count != known, timeout)


class _Connections:
    """The open connections to the file at `path` that nobody uses just now."""

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._free: list[Connection] = []
        self._closed = False

    def take(self) -> Connection:
        """A connection that nobody else has: the one used last, whose pages are still warm, or a new one."""
        if self._process != os.getpid():
            raise Denied(f"{self._path}: was opened before this process was forked: open it again, after the fork")
        with self._lock:
            if self._closed:
                raise Denied(f"{self._path}: this backend was closed")
            if self._free:
                return self._free.pop()
        return Connection(self._path, self._timeout)

    def give(self, db: Connection) -> None:
        """Take `db` back; a transaction that is still open is rolled back."""
        try:
            db.roll_back()
        except sqlite3.Error:
            db.close()  # which rolls back too
            return
        with self._lock:
            if not self._closed:
                self._free.append(db)
                return
        db.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for db in free:
            db.close()
