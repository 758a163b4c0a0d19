"""The common parts of all backends' URLs: the options after the question mark, and showing one without its password.

An unknown option is an error: a misspelt ``leese=5`` that was ignored would only be found in production.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

from settled import BackendConfigError

MAX_DURATION = 1_000_000_000
"""The upper bound of a duration, in seconds: some thirty years, which every clock and socket accepts."""

MIN_MESSAGE_SIZE = 1024
"""The lowest limit of the size of messages, in bytes."""


def without_password(url: str) -> str:
    """Return `url` with ``***`` for everything before the host's ``@``."""
    # Split by hand: a URL parser raises for malformed URLs, or finds a password elsewhere, and this is for errors too.
    # The last "@" counts, because a password may contain one; a path ("sqlite:///of@home") has no password.
    scheme, slashes, rest = url.partition("//")
    _, at, host = rest.rpartition("@")
    return f"{scheme}{slashes}***@{host}" if at and not rest.startswith("/") else url


def options_in(query: str, known: Mapping[str, Callable[[str], Any]], url: str) -> dict[str, Any]:
    """Return the options in `query`, each converted by the function of its name in `known`.

    Args:
        query: the part of a URL after the question mark.
        known: for each option the function that converts its text, and raises ValueError if it cannot.
        url: the URL as errors show it, so without its password.

    Raises:
        BackendConfigError: an option is unknown, or its value is invalid.
    """
    options: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise BackendConfigError(f"{url}: no option {name!r}; known are {', '.join(sorted(known))}")
        try:
            options[name] = known[name](text)
        except ValueError as error:
            raise BackendConfigError(f"{url}: {name}={text}: {error}") from error
    return options


def duration(text: str) -> timedelta:
    """Convert an option, a number of seconds above 0 and below `MAX_DURATION`; raise ValueError otherwise."""
    with suppress(ValueError):
        read = float(text)
        if 0 < read < MAX_DURATION:
            return timedelta(seconds=read)
    raise ValueError(f"expected a number of seconds above 0 and below {MAX_DURATION:,}")


def count(text: str) -> int:
    """Convert an option to a whole number from 1; raise ValueError otherwise."""
    return number(text, 1)


def message_size(text: str) -> int:
    """Convert an option to a number of bytes from `MIN_MESSAGE_SIZE`; raise ValueError otherwise."""
    with suppress(ValueError):
        return number(text, MIN_MESSAGE_SIZE)
    raise ValueError(f"expected a number of bytes from {MIN_MESSAGE_SIZE}")


def number(text: str, least: int) -> int:
    """Convert an option to a whole number from `least`; raise ValueError otherwise."""
    with suppress(ValueError):
        read = int(text)
        if read >= least:
            return read
    raise ValueError(f"expected a whole number from {least}")
