"""Where settled lives when it has nowhere else to live: in memory, or in one SQLite file.

The law of this package: nothing but Python's standard library and what settled itself needs. Both backends keep every
promise of the ports and declare every capability, so the rest of settled can be tried, tested and simulated over them,
and a small deployment can stay with the file for good.
"""

from __future__ import annotations

from settled_local.memory import MemoryBackend
from settled_local.sqlite import SQLiteBackend
from settled_local.url import memory_options

__all__ = ["MemoryBackend", "SQLiteBackend", "open_memory", "open_sqlite"]


def open_memory(url: str) -> MemoryBackend:
    """A fresh backend in memory, for ``memory://`` and its options, as in ``memory://?lease=5``.

    Raises:
        Denied: the URL says something else, or has an option that is not known.
    """
    return MemoryBackend(**memory_options(url))


def open_sqlite(url: str) -> SQLiteBackend:
    """The backend in the file that a URL such as ``sqlite:///signup.db?lease=30`` names.

    Three slashes are followed by a relative path, four by an absolute one.

    Raises:
        Denied: the URL names no file, or has an option that is not known; or the file cannot be opened.
        RecordError: the file is something else, or a newer settled wrote it.
    """
    return SQLiteBackend.open(url)
