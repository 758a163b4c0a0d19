"""Translation of SQLite's errors into those of the ports.

Only a failing COMMIT can leave it open whether the transaction happened, and only if the disk failed; SQLite rolls back
after every other error.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from settled.errors import (
    AccessDeniedError,
    BackendConfigError,
    OutcomeUnknownError,
    RecordError,
    SettledError,
    TooLargeError,
    UnavailableError,
)

_MEANING: Mapping[int, tuple[type[SettledError], str]] = {
    sqlite3.SQLITE_BUSY: (UnavailableError, "another process held the lock for too long"),
    sqlite3.SQLITE_LOCKED: (UnavailableError, "another connection held the lock for too long"),
    sqlite3.SQLITE_PROTOCOL: (UnavailableError, "too many processes want it at once"),
    sqlite3.SQLITE_FULL: (UnavailableError, "the disk is full: free some space"),
    sqlite3.SQLITE_IOERR: (UnavailableError, "the disk failed"),
    sqlite3.SQLITE_NOMEM: (UnavailableError, "this process is out of memory"),
    sqlite3.SQLITE_INTERRUPT: (UnavailableError, "the call was interrupted"),
    sqlite3.SQLITE_TOOBIG: (TooLargeError, "this is more than SQLite keeps in one row"),
    sqlite3.SQLITE_CANTOPEN: (
        BackendConfigError,
        "it must be a file, in a folder that exists and that this process may write to",
    ),
    sqlite3.SQLITE_READONLY: (
        AccessDeniedError,
        "this process may not write to it: give it write access to the file and to its folder",
    ),
    sqlite3.SQLITE_PERM: (AccessDeniedError, "this process may not use it"),
    sqlite3.SQLITE_AUTH: (AccessDeniedError, "this process may not use it"),
    sqlite3.SQLITE_NOTADB: (RecordError, "it is no SQLite database: use another file"),
    sqlite3.SQLITE_CORRUPT: (RecordError, "it is damaged: restore it from a copy"),
}


def translated(error: sqlite3.Error, path: str, committing: bool = False) -> SettledError:
    """Return the port's error for `error`, which SQLite raised for the file at `path`.

    `committing` says whether the statement that failed was the COMMIT.
    """
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the upper bits only distinguish causes of one kind
    # An fsync that failed says nothing of what is on the disk. "Unavailable" would promise that nothing happened.
    if committing and code == sqlite3.SQLITE_IOERR:
        return OutcomeUnknownError(f"{path}: the disk failed during a commit ({error})")
    kind, meaning = _MEANING.get(code, (RecordError, "its tables are not as settled made them"))
    return kind(f"{path}: {meaning} ({error})")
