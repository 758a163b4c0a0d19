"""The tables, the check that a file has them, and the migration of a file that has those of an older settled.

Two numbers in the file's header identify it: `APPLICATION` says that settled made it, `VERSION` which tables it has.
A file of an older version is migrated when it is opened, in one transaction. Any other file is left as it is.

Ids are ``TEXT`` and compared byte by byte, so ``a`` is neither ``A`` nor ``a:1``. The row of a message group says when
the group may be leased next:

===========  =========  ===============================================  =============================
group        blocked    blocked_until_or_rank                            last_leased
===========  =========  ===============================================  =============================
idle         NULL       NULL                                             0
ready        0          its rank among the ready ones of its machine     0
parked       1          when the pause ends                              0
leased       1          when the lease ends                              number of the last leased
===========  =========  ===============================================  =============================

A rank and a time share one column, so that each group that is not idle has one entry in one of two partial indexes: one
finds the first ready group of a machine, the other the leases and pauses that have ended. Each page that a commit
changes is written out, so every further entry would slow down every call. For the same reason pages are small, and
`seen_ids` is a table of its own: its row stays when the message goes.

Rows of ``message_groups`` are never deleted, so that no number or token of a group is used twice: positions rely on the
former, fencing on the latter. Both hold within an epoch. The one row of ``epochs`` also identifies the file for which
it was made; in a copy of that file it is replaced. A backup has none (see `settled_local.sqlite.backup`).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from settled.errors import BackendConfigError, RecordError
from settled_local.sqlite.connection import Connection
from settled_local.sqlite.database import Database
from settled_local.sqlite.file_identity import file_identity, require_own_log

APPLICATION = 0x5E771ED
VERSION = 4

_READY_GROUPS = "CREATE INDEX ready_groups ON message_groups (machine, blocked_until_or_rank) WHERE blocked=0"
_BLOCKED_GROUPS = "CREATE INDEX blocked_groups ON message_groups (blocked_until_or_rank) WHERE blocked=1"

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
        body TEXT NOT NULL,
        headers TEXT NOT NULL DEFAULT ''
    )
    """,
    "CREATE INDEX dead_letters_by_key ON dead_letters (machine, instance)",
    """
    CREATE TABLE message_groups (
        group_id INTEGER PRIMARY KEY,
        machine TEXT NOT NULL,
        instance TEXT NOT NULL,
        tail INTEGER NOT NULL,
        token INTEGER NOT NULL,
        last_leased INTEGER NOT NULL,
        blocked INTEGER,
        blocked_until_or_rank REAL,
        UNIQUE (machine, instance)
    )
    """,
    # Partial: most groups are idle, and an idle one needs no entry.
    _READY_GROUPS,
    _BLOCKED_GROUPS,
    """
    CREATE TABLE messages (
        group_id INTEGER NOT NULL,
        number INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        sent REAL,
        id TEXT NOT NULL,
        body TEXT NOT NULL,
        headers TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (group_id, number)
    ) WITHOUT ROWID
    """,
    # There is no index by number, which only `queue._forget_old_ids` searches for: every send would have to write it.
    """
    CREATE TABLE seen_ids (
        group_id INTEGER NOT NULL,
        id TEXT NOT NULL,
        number INTEGER NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (group_id, id)
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
        body TEXT NOT NULL,
        headers TEXT NOT NULL DEFAULT ''
    )
    """,
    "CREATE INDEX timers_by_due ON timers (due)",
    f"PRAGMA application_id={APPLICATION}",
    f"PRAGMA user_version={VERSION}",
)

# A process of the older version may still have the file open. It goes on, so a step only adds what that one need not
# know, such as a column with a default.
_MIGRATIONS: Mapping[int, Sequence[str]] = {
    3: [
        # Null where it is not known: in messages from before, and in those of a process of the older version.
        "ALTER TABLE messages ADD COLUMN sent REAL",
        "ALTER TABLE messages ADD COLUMN headers TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE timers ADD COLUMN headers TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE dead_letters ADD COLUMN headers TEXT NOT NULL DEFAULT ''",
        "DROP INDEX message_groups_by_state",
        _READY_GROUPS,
        _BLOCKED_GROUPS,
    ],
}
"""The statements that make version N + 1 of version N, by N."""

