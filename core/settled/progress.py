"""Run a machine from one settled configuration to the next, without I/O.

A machine is settled if nothing inside it can move it on, so that it can be stored until the next message arrives.
Until then it takes the events that it sends to itself, in order. If those run out and it is not settled, it waits
for one of its function actors or for a timer.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import Any, TypeVar

from attrs import frozen

from settled._fast_frozen import evolve
from settled.chart.actions import INTERNAL
from settled.chart.nodes import Node
from settled.chart.settled_tags import resting_leaves, uses_settled_tags
from settled.chart.snapshot import Child, Snapshot
from settled.data import Json
from settled.errors import LogicError
from settled.machine import Machine
from settled.step.effects import Effect, Invoke, Send, Stop

C = TypeVar("C")

MAX_OWN_EVENTS = 10_000
"""How many events a machine may send itself within one turn before that counts as an endless loop."""


@frozen
class Progress:
    """How far a machine has come within a turn.

    `inbox` are the events it has sent itself and has still to take; `effects` are those still to be performed, in
    order. `index` is the index of the next effect. `steps` has the snapshot after each step, and how many of `effects`
    there were by then.
    """

    snapshot: Snapshot[Any]
    inbox: tuple[Json, ...] = ()
    effects: tuple[Effect, ...] = ()
    index: int = 0
    steps: tuple[tuple[Snapshot[Any], int], ...] = ()

    def effects_performed(self) -> Progress:
        """Return a copy without the effects so far, for a caller that has performed them."""
        return evolve(self, effects=(), steps=())


def initial_progress(machine: Machine[Any], input: Json = None) -> Progress:
    """Start `machine`."""
    snapshot, effects = machine.initial_transition(input, allow_unknown_targets=True)
    return _advanced(machine, Progress(snapshot), snapshot, effects)


def take_event(machine: Machine[Any], progress: Progress, event: Json, *, is_detached: bool = False) -> Progress:
    """Take `event` in one step.

    The result of an actor also marks that actor as done or failed. With `is_detached` it does not: the machine stopped
    that actor before its result came, and another may run under the same id by now.

    Raises:
        LogicError: a guard, an action or a delay raised, or the step does not end.
        EventError: no machine can take the event.
    """
    snapshot = progress.snapshot if is_detached else with_result(progress.snapshot, event)
    after, effects = machine.transition(snapshot, event, first_index=progress.index, allow_unknown_targets=True)
    return _advanced(machine, progress, after, effects)


def drain_inbox(machine: Machine[Any], progress: Progress) -> Progress:
    """Take the events that the machine has sent itself until none is left. A machine that has ended drops them.

    Raises:
        LogicError: it does not stop sending itself events, or one of them fails.
    """
    for _ in range(MAX_OWN_EVENTS):
        if progress.snapshot.status != "active":
            return evolve(progress, inbox=())
        if not progress.inbox:
            return progress
        event, *later = progress.inbox
        progress = take_event(machine, evolve(progress, inbox=tuple(later)), event)
    raise LogicError(
        f"{machine.id}: sent itself {MAX_OWN_EVENTS} events without settling, in {progress.snapshot.value}"
    )


def settle(
    machine: Machine[C], snapshot: Snapshot[C] | None, event: Json = None
) -> Generator[Progress, Json, Snapshot[C]]:
    """Run `machine` to its next settled configuration; without a snapshot, start it with `event` as its input.

    Yields:
        A `Progress` whose effects are to be performed in order. Send in the result of one function actor as
        `done_event` or `error_event`, or the event of a timer. The last `Progress` is settled: after it the generator
        returns the snapshot.
    """
    progress = initial_progress(machine, event) if snapshot is None else take_event(machine, Progress(snapshot), event)
    progress = drain_inbox(machine, progress)
    while not is_settled(machine, progress.snapshot):
        result = yield progress
        progress = drain_inbox(machine, take_event(machine, progress.effects_performed(), result))
    yield progress
    return progress.snapshot


def fold(machine: Machine[C], events: Iterable[Json], input: Json = None) -> Snapshot[C]:
    """Return the snapshot after taking each of `events` exactly once, in order.

    This is the specification of an instance's snapshot, whatever crashed or was redelivered on the way. `events` are
    all that the instance has taken, including the results of its actors and the events of its timers.
    """
    progress = drain_inbox(machine, initial_progress(machine, input))
    for event in events:
        if progress.snapshot.status != "active":
            break
        progress = drain_inbox(machine, take_event(machine, progress.effects_performed(), event))
    return progress.snapshot


def is_settled(machine: Machine[Any], snapshot: Snapshot[Any]) -> bool:
    """Return whether `snapshot` waits for the outside world: no function actor runs, and all active leaves may rest.

    A leaf may rest if it is final, if it or an ancestor has one of the tags ``settled``, ``resolve`` and ``reject``, or
    if one of these invokes a machine that is running. In a machine without any such tag all leaves may rest.
    """
    if snapshot.status != "active":
        return True
    if snapshot.children and any(_is_running_function(machine, child) for child in snapshot.children.values()):
        return False
    if uses_settled_tags(machine.chart):
        resting = resting_leaves(machine.chart)
        for leaf in snapshot.configuration.atomic:
            if leaf not in resting and not _waits_for_machine(machine, snapshot, leaf):
                return False
    return True


def done_event(child: str, output: Json) -> Mapping[str, Json]:
    """Return the event by which a machine learns that its actor `child` has succeeded with `output`."""
    return {"type": f"xstate.done.actor.{child}", "output": output, "actorId": child}


def error_event(child: str, error: Json) -> Mapping[str, Json]:
    """Return the event by which a machine learns that its actor `child` has failed with `error`."""
    return {"type": f"{ERROR_EVENT}{child}", "error": error, "actorId": child}


def _advanced(
    machine: Machine[Any], progress: Progress, snapshot: Snapshot[Any], effects: tuple[Effect, ...]
) -> Progress:
    # Counted before any effect is dropped: the index is part of idempotency keys, and must be XState's.
    index, inbox, all_effects = progress.index + len(effects), progress.inbox, progress.effects
    if effects:
        effects = without_unstarted_actors(effects)
        for effect in effects:
            if isinstance(effect, Send | Invoke):
                inbox += _own_events(machine, effect)
        all_effects += effects
    return Progress(snapshot, inbox, all_effects, index, (*progress.steps, (snapshot, len(all_effects))))


def without_unstarted_actors(effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
    """Return the `effects` of one step without the actors that it both started and stopped.

    Actors start after a step, so these never start. Their `Invoke`, their `Stop` and what was sent to them between are
    dropped.
    """
    for effect in effects:
        if isinstance(effect, Invoke):
            break
    else:
        return effects  # nearly always
    # Positions in `effects`: of sends that precede their target's Invoke, and of all that concerns a started actor.
    early, starting, dropped = dict[str, list[int]](), dict[str, list[int]](), set[int]()
    for position, effect in enumerate(effects):
        match effect:
            case Send(to=to, target_kind="starting"):
                early.setdefault(to, []).append(position)
            # Without an Invoke in this step, it is for an actor that was running before, and stays even if that stops.
            case Send(to=to, target_kind="child") if to in starting:
                starting[to].append(position)
            case Invoke(id=id):
                starting[id] = [*early.pop(id, ()), position]
            case Stop(id=str(id)) if id in starting:
                dropped.update(starting.pop(id), {position})
            case _:
                pass
    return tuple(effect for position, effect in enumerate(effects) if position not in dropped) if dropped else effects


def _own_events(machine: Machine[Any], effect: Effect) -> tuple[Json, ...]:
    """Return the events that `effect` makes the machine take before its turn ends."""
    match effect:
        case Send() if is_to_self(effect):
            return (effect.event,)
        # The only snapshot of a function is that it runs.
        case Invoke(id=id, sync=True) if not isinstance(machine.actor(effect.src), Machine):
            return (snapshot_event(id, {"status": "active", "input": effect.input}),)
        case _:
            return ()


def snapshot_event(child: str, snapshot: Json) -> Mapping[str, Json]:
    """Return the event by which a machine learns that its actor `child` has reached `snapshot`."""
    return {"type": f"{SNAPSHOT}{child}", "snapshot": snapshot}


def is_to_self(effect: Send) -> bool:
    """Return whether the machine sends this to itself without a delay, so that it is taken before the turn ends."""
    return effect.to == INTERNAL and effect.delay is None


SNAPSHOT = "xstate.snapshot."
"""The prefix of the types of the events that carry snapshots of actors."""

ERROR_EVENT = "xstate.error.actor."
"""The prefix of the types of the events by which failed actors are reported."""


def with_result(snapshot: Snapshot[Any], event: Json) -> Snapshot[Any]:
    """Return `snapshot` as a step takes `event` in it: if that is the end of an actor, the actor has ended."""
    if not snapshot.children or not isinstance(event, Mapping):
        return snapshot
    id, child = event.get("actorId"), snapshot.children.get(str(event.get("actorId")))
    if child is None:
        return snapshot
    ended = _ended(child, str(event.get("type")), event)
    return snapshot if ended is child else evolve(snapshot, children={**snapshot.children, str(id): ended})


def _ended(child: Child, type: str, event: Mapping[str, Json]) -> Child:
    if type.startswith("xstate.done.actor."):
        return evolve(child, status="done", output=event.get("output"))
    if type.startswith(ERROR_EVENT):
        return evolve(child, status="error", error=event.get("error"))
    return child


def _is_running_function(machine: Machine[Any], child: Child) -> bool:
    return child.status == "active" and not isinstance(machine.actor(child.src), Machine)


def _waits_for_machine(machine: Machine[Any], snapshot: Snapshot[Any], leaf: Node) -> bool:
    """Return whether `leaf` or one of its ancestors invokes a machine that is running."""
    children = [snapshot.children.get(invoke.id) for node in (leaf, *leaf.ancestors) for invoke in node.invoke]
    return any(
        child.status == "active" and isinstance(machine.actor(child.src), Machine) for child in children if child
    )
