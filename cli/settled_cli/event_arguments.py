"""Events and inputs as people type them: JSON, or a type and fields.

``name=text`` is always text, so a code keeps its leading zero; ``name:=json`` is what it says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from settled import Json
from settled.data import parse
from settled_cli.errors import UsageError


def event_of(text: str, fields: Iterable[str]) -> dict[str, Json]:
    """The event that `text`, a type or a JSON object, and `fields` write.

    Raises:
        Misuse: they write none, or one that only a machine itself may send.
    """
    typed: dict[str, Json] = _object(text) if text.lstrip().startswith(("{", "[", '"')) else {"type": text}
    event = {**typed, **_read(fields)}
    type = event.get("type")
    if not isinstance(type, str) or not type:
        raise UsageError(f"""an event has a type: {{"type": "SUBMIT", ...}}, or just SUBMIT; this one is {text}""")
    if type.startswith("xstate.") or type == "*":
        raise UsageError(f'an event from outside cannot have the type "{type}"')
    return event


def input_of(words: tuple[str, ...]) -> Json:
    """The input that `words`, JSON or fields, write; None if there are none.

    Raises:
        Misuse: they are neither.
    """
    if not words:
        return None
    if len(words) == 1 and "=" not in words[0].split('"')[0]:
        value: Json = _json(words[0])
        return value
    return _read(words)


def _read(fields: Iterable[str]) -> dict[str, Json]:
    return dict(_field(each) for each in fields)


def _field(text: str) -> tuple[str, Json]:
    name, separator, value = text.partition("=")
    if not separator or name in ("", ":"):
        raise UsageError(f"{text!r} is no field. Write name=text, or name:=json")
    if name.endswith(":"):
        return name[:-1], _json(value)
    return name, value


def _object(text: str) -> dict[str, Json]:
    value = _json(text)
    if not isinstance(value, dict):
        raise UsageError(f"expected a JSON object, not {text}")
    return cast("dict[str, Json]", value)


def _json(text: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"not JSON: {error}: {text}") from error
