"""What a backend's URL says, and nothing of what is done about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from settled.errors import BackendConfigError
from settled_runtime.url import count, options_in, seconds


def memory_options(url: str) -> dict[str, Any]:
    """The arguments for `MemoryBackend` in ``memory://?OPTIONS``.

    Raises:
        Denied: the URL is another one, or has an option that is not known.
    """
    place, _, query = url.partition("?")
    options = options_in(query, _MEMORY, url)
    if place != "memory://":
        raise BackendConfigError(
            f"{url}: expected memory://, which takes no name: each one that is opened is a new one"
        )
    return options


def sqlite_options(url: str) -> dict[str, Any]:
    """The arguments for `SQLiteBackend.open` in ``sqlite:///FILE?OPTIONS``, the file as ``path``.

    As SQLAlchemy reads it, FILE is the text behind the third slash as it stands: relative, or absolute if it begins
    with a slash of its own.

    Raises:
        Denied: the URL names no file, or has an option that is not known.
    """
    place, _, query = url.partition("?")
    options = options_in(query, _SQLITE, url)
    path = place.removeprefix("sqlite:///")
    if path == place:
        raise BackendConfigError(f"{url}: expected sqlite:///FILE, or sqlite:////FILE with an absolute path")
    if path in ("", ":memory:"):
        raise BackendConfigError(f"{url}: SQLite's own memory is never shared between connections: use memory://")
    return {"path": path, **options}


_MEMORY: Mapping[str, Callable[[str], Any]] = {"lease": seconds, "remember": count}
_SQLITE: Mapping[str, Callable[[str], Any]] = {**_MEMORY, "timeout": seconds}
