"""Small machines for the tests of the core."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from settled import Machine, Snapshot, setup
from settled.effects import Effect, Execute

AnyMachine = Machine[Any, Any]
AnySnapshot = Snapshot[Any]


def nothing(args: Any) -> None:
    """A custom action that is only looked at."""


def never(input: Any, call: Any) -> None:
    raise AssertionError("a step runs no actor")


def machine(config: Mapping[str, Any], **registered: Any) -> AnyMachine:
    """A machine whose config may name the actions ``enter ...``, ``exit ...`` and ``do ...`` and the actor ``worker``."""
    names = set(_texts(config))
    actions = {name: nothing for name in names if name.startswith(("enter ", "exit ", "do "))}
    return setup(
        **{
            **registered,
            "actions": {**actions, **registered.get("actions", {})},
            "actors": {"worker": never, **registered.get("actors", {})},
        }
    ).machine(config)


def _texts(value: Any) -> Iterable[str]:
    match value:
        case str():
            yield value
        case dict() | list():
            items: Iterable[Any] = value.values() if isinstance(value, dict) else value
            for item in items:
                yield from _texts(item)
        case _:
            pass


def after(machine: AnyMachine, *events: str | Mapping[str, Any], input: Any = None) -> AnySnapshot:
    """The snapshot after the start and `events`; a text stands for an event of that type."""
    snapshot, _ = machine.initial_transition(input)
    for event in events:
        snapshot, _ = machine.transition(snapshot, {"type": event} if isinstance(event, str) else event)
    return snapshot


def effects_of(machine: AnyMachine, *events: str | Mapping[str, Any]) -> tuple[Effect, ...]:
    """The effects of the last of `events`; without any, of the start."""
    if not events:
        return machine.initial_transition()[1]
    *before, last = events
    event = {"type": last} if isinstance(last, str) else last
    return machine.transition(after(machine, *before), event)[1]


def names(effects: Iterable[Effect]) -> list[str]:
    """The custom actions among `effects`, and the kinds of the others, in order."""
    return [effect.type if isinstance(effect, Execute) else type(effect).__name__ for effect in effects]
