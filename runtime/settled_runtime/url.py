"""What the URLs of all backends have in common: the options behind the question mark, and how they are shown.

An option that nobody knows is an error: a misspelt ``leese=5`` that is quietly passed over is found in production.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl

from settled import BackendConfigError

MAX_DURATION = 1_000_000_000
"""Seconds: some thirty years, and no more than any clock or socket takes."""


def without_password(url: str) -> str:
    """`url` as it may be shown, also where it was written wrong: nothing of what stands before the host's ``@``."""
    scheme, slashes, rest = url.partition("//")
    _, at, place = rest.rpartition("@")
    return f"{scheme}{slashes}***@{place}" if at and not rest.startswith("/") else url


def options_in(query: str, known: Mapping[str, Callable[[str], Any]], url: str) -> dict[str, Any]:
    """The options in `query`, each as the function of its name in `known` reads it; one raises ValueError to refuse.

    Args:
        url: what an error shows, so without a password.

    Raises:
        Denied: there is an option that is not known, or that is refused.
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


def seconds(text: str) -> float:
    """A length of time in seconds, more than none."""
    with suppress(ValueError):
        read = float(text)
        if 0 < read < MAX_DURATION:
            return read
    raise ValueError(f"expected a number of seconds above 0 and below {MAX_DURATION:,}")


def count(text: str) -> int:
    """A whole number, at least 1."""
    return number(text, 1)


def number(text: str, least: int) -> int:
    """A whole number, at least `least`."""
    with suppress(ValueError):
        read = int(text)
        if read >= least:
            return read
    raise ValueError(f"expected a whole number from {least}")
