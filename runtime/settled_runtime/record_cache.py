"""A cache of the records that this process committed last, which saves the next turn of the instance its load.

It is safe although other processes may have committed since: a turn takes its first step on a cached record only if
that is a commit, which compares versions; for anything else it loads the record.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from attrs import define, field

from settled import Key
from settled.durable import Record
from settled.durable.turn_state import CachedRecord

MAX_CACHED_RECORDS = 1024
"""How many records are cached at most."""


@define(eq=False)
class RecordCache:
    """Records and their versions by key. The one that was put first is evicted first. Threads may share it."""

    size: int = MAX_CACHED_RECORDS
    _records: OrderedDict[Key, tuple[Record, int]] = field(factory=OrderedDict[Key, "tuple[Record, int]"], init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def pop(self, key: Key, clock: Callable[[], float]) -> CachedRecord | None:
        """Remove and return the record of `key`, with the time by `clock`; None if it is not cached."""
        # Removed, and not only read: until the turn that gets it commits, no other turn may begin with this record.
        with self._lock:
            found = self._records.pop(key, None)
        return CachedRecord(*found, clock()) if found else None

    def put(self, key: Key, record: Record, version: int) -> None:
        """Cache `record` at `version`, unless it has an open turn, is halted, or takes dead letters."""
        # These are changed by others than the next turn: by the worker that takes over the open turn, and by operators.
        takes_dead_letters = record.redriving is not None or record.postponed is not None
        if record.turn is not None or record.halted or takes_dead_letters:
            return
        with self._lock:
            known = self._records.get(key)
            if known is not None and known[1] > version:
                return  # the queue has given the key to another thread since, which was faster
            self._records[key] = (record, version)
            if len(self._records) > self.size:
                self._records.popitem(last=False)
