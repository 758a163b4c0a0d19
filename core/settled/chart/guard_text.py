"""The text of a guard, for diagrams and messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from settled.chart.config import Inline, Named, name_of
from settled.chart.guards import And, Not, Or, StateIn
from settled.data import ABSENT, is_array, is_object, write


def guard_text(guard: Any) -> str:
    """Return a guard as text: its name, or for a combined guard the guards that it combines."""
    match guard:
        case Inline(implementation=what):
            return guard_text(what) if isinstance(what, And | Or | Not | StateIn) else name_of(guard)
        case Named(type=type, params=params):
            return _named_guard(type, params)
        case And(guards=guards):
            return _joined(guards, "and")
        case Or(guards=guards):
            return _joined(guards, "or")
        case Not(guard=inner):
            return f"not {_bracketed(inner)}"
        case StateIn(value=value):
            return f"in {value if isinstance(value, str) else write(value)}"
        case str():
            return guard
        case {"type": str(type)}:
            return _named_guard(type, guard.get("params", ABSENT))
        case _:
            return str(getattr(guard, "__name__", "..."))


def _named_guard(type: str, params: Any) -> str:
    match type, params:
        case "xstate.and", {"guards": guards} if is_array(guards):
            return _joined(guards, "and")
        case "xstate.or", {"guards": guards} if is_array(guards):
            return _joined(guards, "or")
        case "xstate.not", {"guard": guard}:
            return f"not {_bracketed(guard)}"
        case "xstate.stateIn", {"stateValue": value}:
            return f"in {value if isinstance(value, str) else write(value)}"
        case _:
            return f"{type}({_params(params)})" if is_object(params) and params else type


def _joined(guards: Iterable[Any], word: str) -> str:
    return f" {word} ".join(map(_bracketed, guards)) or f"{word} of nothing"


def _bracketed(guard: Any) -> str:
    text = guard_text(guard)
    return f"({text})" if " and " in text or " or " in text else text


def _params(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}: {_param(value)}" for name, value in params.items())


def _param(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return write(value)
    except (TypeError, ValueError):  # a function, or data that is not JSON
        return "..."
