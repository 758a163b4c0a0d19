"""One connection to the file: it retries while the file is locked, and stores any text exactly.

Retrying is done here and not by SQLite's busy timeout. SQLite sleeps up to a tenth of a second between two attempts to
get the lock, and a process that writes without a pause takes it again long before that: of six busy processes one was
starved for four seconds.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from settled.errors import TooLargeError
from settled_local.sqlite.file_identity import FileIdentity

T = TypeVar("T")
SqlValue: TypeAlias = str | bytes | int | float | None

BUSY_POLL_INTERVAL = 0.001
"""Seconds between two attempts to get a lock that another process holds; most are held for less."""


class Connection:
    """A connection to the file at `path`; a statement that finds it locked fails after `timeout` seconds."""

    def __init__(self, path: str, timeout: float) -> None:
        self._timeout = timeout
        # timeout=0: see the module's docstring. isolation_level=None: the sqlite3 module must open no transactions of
        # its own. check_same_thread=False: the pool passes connections on between threads, one at a time.
        self._db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        self._durable: bool | None = None
        self.log_identity: FileIdentity | None = None

    def commit_durably(self, durable: bool) -> None:
        """Set whether the next commit waits for the disk."""
        if self._durable != durable:
            # executescript, because SQLite applies this pragma when the statement is compiled, and sqlite3 caches
            # compiled statements: with `execute`, the second switch to the same value would have no effect.
            self._db.executescript(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._durable = durable

    def run(self, statement: str, *values: SqlValue) -> sqlite3.Cursor:
        """Execute `statement`; text in `values` is stored exactly, whatever characters it has.

        Raises:
            TooLargeError: a value exceeds SQLite's limit.
            sqlite3.Error: any other error; see `settled_local.sqlite.errors`.
        """
        try:
            return self._db.execute(statement, values)
        except UnicodeEncodeError:
            # JSON may have a lone surrogate, which no encoding of Unicode can represent. Such a text is stored as
            # bytes, every time, so that it still compares equal to itself; `text` reads it back.
            return self.run(statement, *map(_encodable, values))
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
        except (sqlite3.DataError, OverflowError) as error:
            size = max(len(_bytes(value)) for value in values if isinstance(value, str))
            limit = self._db.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
            raise TooLargeError(f"a text of {size} bytes; the limit of one row in SQLite is {limit}") from error
        return self._run_when_free(statement, values)

    def attempt(self, work: Callable[[], T]) -> T:
        """Return the result of `work`; if it raises, undo all that it did, but nothing else of the transaction."""
        self._db.execute("SAVEPOINT attempt")
        try:
            result = work()
        except BaseException:
            self._db.execute("ROLLBACK TO attempt")  # this fails if SQLite rolled back the whole transaction
            self._db.execute("RELEASE attempt")  # ROLLBACK TO leaves the savepoint on the stack
            raise
        self._db.execute("RELEASE attempt")
        return result

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._db.in_transaction

    def roll_back(self) -> None:
        """Roll back the open transaction, if there is one."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def close(self) -> None:
        self._db.close()

    def _run_when_free(self, statement: str, values: tuple[SqlValue, ...]) -> sqlite3.Cursor:
        end = time.monotonic() + self._timeout
        while True:
            time.sleep(BUSY_POLL_INTERVAL)
            try:
                return self._db.execute(statement, values)
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() > end:
                    raise


def text(value: Any) -> str:
    """Return the text in a column that `Connection.run` wrote."""
    return value if isinstance(value, str) else value.decode("utf-8", "surrogatepass")


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _encodable(value: SqlValue) -> SqlValue:
    if not isinstance(value, str) or not any("\ud800" <= character <= "\udfff" for character in value):
        return value
    return _bytes(value)


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")
