"""One file, its open connections, and the transactions on it.

A connection is used by one call at a time, from whatever thread; those that are free wait here for the next call, so
that threads may come and go. Writers of this process that arrive together share a transaction, and so one wait
for the disk (see `GroupCommit`); each has a savepoint of its own, so that one that fails undoes only its own work.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

from attrs import define

from settled.errors import BackendClosedError, OutcomeUnknownError, SettledError, UnavailableError
from settled_local.sqlite.connection import Connection
from settled_local.sqlite.errors import translated
from settled_runtime.group_commit import GroupCommit, Ticket

T = TypeVar("T")


@define(eq=False)
class Task(Ticket):
    """One writer's share of a transaction: its `work`, and the `result` or `error` of that.

    `durable`: the commit has to wait for the disk.
    """

    work: Callable[[Connection], Any]
    durable: bool
    result: Any = None
    error: BaseException | None = None


class Database:
    """The file at `path`; a call that finds it locked gives up after `timeout` seconds."""

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        self.changes = Changes()
        self._group = GroupCommit[Task]()
        self._timeout = timeout
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

    def write(self, work: Callable[[Connection], T], durable: bool = True) -> T:
        """What `work` returns. All that it does has happened then; nothing of it has if it raises.

        It may be another thread that does it. What is not `durable` outlives this process, but perhaps not the machine.

        Raises:
            Unknown: it may have happened.
            Unavailable, TooLarge, Denied, RecordError: nothing happened; see `translated`.
        """
        task = Task(work, durable)
        try:
            leads = self._group.join(task, self._timeout)
        except TimeoutError as error:
            raise UnavailableError(
                f"{self.path}: another thread did not let go of it in {self._timeout} seconds"
            ) from error
        if leads:
            self._lead()
        if task.error is not None:
            raise task.error
        result: T = task.result
        return result

    def _lead(self) -> None:
        """Do what is asked for by all who stand in line."""
        tasks = list(self._group.take())
        try:
            self._commit(tasks)
        except BaseException as error:
            for task in tasks:
                task.error = task.error or _shared(error, self.path)
            if not isinstance(error, SettledError):
                raise
        finally:
            self._group.finish(tasks)
        self.changes.happened()

    def _commit(self, tasks: list[Task]) -> None:
        """Do `tasks`, and those that are asked for meanwhile, in one transaction.

        Raises:
            Unknown: all of them may have happened.
            Unavailable, Denied, RecordError: none of them has.
        """
        committing = False
        try:
            db = self._connections.take()
            try:
                durable = any(task.durable for task in tasks)
                db.commit_durably(durable)
                for task in tasks:
                    self._do(db, task)
                    tasks += self._group.take(lambda waiting: durable or not any(task.durable for task in waiting))
                committing = db.in_transaction
                if committing:
                    db.run("COMMIT")
            finally:
                self._connections.give(db)
        except sqlite3.Error as error:
            raise translated(error, self.path, committing) from error

    def _do(self, db: Connection, task: Task) -> None:
        """Do `task`, and if it fails, undo it and nothing else.

        The first of a transaction needs no savepoint: it is all that there is to undo.
        """
        first = not db.in_transaction
        if first:
            db.run("BEGIN IMMEDIATE")
        try:
            task.result = task.work(db) if first else db.attempt(lambda: task.work(db))
        except Exception as error:
            if not db.in_transaction:
                raise  # SQLite gave up the whole transaction, and all tasks with it
            task.error = self._own(error)
            if first:
                db.roll_back()

    def _own(self, error: Exception) -> Exception:
        if not isinstance(error, sqlite3.Error):
            return error
        told = translated(error, self.path)
        told.__cause__ = error
        return told

    def close(self) -> None:
        """Close every connection; those in use are closed when their call ends."""
        self._connections.close()
        self.changes.happened()


def _shared(error: BaseException, path: str) -> SettledError:
    """`error`, which several are to raise: one for each, because an error remembers who raised it."""
    if not isinstance(error, SettledError):
        return OutcomeUnknownError(f"{path}: the thread that wrote it was stopped by {type(error).__name__}")
    told = type(error)(*error.args)
    told.__cause__ = error.__cause__
    return told


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
            raise BackendClosedError(
                f"{self._path}: was opened before this process was forked: open it again, after the fork"
            )
        with self._lock:
            if self._closed:
                raise BackendClosedError(f"{self._path}: this backend was closed")
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
