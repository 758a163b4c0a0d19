"""The common parts of all backends' URLs: the options after the question mark, and showing one without its credentials.

An unknown option is an error: a misspelt ``leese=5`` that was ignored would only be found in production.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

from settled import BackendConfigError
from settled.printable import printable

MAX_DURATION = 1_000_000_000
"""The upper bound of a duration, in seconds: some thirty years, which every clock and socket accepts."""

SHOWN_OPTIONS = frozenset(
    {
        *("lease", "keep_finished", "remember", "timeout"),
        *("account", "delays", "largest_message", "queue", "queues", "role", "schedules", "schedules_dead", "table"),
        *("collection", "contention", "database", "location", "machines", "publish", "pull", "subscription"),
        *("dead_subscription", "sweep_every", "tasks", "timers", "topic"),
        *("ca", "certificate", "check_durability", "partitions", "prefix", "private_key", "replicas"),
    }
)
"""The options whose values are shown. A name that is not listed, such as a misspelt one, may be that of a secret."""

MIN_MESSAGE_SIZE = 1024
"""The lowest limit of the size of messages, in bytes."""


def without_credentials(url: str) -> str:
    """Return `url`, of any scheme, on one printable line and with ``***`` for what may be secret.

    That is everything before the host's ``@``, what stands for a port and is no number, and the value of each option
    that is not one of `SHOWN_OPTIONS`.
    """
    # Split by hand: a URL parser raises for malformed URLs, or finds a password elsewhere, and this is for errors too.
    address, question, query = url.partition("?")
    scheme, separator, rest = address.partition("//" if "//" in address else ":")
    if any("@" in each and each.partition("=")[0] not in SHOWN_OPTIONS for each in _SEPARATOR.split(query)):
        return printable(f"{scheme}{separator}***")  # it may be a password with a question mark in it
    # A path ("sqlite:///of@home:1") has no password.
    shown = rest if scheme == "sqlite:" and rest.startswith("/") else _without_login(rest)
    return printable(f"{scheme}{separator}{shown}{question}{_shown_options(query)}")


def _without_login(rest: str) -> str:
    # The last "@" counts, because a password may contain one.
    _, at, server = rest.rpartition("@")
    host, slash, path = server.partition("/")
    return f"{'***@' if at else ''}{_NO_PORT.sub(':***', host)}{slash}{path}"


_NO_PORT = re.compile(r":(?!\d*$)[^\]]*$")
"""What stands for a port and is none, but perhaps a password whose ``@HOST`` is missing."""


_SEPARATOR = re.compile("[&;]")
"""What separates options: ``;`` too, as it once did."""


def _shown_options(query: str) -> str:
    return "&".join(map(_shown_option, _SEPARATOR.split(query)))


def _shown_option(option: str) -> str:
    name, equals, value = option.partition("=")
    if name not in SHOWN_OPTIONS:
        return f"{name}=***" if equals else "***" if name else ""
    return f"{name}={without_credentials(value) if '//' in value else value}"


def options_in(query: str, known: Mapping[str, Callable[[str], Any]], url: str) -> dict[str, Any]:
    """Return the options in `query`, each converted by the function of its name in `known`.

    Args:
        query: the part of a URL after the question mark.
        known: for each option the function that converts its text, and raises ValueError if it cannot. The value of an
            option that is not one of `SHOWN_OPTIONS` may be secret, so that error must not quote it.
        url: the URL as errors show it, so without its credentials.

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
            raise BackendConfigError(f"{url}: {_shown_options(f'{name}={text}')}: {error}") from error
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
