"""Which file is at a path, and whether the write-ahead log beside it is its own.

An open connection keeps writing to its file when that is deleted or another one takes its place: nobody would ever see
what was acknowledged then. And SQLite replays any write-ahead log (``FILE-wal``) that it finds beside a file, because
nothing in the log names the file that it belongs to: the log of the file that was there before destroys a backup that
was put in its place.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from settled.errors import BackendConfigError, UnavailableError

PATIENCE = 5.0
"""Seconds within which a process that opens a copy migrates it, if it is older, and records its new identity in it."""


class FileIdentity(NamedTuple):
    """The device and the inode of a file: no two files have the same at one time, whatever their paths are."""

    device: int
    inode: int

    def __str__(self) -> str:
        return f"{self.device:x}:{self.inode:x}"


def file_identity(path: str) -> FileIdentity | None:
    """Return the identity of the file at `path`, or None if there is none.

    Raises:
        UnavailableError: it cannot be looked for.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be looked for ({error.strerror})") from error
    return FileIdentity(found.st_dev, found.st_ino)


def require_own_log(path: str) -> None:
    """Check that the write-ahead log beside the file at `path`, if there is one, can be its own.

    Another process that is opening a copy for the first time gets `PATIENCE` seconds to make it its own.

    Raises:
        BackendConfigError: the file is a copy that was never opened in this place, so the log may be of another file.
            Or there is a log and no file.
    """
    log = Path(f"{os.path.realpath(path)}-wal")
    if not _size(log):
        return
    identity = file_identity(path)
    # No log is written beside an empty file, and SQLite would delete this one.
    if identity is None or not _size(Path(path)):
        raise BackendConfigError(
            f"{path}: is missing or empty, but {log.name} is there, with its latest commits: put the file back, or "
            f"move {log.name} away"
        )
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if _may_be_own(path, identity):
            return
        time.sleep(0.01)
    raise BackendConfigError(
        f"{path}: was copied here, and {log.name} beside it may be of the file that was here before: SQLite would mix "
        "the two. End all processes that use it, and try again. If they were copied together, or the log was written "
        "since, have one whole file made of them, at another path: settled restore. Only if the log was there before "
        f"the copy, move {log.name} and {log.name.removesuffix('wal')}shm away"
    )


def _may_be_own(path: str, identity: FileIdentity) -> bool:
    recorded = _identity_without_log(path)
    # Only the inode: a device may have another number after the machine was started anew.
    return recorded is None or recorded.rpartition(":")[2] == f"{identity.inode:x}"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # there is none; or SQLite will say why it cannot be opened


def _identity_without_log(path: str) -> str | None:
    """Return the identity that the file itself records, without what is in its log.

    It is empty if the file is a backup that was never opened. None if it cannot be told: its tables are still in the
    log, or another process is writing to it.
    """
    # `immutable` makes SQLite look at no log. And no other way of reading: closing a file that this process has open
    # elsewhere would drop the locks of its connections (https://www.sqlite.org/howtocorrupt.html, 2.2).
    uri = f"{Path(os.path.abspath(path)).as_uri()}?immutable=1"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as db:
            row = db.execute("SELECT file FROM epochs").fetchone()
    except sqlite3.Error:
        return None
    return str(row[0]) if row else ""
