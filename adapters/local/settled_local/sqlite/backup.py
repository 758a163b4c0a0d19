"""Backups: copies of a whole file, made by SQLite while workers use it, and put back as a new file.

The law of this module: no file is ever overwritten, and a copy appears under its name only when it is whole and on the
disk. A copy is one file without a write-ahead log, and only its owner may read it. It has no epoch, so whoever opens it
gives it a new one: its queue numbers messages with numbers that the original has given to others since.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

from settled.errors import BackendConfigError, RecordError
from settled_local.sqlite.errors import translated
from settled_local.sqlite.file_identity import file_identity, require_own_log
from settled_local.sqlite.schema import APPLICATION, VERSION
from settled_local.url import sqlite_options

BUSY_TIMEOUT = 30.0
"""For how many seconds a copy waits for a lock of the file; writers hold it for milliseconds."""


def backup(url: str, target: str | os.PathLike[str]) -> None:
    """Copy the file at ``sqlite:///FILE`` to the new file `target`, as it is after the latest commit.

    Processes that use the file go on meanwhile.

    Raises:
        BackendConfigError: the file cannot be read, or `target` cannot be written or exists; `target` is unchanged.
        RecordError: the file is not settled's, or it is damaged.
        UnavailableError: it was locked for too long, or the disk is full.
    """
    path = sqlite_options(url)["path"]
    require_own_log(path)
    # Not read-only: the last connection that closes then leaves no log behind.
    _copy(path, os.fspath(target), "rw")


def restore(source: str | os.PathLike[str], url: str) -> None:
    """Copy the backup `source` to the new file at ``sqlite:///FILE``.

    `source` may also be a file that was copied by other means, together with its ``-wal``.

    Raises:
        BackendConfigError: `source` cannot be read, or the file at `url` cannot be written or exists; it is unchanged.
        RecordError: `source` is not a file of settled, or it is damaged.
        UnavailableError: it was locked for too long, or the disk is full.
    """
    _copy(os.fspath(source), sqlite_options(url)["path"], "ro")


def renew_epoch(url: str) -> None:
    """Give the file at ``sqlite:///FILE`` a new epoch.

    Raises:
        BackendConfigError, AccessDeniedError, RecordError, UnavailableError: as `SQLiteBackend.open`.
    """
    path = sqlite_options(url)["path"]
    require_own_log(path)
    try:
        with closing(sqlite3.connect(_uri(path, "rw"), uri=True, timeout=BUSY_TIMEOUT, isolation_level=None)) as db:
            _require_settled(db, path)
            # With the file's identity: without one, the log of a process that has it open would pass for that of
            # another file.
            new = (secrets.token_hex(4), str(file_identity(path)))
            db.execute("BEGIN IMMEDIATE")
            db.execute("DELETE FROM epochs")
            db.execute("INSERT INTO epochs (epoch, file) VALUES (?, ?)", new)
            db.execute("COMMIT")
    except sqlite3.Error as error:
        raise translated(error, path) from error


def _copy(source: str, target: str, mode: str) -> None:
    _require_nothing_at(target)
    folder = os.path.dirname(os.path.abspath(target))
    unfinished = os.path.join(folder, f".{os.path.basename(target)}.{secrets.token_hex(4)}")
    with _creating(unfinished, target):
        _copy_pages(source, unfinished, mode)
        _write_through(unfinished)
        os.link(unfinished, target)  # fails if another process has created it meanwhile, unlike a rename
        _write_through(folder)


def _require_nothing_at(target: str) -> None:
    # A log that is left of another file would be replayed into this one.
    for path in (target, f"{os.path.realpath(target)}-wal"):
        if os.path.lexists(path):
            raise BackendConfigError(
                f"{path}: exists, and is not overwritten: name another file, or move this one away, together with its "
                "-wal and its -shm"
            )


@contextmanager
def _creating(unfinished: str, target: str) -> Generator[None]:
    """Create the file `unfinished` for the owner alone, and remove that name at the end.

    Raises:
        BackendConfigError: it could not be created, or the block could not give it the name `target`.
    """
    try:
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            yield
        finally:
            os.unlink(unfinished)
    except OSError as error:
        raise BackendConfigError(f"{target}: cannot be created ({error.strerror})") from error


def _copy_pages(source: str, target: str, mode: str) -> None:
    try:
        with (
            closing(sqlite3.connect(_uri(source, mode), uri=True, timeout=BUSY_TIMEOUT)) as original,
            closing(sqlite3.connect(target, isolation_level=None)) as copy,
        ):
            _require_settled(original, source)
            # All pages in one step: within one transaction, so as of one commit. In WAL mode, writers do not wait.
            original.backup(copy)
            # One file: until it is opened as a backend, it needs no log beside it, and can be read where none can be.
            copy.execute("PRAGMA journal_mode=DELETE")
            copy.execute("DELETE FROM epochs")
            problems = [text for (text,) in copy.execute("PRAGMA integrity_check(3)")]
    except sqlite3.Error as error:
        raise translated(error, source) from error
    if problems != ["ok"]:
        raise RecordError(f"{source}: is damaged, so it was not copied ({'; '.join(problems)}): use an older backup")


def _uri(path: str, mode: str) -> str:
    return f"{Path(os.path.abspath(path)).as_uri()}?mode={mode}"


def _require_settled(db: sqlite3.Connection, path: str) -> None:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise RecordError(f"{path}: is not a file of settled: name another one")
    if version > VERSION:
        raise RecordError(f"{path}: was made by a newer settled (format {version}): update settled")


def _write_through(path: str) -> None:
    """Return once the file or the folder at `path` is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
