"""A macrostep under way: what it has come to so far, and what may be done to it.

This is all that changes while a step is computed, and it is forgotten when the step is over. What is to be done, and
in which order, is for others to say.
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
from settled.chart.program import Program
from settled.chart.snapshot import Child, Snapshot
from settled.data import ABSENT
from settled.step.effects import Effect, Invoke, Raise, Schedule, Stop
from settled.step.history import History
from settled.step.selection import logic_error


@define(eq=False)
class StepState:
    """`snapshot` is where the present microstep began; the context, children and history are what it has come to.

    `elsewhere`: a name that no actor of this machine has may be that of another one. `is_changed` is whether there is
    a new snapshot, were it only an equal one: eventless transitions go on until a microstep gives back the very
    snapshot it was given. `done` holds the snapshot after each microstep, with how many effects there were by then.
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
    _args: Args[Any, Any] | None = None

    @property
    def next_index(self) -> int:
        """The index of the next effect."""
        return self.first_index + len(self.effects)

    def args(self) -> Args[Any, Any]:
        """What logic is called with, here and now."""
        args = self._args
        if args is None:
            args = self._args = NewArgs(self.context, self.typed_event, self.snapshot)
        return args

    def next_event(self, event: Mapping[str, Any]) -> None:
        """Go on with `event`."""
        self.event, self.typed_event, self._args = event, read_event(self.program, event), None

    def finish_microstep(self, snapshot: Snapshot[Any]) -> None:
        """A microstep is over, and `snapshot` is what it has come to."""
        self.microsteps.append((snapshot, len(self.effects)))
        self.snapshot, self.is_changed, self._args = snapshot, False, None

    def assign(self, changes: Any) -> None:
        """Change the context by `changes`, a mapping of some of it, or a whole new one of the same class."""
        context = self.context
        if type(context) is dict:
            self.context = {**context, **changes}
        else:
            self.context = _assigned(context, changes)
        self.is_changed, self._args = True, None

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
        """`child` runs from now on as `id`."""
        if self.allow_unknown_targets and child.system_id is not None:
            self._check_system_id(child.system_id)
        self.children = {**self.children, id: child}
        self.is_changed = True
        input = None if child.input is ABSENT else child.input
        self.effects.append(Invoke(self.next_index, id, child.src, input, child.system_id, child.sync))

    def _check_system_id(self, system_id: str) -> None:
        for id, other in self.children.items():
            if other.system_id == system_id and other.status == "active":
                raise LookupError(f'the system id "{system_id}" is that of the actor "{id}" already')

    def stop(self, id: str) -> None:
        """The actor `id`, if there is one, is forgotten."""
        known = id in self.children
        self.children = {other: child for other, child in self.children.items() if other != id}
        self.is_changed = True
        self.effects.append(Stop(self.next_index, id if known else None))


def _assigned(context: Any, changes: Any) -> Any:
    kind: type[Any] = context.__class__
    if not attrs.has(kind):
        return {**context, **changes}
    return changes if isinstance(changes, kind) else evolve(context, **changes)


def read_event(program: Program, event: Mapping[str, Any]) -> Any:
    """`event` as logic sees it.

    Raises:
        LogicError: it does not fit the class that was declared for its type.
    """
    logic = program.implementations
    if not logic.events:
        return event
    try:
        return logic.read_event(event)
    except Exception as error:
        raise logic_error(program, f"reading the event {event['type']}", "events", error) from error
