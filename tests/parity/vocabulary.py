"""The fixed vocabulary of the parity cases: what their guards, actions and delays are in Python.

A case is JSON all through, so what would be a function in a machine of one's own is an expression here: an object with
the one key ``$ctx``, ``$ev`` or ``$input``, which looks something up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from settled import (
    and_,
    assign,
    cancel,
    emit,
    enqueue_actions,
    forward_to,
    log,
    not_,
    or_,
    raise_,
    send_parent,
    send_to,
    spawn_child,
    state_in,
    stop_child,
)

LOOK_UPS = ("$ctx", "$ev", "$input")


def is_look_up(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in LOOK_UPS


def has_look_up(value: Any) -> bool:
    match value:
        case _ if is_look_up(value):
            return True
        case Mapping():
            return any(map(has_look_up, value.values()))
        case list():
            return any(map(has_look_up, value))
        case _:
            return False


def at(root: Any, path: str) -> Any:
    """What is at the dotted `path` in `root`; a missing step gives null."""
    for key in path.split("."):
        if isinstance(root, Mapping):
            root = root.get(key)
        elif isinstance(root, list) and key.isdigit() and int(key) < len(root):
            root = root[int(key)]
        else:
            return None
    return root


def evaluated(value: Any, roots: Mapping[str, Any]) -> Any:
    match value:
        case _ if is_look_up(value):
            ((kind, path),) = value.items()
            return at(roots[kind], str(path))
        case Mapping():
            return {key: evaluated(item, roots) for key, item in value.items()}
        case list():
            return [evaluated(item, roots) for item in value]
        case _:
            return value


def dynamic(value: Any) -> Callable[..., Any]:
    return lambda args: evaluated(value, {"$ctx": args.context, "$ev": args.event, "$input": None})


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def same(a: Any, b: Any) -> bool:
    """JavaScript's ``===`` for what is no object."""
    if isinstance(a, Mapping | list) or isinstance(b, Mapping | list):
        return False
    return a == b and isinstance(a, bool) == isinstance(b, bool) and (a is None) == (b is None)


GUARDS: Mapping[str, Callable[..., bool]] = {
    "T": lambda args: True,
    "F": lambda args: False,
    "ctxEq": lambda args, params: (
        (params["key"] in args.context or params["value"] is not None)
        and same(args.context.get(params["key"]), params["value"])
    ),
    "ctxLt": lambda args, params: (
        is_number(args.context.get(params["key"])) and args.context[params["key"]] < params["value"]
    ),
    "ctxGte": lambda args, params: (
        is_number(args.context.get(params["key"])) and args.context[params["key"]] >= params["value"]
    ),
    "evEq": lambda args, params: same(at(args.event, params["key"]), params["value"]),
    "evType": lambda args, params: bool(args.event["type"] == params["type"]),
}

DELAYS: Mapping[str, Any] = {
    "short": 10,
    "medium": 100,
    "long": 1000,
    "ctxDelay": lambda args: args.context["delay"] if is_number(args.context.get("delay")) else 1,
}


def not_implemented(args: Any) -> bool:
    raise NotImplementedError("the guard is not implemented")


def no_parent(args: Any) -> Any:
    raise LookupError("the root has no parent")


