"""The file, its pool of open connections, and the transactions on it.

A connection is used by one call at a time, from any thread; free ones are pooled. Writers of this process that arrive
together share a transaction, and so one wait for the disk (see `GroupCommit`); each has a savepoint of its own, so that
one that fails undoes its own work only.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

from attrs import define

from settled.errors import (
    BackendClosedError,
    BackendReplacedError,
    OutcomeUnknownError,
    SettledError,
    UnavailableError,
)
from settled_local.sqlite.connection import Connection
from settled_local.sqlite.errors import translated
from settled_local.sqlite.file_identity import FileIdentity, file_identity
from settled_runtime.group_commit import GroupCommit, Ticket

T = TypeVar("T")


@define(eq=False)
class PendingWrite(Ticket):
    """One writer's share of a transaction: its `work`, and the `result` or `error` of that.

    `durable` says whether the commit has to wait for the disk.
    """

    work: Callable[[Connection], Any]
    durable: bool
    result: Any = None
    error: BaseException | None = None


class Database:
    """The file at `path`; a call that finds it locked fails after `timeout` seconds."""

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        self.changes = ChangeCounter()
        self._group = GroupCommit[PendingWrite]()
        self._timeout = timeout
        self._connections = _ConnectionPool(path, timeout)

    @contextmanager
    def reading(self) -> Generator[Connection, None, None]:
        """Yield a connection to read with, outside a transaction: each statement sees the latest commit.

        Raises:
            BackendReplacedError: another file is at the path, or none.
            UnavailableError, BackendConfigError, AccessDeniedError, RecordError: see `translated`.
        """
        try:
            db = self._connections.acquire()
            try:
                self._connections.require_same_file()
                yield db
            finally:
                self._connections.release(db)
        except sqlite3.Error as error:
            raise translated(error, self.path) from error

    def write(self, work: Callable[[Connection], T], durable: bool = True) -> T:
        """Run `work` in a transaction, commit it, and return the result of `work`; if it raises, undo all it did.

        Another thread may be the one that runs it.

        Args:
            work: what to do with the connection.
            durable: wait until it is on the disk. If False, it outlives this process, but perhaps not the machine.

        Raises:
            OutcomeUnknownError: it may have happened.
            BackendReplacedError: another file is at the path, or none; nothing happened.
            UnavailableError, TooLargeError, BackendConfigError, AccessDeniedError, RecordError: nothing happened; see
                `translated`.
        """
        self._connections.require_own_process()  # a thread that is not in this process may hold the lock
        task = PendingWrite(work, durable)
        try:
            leads = self._group.join(task, self._timeout)
        except TimeoutError as error:
            raise UnavailableError(
                f"{self.path}: another thread held it for more than {self._timeout} seconds"
            ) from error
        if leads:
            self._lead()
        if task.error is not None:
            raise task.error
        result: T = task.result
        return result

    def _lead(self) -> None:
        """Commit the tasks of all threads that are waiting, this one included."""
        tasks = list(self._group.take())
        try:
            self._commit(tasks)
        except BaseException as error:
            for task in tasks:
                task.error = task.error or _copied(error, self.path)
            if not isinstance(error, SettledError):
                raise
        finally:
            # Whatever happened, or the other threads would wait for ever.
            self._group.finish(tasks)
        self.changes.increment()

    def _commit(self, tasks: list[PendingWrite]) -> None:
        """Run `tasks`, and those that arrive meanwhile, in one transaction; extend `tasks` by the latter.

        Raises:
            OutcomeUnknownError: all of them may have happened.
            BackendReplacedError, UnavailableError, BackendConfigError, AccessDeniedError, RecordError: none of them
                has.
        """
        committing = False
        try:
            db = self._connections.acquire()
            try:
                durable = any(task.durable for task in tasks)
                db.commit_durably(durable)
                for task in tasks:
                    self._run(db, task)
                    # The synchronous level cannot be changed within a transaction. A durable task that joined one that
                    # is not durable would be answered before its changes are on the disk.
                    tasks += self._group.take(lambda waiting: durable or not any(task.durable for task in waiting))
                # Last, so that nothing is acknowledged that went into files which are no longer there.
                if durable:
                    self._connections.require_same_files(db)
                committing = db.in_transaction
                if committing:
                    db.run("COMMIT")
            finally:
                self._connections.release(db)
        except sqlite3.Error as error:
            raise translated(error, self.path, committing) from error

    def _run(self, db: Connection, task: PendingWrite) -> None:
        """Run `task`; if it fails, undo what it did and keep its error.

        The first of a transaction needs no savepoint: if it fails, rolling back undoes nothing else.
        """
        first = not db.in_transaction
        if first:
            # IMMEDIATE takes the write lock at once. A deferred transaction takes it at its first write, which fails
            # with SQLITE_BUSY_SNAPSHOT, however often it is retried, if another process has written since its first
            # read.
            db.run("BEGIN IMMEDIATE")
            self._connections.note_log(db)
        try:
            task.result = task.work(db) if first else db.attempt(lambda: task.work(db))
        except Exception as error:
            if not db.in_transaction:
                raise  # SQLite rolled back the whole transaction, so all of its tasks have failed
            task.error = self._translate(error)
            if first:
                db.roll_back()

    def _translate(self, error: Exception) -> Exception:
        if not isinstance(error, sqlite3.Error):
            return error
        translation = translated(error, self.path)
        translation.__cause__ = error
        return translation

    def close(self) -> None:
        """Close every connection; those in use are closed when their call ends."""
        self._connections.close()
        self.changes.increment()  # wakes the threads that wait in `receive`, which then find the file closed


def _copied(error: BaseException, path: str) -> SettledError:
    """Return a copy of `error` for one of several threads to raise: raising an exception changes its traceback."""
    if not isinstance(error, SettledError):
        return OutcomeUnknownError(f"{path}: the thread that wrote it was stopped by {type(error).__name__}")
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__
    return copy


class ChangeCounter:
    """Counts the changes that this process makes to the file, and lets threads wait for the next one."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0

    @property
    def count(self) -> int:
        """How many changes there were. Read it before the file, or a change in between goes unnoticed."""
        return self._count

    def increment(self) -> None:
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    def wait(self, seen: int, timeout: float) -> None:
        """Return once `count` is no longer `seen`, or after `timeout` seconds."""
        with self._condition:
            self._condition.wait_for(lambda: self._count != seen, timeout)


