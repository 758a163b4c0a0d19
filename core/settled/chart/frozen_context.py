"""Contexts and events that cannot be changed: JSON, or instances of frozen attrs classes, of which all is frozen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from copy import copy
from operator import is_
from typing import Any, get_args

from attrs import fields, frozen, has, resolve_types

from settled.data import freeze, nested_frozen
from settled.frozen_data import NOT_JSON, FrozenDict, FrozenList


@frozen
class _Frozen:
    """A frozen class, to compare others with."""


def is_frozen_class(cls: type[Any]) -> bool:
    """Return whether `cls` is an attrs class whose instances cannot be changed."""
    return has(cls) and cls.__setattr__ is _Frozen.__setattr__  # attrs gives this one to every frozen class


def classes_in(annotation: Any) -> Iterator[type[Any]]:
    """Yield the attrs classes that values of a type may be made of."""
    seen, open = set[Any](), [annotation]
    while open:
        each = open.pop()
        open += get_args(each)
        if isinstance(each, type) and has(each) and each not in seen:
            seen.add(each)
            yield each
            with suppress(NameError):  # a type that only type checkers know; reading such a context fails as well
                resolve_types(each)
            open += (attribute.type for attribute in fields(each))


def freeze_context(context: Any) -> Any:
    """Return a context or an event with all of it frozen: `settled.data.freeze`, for instances of attrs classes too."""
    return freeze_typed(context) if has(context.__class__) else freeze(context)


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
    if kind is tuple:
        parts = tuple(map(freeze_typed, value))
        return value if all(map(is_, parts, value)) else parts
    if kind is set:
        return frozenset(value)
    return _freeze_instance(value) if has(kind) else value


def _freeze_instance(instance: Any) -> Any:
    values = {name: getattr(instance, name) for name in (field.name for field in fields(instance.__class__))}
    frozen = {name: freeze_typed(value) for name, value in values.items()}
    changed = {name: value for name, value in frozen.items() if value is not values[name]}
    if not changed:
        return instance
    # Past the converters of the class: one such as ``converter=list`` would make a plain list again.
    copied = copy(instance)
    for name, value in changed.items():
        object.__setattr__(copied, name, value)
    return copied
