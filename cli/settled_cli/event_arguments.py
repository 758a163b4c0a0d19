"""Parse events and inputs from arguments: JSON, or a type and fields.

In ``name=text`` the value is always a string, so the code ``042137`` keeps its leading zero. In ``name:=json`` the
value is JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TypeVar, cast

from settled import Json
from settled.data import fault_in, parse_strictly
from settled_cli.errors import UsageError

T = TypeVar("T")


def parse_event(text: str, fields: Iterable[str]) -> dict[str, Json]:
    """Parse an event: `text` is its type or a JSON object, and `fields` are added to it.

    Raises:
        UsageError: this is not an event, or its type is reserved for the machine itself.
    """
    typed: dict[str, Json] = _parse_object(text) if text.lstrip().startswith(("{", "[", '"')) else {"type": text}
    # A field may not replace one that the JSON has either.
    event = _without_repetitions("field", [*typed.items(), *map(_parse_field, fields)])
    type = event.get("type")
    if not isinstance(type, str) or not type:
        raise UsageError(f"""an event has a type: {{"type": "SUBMIT", ...}}, or just SUBMIT; this one is {text}""")
    if type.startswith("xstate.") or type == "*":
        raise UsageError(f'an event from outside cannot have the type "{type}"')
    return event


def parse_input(words: tuple[str, ...]) -> Json:
    """Parse a machine's input from one JSON value or from fields. Return None without `words`.

    Raises:
        UsageError: `words` are neither.
    """
    if not words:
        return None
    # A "=" within a JSON string, as in '"a=b"' or '{"a": "b=c"}', does not make the word a field.
    if len(words) == 1 and "=" not in words[0].split('"')[0]:
        value: Json = parse_json(words[0])
        return value
    return _parse_fields(words)


def parse_headers(words: Iterable[str]) -> dict[str, str]:
    """Parse the headers of a message, each ``name=value``.

    Raises:
        UsageError: a word has no ``=``, or a header is given twice.
    """
    return _without_repetitions("header", map(_parse_header, words))


def parse_json(text: str) -> Any:
    """Parse `text` as JSON.

    Raises:
        UsageError: it is not JSON, or an object has a key twice.
    """
    try:
        value = parse_strictly(text)
    except ValueError as error:
        raise UsageError(f"not JSON: {error}: {text[:80]}") from error
    # Such as 1e999, which is read as infinity. How deep it is nested, the client checks.
    if problem := fault_in(value, levels=sys.maxsize):
        raise UsageError(f"not JSON: {problem}")
    return value


def _parse_fields(fields: Iterable[str]) -> dict[str, Json]:
    return _without_repetitions("field", map(_parse_field, fields))


def _without_repetitions(what: str, pairs: Iterable[tuple[str, T]]) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, value in pairs:
        if name in found:
            raise UsageError(f"the {what} {name} is given twice")
        found[name] = value
    return found


def _parse_header(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        raise UsageError(f"a header is name=value; this one is {word}")
    return name, value


def _parse_field(text: str) -> tuple[str, Json]:
    name, separator, value = text.partition("=")
    if not separator or name in ("", ":"):
        raise UsageError(f"{text!r} is not a field. Write name=text, or name:=json")
    if name.endswith(":"):
        return name[:-1], parse_json(value)
    return name, value


def _parse_object(text: str) -> dict[str, Json]:
    value = parse_json(text)
    if not isinstance(value, dict):
        raise UsageError(f"expected a JSON object, not {text[:80]}")
    return cast("dict[str, Json]", value)
