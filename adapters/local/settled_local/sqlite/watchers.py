"""Call those in this process who watch a record that was committed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from settled.key import Key
from settled_local.sqlite.connection import Connection
from settled_local.sqlite.database import Database
from settled_runtime.watchers import Watchers


class SQLiteWatchers(Watchers):
    """The watchers of the file's records.

    Commits of this process are told by key. Those of others are found out by comparing the versions of the records that
    somebody watches, so that a watcher is not called for each commit to the file.
    """

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._versions: dict[Key, int] = {}
        self._versions_lock = threading.Lock()

    @contextmanager
    def added(self, key: Key, changed: Callable[[], object]) -> Generator[None]:
        try:
            with super().added(key, changed):
                self._note_version(key)
                yield
        finally:
            with self._versions_lock:
                if key not in self.by_key:
                    self._versions.pop(key, None)

    def notify_of_commits(self, db: Connection) -> None:
        """Call the functions of the keys whose versions have changed."""
        for key in list(self.by_key):
            version = _version(db, key)
            with self._versions_lock:
                is_newer = self._versions.get(key, version) != version
                if key in self.by_key:
                    self._versions[key] = version
            if is_newer:
                self.notify([key])

    def _note_version(self, key: Key) -> None:
        with self._database.reading() as db:
            version = _version(db, key)
        with self._versions_lock:
            # An earlier watcher of the key keeps its version: it may not have been told of a commit since.
            self._versions.setdefault(key, version)


def _version(db: Connection, key: Key) -> int:
    row = db.run("SELECT version FROM records WHERE machine=? AND instance=?", key.machine, key.instance).fetchone()
    return 0 if row is None else int(row[0])
