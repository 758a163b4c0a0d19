"""The mutable state of one macrostep while it is computed, and the changes that operations may make to it.

Nothing else changes during a step, and this is dropped when the step ends or raises. `macrostep` and `microstep` decide
what to change, and in which order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import attrs
from attrs import define

from settled._fast_frozen import evolve
from settled.chart.args import Args, NewArgs
from settled.chart.frozen_context import freeze_context
from settled.chart.program import Program
from settled.chart.snapshot import Child, Snapshot, read_only
from settled.data import ABSENT, SCALARS, freeze, with_changes
from settled.frozen_data import FrozenDict, make_frozen
from settled.step.effects import Effect, Invoke, Raise, Schedule, Stop
from settled.step.history import History
from settled.step.selection import logic_error


@define(eq=False)
class StepState:
    """The state of a step.

    Attributes:
        snapshot: the snapshot at the start of the current microstep.
        first_index: the index of the step's first effect.
        allow_unknown_targets: whether events may be sent to names that are none of this machine's actors.
        event: the event being taken, as JSON.
        typed_event: the same as an instance of its declared class, if it has one.
        context, children, history: as they are now, within the microstep.
        effects: the effects so far.
        microsteps: for each microstep, the snapshot after it and the number of effects by then.
        queue: the raised events that are still to be taken, in order; None until one is raised.
        is_changed: whether this microstep makes a new snapshot, even an equal one. Eventless transitions are selected
            until a microstep returns the same object it was given.
        output: the machine's output once it is done.
    """

    program: Program
    snapshot: Snapshot[Any]
    first_index: int
    allow_unknown_targets: bool
    event: Mapping[str, Any]
    typed_event: Any
    context: Any
    children: Mapping[str, Child]
    history: History
    effects: list[Effect]
    microsteps: list[tuple[Snapshot[Any], int]]
    queue: deque[Mapping[str, Any]] | None = None
    is_changed: bool = False
    output: Any = ABSENT
    _args: Args[Any] | None = None

    @property
    def next_index(self) -> int:
        """The index of the next effect."""
        return self.first_index + len(self.effects)

    def args(self) -> Args[Any]:
        """Return the argument of a guard, action or expression without params at this point of the step."""
        args = self._args
        if args is None:
            # Cached: most operations need it. Each method that changes the context, the event or the snapshot
            # must reset it, or the next action sees the old one.
            args = self._args = NewArgs(self.context, self.typed_event, None, self.snapshot)
        return args

    def args_with(self, params: Any) -> Args[Any]:
        """Return the argument of an action or expression with `params`."""
        return NewArgs(self.context, self.typed_event, params, self.snapshot)

    def next_event(self, event: Mapping[str, Any]) -> None:
        """Take `event`, which the machine raised, next."""
        self.event, self.typed_event, self._args = event, read_event(self.program, event), None

    def finish_microstep(self, snapshot: Snapshot[Any]) -> None:
        """End the current microstep with `snapshot`."""
        self.microsteps.append((snapshot, len(self.effects)))
        self.snapshot, self.is_changed, self._args = snapshot, False, None

    def assign(self, changes: Any) -> None:
        """Update the context with `changes`: a mapping of some of its fields, or a new context of the same class."""
        context = self.context
        # Always a new object: snapshots before this one share the old context.
        if isinstance(context, FrozenDict):
            self.context = with_changes(context, changes)
        else:
            self.context = _updated(context, changes)
        self.is_changed, self._args = True, None

    def assign_value(self, key: str, value: Any) -> None:
        """Update one field of the context: `assign`, in less time."""
        context = self.context
        if type(context) is FrozenDict and type(value) in SCALARS:
            self.context = make_frozen(FrozenDict, {**context, key: value})
            self.is_changed, self._args = True, None
        else:
            self.assign({key: value})

    def raise_(self, event: Mapping[str, Any], id: str | None, delay: timedelta | None) -> None:
        """Take `event` within this step, or once `delay` has passed."""
        if delay is None:
            self.enqueue(event)
            self.effects.append(Raise(self.next_index, event, id))
        else:
            self.effects.append(Schedule(self.next_index, event, delay, id))

    def enqueue(self, event: Mapping[str, Any]) -> None:
        """Take `event` within this step."""
        if self.queue is None:
            self.queue = deque()
        self.queue.append(event)

    def start(self, id: str, child: Child) -> None:
        """Start `child` as `id`. It replaces a child that runs under the same id.

        Raises:
            LookupError: another active child has the same system id.
        """
        # A pure transition does not check, like XState's. A host routes by system id, so there it must be unique.
        if self.allow_unknown_targets and child.system_id is not None:
            self._check_system_id(child.system_id)
        self.children = read_only({**self.children, id: child})
        self.is_changed = True
        input = None if child.input is ABSENT else child.input  # frozen, and so is that of the effect
        self.effects.append(Invoke(self.next_index, id, child.src, input, child.system_id, child.sync))

    def _check_system_id(self, system_id: str) -> None:
        for id, other in self.children.items():
            if other.system_id == system_id and other.status == "active":
                raise LookupError(f'the system id "{system_id}" is already in use by the actor "{id}"')

    def stop(self, id: str) -> None:
        """Stop the actor `id` and remove it; of an unknown id there remains a `Stop` with None, as in XState."""
        was_running = id in self.children
        self.children = read_only({other: child for other, child in self.children.items() if other != id})
        self.is_changed = True
        self.effects.append(Stop(self.next_index, id if was_running else None))


def _updated(context: Any, changes: Any) -> Any:
    cls: type[Any] = context.__class__
    if not attrs.has(cls):
        return freeze({**context, **changes})
    return freeze_context(changes if isinstance(changes, cls) else evolve(context, **changes), context)


def read_event(program: Program, event: Mapping[str, Any]) -> Any:
    """Return `event` as guards and actions see it: an instance of the class declared for its type, if there is one.

    Raises:
        LogicError: it does not fit that class.
    """
    implementations = program.implementations
    if not implementations.events:
        return event
    try:
        return implementations.read_event(event)
    except Exception as error:
        raise logic_error(program, f"reading the event {event['type']}", "events", error) from error
