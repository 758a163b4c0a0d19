"""One connection, and how statements run on it: patiently, and with text that is stored exactly.

The patience is ours and not SQLite's. SQLite's own waits up to a tenth of a second between two looks at the lock, and
whoever works without a pause has it again long before that: of six busy processes one did nothing for four seconds.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from settled.errors import TooLargeError

T = TypeVar("T")
SqlValue: TypeAlias = str | bytes | int | float | None

BUSY_POLL_INTERVAL = 0.001
"""Seconds between two looks at a lock that another process has; most are held for less."""


class Connection:
    """A connection to the file at `path`; a statement that finds it locked gives up after `timeout` seconds."""

    def __init__(self, path: str, timeout: float) -> None:
        self._timeout = timeout
        self._db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        self._durable: bool | None = None

    def commit_durably(self, durable: bool) -> None:
        """Say whether the next commit waits for the disk."""
        if self._durable != durable:
            # A script, because SQLite obeys while it compiles this, and Python compiles a statement only once.
            self._db.executescript(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._durable = durable

    def run(self, statement: str, *values: SqlValue) -> sqlite3.Cursor:
        """Execute `statement`; text in `values` is stored exactly, whatever is in it.

        Raises:
            TooLarge: a value is past SQLite's limit.
        """
        try:
            return self._db.execute(statement, values)
        except UnicodeEncodeError:
            # JSON may hold half of a surrogate pair, which no encoding of Unicode does. Such a text is stored as
            # bytes, every time, so that it is still equal to itself; `text` reads it back.
            return self.run(statement, *map(_encodable, values))
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
        except (sqlite3.DataError, OverflowError) as error:
            size = max(len(_bytes(value)) for value in values if isinstance(value, str))
            limit = self._db.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
            raise TooLargeError(f"a text of {size} bytes: SQLite takes {limit} in one row") from error
        return self._run_when_free(statement, values)

    def attempt(self, work: Callable[[], T]) -> T:
        """What `work` returns; if it raises, all that it did is undone, and nothing else of the transaction."""
        self._db.execute("SAVEPOINT attempt")
        try:
            result = work()
        except BaseException:
            self._db.execute("ROLLBACK TO attempt")  # which fails if SQLite gave up the whole transaction
            self._db.execute("RELEASE attempt")
            raise
        self._db.execute("RELEASE attempt")
        return result

    @property
    def in_transaction(self) -> bool:
        """Whether there is something to commit or to roll back."""
        return self._db.in_transaction

    def roll_back(self) -> None:
        """Undo what was done since ``BEGIN``, if anything was."""
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
    """The text in a column that `Connection.run` wrote."""
    return value if isinstance(value, str) else value.decode("utf-8", "surrogatepass")


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _encodable(value: SqlValue) -> SqlValue:
    if not isinstance(value, str) or not any("\ud800" <= character <= "\udfff" for character in value):
        return value
    return _bytes(value)


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")
