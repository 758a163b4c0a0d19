"""Check the literals that built-in actions and guards are given: a mistake is found at `setup`, not in a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import has
from typing_extensions import TypeIs

from settled.chart.actions import (
    BuiltInAction,
    CancelSend,
    EmitEvent,
    LogValue,
    RaiseEvent,
    SendTo,
    SpawnChild,
    StopChild,
)
from settled.chart.args import Constant
from settled.chart.state_value import StateValue
from settled.data import fault_in, is_object

_Check = Callable[[Any], str | None]


def check_literals(action: BuiltInAction) -> None:
    """Check the values of `action` that are not computed.

    Raises:
        TypeError: one of them is of a wrong type; the message names it.
    """
    for name, check in _CHECKS.get(type(action), {}).items():
        given = getattr(action, name)
        if not callable(given):
            expected = check(given)
        elif isinstance(given, Constant):
            given = given.value
            expected = check(given)
        else:
            continue
        if expected is not None:
            raise TypeError(f"its {name.replace('_', ' ')} is {expected}, not {given!r}")


def _event(value: Any) -> str | None:
    if not is_object(value):
        return None if has(value.__class__) else 'an object with a type, such as {"type": "PAY"}'
    if not isinstance(value.get("type"), str):
        return 'an object with a type, such as {"type": "PAY"}'
    problem = fault_in(value)
    return f"JSON ({problem})" if problem else None


def _event_or_none(value: Any) -> str | None:
    return None if value is None else _event(value)


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) else "text"


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


_CHECKS: Mapping[type[Any], Mapping[str, _Check]] = {
    RaiseEvent: {"event": _event, "id": _text_or_none},
    SendTo: {"to": _text, "event": _event_or_none, "id": _text_or_none},
    EmitEvent: {"event": _event},
    LogValue: {"label": _text_or_none},
    CancelSend: {"id": _text},
    SpawnChild: {"src": _text, "id": _text, "system_id": _text_or_none},
    StopChild: {"id": _text},
}
"""For each action that has them, the attributes that may hold a literal of one type only."""


def is_state_value(value: object) -> TypeIs[StateValue]:
    """Return whether `value` is a state value in form: text, or an object of them. An empty one is the whole state."""
    if is_object(value):
        return all(map(is_state_value, value.values()))
    return isinstance(value, str)
