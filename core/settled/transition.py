"""One step: an event in, a snapshot and effects out.

A step is a macrostep: the microstep of the event itself, then eventless ones as long as there are any, then those of
the events the machine has raised, each again followed by eventless ones, until nothing is left to do. Either all of
it happens or none: what raises on the way leaves the old snapshot in force.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import evolve, frozen

from settled.chart import Configuration
from settled.compile import Program
from settled.data import ABSENT, Json
from settled.effects import Effect, Stop
from settled.errors import EventError, LogicError
from settled.microstep import Outbox, initial_microstep, microstep, received
from settled.select import Received, raised, select, select_eventless
from settled.snapshot import NO_CHILDREN, Snapshot, Status

INIT, STOP, ERROR = "xstate.init", "xstate.stop", "xstate.error.actor"


@frozen
class Step:
    """What a step came to, and by which microsteps: the snapshot and the effects of each one."""

    snapshot: Snapshot[Any]
    effects: tuple[Effect, ...]
    microsteps: tuple[tuple[Snapshot[Any], tuple[Effect, ...]], ...]


def initial_step(
    program: Program, context: Any, input: Json = None, first_index: int = 0, *, elsewhere: bool = False
) -> Step:
    """Enter the machine. `context` is the config's own; if the machine creates it, that comes first.

    What raises at the start leaves a snapshot with the status ``error`` and no effects.
    """
    start = Snapshot(program.chart.configuration([program.chart.root]), context)
    try:
        return _entered(program, start, input, Outbox(first_index, [], deque(), elsewhere))
    except LogicError as error:
        return Step(evolve(start, status="error", error={"name": type(error).__name__, "message": str(error)}), (), ())


def _entered(program: Program, start: Snapshot[Any], input: Json, out: Outbox) -> Step:
    event = Received(INIT, {"type": INIT, "input": input}, {"type": INIT, "input": input})
    before = evolve(start, context=_first_context(program, start.context, input))
    after = initial_microstep(program, before, event, out)
    return _completed(program, event, out, [(after, len(out.effects))])


def _first_context(program: Program, context: Any, input: Json) -> Any:
    create = program.logic.create_context
    if create is None:
        return context
    try:
        return create(input)
    except Exception as error:
        raise raised(program, "create_context", "context", error) from error


def step(
    program: Program,
    snapshot: Snapshot[Any],
    event: Mapping[str, Any],
    first_index: int = 0,
    *,
    elsewhere: bool = False,
) -> Step:
    """Take `event`. A machine that is not active drops it.

    Raises:
        LogicError: a guard, an action or a delay raised, or the step does not end.
        EventError: the event cannot be taken by any machine.
    """
    type = event["type"]
    if type == "*":
        raise EventError("an event cannot have the type *, which stands for all of them")
    if snapshot.status != "active":
        return Step(snapshot, (), ())
    if type == STOP:
        return _ended(snapshot, "stopped", ABSENT, first_index)
    taken = received(program, event)
    transitions = [] if type == INIT else select(program, snapshot, taken)
    if not transitions and type.startswith(ERROR):
        return _ended(snapshot, "error", event.get("error", ABSENT), first_index)
    out = Outbox(first_index, [], deque(), elsewhere)
    after = microstep(program, snapshot, transitions, taken, out)
    return _completed(program, taken, out, [(after, len(out.effects))])


def _ended(snapshot: Snapshot[Any], status: Status, error: Any, first_index: int) -> Step:
    """The machine ends here and now: no node is left, but its actors are stopped."""
    after = evolve(snapshot, status=status, error=error, children=NO_CHILDREN)
    return Step(after, tuple(_stops(snapshot, first_index)), ((after, ()),))


def _completed(program: Program, event: Received, out: Outbox, done: list[tuple[Snapshot[Any], int]]) -> Step:
    """Go on from the microsteps in `done` (each with how many effects there were after it) until there is no more."""
    _run_to_rest(program, event, out, done)
    microsteps = tuple(_with_own_effects(out.effects, done))
    snapshot = _at_rest(program, done[-1][0])
    if snapshot.status != "active":
        out.effects.extend(_stops(snapshot, out.next_index))
    return Step(snapshot, tuple(out.effects), microsteps)


def _at_rest(program: Program, snapshot: Snapshot[Any]) -> Snapshot[Any]:
    if snapshot.configuration.is_whole:
        return snapshot
    return evolve(snapshot, configuration=program.chart.whole(snapshot.configuration))


def _run_to_rest(program: Program, event: Received, out: Outbox, done: list[tuple[Snapshot[Any], int]]) -> None:
    snapshot, may_be_eventless, bound = done[-1][0], True, program.chart.max_iterations
    while snapshot.status == "active":
        transitions = select_eventless(program, snapshot, event) if may_be_eventless else []
        is_eventless = bool(transitions)
        if not is_eventless:
            if not out.queue:
                return
            event = received(program, out.queue.popleft())
            transitions = select(program, snapshot, event)
        if len(done) > bound:
            raise LogicError(_endless(program, [each.configuration for each, _ in done[-_SHOWN:]]))
        before, snapshot = snapshot, microstep(program, snapshot, transitions, event, out)
        done.append((snapshot, len(out.effects)))
        # An eventless transition that changed nothing would be taken for ever.
        may_be_eventless = not is_eventless or snapshot is not before


def _with_own_effects(
    effects: list[Effect], done: list[tuple[Snapshot[Any], int]]
) -> Iterator[tuple[Snapshot[Any], tuple[Effect, ...]]]:
    begin = 0
    for snapshot, end in done:
        yield snapshot, tuple(effects[begin:end])
        begin = end


def _stops(snapshot: Snapshot[Any], first_index: int) -> Iterator[Effect]:
    return (Stop(first_index + offset, id) for offset, id in enumerate(snapshot.children))


_SHOWN = 20
"""From how many of the last microsteps an endless loop is told."""


def _endless(program: Program, last: list[Configuration]) -> str:
    ids = dict.fromkeys(node.id for configuration in last for node in configuration.atomic)
    return (
        f"{program.chart.id}: more than {program.chart.max_iterations} microsteps without coming to rest, "
        f"lately in: {', '.join(ids)}"
    )
