"""Small machines for the tests of the core."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from settled import Args, Machine, Snapshot, setup
from settled.data import is_array, is_object
from settled.machine_setup import ActionImpl, DelayImpl, GuardImpl
from settled.step.effects import Effect, Execute

AnyMachine = Machine[Any]
AnySnapshot = Snapshot[Any]


def nothing(args: Any) -> None:
    """A custom action that is never run."""


def never(input: Any, call: Any) -> None:
    raise AssertionError("a step runs no actor")


def given(function: Callable[[Args[Any]], Any]) -> Any:
    """Type the parameter of a lambda in a config, where a type checker cannot infer it."""
    return function


def machine(
    config: Mapping[str, Any],
    *,
    guards: Mapping[str, GuardImpl[Any]] | None = None,
    actions: Mapping[str, ActionImpl[Any]] | None = None,
    delays: Mapping[str, DelayImpl[Any]] | None = None,
) -> AnyMachine:
    """Make a machine with an actor ``worker`` and all actions named ``enter ...``, ``exit ...`` or ``do ...``."""
    known: dict[str, ActionImpl[Any]] = {name: nothing for name in _texts(config) if _is_action(name)}
    logic = setup(guards=guards, actions={**known, **(actions or {})}, actors={"worker": never}, delays=delays)
    return logic.machine(config)


def _is_action(text: str) -> bool:
    return text.startswith(("enter ", "exit ", "do "))


def _texts(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value}
    inner: Iterable[Any] = value.values() if is_object(value) else value if is_array(value) else ()
    return {text for item in inner for text in _texts(item)}


def after(machine: AnyMachine, *events: str | Mapping[str, Any], input: Any = None) -> AnySnapshot:
    """Return the snapshot after the start and `events`; a string is an event of that type."""
    snapshot, _ = machine.initial_transition(input)
    for event in events:
        snapshot, _ = machine.transition(snapshot, {"type": event} if isinstance(event, str) else event)
    return snapshot


def effects_of(machine: AnyMachine, *events: str | Mapping[str, Any]) -> tuple[Effect, ...]:
    """Return the effects of the last of `events`; if there are none, of the start."""
    if not events:
        return machine.initial_transition()[1]
    *before, last = events
    event = {"type": last} if isinstance(last, str) else last
    return machine.transition(after(machine, *before), event)[1]


def names(effects: Iterable[Effect]) -> list[str]:
    """Return the names of the custom actions among `effects`, and the class names of the others, in order."""
    return [effect.type if isinstance(effect, Execute) else type(effect).__name__ for effect in effects]
