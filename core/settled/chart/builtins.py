"""The actions and guards that XState knows by name: no registration needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast, get_args

from attrs import frozen

from settled.chart import actions as built_in
from settled.chart.actions import BuiltInAction
from settled.chart.config import Inline, Named, Reference
from settled.chart.guards import BuiltInGuard, GuardLike, and_, not_, or_, state_in
from settled.data import ABSENT, is_object


class UnresolvedNameError(LookupError):
    """A name in a config that logic does not know."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem, self.remedy = problem, remedy


# What XState knows by itself needs no registration. The params are called as XState calls them.


@frozen
class _Builtin:
    """How XState's own `make` is called by name: its params in order, and those that may be left out."""

    make: Callable[..., Any]
    params: tuple[str, ...]
    optional: Mapping[str, str] = {}


def _all_of(guards: Iterable[GuardLike]) -> BuiltInGuard:
    return and_(*guards)


def _one_of(guards: Iterable[GuardLike]) -> BuiltInGuard:
    return or_(*guards)


_LATER = {"id": "id", "delay": "delay"}
GUARDS_BY_NAME: Mapping[str, _Builtin] = {
    "xstate.and": _Builtin(_all_of, ("guards",)),
    "xstate.or": _Builtin(_one_of, ("guards",)),
    "xstate.not": _Builtin(not_, ("guard",)),
    "xstate.stateIn": _Builtin(state_in, ("stateValue",)),
}
ACTIONS_BY_NAME: Mapping[str, _Builtin] = {
    "xstate.assign": _Builtin(built_in.assign, ("assignment",)),
    "xstate.raise": _Builtin(built_in.raise_, ("event",), _LATER),
    "xstate.sendTo": _Builtin(built_in.send_to, ("to", "event"), _LATER),
    "xstate.sendParent": _Builtin(built_in.send_parent, ("event",), _LATER),
    "xstate.forwardTo": _Builtin(built_in.forward_to, ("to",), _LATER),
    "xstate.emit": _Builtin(built_in.emit, ("event",)),
    "xstate.log": _Builtin(built_in.log, ("value",), {"label": "label"}),
    "xstate.cancel": _Builtin(built_in.cancel, ("sendId",)),
    "xstate.spawnChild": _Builtin(
        built_in.spawn_child, ("src",), {"id": "id", "input": "input", "systemId": "system_id"}
    ),
    "xstate.stopChild": _Builtin(built_in.stop_child, ("id",)),
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


def builtin_action(reference: Reference) -> BuiltInAction | None:
    """What `reference` means without any logic; None if it is for logic to say."""
    match reference:
        case Inline(what) if isinstance(what, get_args(BuiltInAction)):
            return cast("BuiltInAction", what)
        case Named(type) if type in ACTIONS_BY_NAME:
            try:
                return cast("BuiltInAction", make_builtin(ACTIONS_BY_NAME, reference))
            except UnresolvedNameError:
                return None
        case _:
            return None


def make_builtin(makers: Mapping[str, _Builtin], named: Named) -> Any:
    """Return the guard or action that XState makes of `named`.

    Raises:
        Meaningless: its params are not those that it takes.
    """
    maker = makers[named.type]
    known = (*maker.params, *maker.optional)
    params: Any = {} if named.params is ABSENT else named.params
    if not is_object(params) or not set(maker.params) <= set(params) <= set(known):
        raise UnresolvedNameError(
            f"{named.type} cannot be made from {params!r}", f"Its params are: {', '.join(known)}."
        )
    optional = {maker.optional[name]: value for name, value in params.items() if name in maker.optional}
    return maker.make(*(params[name] for name in maker.params), **optional)
