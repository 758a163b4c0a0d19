"""Backends that need no server: one in memory, and one in an SQLite file.

The law of this package: it imports nothing but Python's standard library and what settled itself needs. Both backends
keep every guarantee of the ports and declare every capability, so settled can be tried, tested and simulated on them,
and a small deployment can stay on SQLite.
"""

from __future__ import annotations

from settled_local.memory import MemoryBackend
from settled_local.sqlite import SQLiteBackend
from settled_local.url import memory_options

__all__ = ["MemoryBackend", "SQLiteBackend", "open_memory", "open_sqlite"]


def open_memory(url: str) -> MemoryBackend:
    """Return a new backend in memory for ``memory://`` and its options, as in ``memory://?lease=5``.

    Raises:
        BackendConfigError: the URL is not ``memory://``, or has an unknown option.
    """
    return MemoryBackend(**memory_options(url))


def open_sqlite(url: str) -> SQLiteBackend:
    """Open the file that a URL such as ``sqlite:///signup.db?lease=30`` names.

    Three slashes are followed by a relative path, four by an absolute one.

    Raises:
        BackendConfigError: the URL names no file, or has an unknown option; or the file cannot be opened.
        AccessDeniedError: this process may not write to the file.
        RecordError: the file belongs to another application, or to another version of settled.
    """
    return SQLiteBackend.open(url)
