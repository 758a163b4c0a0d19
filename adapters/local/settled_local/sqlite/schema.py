"""The tables, and whether a file has them.

A file says twice what it is: `APPLICATION` that settled made it, and `VERSION` with which tables. A file that says
anything else is left alone.

Ids are ``TEXT`` and compared byte by byte, so ``a`` is neither ``A`` nor ``a:1``. In a lane's row, ``held`` and
``rank`` say when it is handed out next:

===========  =======  =========================  =======================
lane         held     rank                       through
===========  =======  =========================  =======================
idle         NULL     NULL                       0
ready        0        its place in the line      0
parked       1        when it is ready again     0
leased       1        when the lease ends        the last leased place
===========  =======  =========================  =======================

One index over both columns serves the line and the clock, because each page that a commit touches is written out.
That is also why pages are small, and why `known` is apart from `messages`: it stays when a message goes.

Rows of ``lanes`` are never deleted, so a ``place`` is given once. That holds within an epoch: there is one row in
``epochs``, which also says of which file it is; in a copy of that file it is replaced.
"""

from __future__ import annotations

import os
import secrets

from settled.errors import BackendConfigError, RecordError
from settled_local.sqlite.connection import Connection
from settled_local.sqlite.database import Database

APPLICATION = 0x5E771ED
VERSION = 2

_TABLES = (
    # The body is the last column, so that listing instances does not read it.
    """
    CREATE TABLE records (
        machine TEXT NOT NULL,
        instance TEXT NOT NULL,
        version INTEGER NOT NULL,
        status TEXT NOT NULL,
        tags TEXT NOT NULL,
        updated REAL NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (machine, instance)
    )
    """,
    "CREATE INDEX records_by_status ON records (status, machine, instance)",
    """
    CREATE TABLE dead_letters (
        position INTEGER PRIMARY KEY,
        machine TEXT NOT NULL,
        instance TEXT NOT NULL,
        id TEXT NOT NULL,
        reason TEXT NOT NULL,
        at REAL NOT NULL,
        detail TEXT NOT NULL,
        body TEXT NOT NULL
    )
    """,
    "CREATE INDEX dead_letters_by_key ON dead_letters (machine, instance)",
    """
    CREATE TABLE lanes (
        lane INTEGER PRIMARY KEY,
        machine TEXT NOT NULL,
        instance TEXT NOT NULL,
        tail INTEGER NOT NULL,
        token INTEGER NOT NULL,
        through INTEGER NOT NULL,
        held INTEGER,
        rank REAL,
        UNIQUE (machine, instance)
    )
    """,
    "CREATE INDEX lanes_by_rank ON lanes (held, rank) WHERE held IS NOT NULL",
    """
    CREATE TABLE messages (
        lane INTEGER NOT NULL,
        place INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        id TEXT NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (lane, place)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE known (
        lane INTEGER NOT NULL,
        id TEXT NOT NULL,
        place INTEGER NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (lane, id)
    ) WITHOUT ROWID
    """,
    "CREATE TABLE epochs (epoch TEXT NOT NULL, file TEXT NOT NULL)",
    """
    CREATE TABLE timers (
        serial INTEGER PRIMARY KEY,
        timer TEXT NOT NULL UNIQUE,
        due REAL NOT NULL,
        machine TEXT NOT NULL,
        instance TEXT NOT NULL,
        id TEXT NOT NULL,
        body TEXT NOT NULL
    )
    """,
    "CREATE INDEX timers_by_due ON timers (due)",
    f"PRAGMA application_id={APPLICATION}",
    f"PRAGMA user_version={VERSION}",
)


def prepare(file: Database) -> str:
    """Make sure that `file` has the tables of this version: create them if it is empty. Returns its epoch.

    Raises:
        RecordError: it is the file of something else, or of a newer settled.
        Denied: it cannot be opened, or not by several processes at once.
        Unavailable: others did not let go of it in time.
    """
    with file.reading() as db:
        there = _is_ours(db, file.path)
        if not there:
            db.run("PRAGMA page_size=2048")
        (mode,) = db.run("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise BackendConfigError(
                f"{file.path}: its file system cannot be shared between processes: use one on a local disk"
            )
    if not there:
        file.write(lambda db: _create(db, file.path))
    return _epoch(file)


def _epoch(file: Database) -> str:
    stat = os.stat(file.path)
    identity = f"{stat.st_dev:x}:{stat.st_ino:x}"
    with file.reading() as db:
        row = db.run("SELECT epoch, file FROM epochs").fetchone()
    if row is None or row[1] != identity:
        return file.write(lambda db: _renewed(db, identity))
    return str(row[0])


def _renewed(db: Connection, identity: str) -> str:
    """The epoch of the file that `identity` tells from its copies; somebody else may just have begun it."""
    row = db.run("SELECT epoch FROM epochs WHERE file=?", identity).fetchone()
    if row is not None:
        return str(row[0])
    epoch = secrets.token_hex(4)
    db.run("DELETE FROM epochs")
    db.run("INSERT INTO epochs (epoch, file) VALUES (?, ?)", epoch, identity)
    return epoch


def _create(db: Connection, path: str) -> None:
    if not _is_ours(db, path):
        for statement in _TABLES:
            db.run(statement)


def _is_ours(db: Connection, path: str) -> bool:
    """Whether the tables are there; False if there is nothing at all."""
    if not db.in_transaction:
        # Tables and numbers are written in one commit, and so are read as of one moment.
        db.run("BEGIN")
        try:
            return _is_ours(db, path)
        finally:
            db.roll_back()
    (things,) = db.run("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = db.run("PRAGMA application_id").fetchone()
    (version,) = db.run("PRAGMA user_version").fetchone()
    if (application, version, things) == (0, 0, 0):
        return False
    if application != APPLICATION:
        raise RecordError(f"{path}: is the database of something else: name another file")
    if version > VERSION:
        raise RecordError(f"{path}: was made by a newer settled (format {version}, this one reads {VERSION}): upgrade")
    if version < VERSION:
        raise RecordError(
            f"{path}: was made by an older settled (format {version}, this one reads {VERSION}): let that one finish "
            "what is in it, or name another file"
        )
    return True
