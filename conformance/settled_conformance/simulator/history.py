"""`HistoryMachine`: a machine that records every event it takes in its own context.

The history can be read from the stored record, and nothing else about the machine changes. A torn, lost or twice
applied commit shows as a history that no sequence of turns could have written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve, fields, frozen

from settled import Json, Machine, Snapshot, setup
from settled.step.effects import Effect

HISTORY, INPUT = "history", "input"
"""The keys of the context that hold the taken events, and the input of the start."""


@frozen(eq=False)
class HistoryMachine(Machine[Any]):
    """A machine that records its history. Its context must be a mapping."""

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
    """Return the events that `snapshot` has taken, in order."""
    return list(snapshot.context.get(HISTORY, ()))


def input_of(snapshot: Snapshot[Any]) -> Any:
    """Return the input that `snapshot` was started with."""
    return snapshot.context.get(INPUT)


def _written(snapshot: Snapshot[Any], entries: list[Any], more: Mapping[str, Any] = {}) -> Snapshot[Any]:
    return evolve(snapshot, context={**snapshot.context, HISTORY: entries, **more})


def with_history(config: Mapping[str, Any], **logic: Any) -> HistoryMachine:
    """Return the machine of `config` as a `HistoryMachine`."""
    machine = setup(**logic).machine(config)
    return HistoryMachine(**{part.name: getattr(machine, part.name) for part in fields(Machine) if part.init})
