"""The implementations of the names in ``machines/*.json``, in Python; ``xstate.mjs`` has them in JavaScript.

The machines are pure JSON. Their guards and actions become functions here, as one would write them by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from settled import Args, Machine, and_, assign, not_, setup

AnyArgs = Args[Any]


def machine_of(config: Mapping[str, Any]) -> Machine[Any]:
    """Make the machine of `config`, with the implementations in this module."""
    actions: dict[str, Any] = {}
    plain = _node(config, actions)
    return setup(guards=GUARDS, actions=actions).machine(plain)


def is_at_least(a: AnyArgs) -> object:
    params = a.params
    return a.context[params["key"]] >= params["value"]


def is_less(a: AnyArgs) -> object:
    params = a.params
    return a.context[params["key"]] < params["value"]


def event_equals(a: AnyArgs) -> object:
    params = a.params
    return a.event.get(params["key"]) == params["value"]


def do_nothing(args: Any) -> None:
    """Do nothing: some actions are only named."""


GUARDS: Mapping[str, Any] = {"ctxGte": is_at_least, "ctxLt": is_less, "evEq": event_equals}


def _node(config: Mapping[str, Any], actions: dict[str, Any]) -> dict[str, Any]:
    node = dict(config)
    for key in ("entry", "exit"):
        if key in node:
            node[key] = [_action(item, actions) for item in _as_list(node[key])]
    if "on" in node:
        node["on"] = {
            type: [_transition(item, actions) for item in _as_list(several)] for type, several in node["on"].items()
        }
    if "states" in node:
        node["states"] = {key: _node(inner, actions) for key, inner in node["states"].items()}
    return node


def _as_list(value: Any) -> list[Any]:
    return list(cast("Iterable[Any]", value)) if isinstance(value, list) else [value]


def _transition(config: Any, actions: dict[str, Any]) -> Any:
    if isinstance(config, str):
        return config
    transition = dict(config)
    if "guard" in transition:
        transition["guard"] = _guard(transition["guard"])
    if "actions" in transition:
        transition["actions"] = [_action(item, actions) for item in _as_list(transition["actions"])]
    return transition


def _guard(config: Any) -> Any:
    match config:
        case {"type": "and", "params": {"guards": guards}}:
            return and_(*map(_guard, guards))
        case {"type": "not", "params": {"guard": guard}}:
            return not_(_guard(guard))
        case _:
            return config


def _action(config: Any, actions: dict[str, Any]) -> Any:
    match config:
        case {"type": "inc", "params": {"key": key, "by": by}}:
            return assign({key: _increment(key, by)})
        case {"type": "assign", "params": {"key": key, "value": {"$ev": name}}}:
            return assign({key: lambda args: args.event.get(name)})
        case _:
            actions[config] = do_nothing
            return config


def _increment(key: str, by: int) -> Callable[[AnyArgs], int]:
    return lambda args: args.context[key] + by
