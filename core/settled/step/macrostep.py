"""Macrosteps: an event in, a snapshot and effects out.

A macrostep is SCXML's: the microstep of the event itself, then eventless ones while there are any, then those of the
events that the machine raised, each again followed by eventless ones, until there is nothing left to do. It happens
completely or not at all: if anything raises on the way, the old snapshot stays in force and no effects are returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from settled._fast_frozen import evolve
from settled.chart.chart import Configuration
from settled.chart.program import Program
from settled.chart.snapshot import NO_CHILDREN, NewSnapshot, Snapshot, Status
from settled.data import ABSENT, FROZEN, Json, freeze
from settled.errors import EventError, LogicError
from settled.step.effects import Effect, Stop
from settled.step.microstep import microstep
from settled.step.plan_cache import PlanCache, Reaction
from settled.step.selection import logic_error, select
from settled.step.state import StepState, read_event

Step: TypeAlias = "tuple[Snapshot[Any], tuple[Effect, ...]]"

INIT, STOP = "xstate.init", "xstate.stop"

ERROR = "xstate.error.actor"
"""The prefix of the types of the events by which failed actors are reported."""

ROUTE = "xstate.route"
"""The only reserved event that may come from outside: ``{"type": ROUTE, "to": "#id"}`` enters the node of that id."""


def initial_macrostep(
    plans: PlanCache, context: Any, input: Json = None, first_index: int = 0, *, allow_unknown_targets: bool = False
) -> Step:
    """Enter the machine and return its first snapshot and the effects, numbered from `first_index`.

    `context` is the config's own, unused if the implementations create it from `input`. If anything raises, the
    snapshot has the status ``error`` and there are no effects.
    """
    try:
        step = _start(plans, context, input, first_index, allow_unknown_targets)
    except LogicError as error:
        # There is no old snapshot that could stay in force, so the machine is in error, like an XState actor then.
        start = _before_start(plans.program, context)
        return evolve(start, status="error", error={"name": type(error).__name__, "message": str(error)}), ()
    return step.snapshot, tuple(step.effects)


def initial_microsteps(plans: PlanCache, context: Any, input: Json = None) -> tuple[Step, ...]:
    """Like `initial_macrostep`, but return the snapshot and effects of each microstep; none if anything raises."""
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
    """Take `event` and return the next snapshot and the effects, numbered from `first_index`.

    The snapshot is the same object if nothing has changed, and always if the machine is not active.

    Raises:
        LogicError: a guard, an action or a delay raised, or the step does not end.
        EventError: no machine can take the event.
    """
    reaction = plans.reaction(snapshot.configuration, event["type"])
    # The hot path: there is nothing to call and nothing to do but to change the configuration. The condition is in
    # `PlanCache._direct_target`; any work added to a step below must make it None.
    if reaction.direct_target is not None and snapshot.status == "active":
        return _with_configuration(snapshot, reaction.direct_target), ()
    step = _step_state(plans, snapshot, event, first_index, allow_unknown_targets)
    _take_event(plans, step, reaction)
    return step.snapshot, tuple(step.effects)


def microsteps(plans: PlanCache, snapshot: Snapshot[Any], event: Mapping[str, Any]) -> tuple[Step, ...]:
    """Like `macrostep`, but return the snapshot and effects of each microstep."""
    step = _step_state(plans, snapshot, event)
    _take_event(plans, step, plans.reaction(snapshot.configuration, event["type"]))
    return _by_microstep(step)


def _by_microstep(step: StepState) -> tuple[Step, ...]:
    starts = [0, *(end for _, end in step.microsteps)]
    return tuple(
        (snapshot, tuple(step.effects[start:end]))
        for start, (snapshot, end) in zip(starts, step.microsteps, strict=False)
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
    event = event if event.__class__ in FROZEN else freeze(event)  # nearly all are, and a call would cost more
    context, children, history = snapshot.context, snapshot.children, snapshot.history
    return StepState(
        plans.program, snapshot, first_index, allow_unknown_targets, event, event, context, children, history, [], []
    )


def _start(
    plans: PlanCache, context: Any, input: Json, first_index: int = 0, allow_unknown_targets: bool = False
) -> StepState:
    input = freeze(input)
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
    """Run `step` from its event to the end of the macrostep."""
    event, before = step.event, step.snapshot
    type = event["type"]
    if type == "*":
        raise EventError("an event cannot have the type *, which matches every type")
    # In XState an actor that is done ignores events; there is nothing to exit and nothing to stop again.
    if before.status != "active":
        return
    if type == STOP:
        _end_machine(step, "stopped", ABSENT)
        return
    if step.program.implementations.events:
        step.typed_event = read_event(step.program, event)
    if type == INIT or not _take_transitions(plans, step, reaction):
        # As in XState, an unhandled failure of an actor is a failure of the machine.
        if type.startswith(ERROR):
            _end_machine(step, "error", event.get("error", ABSENT))
            return
        # XState counts the microstep of an event that no transition takes, and so does `microsteps`.
        step.finish_microstep(before)
    _run_to_end(plans, step)


def _take_transitions(plans: PlanCache, step: StepState, reaction: Reaction) -> bool:
    """Perform one microstep if any transition is selected. Return whether one was."""
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
    """Take eventless transitions and raised events until there are none, and stop the actors if the machine ended."""
    # The order is SCXML's, and machines rely on it: all eventless transitions before the next raised event, and all
    # raised events before the next event from outside.
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
                # A raised event that nothing takes still counts, or a machine could raise such events for ever.
                _check_iterations(step)
                step.finish_microstep(before)
        # Here XState differs from SCXML: an eventless transition that changed nothing (the same snapshot object) would
        # be selected for ever, so it is taken once, and eventless ones are selected again only after a raised event.
        may_be_eventless = not is_eventless or step.snapshot is not before
    # Not after each microstep: XState's own microsteps show the configuration without the parents (`Configuration`).
    if not step.snapshot.configuration.is_legal:
        completed = plans.program.chart.with_missing_parents(step.snapshot.configuration)
        step.snapshot = evolve(step.snapshot, configuration=completed)
    if step.snapshot.status != "active":
        _stop_all(step)


def _end_machine(step: StepState, status: Status, error: Any) -> None:
    """End the machine at once: its actors are stopped, but no node is exited and no exit action runs, as in XState."""
    step.finish_microstep(evolve(step.snapshot, status=status, error=error, children=NO_CHILDREN))
    _stop_all(step)


def _stop_all(step: StepState) -> None:
    for id in step.children:
        step.effects.append(Stop(step.next_index, id))


_MICROSTEPS_IN_MESSAGE = 20
"""How many of the last microsteps' states the error about an endless loop lists."""


def _check_iterations(step: StepState) -> None:
    chart = step.program.chart
    # XState has no limit by default and would loop for ever; here that would block the instance's queue and worker.
    if len(step.microsteps) > chart.max_iterations:
        last = (snapshot.configuration for snapshot, _ in step.microsteps[-_MICROSTEPS_IN_MESSAGE:])
        ids = dict.fromkeys(node.id for configuration in last for node in configuration.atomic)
        raise LogicError(
            f"{chart.id}: more than {chart.max_iterations} microsteps without coming to rest, "
            f"most recently in: {', '.join(ids)}"
        )
