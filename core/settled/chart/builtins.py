"""The actions and guards that a config may use by XState's names (``xstate.*``), without registration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from attrs import frozen
from typing_extensions import TypeIs

from settled.chart import actions as built_in
from settled.chart.actions import BuiltInAction
from settled.chart.config import Inline, Named, Reference
from settled.chart.guards import BuiltInGuard, GuardLike, and_, not_, or_, state_in
from settled.data import ABSENT, is_array, is_object
from settled.durations import from_milliseconds


class UnresolvedNameError(LookupError):
    """A name in a config has no implementation, or an implementation is invalid."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem, self.remedy = problem, remedy


@frozen
class _Factory:
    """The function that makes an action or guard, and XState's names of its params.

    `params` are required and passed by position; `optional` maps a param's name to that of the keyword argument.
    """

    make: Callable[..., Any]
    params: tuple[str, ...]
    optional: Mapping[str, str] = {}


def _all_of(guards: object) -> BuiltInGuard:
    return and_(*_guards(guards))


def _one_of(guards: object) -> BuiltInGuard:
    return or_(*_guards(guards))


def _guards(guards: object) -> Iterable[GuardLike]:
    if not is_array(guards):
        raise TypeError(f"its guards are an array, not {guards!r}")
    return guards


_SEND_OPTIONS = {"id": "id", "delay": "delay"}
GUARDS_BY_NAME: Mapping[str, _Factory] = {
    "xstate.and": _Factory(_all_of, ("guards",)),
    "xstate.or": _Factory(_one_of, ("guards",)),
    "xstate.not": _Factory(not_, ("guard",)),
    "xstate.stateIn": _Factory(state_in, ("stateValue",)),
}
ACTIONS_BY_NAME: Mapping[str, _Factory] = {
    "xstate.assign": _Factory(built_in.assign, ("assignment",)),
    "xstate.raise": _Factory(built_in.raise_, ("event",), _SEND_OPTIONS),
    "xstate.sendTo": _Factory(built_in.send_to, ("to", "event"), _SEND_OPTIONS),
    "xstate.sendParent": _Factory(built_in.send_parent, ("event",), _SEND_OPTIONS),
    "xstate.forwardTo": _Factory(built_in.forward_to, ("to",), _SEND_OPTIONS),
    "xstate.emit": _Factory(built_in.emit, ("event",)),
    "xstate.log": _Factory(built_in.log, ("value",), {"label": "label"}),
    "xstate.cancel": _Factory(built_in.cancel, ("sendId",)),
    "xstate.spawnChild": _Factory(
        built_in.spawn_child, ("src",), {"id": "id", "input": "input", "systemId": "system_id"}
    ),
    "xstate.stopChild": _Factory(built_in.stop_child, ("id",)),
}
ACTION_NAMES: Mapping[type[Any], str] = {
    built_in.Assign: "xstate.assign",
    built_in.RaiseEvent: "xstate.raise",
    built_in.SendTo: "xstate.sendTo",
    built_in.EmitEvent: "xstate.emit",
    built_in.LogValue: "xstate.log",
    built_in.CancelSend: "xstate.cancel",
    built_in.SpawnChild: "xstate.spawnChild",
    built_in.StopChild: "xstate.stopChild",
    built_in.EnqueueActions: "xstate.enqueueActions",
}


def is_built_in_action(action: object) -> TypeIs[BuiltInAction]:
    """Return whether `action` is one of XState's own, made by `assign` and the like."""
    return type(action) in ACTION_NAMES


def builtin_action(reference: Reference) -> BuiltInAction | None:
    """Return the action of `reference` if it needs no implementations, else None."""
    match reference:
        case Inline(implementation) if is_built_in_action(implementation):
            return implementation
        case Named(type) if type in ACTIONS_BY_NAME:
            try:
                return cast("BuiltInAction", make_builtin(ACTIONS_BY_NAME, reference))
            except UnresolvedNameError:
                return None
        case _:
            return None


def make_builtin(factories: Mapping[str, _Factory], named: Named) -> Any:
    """Return the guard or action that `named` has in `factories`.

    Raises:
        UnresolvedNameError: a required param is missing, or one is unknown or invalid.
    """
    factory = factories[named.type]
    known = (*factory.params, *factory.optional)
    params: Any = {} if named.params is ABSENT else named.params
    if not is_object(params) or not set(factory.params) <= set(params) <= set(known):
        raise UnresolvedNameError(
            f"{named.type} cannot be made from {params!r}", f"Its params are: {', '.join(known)}."
        )
    try:
        optional = {
            factory.optional[name]: from_milliseconds(value) if name == "delay" else value
            for name, value in params.items()
            if name in factory.optional
        }
        return factory.make(*(params[name] for name in factory.params), **optional)
    except (TypeError, ValueError) as error:
        remedy = f"Its params are: {', '.join(known)}."
        raise UnresolvedNameError(f"{named.type} cannot be made: {error}", remedy) from error
