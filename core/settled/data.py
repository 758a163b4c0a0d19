"""Parse, write and check JSON: only JSON data outlives a step.

All text is parsed here, so that one rule holds for all input: it is strict JSON (``NaN`` is invalid), and integers keep
their exact value whatever their size. All data that is kept or sent is at most `MAX_DEPTH` levels deep: beyond some
hundreds, Python can neither write nor read it.
"""

from __future__ import annotations

import json
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, TypeAlias, TypeGuard, cast

from settled.frozen_data import NOT_JSON, FrozenDict, FrozenList, NestedFrozenDict, make_frozen

MAX_DEPTH: Final = 128
"""How many arrays and objects may be nested in each other."""

MAX_EVENT_DEPTH: Final = 64
"""How many may be nested in an event or an input from outside.

They are fewer, so that a machine can keep an event in its context, send it on, and wrap it a few times.
"""

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


class Absent(Enum):
    """The type of ABSENT, JavaScript's ``undefined``: there is no value, whereas None is JSON's null, a value."""

    ABSENT = "absent"

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent.ABSENT


def is_object(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Return whether `value` is an object in JSON's terms."""
    return isinstance(value, dict) or isinstance(value, Mapping)  # noqa: SIM101 (nearly all are a dict)


def is_array(value: object) -> TypeGuard[Sequence[Any]]:
    """Return whether `value` is an array in JSON's terms."""
    return isinstance(value, list | tuple)


def _invalid_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _as_object(value: object) -> Any:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[object, object]", value))
    raise TypeError(f"{type(value).__qualname__} is not JSON")


def _object_with_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise ValueError(f"an object has the key {quoted(counts.most_common(1)[0][0])} twice")
    return found


_decoder = json.JSONDecoder(parse_constant=_invalid_constant)
_strict_decoder = json.JSONDecoder(parse_constant=_invalid_constant, object_pairs_hook=_object_with_unique_keys)
_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_as_object)


def _chunk_encoder(encoder: json.JSONEncoder) -> Callable[[Any, int], Iterable[str]]:
    """Return what ``encoder.iterencode`` creates anew on each call: its encoder in C, if this Python has one."""
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return lambda value, level: encoder.iterencode(value)
    separators = encoder.key_separator, encoder.item_separator
    # The first argument is None for no check of cycles: a cycle ends in RecursionError instead of ValueError.
    made: Callable[[Any, int], Iterable[str]] = make(
        None, encoder.default, json.encoder.encode_basestring, None, *separators, False, False, False
    )
    return made


_chunks = _chunk_encoder(_encoder)


parse_or_overflow: Callable[[str], Any] = _decoder.decode
"""`parse` for text that is read at every event: it raises RecursionError itself, and so takes one call less."""


_TOO_DEEP = f"its arrays and objects are nested too deeply; {MAX_DEPTH} levels are allowed"


