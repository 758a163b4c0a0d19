"""Reading the URLs of the local backends into arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from settled.errors import BackendConfigError
from settled_runtime.url import count, duration, message_size, options_in, without_credentials


def memory_options(url: str) -> dict[str, Any]:
    """Return the arguments for `MemoryBackend` in ``memory://?OPTIONS``.

    Raises:
        BackendConfigError: the URL is not ``memory://``, or has an unknown option.
    """
    shown = without_credentials(url)
    base, _, query = url.partition("?")
    options = options_in(query, _MEMORY, shown)
    if base != "memory://":
        raise BackendConfigError(f"{shown}: expected memory://, without a name: each backend in memory is a new one")
    return options


def sqlite_options(url: str) -> dict[str, Any]:
    """Return the arguments for `SQLiteBackend.open` in ``sqlite:///FILE?OPTIONS``, the file as ``path``.

    FILE is the text after the third slash, unchanged, as in SQLAlchemy's URLs: relative, or absolute if it begins with
    a slash of its own.

    Raises:
        BackendConfigError: the URL names no file, or has an unknown option.
    """
    shown = without_credentials(url)
    base, _, query = url.partition("?")
    options = options_in(query, _SQLITE, shown)
    path = base.removeprefix("sqlite:///")
    if path == base:
        raise BackendConfigError(f"{shown}: expected sqlite:///FILE, or sqlite:////FILE with an absolute path")
    if path in ("", ":memory:"):
        raise BackendConfigError(f"{shown}: SQLite's own memory is never shared between connections: use memory://")
    return {"path": path, **options}


_MEMORY: Mapping[str, Callable[[str], Any]] = {"lease": duration, "remember": count, "largest_message": message_size}
_SQLITE: Mapping[str, Callable[[str], Any]] = {**_MEMORY, "timeout": duration}
