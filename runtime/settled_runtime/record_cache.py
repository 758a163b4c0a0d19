"""Memory: the records that this process has stored last, so that the next turn of the same instance need not load them.

It is safe because nothing is decided by it alone: a turn's commit compares versions, and what a turn would do without
a commit it looks at afresh. Only settled records are worth it; they are forgotten as others come.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from attrs import define, field

from settled import Key
from settled.durable import Record

MAX_CACHED_RECORDS = 1024
"""How many records are kept at most."""


@define(eq=False)
class RecordCache:
    """Records by key, each with its version; the one that was not used for the longest time is forgotten first."""

    size: int = MAX_CACHED_RECORDS
    _records: OrderedDict[Key, tuple[Record, int]] = field(factory=OrderedDict[Key, "tuple[Record, int]"], init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def pop(self, key: Key) -> tuple[Record, int] | None:
        """The record of `key` and its version, if they are remembered. They are forgotten with that."""
        with self._lock:
            return self._records.pop(key, None)

    def put(self, key: Key, record: Record, version: int) -> None:
        """Keep `record`, if the next turn can begin with it as it is."""
        if record.turn is not None or record.halted or record.redriving is not None:
            return
        with self._lock:
            self._records[key] = (record, version)
            if len(self._records) > self.size:
                self._records.popitem(last=False)