OLDEST = min(_MIGRATIONS)
"""The oldest version that is migrated."""


def prepare(database: Database) -> str:
    """Create the tables if the file is empty, migrate them if they are older, and return the file's epoch.

    Raises:
        RecordError: the file belongs to another application, to a newer settled, or to one too old to be migrated.
        BackendConfigError: it cannot be opened, or not by several processes at once.
        AccessDeniedError: this process may not write to it.
        UnavailableError: it was locked for too long.
    """
    require_own_log(database.path)
    with database.reading() as db:
        version = _version(db, database.path)
        if not version:
            db.run("PRAGMA page_size=2048")  # no effect any more once the file is in WAL mode
        (mode,) = db.run("PRAGMA journal_mode=WAL").fetchone()
        # SQLite answers with the mode that is in force. WAL needs shared memory, which network file systems lack.
        if mode != "wal":
            raise BackendConfigError(
                f"{database.path}: its file system cannot be shared between processes: use one on a local disk"
            )
    if version < VERSION:
        database.write(lambda db: _create_or_migrate(db, database.path))
    return _epoch(database)


def _epoch(database: Database) -> str:
    # A copy has another inode. It must have another epoch: its queue goes on with the same numbers as the original.
    identity = str(file_identity(database.path))
    with database.reading() as db:
        row = db.run("SELECT epoch, file FROM epochs").fetchone()
        if row is not None and row[1] == identity:
            return str(row[0])
    epoch = database.write(lambda db: _renew_epoch(db, identity))
    with database.reading() as db:
        # From the log into the file, where `require_own_log` looks for it.
        db.run("PRAGMA wal_checkpoint")
    return epoch


def _renew_epoch(db: Connection, identity: str) -> str:
    # Another process may have renewed it since it was read: both must use the same one.
    row = db.run("SELECT epoch FROM epochs WHERE file=?", identity).fetchone()
    if row is not None:
        return str(row[0])
    epoch = secrets.token_hex(4)
    db.run("DELETE FROM epochs")
    db.run("INSERT INTO epochs (epoch, file) VALUES (?, ?)", epoch, identity)
    return epoch


def _create_or_migrate(db: Connection, path: str) -> None:
    # In this transaction, because another process may have done it since the version was read.
    version = _version(db, path)
    if not version:
        for statement in _TABLES:
            db.run(statement)
        return
    for older in range(version, VERSION):
        for statement in _MIGRATIONS[older]:
            db.run(statement)
        db.run(f"PRAGMA user_version={older + 1}")


def _version(db: Connection, path: str) -> int:
    """Return which tables the file has; 0 if it is empty.

    Raises:
        RecordError: the file belongs to another application, to a newer settled, or to one too old to be migrated.
    """
    if not db.in_transaction:
        # One transaction for the three reads, or they could see the file before and after another process created it.
        db.run("BEGIN")
        try:
            return _version(db, path)
        finally:
            db.roll_back()
    (objects,) = db.run("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = db.run("PRAGMA application_id").fetchone()
    (version,) = db.run("PRAGMA user_version").fetchone()
    if (application, version, objects) == (0, 0, 0):
        return 0
    if application != APPLICATION:
        raise RecordError(f"{path}: is the database of another application: use another file")
    known = f"format {version}, this one reads {OLDEST} to {VERSION}"
    if version > VERSION:
        raise RecordError(f"{path}: was made by a newer settled ({known}): update settled")
    if version < OLDEST:
        raise RecordError(
            f"{path}: was made by a settled that is too old ({known}): let that one finish what is in it, or use "
            "another file"
        )
    return int(version)
