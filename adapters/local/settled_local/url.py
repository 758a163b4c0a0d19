"""What a backend's URL says, and nothing of what is done about it.

An option that nobody knows is an error: a misspelt ``leese=5`` that is quietly passed over is found in production.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from settled.errors import Denied


def memory_options(url: str) -> dict[str, Any]:
    """The arguments for `MemoryBackend` in ``memory://?OPTIONS``.

    Raises:
        Denied: the URL is another one, or has an option that is not known.
    """
    place, options = _split(url, _MEMORY)
    if place != "memory://":
        raise Denied(f"{url}: expected memory://, which takes no name: each one that is opened is a new one")
    return options


def sqlite_options(url: str) -> dict[str, Any]:
    """The arguments for `SQLiteBackend.open` in ``sqlite:///FILE?OPTIONS``, the file as ``path``.

    As SQLAlchemy reads it, FILE is the text behind the third slash as it stands: relative, or absolute if it begins
    with a slash of its own.

    Raises:
        Denied: the URL names no file, or has an option that is not known.
    """
    place, options = _split(url, _SQLITE)
    path = place.removeprefix("sqlite:///")
    if path == place:
        raise Denied(f"{url}: expected sqlite:///FILE, or sqlite:////FILE with an absolute path")
    if path in ("", ":memory:"):
        raise Denied(f"{url}: SQLite's own memory is never shared between connections: use memory://")
    return {"path": path, **options}


def _split(url: str, known: Mapping[str, Callable[[str], Any]]) -> tuple[str, dict[str, Any]]:
    place, _, query = url.partition("?")
    options: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise Denied(f"{url}: no option {name!r}; known are {', '.join(sorted(known))}")
        try:
            options[name] = known[name](text)
        except ValueError as error:
            raise Denied(f"{url}: {name}={text}: {error}") from error
    return place, options


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError("expected a number of seconds above 0")
    return seconds


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError("expected a whole number from 1")
    return count


_MEMORY: Mapping[str, Callable[[str], Any]] = {"lease": _seconds, "remember": _count}
_SQLITE: Mapping[str, Callable[[str], Any]] = {**_MEMORY, "timeout": _seconds}