class _ConnectionPool:
    """The open connections to the file at `path` that are not in use; all of them are to the same file."""

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        # Absolute, because the process may change its working directory; the other one is no file, and refused later.
        self._file = path if path == ":memory:" else os.path.abspath(path)
        self._log = f"{os.path.realpath(path)}-wal"
        self._identity: FileIdentity | None = None
        self._timeout = timeout
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._free: list[Connection] = []
        self._closed = False

    def acquire(self) -> Connection:
        """Return a connection for the caller alone: the one used last, whose page cache is warm, or a new one."""
        self.require_own_process()
        with self._lock:
            if self._closed:
                raise BackendClosedError(f"{self._path}: this backend was closed")
            if self._free:
                return self._free.pop()
        return self._open()

    def require_own_process(self) -> None:
        """Raise BackendClosedError if this process was forked since the file was opened."""
        # A connection that crosses a fork can corrupt the file: https://www.sqlite.org/howtocorrupt.html, 2.6.
        if self._process != os.getpid():
            raise BackendClosedError(
                f"{self._path}: was opened before this process was forked: open it again, after the fork"
            )

    def require_same_file(self) -> None:
        """Check that the file at the path is the one that was opened first.

        Raises:
            BackendReplacedError: it was deleted, moved or replaced.
        """
        if file_identity(self._file) != self._identity:
            raise BackendReplacedError(
                f"{self._path}: this file was deleted, moved or replaced while it was open, so nothing more is written "
                "to it: end all processes that use it, put the right file in its place, and start them again; how to "
                "restore a backup is in docs/backup.md"
            )

    def note_log(self, db: Connection) -> None:
        """Note which write-ahead log `db` writes to, unless that is known; in a transaction, when it has it open."""
        if db.log_identity is None:
            db.log_identity = file_identity(self._log)

    def require_same_files(self, db: Connection) -> None:
        """Check that the file at the path is the one that was opened first, and the log beside it that of `db`.

        Raises:
            BackendReplacedError: one of them was deleted, moved or replaced.
        """
        self.require_same_file()
        # SQLite deletes the log only with the last connection, so not while `db` is open.
        found = file_identity(self._log)
        if db.in_transaction and (found is None or found != db.log_identity):
            raise BackendReplacedError(
                f"{self._log}: this file was deleted, moved or replaced while it was open, and with it the latest "
                "commits: end all processes that use it, put back a backup, and start them again, as in docs/backup.md"
            )

    def _open(self) -> Connection:
        # Before and after: opening it would create a file that was deleted, or find the one that has replaced it.
        if self._identity is None:
            self._identity = file_identity(self._file)
        else:
            self.require_same_file()
        db = Connection(self._file, self._timeout)
        if self._identity is None:
            self._identity = file_identity(self._file)
        try:
            self.require_same_file()
            # The first read opens the log. Noted later, a log that has been deleted since would not be missed.
            db.run("SELECT 1 FROM sqlite_master").fetchone()
            self.note_log(db)
        except (SettledError, sqlite3.Error):
            db.close()
            raise
        return db

    def release(self, db: Connection) -> None:
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
