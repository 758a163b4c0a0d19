"""JSON-shaped data: the only kind of thing that outlives a step.

Text is parsed here and nowhere else, so that one rule holds for all that comes in: it is JSON (``NaN`` is not), and
whole numbers stay whole whatever their size.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, TypeAlias, TypeGuard, cast

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


class Absent(Enum):
    """JavaScript's ``undefined``: there is no value, where None is JSON's null and a value like any other."""

    ABSENT = "absent"

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent.ABSENT


def is_object(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether `value` is what JSON calls an object."""
    return type(value) is dict or isinstance(value, Mapping)


def is_array(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether `value` is what JSON calls an array."""
    return isinstance(value, list | tuple)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _as_object(value: object) -> Any:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[object, object]", value))
    raise TypeError(f"{type(value).__qualname__} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse)
_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_as_object)


def _chunks_of(encoder: json.JSONEncoder) -> Callable[[Any, int], Iterable[str]]:
    """What ``encoder.iterencode`` makes anew on each call, where Python has it in C."""
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return lambda value, level: encoder.iterencode(value)
    separators = encoder.key_separator, encoder.item_separator
    made: Callable[[Any, int], Iterable[str]] = make(
        None, encoder.default, json.encoder.encode_basestring, None, *separators, False, False, False
    )
    return made


_chunks = _chunks_of(_encoder)


def parse(text: str) -> Any:
    """The value that `text` writes down.

    Raises:
        ValueError: `text` is not JSON; the message says where.
    """
    return _decoder.decode(text)


def _scanner_of(decoder: Any) -> Callable[[str, int], tuple[Any, int]]:
    scan: Callable[[str, int], tuple[Any, int]] = decoder.scan_once
    return scan


parse_at = _scanner_of(_decoder)
"""The value that begins at a place in a text, and where it ends; raises ValueError or StopIteration."""


def write(value: Json) -> str:
    """`value` as compact JSON text.

    Raises:
        ValueError: a number is not finite.
        TypeError: something inside is not JSON; `fault_in` says where.
    """
    return "".join(_chunks(value, 0))


quoted: Callable[[str], str] = json.encoder.encode_basestring
"""A text as JSON text."""


def write_object(value: Any) -> str | None:
    """`value` as compact JSON text, if it is an object and all of it is JSON; None if it is not.

    The encoder refuses whatever is not JSON but keys: there it lets numbers pass for text.
    """
    try:
        "".join(value)  # takes nothing but text
        text = "".join(_chunks(value, 0))
    except (TypeError, ValueError):
        return None
    has_objects_inside = "{" in text[1:]
    return None if has_objects_inside and not is_json(value) else text


def fault_in(value: object, path: str = "") -> str | None:
    """Where `value`, which is at `path`, stops being JSON, as ``path: what is there``; None when all of it is JSON."""
    return None if is_json(value) else _fault(value, path)


_SCALARS: Final = frozenset({str, int, bool, type(None)})


def is_json(value: Any) -> bool:
    """Whether all of `value` is JSON. What nearly all data is made of is recognised by its exact type."""
    kind: type[Any] = value.__class__
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str or (type(item) not in _SCALARS and not is_json(item)):
                return False
        return True
    if kind in _SCALARS:
        return True
    if kind is list or kind is tuple:
        return all(map(is_json, value))
    return _fault(value, "") is None


def _fault(value: object, path: str) -> str | None:
    match value:
        case None | bool() | int() | str():
            return None
        case float():
            finite = value - value == 0
            return None if finite else f"{path or '(root)'}: {value!r} is not a JSON number"
        case Mapping():
            for key, item in cast("Mapping[object, object]", value).items():
                if not isinstance(key, str):
                    return f"{path or '(root)'}: the key {key!r} is not text"
                fault = _fault(item, f"{path}.{key}" if path else key)
                if fault:
                    return fault
            return None
        case list() | tuple():
            items = cast("Sequence[object]", value)
            faults = (_fault(item, f"{path}[{i}]") for i, item in enumerate(items))
            return next((fault for fault in faults if fault), None)
        case _:
            return f"{path or '(root)'}: {type(value).__qualname__} is not JSON"
