"""Guards that are made of other guards, or that look at the state.

Wherever a guard is asked for, there may be the name of one, an object with ``type`` and ``params``, a function of
`Args`, or what one of these functions returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from attrs import frozen

from settled.chart.args import Args
from settled.chart.state_value import StateValue


@frozen
class And:
    """True if all are, asked from left to right up to the first that is not."""

    guards: tuple[GuardLike, ...]


@frozen
class Or:
    """True if one is, asked from left to right up to the first that is."""

    guards: tuple[GuardLike, ...]


@frozen
class Not:
    """True if the guard is not."""

    guard: GuardLike


@frozen
class StateIn:
    """True while the machine is in `value`: a state value, whole or in part, a dotted path, or an ``#id``."""

    value: StateValue


BuiltInGuard: TypeAlias = And | Or | Not | StateIn
GuardLike: TypeAlias = (
    str
    | Mapping[str, Any]
    | Callable[[Args[Any, Any]], object]
    | Callable[[Args[Any, Any], Any], object]
    | BuiltInGuard
)


def and_(*guards: GuardLike) -> And:
    """A guard that holds if all of `guards` do."""
    return And(guards)


def or_(*guards: GuardLike) -> Or:
    """A guard that holds if one of `guards` does."""
    return Or(guards)


def not_(guard: GuardLike) -> Not:
    """A guard that holds if `guard` does not."""
    return Not(guard)


def state_in(value: StateValue) -> StateIn:
    """A guard that holds while the machine is in `value`, such as ``"a.b"``, ``{"a": "b"}`` or ``"#id"``."""
    return StateIn(value)
