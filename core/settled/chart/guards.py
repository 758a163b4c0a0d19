"""XState's guards of higher order, and `state_in`.

Wherever a guard is expected, it may be the name of one, an object with ``type`` and ``params``, a function of `Args`,
or the result of one of these functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from attrs import frozen

from settled.chart.args import Args
from settled.chart.state_value import StateValue


@frozen
class And:
    """True if all of `guards` are, evaluated from left to right up to the first that is false."""

    guards: tuple[GuardLike, ...]


@frozen
class Or:
    """True if one of `guards` is, evaluated from left to right up to the first that is true."""

    guards: tuple[GuardLike, ...]


@frozen
class Not:
    """True if `guard` is false."""

    guard: GuardLike


@frozen
class StateIn:
    """True while the machine is in `value`: a state value, complete or partial, a dotted path, or an ``#id``."""

    value: StateValue


BuiltInGuard: TypeAlias = And | Or | Not | StateIn
GuardLike: TypeAlias = str | Mapping[str, Any] | Callable[[Args[Any]], object] | BuiltInGuard


def and_(*guards: GuardLike) -> And:
    """Return a guard that is true if all of `guards` are."""
    return And(guards)


def or_(*guards: GuardLike) -> Or:
    """Return a guard that is true if one of `guards` is."""
    return Or(guards)


def not_(guard: GuardLike) -> Not:
    """Return a guard that is true if `guard` is false."""
    return Not(guard)


def state_in(value: StateValue) -> StateIn:
    """Return a guard that is true while the machine is in `value`: ``"a.b"``, ``{"a": "b"}``, ``"#id"``."""
    return StateIn(value)
