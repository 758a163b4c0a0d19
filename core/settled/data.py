"""JSON-shaped data: the only kind of thing that outlives a step.

Text is parsed here and nowhere else, so that one rule holds for all that comes in: it is JSON (``NaN`` is not), and
whole numbers stay whole whatever their size.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
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


_decoder = json.JSONDecoder(parse_constant=_refuse)
_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def parse(text: str) -> Any:
    """The value that `text` writes down.

    Raises:
        ValueError: `text` is not JSON; the message says where.
    """
    return _decoder.decode(text)


def write(value: Json) -> str:
    """`value` as compact JSON text.

    Raises:
        ValueError: a number is not finite.
        TypeError: something inside is not JSON; `fault_in` says where.
    """
    return _encoder.encode(value)


def fault_in(value: object, path: str = "") -> str | None:
    """Where `value`, which is at `path`, stops being JSON, as ``path: what is there``; None when all of it is JSON."""
    return None if is_json(value) else _fault(value, path)


_TEXT: Final = frozenset({str})
_SCALARS: Final = frozenset({str, int, bool, type(None)})


def is_json(value: object) -> bool:
    """Whether all of `value` is JSON. What nearly all data is made of is recognised by its exact type."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is dict:
        items = cast("dict[object, object]", value)
        return _TEXT.issuperset(map(type, items)) and _are_json(items.values())
    if kind is list or kind is tuple:
        return _are_json(cast("Sequence[object]", value))
    return _fault(value, "") is None


def _are_json(values: Collection[object]) -> bool:
    return _SCALARS.issuperset(map(type, values)) or all(map(is_json, values))


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