def parse(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: the text is not JSON, and the message says where; or Python cannot read it, so deeply is it nested.
    """
    try:
        return parse_or_overflow(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def parse_strictly(text: str) -> Any:
    """Return the value of a JSON text that a person or another program wrote.

    `parse`, which is faster, takes the last of two equal keys; here that is an error: who wrote both meant both.

    Raises:
        ValueError: the text is not JSON, or an object has a key twice.
    """
    try:
        return _strict_decoder.decode(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


parse_at: Callable[[str, int], tuple[Any, int]] = cast("Any", _decoder).scan_once
"""Return the JSON value that begins at an index of a text, and the index of its end.

Raises ValueError, StopIteration if there is no value at the index, or RecursionError.
"""


def write(value: Json) -> str:
    """Return `value` as compact JSON text.

    Raises:
        ValueError: a number is not finite.
        TypeError: a value inside is not JSON; `fault_in` says where.
        RecursionError: it is nested far deeper than `MAX_DEPTH`.
    """
    return "".join(_chunks(value, 0))


quoted: Callable[[str], str] = json.encoder.encode_basestring
"""Return a string as a JSON string literal."""


def write_object(value: Any) -> str | None:
    """Return `value`, an object, as compact JSON text, or None if not all of it is JSON.

    For JSON that is not an object the result may be None too.
    """
    if isinstance(value, FrozenDict) and value.levels <= MAX_DEPTH:
        return "".join(_chunks({**value}, 0))  # a plain one is written faster
    # The encoder raises for values that are not JSON, but not for keys: it writes the keys 1, None and True as text.
    # So only keys are left to check, which `is_json` does by looking through everything.
    try:
        "".join(value)  # raises TypeError if a key of the object itself is not text
        text = "".join(_chunks(value, 0))
    except (TypeError, ValueError, RecursionError):
        return None
    may_have_inner_objects = "{" in text[1:]
    return None if (may_have_inner_objects or text.count("[") >= MAX_DEPTH) and not is_json(value) else text


def fault_in(value: object, path: str = "", levels: int = MAX_DEPTH) -> str | None:
    """Return the first part of `value`, which is at `path`, that is not JSON, as ``path: problem``; None if all is.

    What is nested more than `levels` deep counts as no JSON, and so does what contains itself.
    """
    return None if is_json(value, levels) else _problem(value, path, levels, levels)


_MAX_PATH_CHARACTERS: Final = 80
"""How much of a path an error shows, if it is long because the data is deep."""

SCALARS: Final = frozenset({str, int, bool, type(None)})
"""The types of JSON's values that hold no others; a float is not one, as it may be infinite."""


def is_json(value: Any, levels: int = MAX_DEPTH) -> bool:
    """Return whether all of `value` is JSON, nested at most `levels` deep."""
    # By exact type, which suffices for nearly all data; `_problem` decides about subclasses, floats and other mappings.
    kind: type[Any] = value.__class__
    if kind is dict:
        if not levels:
            return False
        for key, item in value.items():
            if type(key) is not str or (type(item) not in SCALARS and not is_json(item, levels - 1)):
                return False
        return True
    if kind in SCALARS:
        return True
    if kind in FROZEN and value.levels <= levels:
        return True
    if kind is list or kind is tuple:
        if not levels:
            return False
        for item in value:  # noqa: SIM110 - `all` would take a second frame for each level
            if type(item) not in SCALARS and not is_json(item, levels - 1):
                return False
        return True
    return _problem(value, "", levels, levels) is None


def _problem(value: object, path: str, levels: int, allowed: int) -> str | None:
    match value:
        case None | bool() | int() | str():
            return None
        case float():
            finite = value - value == 0  # infinity and NaN give NaN
            return None if finite else f"{path or '(root)'}: {value!r} is not a JSON number"
        case Mapping() | list() | tuple() if not levels:
            return f"{_path_shown(path)}: nested more than {allowed} levels deep"
        case Mapping():
            for key, item in cast("Mapping[object, object]", value).items():
                if not isinstance(key, str):
                    return f"{path or '(root)'}: the key {key!r} is not text"
                problem = _problem(item, f"{path}.{key}" if path else key, levels - 1, allowed)
                if problem is not None:
                    return problem
            return None
        case list() | tuple():
            for index, item in enumerate(cast("Sequence[object]", value)):
                problem = _problem(item, f"{path}[{index}]", levels - 1, allowed)
                if problem is not None:
                    return problem
            return None
        case _:
            return f"{path or '(root)'}: {type(value).__qualname__} is not JSON"


def freeze(value: Any, levels: int = MAX_DEPTH) -> Any:
    """Return `value` with each object and array in it as one that cannot be changed.

    What is frozen already is not copied. An array becomes a `FrozenList` even if it is a tuple, as it does when it is
    stored. What is not JSON, or nested more than `levels` deep, stays as it is.
    """
    kind: type[Any] = value.__class__
    if kind is dict:  # first, because each event is one
        for key, item in value.items():
            if type(item) not in SCALARS or type(key) is not str:
                return _nested_dict(value, levels)
        return make_frozen(FrozenDict, value) if value else _NOTHING
    if kind in _UNCHANGEABLE:
        return value
    if issubclass(kind, list | tuple):
        return _frozen_list(value, levels)
    return freeze(dict(value), levels) if issubclass(kind, Mapping) else value


def with_changes(value: FrozenDict, changes: Mapping[str, Any]) -> Any:
    """Return ``{**value, **changes}``, frozen; it takes less time than `freeze` if both are flat."""
    changed = {**value, **changes}
    if type(value) is FrozenDict:
        for key, item in changes.items():
            if type(item) not in SCALARS or type(key) is not str:
                return _nested_dict(changed, MAX_DEPTH)
        return make_frozen(FrozenDict, changed)
    return freeze(changed)


def nested_frozen(parts: dict[Any, Any] | list[Any], levels: int) -> Any:
    """Return an object or array of `parts`, which are frozen, as a frozen one with these `levels`."""
    frozen = make_frozen(NestedFrozenDict if isinstance(parts, dict) else FrozenList, parts)
    frozen.levels = levels
    return frozen


def _nested_dict(value: dict[Any, Any], levels: int) -> Any:
    if not levels:
        return value
    parts = {key: freeze(item, levels - 1) for key, item in value.items()}
    is_json_inside = all(isinstance(key, str) for key in parts)
    return nested_frozen(parts, 1 + max(map(_levels_of, parts.values())) if is_json_inside else NOT_JSON)


def _frozen_list(value: Sequence[Any], levels: int) -> Any:
    if not levels:
        return value
    parts = [freeze(item, levels - 1) for item in value]
    return nested_frozen(parts, 1 + max(map(_levels_of, parts), default=0))


def _levels_of(part: Any) -> int:
    """Return how many arrays and objects are nested in `part`, which `freeze` has returned."""
    kind: type[Any] = part.__class__
    if kind in SCALARS:
        return 0
    if kind in FROZEN:
        levels: int = part.levels
        return levels
    if kind is float:
        return 0 if part - part == 0 else NOT_JSON  # infinity and NaN give NaN
    return 0 if is_json(part, 0) else NOT_JSON


FROZEN: Final[frozenset[type[Any]]] = frozenset({FrozenDict, NestedFrozenDict, FrozenList})
"""The classes of frozen objects and arrays."""

_UNCHANGEABLE: Final = SCALARS | FROZEN | {float}
_NOTHING: Final = make_frozen(FrozenDict)


shortened: Callable[[object], str] = reprlib.repr
"""Return the beginning of what `repr` returns, however large or deep the value is, for an error message."""


def _path_shown(path: str) -> str:
    return path if len(path) <= _MAX_PATH_CHARACTERS else f"{path[:_MAX_PATH_CHARACTERS]}..."