class Vocabulary:
    """Turns a case's config into one of settled's, and keeps the names that need a registration for it."""

    def __init__(self) -> None:
        self.guards: dict[str, Any] = dict(GUARDS)
        self.actions: dict[str, Any] = {}
        self.delays: dict[str, Any] = dict(DELAYS)
        self.actors: dict[str, Any] = {}

    def node(self, config: Mapping[str, Any]) -> dict[str, Any]:
        result = dict(config)
        for key in ("entry", "exit"):
            if key in result:
                result[key] = self.several(self.action, result[key])
        for key in ("on", "after"):
            if isinstance(result.get(key), Mapping):
                result[key] = {name: self.several(self.transition, it) for name, it in result[key].items()}
        for key in ("always", "onDone"):
            if key in result:
                result[key] = self.several(self.transition, result[key])
        if isinstance(result.get("initial"), Mapping):
            result["initial"] = self.with_actions(result["initial"])
        if isinstance(result.get("route"), Mapping):
            result["route"] = self.transition(result["route"])
        if result.get("invoke") is not None:
            result["invoke"] = self.several(self.invoke, result["invoke"])
        if has_look_up(result.get("output")):
            result["output"] = dynamic(result["output"])
        for name in result.get("after") or {}:
            self.delay(name if not name.replace(".", "", 1).isdigit() else None)
        if isinstance(result.get("states"), Mapping):
            result["states"] = {name: self.node(it) for name, it in result["states"].items()}
        return result

    def several(self, one: Callable[[Any], Any], value: Any) -> Any:
        return [one(item) for item in value] if isinstance(value, list) else one(value)

    def transition(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        result = self.with_actions(value)
        if "guard" in result:
            result["guard"] = self.guard(result["guard"])
        return result

    def with_actions(self, value: Mapping[str, Any]) -> dict[str, Any]:
        result = dict(value)
        if "actions" in result:
            result["actions"] = self.several(self.action, result["actions"])
        return result

    def invoke(self, value: Mapping[str, Any]) -> dict[str, Any]:
        result = dict(value)
        for key in ("onDone", "onError", "onSnapshot"):
            if key in result:
                result[key] = self.several(self.transition, result[key])
        if has_look_up(result.get("input")):
            result["input"] = dynamic(result["input"])
        self.actors[result["src"]] = never
        return result

    def delay(self, name: Any) -> Any:
        if isinstance(name, str):
            self.delays.setdefault(name, lambda args: None)
        return name

    def guard(self, value: Any) -> Any:
        match value:
            case {"type": "and", "params": params}:
                return and_(*map(self.guard, params["guards"]))
            case {"type": "or", "params": params}:
                return or_(*map(self.guard, params["guards"]))
            case {"type": "not", "params": params}:
                return not_(self.guard(params["guard"]))
            case {"type": "stateIn", "params": params}:
                return state_in(params["stateValue"])
            case {"type": str(name)} | str(name):
                self.guards.setdefault(name, not_implemented)
        return value

    def action(self, value: Any) -> Any:
        match value:
            case {"type": str(name)} | str(name):
                pass
            case _:
                return value
        make = ACTIONS.get(name) if isinstance(value, Mapping) else None
        if make:
            return make(self, value.get("params", {}))
        self.actions.setdefault(name, lambda args: None)
        return value

    def spawn(self, params: Mapping[str, Any]) -> Any:
        self.actors[params["src"]] = never
        extra = {"input": dynamic(params["input"])} if "input" in params else {}
        return spawn_child(params["src"], id=params["id"], system_id=params.get("systemId"), **extra)

    def enqueue(self, params: Mapping[str, Any]) -> Any:
        items = [
            (self.guard(item["guard"]) if "guard" in item else None, self.several(self.action, item["actions"]))
            for item in params["items"]
        ]

        def collect(args: Any) -> None:
            for guard, actions in items:
                if guard is None or args.check(guard):
                    for action in actions if isinstance(actions, list) else [actions]:
                        args.enqueue(action)

        return enqueue_actions(collect)

    def timing(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {"id": params.get("id"), "delay": self.delay(params.get("delay"))}


def never(input: Any, call: Any) -> None:
    raise AssertionError("a case runs no actor")


def increased(args: Any, params: Mapping[str, Any]) -> Any:
    now = args.context.get(params["key"])
    return (now if is_number(now) else 0) + params["by"]


def pushed(args: Any, params: Mapping[str, Any]) -> list[Any]:
    now = args.context.get(params["key"])
    return [*(now if isinstance(now, list) else []), dynamic(params["value"])(args)]


ACTIONS: Mapping[str, Callable[[Vocabulary, Any], Any]] = {
    "assign": lambda own, params: assign({params["key"]: dynamic(params["value"])}),
    "inc": lambda own, params: assign({params["key"]: lambda args: increased(args, params)}),
    "push": lambda own, params: assign({params["key"]: lambda args: pushed(args, params)}),
    "raise": lambda own, params: raise_(dynamic(params["event"]), **own.timing(params)),
    "sendTo": lambda own, params: send_to(params["to"], dynamic(params["event"]), **own.timing(params)),
    "sendParent": lambda own, params: send_parent(no_parent),
    "forwardTo": lambda own, params: forward_to(params["to"], **own.timing(params)),
    "emit": lambda own, params: emit(dynamic(params["event"])),
    "log": lambda own, params: log(dynamic(params["value"]), params.get("label")),
    "cancel": lambda own, params: cancel(params["id"]),
    "spawn": Vocabulary.spawn,
    "stopChild": lambda own, params: stop_child(params["id"]),
    "enqueue": Vocabulary.enqueue,
}
