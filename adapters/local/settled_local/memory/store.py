"""Records and dead letters in dictionaries.

`Stored` and `DeadLetter` are frozen, so they are stored and returned without copying.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from settled.durable.ports import DeadLetter, Stored
from settled.errors import ConflictError
from settled.key import Key
from settled_runtime.watchers import Watchers


class MemoryStore:
    """The store of a `MemoryBackend`."""

    def __init__(self, lock: threading.Condition, watchers: Watchers) -> None:
        self._lock = lock
        self._watchers = watchers
        self._stored: dict[Key, Stored] = {}
        self._dead_letters: dict[Key, tuple[DeadLetter, ...]] = {}

    def load(self, key: Key) -> Stored | None:
        with self._lock:
            return self._stored.get(key)

    def commit(
        self,
        key: Key,
        stored: Stored,
        expected: int,
        add_dead_letters: Sequence[DeadLetter] = (),
        remove_dead_letters: int = 0,
    ) -> None:
        with self._lock:
            self.expect(key, expected)
            self.put(key, stored, add_dead_letters, remove_dead_letters)

    def dead_letters(self, key: Key) -> Sequence[DeadLetter]:
        with self._lock:
            return self._dead_letters.get(key, ())

    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        with self._lock:
            self.expect(key, expected)
            # The tombstone keeps the version growing, so that a worker that loaded the old instance cannot commit.
            self._stored[key] = tombstone
            self._dead_letters.pop(key, None)
            self._watchers.notify([key])

    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Sequence[tuple[Key, Stored]]:
        with self._lock:
            found = [
                (key, Stored(stored.version, "", stored.index))
                for key, stored in self._stored.items()
                if not stored.is_deleted
                and machine in (None, key.machine)
                and status in (None, stored.index.status)
                and (after is None or key > after)
            ]
        return sorted(found, key=lambda entry: entry[0])[:limit]

    def put(self, key: Key, stored: Stored, add_dead_letters: Sequence[DeadLetter], remove_dead_letters: int) -> None:
        """Commit `stored`, whose version was checked under the lock that the caller has."""
        self._stored[key] = stored
        if self._watchers.by_key:
            self._watchers.notify([key])
        if add_dead_letters or remove_dead_letters:
            self._dead_letters[key] = (*self.dead_letters(key)[remove_dead_letters:], *add_dead_letters)

    def expect(self, key: Key, expected: int) -> None:
        """Raise `ConflictError` unless the version of `key` is `expected`."""
        stored = self._stored.get(key)
        version = 0 if stored is None else stored.version
        if version != expected:
            raise ConflictError(f"{key}: expected version {expected}, found {version}")
