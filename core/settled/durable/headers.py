"""The headers of a message: short texts about it, such as a trace context, which its machine does not see.

They are bounded, so that a message that fits into a queue without them fits with them, and so that each backend can
carry them in its own way. Their names are those of HTTP and of every broker: in lower case, because some change it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

from settled.data import parse, shortened, write
from settled.errors import EventError

MAX_HEADERS = 16
"""How many headers a message may have."""

MAX_HEADER_CHARACTERS = 1024
"""How many characters a value may have."""

MAX_HEADERS_BYTES = 4096
"""How many bytes all names and values may have together, in UTF-8."""

_NAME = re.compile(r"[a-z0-9_.-]{1,64}")


def check_headers(headers: object) -> dict[str, str]:
    """Return a copy of `headers` if a message may have them.

    Raises:
        EventError: a name or a value is not allowed, or there are too many; the error says which and what to do.
    """
    if not isinstance(headers, Mapping):
        raise EventError(f"the headers are {type(headers).__name__}; make them an object of names and texts")
    checked = dict(_checked(name, value) for name, value in cast("Mapping[object, object]", headers).items())
    if len(checked) > MAX_HEADERS:
        raise EventError(f"{len(checked)} headers: a message may have {MAX_HEADERS}, so leave some out")
    size = sum(len(name) + len(value.encode()) for name, value in checked.items())
    if size > MAX_HEADERS_BYTES:
        raise EventError(f"headers of {size} bytes: all together may have {MAX_HEADERS_BYTES}; put data into the event")
    return checked


def _checked(name: object, value: object) -> tuple[str, str]:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise EventError(f"the header {shortened(name)}: a name has 1 to 64 of the characters a-z, 0-9, _, . and -")
    if not isinstance(value, str):
        raise EventError(f"the header {name!r}: its value is {type(value).__name__}; make it text")
    if len(value) > MAX_HEADER_CHARACTERS:
        characters = f"{len(value)} characters of {MAX_HEADER_CHARACTERS}"
        raise EventError(f"the header {name!r}: its value has {characters}; put data into the event")
    # Queues and HTTP forbid different ones of the control characters, and a lone surrogate is no text to any of them.
    if not value.isprintable():
        raise EventError(f"the header {name!r}: its value {value!r} is not printable on one line; encode it")
    return name, value


def headers_to_text(headers: Mapping[str, str]) -> str:
    """Return `headers` as a text for a backend to store; empty if there are none."""
    return write(headers) if headers else ""


def headers_from_text(text: str) -> Mapping[str, str]:
    """Return the headers that `headers_to_text` wrote."""
    return cast("Mapping[str, str]", parse(text)) if text else NO_HEADERS


NO_HEADERS: Mapping[str, str] = {}
