"""Validators of the fields of attrs classes that users make: each error says what to write instead."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, TypeAlias

Validator: TypeAlias = Callable[[Any, Any, Any], None]


def whole_number_of_at_least(minimum: int) -> Validator:
    """Return a validator that raises TypeError unless the value is an int, and ValueError if it is too small."""

    def validate(_instance: object, attribute: Any, value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{attribute.name} must be a whole number, not {value!r}")
        _check_minimum(attribute.name, value, minimum)

    return validate


def number_of_at_least(minimum: float) -> Validator:
    """Return a validator that raises TypeError unless the value is a number, and ValueError if it is too small."""

    def validate(_instance: object, attribute: Any, value: Any) -> None:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise TypeError(f"{attribute.name} must be a number, not {value!r}")
        _check_minimum(attribute.name, value, minimum)

    return validate


def _check_minimum(name: str, value: float, minimum: float) -> None:
    if not value >= minimum:  # NaN is invalid, too
        raise ValueError(f"{name} must be at least {minimum}, not {value!r}")


def instance_of(kind: type[Any], example: str) -> Validator:
    """Return a validator that raises TypeError unless the value is a `kind`, which `example` makes."""

    def validate(_instance: object, attribute: Any, value: Any) -> None:
        if not isinstance(value, kind):
            raise TypeError(f"{attribute.name} must be a {kind.__name__}, such as {example}, not {value!r}")

    return validate


def one_of(*known: str) -> Callable[[Any, Any, Any], Any]:
    """Return a validator that raises ValueError unless the value is one of `known`."""

    def validate(_instance: object, attribute: Any, value: Any) -> None:
        if value not in known:
            raise ValueError(f"{attribute.name} must be {' or '.join(map(repr, known))}, not {value!r}")

    return validate


def is_set_of_names(_instance: object, attribute: Any, value: Any) -> None:
    """Validate a container of names: raise TypeError unless it is one. Text would contain each of its own parts."""
    if isinstance(value, str) or not isinstance(value, Container):
        raise TypeError(f"{attribute.name} must be a set of names, such as {{'1.0'}}, not {value!r}")
