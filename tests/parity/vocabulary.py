"""The fixed vocabulary of the parity cases: what their guards, actions and delays are in Python.

A case is JSON all through, so what would be a function in a machine of one's own is an expression here: an object with
the one key ``$ctx``, ``$ev`` or ``$input``, which looks something up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from settled import (
    Args,
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
from settled.chart.actions import BuiltInAction
from settled.data import is_array, is_object
from settled.durations import from_milliseconds

AnyArgs = Args[Any]
LOOK_UPS = ("$ctx", "$ev", "$input")


def is_look_up(value: Any) -> bool:
    return is_object(value) and len(value) == 1 and next(iter(value)) in LOOK_UPS


def has_look_up(value: Any) -> bool:
    if is_look_up(value):
        return True
    if is_object(value):
        return any(map(has_look_up, value.values()))
    return is_array(value) and any(map(has_look_up, value))


def at(root: Any, path: str) -> Any:
    """What is at the dotted `path` in `root`; a missing step gives null."""
    for key in path.split("."):
        if is_object(root):
            root = root.get(key)
        elif is_array(root) and key.isdigit() and int(key) < len(root):
            root = root[int(key)]
        else:
            return None
    return root


def evaluated(value: Any, roots: Mapping[str, Any]) -> Any:
    if is_look_up(value):
        ((kind, path),) = value.items()
        return at(roots[kind], str(path))
    if is_object(value):
        return {key: evaluated(item, roots) for key, item in value.items()}
    return [evaluated(item, roots) for item in value] if is_array(value) else value


def dynamic(value: Any) -> Callable[[AnyArgs], Any]:
    return lambda args: evaluated(value, {"$ctx": args.context, "$ev": args.event, "$input": None})


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def same(one: Any, other: Any) -> bool:
    """JavaScript's ``===`` for what is no object."""
    if any(is_object(value) or is_array(value) for value in (one, other)):
        return False
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def equals(a: AnyArgs) -> bool:
    return a.params["key"] in a.context and same(a.context[a.params["key"]], a.params["value"])


def is_less(a: AnyArgs) -> bool:
    number = a.context.get(a.params["key"])
    return is_number(number) and bool(number < a.params["value"])


def is_at_least(a: AnyArgs) -> bool:
    number = a.context.get(a.params["key"])
    return is_number(number) and bool(number >= a.params["value"])


def event_equals(a: AnyArgs) -> bool:
    return same(at(a.event, a.params["key"]), a.params["value"])


def is_event(a: AnyArgs) -> bool:
    return bool(a.event["type"] == a.params["type"])


def own_delay(args: AnyArgs) -> timedelta:
    delay = args.context.get("delay")
    return timedelta(milliseconds=delay if is_number(delay) else 1)


def not_implemented(args: AnyArgs) -> bool:
    raise NotImplementedError("the guard is not implemented")


def no_parent(args: AnyArgs) -> Any:
    raise LookupError("the root has no parent")


def never(input: Any, call: Any) -> None:
    raise AssertionError("a case runs no actor")


def nothing(args: Any) -> None:
    """A custom action, or the delay of a name that means nothing."""


def increased(params: Any) -> Callable[[AnyArgs], Any]:
    def increase(args: AnyArgs) -> Any:
        now = args.context.get(params["key"])
        return (now if is_number(now) else 0) + params["by"]

    return increase


def pushed(params: Any) -> Callable[[AnyArgs], list[Any]]:
    def push(args: AnyArgs) -> list[Any]:
        now = args.context.get(params["key"])
        return [*(now if is_array(now) else ()), dynamic(params["value"])(args)]

    return push


GUARDS: Mapping[str, Any] = {
    "T": and_(),
    "F": or_(),
    "ctxEq": equals,
    "ctxLt": is_less,
    "ctxGte": is_at_least,
    "evEq": event_equals,
    "evType": is_event,
}
DELAYS: Mapping[str, Any] = {
    "short": timedelta(milliseconds=10),
    "medium": timedelta(milliseconds=100),
    "long": timedelta(seconds=1),
    "ctxDelay": own_delay,
}


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
            if is_object(result.get(key)):
                result[key] = {name: self.several(self.transition, it) for name, it in result[key].items()}
        for key in ("always", "onDone"):
            if key in result:
                result[key] = self.several(self.transition, result[key])
        if is_object(result.get("initial")):
            result["initial"] = self.with_actions(result["initial"])
        if is_object(result.get("route")):
            result["route"] = self.transition(result["route"])
        if result.get("invoke") is not None:
            result["invoke"] = self.several(self.invoke, result["invoke"])
        if has_look_up(result.get("output")):
            result["output"] = dynamic(result["output"])
        for name in map(str, config.get("after") or ()):
            self.delay(None if name.isdigit() else name)
        if is_object(result.get("states")):
            result["states"] = {name: self.node(it) for name, it in result["states"].items()}
        return result

    def several(self, one: Callable[[Any], Any], value: Any) -> Any:
        return [one(item) for item in value] if is_array(value) else one(value)

    def transition(self, value: Any) -> Any:
        if not is_object(value):
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
            self.delays.setdefault(name, nothing)
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
            case _:
                pass
        return value

    def action(self, value: Any) -> Any:
        match value:
            case {"type": str(name)} | str(name):
                pass
            case _:
                return value
        if is_object(value) and name in ACTIONS:
            return ACTIONS[name](self, value.get("params", {}))
        self.actions.setdefault(name, nothing)
        return value

    def spawn(self, params: Mapping[str, Any]) -> BuiltInAction:
        self.actors[params["src"]] = never
        extra = {"input": dynamic(params["input"])} if "input" in params else {}
        return spawn_child(params["src"], id=params["id"], system_id=params.get("systemId"), **extra)

    def enqueue(self, params: Mapping[str, Any]) -> BuiltInAction:
        items = [
            (self.guard(item["guard"]) if "guard" in item else None, self.several(self.action, item["actions"]))
            for item in params["items"]
        ]

        def collect(args: Any) -> None:
            for guard, actions in items:
                if guard is None or args.check(guard):
                    for action in actions if is_array(actions) else [actions]:
                        args.enqueue(action)

        return enqueue_actions(collect)

    def timing(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {"id": params.get("id"), "delay": from_milliseconds(self.delay(params.get("delay")))}


ACTIONS: Mapping[str, Callable[[Vocabulary, Any], BuiltInAction]] = {
    "assign": lambda own, params: assign({params["key"]: dynamic(params["value"])}),
    "inc": lambda own, params: assign({params["key"]: increased(params)}),
    "push": lambda own, params: assign({params["key"]: pushed(params)}),
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
