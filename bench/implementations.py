"""What the names in ``machines/*.json`` mean in Python; ``xstate.mjs`` says the same in JavaScript.

A machine there is JSON all through. Its guards and actions become functions here, as one would write them by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from settled import Args, Machine, and_, assign, not_, setup

AnyArgs = Args[Any, Any]


def machine_of(config: Mapping[str, Any]) -> Machine[Any, Any]:
    """The machine of `config`, in the vocabulary of the benchmarks."""
    actions: dict[str, Any] = {}
    plain = _node(config, actions)
    return setup(guards=GUARDS, actions=actions).machine(plain)


def is_at_least(args: AnyArgs, params: Any) -> object:
    return args.context[params["key"]] >= params["value"]


def is_less(args: AnyArgs, params: Any) -> object:
    return args.context[params["key"]] < params["value"]


def event_equals(args: AnyArgs, params: Any) -> object:
    return args.event.get(params["key"]) == params["value"]


def nothing(args: Any) -> None:
    """An action whose name is all that is wanted of it."""


GUARDS: Mapping[str, Any] = {"ctxGte": is_at_least, "ctxLt": is_less, "evEq": event_equals}


def _node(config: Mapping[str, Any], actions: dict[str, Any]) -> dict[str, Any]:
    node = dict(config)
    for key in ("entry", "exit"):
        if key in node:
            node[key] = [_action(item, actions) for item in _listed(node[key])]
    if "on" in node:
        node["on"] = {
            type: [_transition(item, actions) for item in _listed(several)] for type, several in node["on"].items()
        }
    if "states" in node:
        node["states"] = {key: _node(inner, actions) for key, inner in node["states"].items()}
    return node


def _listed(value: Any) -> list[Any]:
    return list(cast("Iterable[Any]", value)) if isinstance(value, list) else [value]


def _transition(config: Any, actions: dict[str, Any]) -> Any:
    if isinstance(config, str):
        return config
    transition = dict(config)
    if "guard" in transition:
        transition["guard"] = _guard(transition["guard"])
    if "actions" in transition:
        transition["actions"] = [_action(item, actions) for item in _listed(transition["actions"])]
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
            return assign({key: _increased(key, by)})
        case {"type": "assign", "params": {"key": key, "value": {"$ev": name}}}:
            return assign({key: lambda args: args.event.get(name)})
        case _:
            actions[config] = nothing
            return config


def _increased(key: str, by: int) -> Callable[[AnyArgs], int]:
    return lambda args: args.context[key] + by
