"""One step: an event in, a snapshot and effects out.

A step is a macrostep: the microstep of the event itself, then eventless ones as long as there are any, then those of
the events the machine has raised, each again followed by eventless ones, until nothing is left to do. Either all of
it happens or none: what raises on the way leaves the old snapshot in force.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from settled._fast_frozen import evolve
from settled.chart.chart import Configuration
from settled.chart.program import Program
from settled.chart.snapshot import NO_CHILDREN, NewSnapshot, Snapshot, Status
from settled.data import ABSENT, Json
from settled.errors import EventError, LogicError
from settled.step.effects import Effect, Stop
from settled.step.microstep import microstep
from settled.step.plan_cache import Plans, Reaction
from settled.step.selection import raised, select
from settled.step.state import Macrostep, read

Step: TypeAlias = "tuple[Snapshot[Any], tuple[Effect, ...]]"

INIT, STOP, ERROR = "xstate.init", "xstate.stop", "xstate.error.actor"

ROUTE = "xstate.route"
"""The one event of XState's own that anybody may send: ``{"type": ROUTE, "to": "#id"}`` enters the node of that id."""


def initial_step(
    plans: Plans, context: Any, input: Json = None, first_index: int = 0, *, elsewhere: bool = False
) -> Step:
    """Enter the machine. `context` is the config's own; if the machine creates it, that comes first.

    What raises at the start leaves a snapshot with the status ``error`` and no effects.
    """
    try:
        step = _start(plans, context, input, first_index, elsewhere)
    except LogicError as error:
        start = _nowhere(plans.program, context)
        return evolve(start, status="error", error={"name": type(error).__name__, "message": str(error)}), ()
    return step.snapshot, tuple(step.effects)


def initial_microsteps(plans: Plans, context: Any, input: Json = None) -> tuple[Step, ...]:
    """What `initial_step` does, microstep by microstep."""
    try:
        return _parts(_start(plans, context, input))
    except LogicError:
        return ()


def step(
    plans: Plans,
    snapshot: Snapshot[Any],
    event: Mapping[str, Any],
    first_index: int = 0,
    elsewhere: bool = False,
) -> Step:
    """Take `event`. A machine that is not active drops it.

    Raises:
        LogicError: a guard, an action or a delay raised, or the step does not end.
        EventError: the event cannot be taken by any machine.
    """
    reaction = plans.reaction(snapshot.configuration, event["type"])
    if reaction.quiet is not None and snapshot.status == "active":
        return _moved(snapshot, reaction.quiet), ()
    step = _begin(plans, snapshot, event, first_index, elsewhere)
    _take(plans, step, reaction)
    return step.snapshot, tuple(step.effects)


def microsteps(plans: Plans, snapshot: Snapshot[Any], event: Mapping[str, Any]) -> tuple[Step, ...]:
    """What `step` does, microstep by microstep."""
    step = _begin(plans, snapshot, event)
    _take(plans, step, plans.reaction(snapshot.configuration, event["type"]))
    return _parts(step)


def _parts(step: Macrostep) -> tuple[Step, ...]:
    begins = [0, *(end for _, end in step.done)]
    return tuple(
        (snapshot, tuple(step.effects[begin:end])) for begin, (snapshot, end) in zip(begins, step.done, strict=False)
    )


def _moved(snapshot: Snapshot[Any], configuration: Configuration) -> Snapshot[Any]:
    if configuration == snapshot.configuration:
        return snapshot
    return NewSnapshot(
        configuration,
        snapshot.context,
        snapshot.status,
        ABSENT,
        snapshot.error,
        snapshot.children or NO_CHILDREN,
        snapshot.history,
    )


def _nowhere(program: Program, context: Any) -> Snapshot[Any]:
    return Snapshot(program.chart.configuration([program.chart.root]), context)


