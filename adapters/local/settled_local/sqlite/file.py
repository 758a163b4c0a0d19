"""One file, its open connections, and the transactions on it.

A connection is used by one call at a time, from whatever thread; those that are free wait here for the next call, so
that threads may come and go. The writers of this process queue up at a lock of their own: SQLite lets those of other
processes in by polling, which is neither fair nor quick, and need not happen among threads.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, TypeAlias

from attrs import define

from settled.errors import Denied, TooLarge, Unavailable
from settled_local.sqlite.errors import translated

Value: TypeAlias = str | bytes | int | float | None


class File:
    """The file at `path`; a call that finds it locked gives up after `timeout` seconds."""

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        self.changes = Changes()
        self._timeout = timeout
        self._writer = threading.Lock()
        self._connections = _Connections(path, timeout)

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection, None, None]:
        """A connection to read with: each statement sees what was committed last.

        Raises:
            Unavailable, Denied, RecordError: see `translated`.
        """
        try:
            connection = self._connections.take()
            try:
                yield connection.db
            finally:
                self._connections.give(connection)
        except sqlite3.Error as error:
            raise translated(error, self.path) from error

    @contextmanager
    def writing(self, durable: bool = True) -> Generator[sqlite3.Connection, None, None]:
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
            connection = self._connections.take()
            try:
                connection.commit_durably(durable)
                connection.db.execute("BEGIN IMMEDIATE")
                yield connection.db
                committing = True
                connection.db.execute("COMMIT")
            finally:
                self._connections.give(connection)
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


@define
class _Connection:
    """An open connection, and whether its commits wait for the disk."""

    db: sqlite3.Connection
    durable: bool

    def commit_durably(self, durable: bool) -> None:
        """Say what the next commit waits for. Half of the calls of a quiet worker only lease, and need not wait."""
        if self.durable != durable:
            # A script, because SQLite obeys while it compiles this, and Python compiles a statement only once.
            self.db.executescript(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self.durable = durable


class _Connections:
    """The open connections to the file at `path` that nobody uses just now."""

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._free: list[_Connection] = []
        self._closed = False

    def take(self) -> _Connection:
        """A connection that nobody else has: the one used last, whose pages are still warm, or a new one."""
        if self._process != os.getpid():
            raise Denied(f"{self._path}: was opened before this process was forked: open it again, after the fork")
        with self._lock:
            if self._closed:
                raise Denied(f"{self._path}: this backend was closed")
            if self._free:
                return self._free.pop()
        return self._connect()

    def give(self, connection: _Connection) -> None:
        """Take `connection` back; a transaction that is still open is rolled back."""
        if connection.db.in_transaction:
            try:
                connection.db.execute("ROLLBACK")
            except sqlite3.Error:
                connection.db.close()  # which rolls back too
                return
        with self._lock:
            if not self._closed:
                self._free.append(connection)
                return
        connection.db.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for connection in free:
            connection.db.close()

    def _connect(self) -> _Connection:
        db = sqlite3.connect(self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False)
        connection = _Connection(db, durable=False)
        try:
            connection.commit_durably(True)
        except sqlite3.Error:
            db.close()
            raise
        return connection


def run(db: sqlite3.Connection, statement: str, *values: Value) -> sqlite3.Cursor:
    """Execute `statement`; text in `values` is stored exactly, whatever is in it.

    Raises:
        TooLarge: a value is past SQLite's limit.
    """
    try:
        return db.execute(statement, values)
    except UnicodeEncodeError:
        # JSON may hold half of a surrogate pair, which no encoding of Unicode does. Such a text is stored as bytes,
        # every time, so that it is still equal to itself; `text` reads it back.
        return run(db, statement, *map(_encodable, values))
    except (sqlite3.DataError, OverflowError) as error:
        size = max(len(_bytes(value)) for value in values if isinstance(value, str))
        limit = db.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
        raise TooLarge(f"a text of {size} bytes: SQLite takes {limit} in one row") from error


def text(value: Any) -> str:
    """The text in a column that `run` wrote."""
    return value if isinstance(value, str) else value.decode("utf-8", "surrogatepass")


def _encodable(value: Value) -> Value:
    if not isinstance(value, str) or not any("\ud800" <= character <= "\udfff" for character in value):
        return value
    return _bytes(value)


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")
