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
from settled.step.plan_cache import PlanCache, Reaction
from settled.step.selection import logic_error, select
from settled.step.state import StepState, read_event

Step: TypeAlias = "tuple[Snapshot[Any], tuple[Effect, ...]]"

INIT, STOP, ERROR = "xstate.init", "xstate.stop", "xstate.error.actor"

ROUTE = "xstate.route"
"""The one event of XState's own that anybody may send: ``{"type": ROUTE, "to": "#id"}`` enters the node of that id."""


def initial_macrostep(
    plans: PlanCache, context: Any, input: Json = None, first_index: int = 0, *, allow_unknown_targets: bool = False
) -> Step:
    """Enter the machine. `context` is the config's own; if the machine creates it, that comes first.

    What raises at the start leaves a snapshot with the status ``error`` and no effects.
    """
    try:
        step = _start(plans, context, input, first_index, allow_unknown_targets)
    except LogicError as error:
        start = _before_start(plans.program, context)
        return evolve(start, status="error", error={"name": type(error).__name__, "message": str(error)}), ()
    return step.snapshot, tuple(step.effects)


def initial_microsteps(plans: PlanCache, context: Any, input: Json = None) -> tuple[Step, ...]:
    """What `initial_step` does, microstep by microstep."""
    try:
        return _by_microstep(_start(plans, context, input))
    except LogicError:
        return ()


def macrostep(
    plans: PlanCache,
    snapshot: Snapshot[Any],
    event: Mapping[str, Any],
    first_index: int = 0,
    allow_unknown_targets: bool = False,
) -> Step:
    """Take `event`. A machine that is not active drops it.

    Raises:
        LogicError: a guard, an action or a delay raised, or the step does not end.
        EventError: the event cannot be taken by any machine.
    """
    reaction = plans.reaction(snapshot.configuration, event["type"])
    if reaction.direct_target is not None and snapshot.status == "active":
        return _with_configuration(snapshot, reaction.direct_target), ()
    step = _step_state(plans, snapshot, event, first_index, allow_unknown_targets)
    _take_event(plans, step, reaction)
    return step.snapshot, tuple(step.effects)


def microsteps(plans: PlanCache, snapshot: Snapshot[Any], event: Mapping[str, Any]) -> tuple[Step, ...]:
    """What `step` does, microstep by microstep."""
    step = _step_state(plans, snapshot, event)
    _take_event(plans, step, plans.reaction(snapshot.configuration, event["type"]))
    return _by_microstep(step)


def _by_microstep(step: StepState) -> tuple[Step, ...]:
    begins = [0, *(end for _, end in step.microsteps)]
    return tuple(
        (snapshot, tuple(step.effects[begin:end]))
        for begin, (snapshot, end) in zip(begins, step.microsteps, strict=False)
    )


def _with_configuration(snapshot: Snapshot[Any], configuration: Configuration) -> Snapshot[Any]:
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


def _before_start(program: Program, context: Any) -> Snapshot[Any]:
    return Snapshot(program.chart.configuration([program.chart.root]), context)


def _step_state(
    plans: PlanCache,
    snapshot: Snapshot[Any],
    event: Mapping[str, Any],
    first_index: int = 0,
    allow_unknown_targets: bool = False,
) -> StepState:
    context, children, history = snapshot.context, snapshot.children, snapshot.history
    return StepState(
        plans.program, snapshot, first_index, allow_unknown_targets, event, event, context, children, history, [], []
    )


def _start(
    plans: PlanCache, context: Any, input: Json, first_index: int = 0, allow_unknown_targets: bool = False
) -> StepState:
    start = _before_start(plans.program, _first_context(plans.program, context, input))
    step = _step_state(plans, start, {"type": INIT, "input": input}, first_index, allow_unknown_targets)
    microstep(plans.start(), step)
    _run_to_end(plans, step)
    return step


def _first_context(program: Program, context: Any, input: Json) -> Any:
    create = program.implementations.create_context
    if create is None:
        return context
    try:
        return create(input)
    except Exception as error:
        raise logic_error(program, "create_context", "context", error) from error


def _take_event(plans: PlanCache, step: StepState, reaction: Reaction) -> None:
    """Bring `step` from its event to where the machine comes to rest."""
    event, before = step.event, step.snapshot
    type = event["type"]
    if type == "*":
        raise EventError("an event cannot have the type *, which stands for all of them")
    if before.status != "active":
        return
    if type == STOP:
        _end_machine(step, "stopped", ABSENT)
        return
    step.typed_event = read_event(step.program, event)
    if type == INIT or not _take_transitions(plans, step, reaction):
        if type.startswith(ERROR):
            _end_machine(step, "error", event.get("error", ABSENT))
            return
        step.finish_microstep(before)
    _run_to_end(plans, step)


def _take_transitions(plans: PlanCache, step: StepState, reaction: Reaction) -> bool:
    """One microstep, if `reaction` asks for one. Returns whether it does."""
    transitions = reaction.candidates.unconditional
    if transitions is None:
        transitions = select(plans.program, reaction.candidates, step.event, step.args())
    if not transitions:
        return False
    if step.microsteps:
        _check_iterations(step)
    microstep(plans.plan(reaction, transitions, step.history), step)
    return True


def _run_to_end(plans: PlanCache, step: StepState) -> None:
    """Go on until there is no eventless transition and no raised event left, and let the actors of what ended go."""
    may_be_eventless = True
    while step.snapshot.status == "active":
        before, here = step.snapshot, step.snapshot.configuration
        is_eventless = (
            may_be_eventless and here.has_eventless and _take_transitions(plans, step, plans.reaction(here, None))
        )
        if not is_eventless:
            if not step.queue:
                break
            event = step.queue.popleft()
            step.next_event(event)
            if not _take_transitions(plans, step, plans.reaction(here, event["type"])):
                _check_iterations(step)
                step.finish_microstep(before)
        # An eventless transition that changed nothing would be taken for ever.
        may_be_eventless = not is_eventless or step.snapshot is not before
    if not step.snapshot.configuration.is_legal:
        whole = plans.program.chart.with_missing_parents(step.snapshot.configuration)
        step.snapshot = evolve(step.snapshot, configuration=whole)
    if step.snapshot.status != "active":
        _stop_all(step)


def _end_machine(step: StepState, status: Status, error: Any) -> None:
    """The machine ends here and now: no node is left, but its actors are stopped."""
    step.finish_microstep(evolve(step.snapshot, status=status, error=error, children=NO_CHILDREN))
    _stop_all(step)


def _stop_all(step: StepState) -> None:
    for id in step.children:
        step.effects.append(Stop(step.next_index, id))


_STATES_IN_ERROR = 20
"""From how many of the last microsteps an endless loop is told."""


def _check_iterations(step: StepState) -> None:
    chart = step.program.chart
    if len(step.microsteps) > chart.max_iterations:
        last = (snapshot.configuration for snapshot, _ in step.microsteps[-_STATES_IN_ERROR:])
        ids = dict.fromkeys(node.id for configuration in last for node in configuration.atomic)
        raise LogicError(
            f"{chart.id}: more than {chart.max_iterations} microsteps without coming to rest, "
            f"lately in: {', '.join(ids)}"
        )