def _begin(
    plans: Plans, snapshot: Snapshot[Any], event: Mapping[str, Any], first_index: int = 0, elsewhere: bool = False
) -> Macrostep:
    context, children, history = snapshot.context, snapshot.children, snapshot.history
    return Macrostep(plans.program, snapshot, first_index, elsewhere, event, event, context, children, history, [], [])


def _start(plans: Plans, context: Any, input: Json, first_index: int = 0, elsewhere: bool = False) -> Macrostep:
    start = _nowhere(plans.program, _first_context(plans.program, context, input))
    step = _begin(plans, start, {"type": INIT, "input": input}, first_index, elsewhere)
    microstep(plans.start(), step)
    _run_to_rest(plans, step)
    return step


def _first_context(program: Program, context: Any, input: Json) -> Any:
    create = program.logic.create_context
    if create is None:
        return context
    try:
        return create(input)
    except Exception as error:
        raise raised(program, "create_context", "context", error) from error


def _take(plans: Plans, step: Macrostep, reaction: Reaction) -> None:
    """Bring `step` from its event to where the machine comes to rest."""
    event, before = step.event, step.snapshot
    type = event["type"]
    if type == "*":
        raise EventError("an event cannot have the type *, which stands for all of them")
    if before.status != "active":
        return
    if type == STOP:
        _end(step, "stopped", ABSENT)
        return
    step.seen = read(step.program, event)
    if type == INIT or not _react(plans, step, reaction):
        if type.startswith(ERROR):
            _end(step, "error", event.get("error", ABSENT))
            return
        step.rest(before)
    _run_to_rest(plans, step)


def _react(plans: Plans, step: Macrostep, reaction: Reaction) -> bool:
    """One microstep, if `reaction` asks for one. Returns whether it does."""
    transitions = reaction.offer.sure
    if transitions is None:
        transitions = select(plans.program, reaction.offer, step.event, step.args())
    if not transitions:
        return False
    if step.done:
        _check_end(step)
    microstep(plans.plan(reaction, transitions, step.history), step)
    return True


def _run_to_rest(plans: Plans, step: Macrostep) -> None:
    """Go on until there is no eventless transition and no raised event left, and let the actors of what ended go."""
    may_be_eventless = True
    while step.snapshot.status == "active":
        before, here = step.snapshot, step.snapshot.configuration
        is_eventless = may_be_eventless and here.is_restless and _react(plans, step, plans.reaction(here, None))
        if not is_eventless:
            if not step.queue:
                break
            event = step.queue.popleft()
            step.take(event)
            if not _react(plans, step, plans.reaction(here, event["type"])):
                _check_end(step)
                step.rest(before)
        # An eventless transition that changed nothing would be taken for ever.
        may_be_eventless = not is_eventless or step.snapshot is not before
    if not step.snapshot.configuration.is_legal:
        whole = plans.program.chart.whole(step.snapshot.configuration)
        step.snapshot = evolve(step.snapshot, configuration=whole)
    if step.snapshot.status != "active":
        _stop_all(step)


def _end(step: Macrostep, status: Status, error: Any) -> None:
    """The machine ends here and now: no node is left, but its actors are stopped."""
    step.rest(evolve(step.snapshot, status=status, error=error, children=NO_CHILDREN))
    _stop_all(step)


def _stop_all(step: Macrostep) -> None:
    for id in step.children:
        step.effects.append(Stop(step.next_index, id))


_SHOWN = 20
"""From how many of the last microsteps an endless loop is told."""


def _check_end(step: Macrostep) -> None:
    chart = step.program.chart
    if len(step.done) > chart.max_iterations:
        last = (snapshot.configuration for snapshot, _ in step.done[-_SHOWN:])
        ids = dict.fromkeys(node.id for configuration in last for node in configuration.atomic)
        raise LogicError(
            f"{chart.id}: more than {chart.max_iterations} microsteps without coming to rest, "
            f"lately in: {', '.join(ids)}"
        )
