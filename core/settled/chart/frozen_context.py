"""Contexts and events that cannot be changed: JSON, or instances of frozen attrs classes, of which all is frozen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from copy import copy
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from operator import is_
from typing import Any, get_args, get_origin, get_type_hints

from attrs import fields, frozen, has

from settled.data import freeze, nested_frozen
from settled.frozen_data import NOT_JSON, FrozenDict, FrozenList


@frozen
class _Frozen:
    """A frozen class, to compare others with."""


def is_frozen_class(cls: type[Any]) -> bool:
    """Return whether `cls` is an attrs class or a dataclass whose instances cannot be changed."""
    if is_dataclass(cls):
        parameters: Any = cls.__dataclass_params__  # type: ignore[attr-defined]
        return bool(parameters.frozen)
    return has(cls) and cls.__setattr__ is _Frozen.__setattr__  # attrs gives this one to every frozen class


def classes_in(annotation: Any) -> Iterator[type[Any]]:
    """Yield the attrs classes and dataclasses that values of a type may be made of."""
    seen, open = set[Any](), [annotation]
    while open:
        each = open.pop()
        # `Box[int]` is made of int and Box, and a NewType of what it is called a new type of.
        open += [*get_args(each), *filter(None, (get_origin(each), getattr(each, "__supertype__", None)))]
        if isinstance(each, type) and (has(each) or is_dataclass(each)) and each not in seen:
            seen.add(each)
            yield each
            with suppress(NameError):  # a type that only type checkers know; reading such a context fails as well
                open += get_type_hints(each).values()


def freeze_context(context: Any, before: Any = None) -> Any:
    """Return a context or an event with all of it frozen: `settled.data.freeze`, for instances of attrs classes too.

    What it shares with `before`, a frozen instance of its class, is not looked at again.
    """
    if not has(context.__class__):
        return freeze(context)
    return _freeze_instance(context, before if before.__class__ is context.__class__ else None)


def freeze_typed(value: Any) -> Any:
    """Return `value`, a part of an instance of an attrs class, with all of it frozen.

    Unlike JSON, it may hold tuples, which remain tuples, and sets.
    """
    kind: type[Any] = value.__class__
    if issubclass(kind, FrozenDict | FrozenList):
        return value
    if issubclass(kind, dict):
        return nested_frozen({key: freeze_typed(item) for key, item in value.items()}, NOT_JSON)
    if issubclass(kind, list):
        return nested_frozen([freeze_typed(item) for item in value], NOT_JSON)
    if issubclass(kind, tuple):
        parts = [freeze_typed(part) for part in value]
        if all(map(is_, parts, value)):
            return value
        base: Any = tuple
        return base.__new__(kind, parts)  # as a named tuple's own `_make` does
    if kind is set:
        return frozenset(value)
    if not has(kind) and not is_dataclass(kind):
        return value
    if not is_frozen_class(kind):  # of a part whose declared type does not say what it is, such as Any
        raise TypeError(f"instances of {kind.__qualname__} can be changed: make the class attrs.frozen")
    return _freeze_instance(value)


def _freeze_instance(instance: Any, before: Any = None) -> Any:
    names = [
        field.name for field in (fields(instance.__class__) if has(instance.__class__) else dataclass_fields(instance))
    ]
    values = {name: getattr(instance, name) for name in names}
    if before is not None:
        values = {name: value for name, value in values.items() if value is not getattr(before, name)}
    frozen = {name: freeze_typed(value) for name, value in values.items()}
    changed = {name: value for name, value in frozen.items() if value is not values[name]}
    if not changed:
        return instance
    # Past the converters of the class: one such as ``converter=list`` would make a plain list again.
    copied = copy(instance)
    for name, value in changed.items():
        object.__setattr__(copied, name, value)
    return copied
