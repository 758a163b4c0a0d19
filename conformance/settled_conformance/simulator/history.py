"""The diary: a machine that writes down, in its own context, every event it has taken.

What an instance accepted, and in which order, can then be read from its record by anybody; nothing about the machine
changes but its context. A record that was torn, doubled or lost shows as a diary that could not have been written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve, fields, frozen

from settled import Json, Machine, Snapshot, setup
from settled.step.effects import Effect

HISTORY, INPUT = "diary", "born"


@frozen(eq=False)
class HistoryMachine(Machine[Any, Any]):
    """A machine with a diary. Its context must be an object."""

    def initial_transition(
        self, input: Json = None, *, first_index: int = 0, allow_unknown_targets: bool = False
    ) -> tuple[Snapshot[Any], tuple[Effect, ...]]:
        snapshot, effects = super().initial_transition(
            input, first_index=first_index, allow_unknown_targets=allow_unknown_targets
        )
        return _written(snapshot, [], {} if input is None else {INPUT: input}), effects

    def transition(
        self, snapshot: Snapshot[Any], event: object, *, first_index: int = 0, allow_unknown_targets: bool = False
    ) -> tuple[Snapshot[Any], tuple[Effect, ...]]:
        after, effects = super().transition(
            snapshot, event, first_index=first_index, allow_unknown_targets=allow_unknown_targets
        )
        return _written(after, [*history_of(snapshot), event]), effects


def history_of(snapshot: Snapshot[Any]) -> list[Any]:
    """The events that `snapshot` has taken, in order."""
    return list(snapshot.context.get(HISTORY, ()))


def input_of(snapshot: Snapshot[Any]) -> Any:
    """The input that `snapshot` was started with."""
    return snapshot.context.get(INPUT)


def _written(snapshot: Snapshot[Any], entries: list[Any], more: Mapping[str, Any] = {}) -> Snapshot[Any]:
    return evolve(snapshot, context={**snapshot.context, HISTORY: entries, **more})


def with_history(config: Mapping[str, Any], **logic: Any) -> HistoryMachine:
    """The machine of `config`, with a diary."""
    machine = setup(**logic).machine(config)
    return HistoryMachine(**{part.name: getattr(machine, part.name) for part in fields(Machine)})
