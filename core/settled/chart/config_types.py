"""Types of a config written as a Python literal, for type checkers; at run time the values are plain dicts.

The keys are those of XState's config in JSON. In place of names there may be functions and whatever `assign`, `and_`
and the like return, in place of milliseconds durations. If a literal is annotated with `MachineDict`, a type checker
finds mistyped keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, TypeAlias, TypedDict

from settled.chart.actions import BuiltInAction
from settled.chart.guards import BuiltInGuard


class NamedDict(TypedDict, total=False):
    """A registered name, and the params of the call."""

    type: str
    params: Any


GuardLiteral: TypeAlias = str | NamedDict | BuiltInGuard | Callable[..., bool]
ActionLiteral: TypeAlias = str | NamedDict | BuiltInAction | Callable[..., object]
Actions: TypeAlias = ActionLiteral | Sequence[ActionLiteral]


class TransitionDict(TypedDict, total=False):
    """A transition; an empty one forbids its event."""

    target: str | Sequence[str] | None
    guard: GuardLiteral
    actions: Actions
    reenter: bool
    description: str
    meta: Any


Transitions: TypeAlias = str | TransitionDict | Sequence[str | TransitionDict] | None


class InitialDict(TypedDict, total=False):
    """The child that is entered by default, and the actions executed then."""

    target: str
    actions: Actions
    description: str
    meta: Any


class InvokeDict(TypedDict, total=False):
    """An actor that runs while its state is active."""

    src: str | Callable[..., Any]
    id: str
    systemId: str
    input: Any
    onDone: Transitions
    onError: Transitions
    onSnapshot: Transitions
    description: str
    meta: Any


class RouteDict(TypedDict, total=False):
    """A transition to the state from anywhere on the event ``xstate.route``."""

    guard: GuardLiteral
    actions: Actions
    reenter: bool
    description: str
    meta: Any


class StateDict(TypedDict, total=False):
    """A state node."""

    id: str
    type: Literal["atomic", "compound", "parallel", "final", "history"]
    initial: str | InitialDict
    states: Mapping[str, StateDict]
    entry: Actions
    exit: Actions
    invoke: InvokeDict | Sequence[InvokeDict]
    on: Mapping[str, Transitions]
    always: Transitions
    after: Mapping[str, Transitions] | Mapping[int, Transitions] | Mapping[timedelta, Transitions]
    onDone: Transitions
    history: Literal["shallow", "deep"] | bool
    target: str | Sequence[str]
    route: RouteDict
    output: Any
    tags: str | Sequence[str]
    description: str
    meta: Any


class OptionsDict(TypedDict, total=False):
    """Options of a machine."""

    maxIterations: int


class MachineDict(StateDict, total=False):
    """A whole machine: a state node, and the keys only a root has."""

    context: Mapping[str, Any]
    version: str
    options: OptionsDict
