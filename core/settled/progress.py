"""Settledness, and the way to the next settled configuration.

A machine rests only where it is settled: nothing inside it can move it on, so it may be stored and forgotten until
the world speaks again. On the way there it takes, in order, the events it sends to itself; where those run out and
it is still not settled, it waits for one of its function actors or for a timer.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import Any, TypeVar

from attrs import frozen

from settled._fast_frozen import evolve
from settled.chart.actions import INTERNAL
from settled.chart.nodes import Node
from settled.chart.settled_tags import has_settled_tag, uses_settled_tags
from settled.chart.snapshot import Child, Snapshot
from settled.data import Json
from settled.errors import LogicError
from settled.machine import Machine
from settled.step.effects import Effect, Invoke, Send, Stop

C = TypeVar("C")

MAX_OWN_EVENTS = 10_000
"""How many events a machine may send itself without coming to rest, before that counts as an endless loop."""


@frozen
class Progress:
    """How far a machine has come: its snapshot, its own events still to be taken, the effects so far, in order.

    `index` is the number of the next effect. `steps` are the snapshots after each step, with how many effects there
    were by then.
    """

    snapshot: Snapshot[Any]
    inbox: tuple[Json, ...] = ()
    effects: tuple[Effect, ...] = ()
    index: int = 0
    steps: tuple[tuple[Snapshot[Any], int], ...] = ()

    def effects_performed(self) -> Progress:
        """The same, with all effects so far performed."""
        return evolve(self, effects=(), steps=())


def initial_progress(machine: Machine[Any, Any], input: Json = None) -> Progress:
    """The initial step."""
    snapshot, effects = machine.initial_transition(input, allow_unknown_targets=True)
    return _advanced(machine, Progress(snapshot), snapshot, effects)


def take_event(machine: Machine[Any, Any], progress: Progress, event: Json, *, is_detached: bool = False) -> Progress:
    """One step: `event` on top of `progress`.

    The report of an actor also marks that actor as ended. With `is_parting` it does not: the machine has stopped that
    actor before its report came.
    """
    snapshot = progress.snapshot if is_detached else _with_report(progress.snapshot, event)
    after, effects = machine.transition(snapshot, event, first_index=progress.index, allow_unknown_targets=True)
    return _advanced(machine, progress, after, effects)


def drain_inbox(machine: Machine[Any, Any], progress: Progress) -> Progress:
    """Take the machine's own events until none is left; those of a machine that ended are dropped.

    Raises:
        LogicError: it never stops sending itself events.
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
    machine: Machine[C, Any], snapshot: Snapshot[C] | None, event: Json = None
) -> Generator[Progress, Json, Snapshot[C]]:
    """Run `machine` to its next settled configuration; without a snapshot, start it with `event` as its input.

    Yields:
        Each `Progress`: perform its effects in their order. Send in, while there are any, the result of one function
        actor as `done_event` or `error_event`, or the event of a timer. After the last, the generator returns.
    """
    progress = initial_progress(machine, event) if snapshot is None else take_event(machine, Progress(snapshot), event)
    progress = drain_inbox(machine, progress)
    while not is_settled(machine, progress.snapshot):
        report = yield progress
        progress = drain_inbox(machine, take_event(machine, progress.effects_performed(), report))
    yield progress
    return progress.snapshot


def fold(machine: Machine[C, Any], events: Iterable[Json], input: Json = None) -> Snapshot[C]:
    """The snapshot after `events`, in order, each exactly once: what any instance must come to, whatever happened.

    `events` are all that the instance accepted, the reports of its actors and its timers included.
    """
    progress = drain_inbox(machine, initial_progress(machine, input))
    for event in events:
        if progress.snapshot.status != "active":
            break
        progress = drain_inbox(machine, take_event(machine, progress.effects_performed(), event))
    return progress.snapshot


def is_settled(machine: Machine[Any, Any], snapshot: Snapshot[Any]) -> bool:
    """Whether `snapshot` waits for the outside world: no function actor runs, and every active node may rest.

    A machine that uses none of the tags ``settled``, ``resolve`` and ``reject`` rests wherever nothing is pending.
    """
    if snapshot.status != "active":
        return True
    if snapshot.children and any(_runs_here(machine, child) for child in snapshot.children.values()):
        return False
    return not uses_settled_tags(machine.chart) or all(
        _may_rest(machine, snapshot, leaf) for leaf in snapshot.configuration.atomic
    )


def done_event(child: str, output: Json) -> Mapping[str, Json]:
    """What a machine is told when the actor `child` has succeeded."""
    return {"type": f"xstate.done.actor.{child}", "output": output, "actorId": child}


def error_event(child: str, error: Json) -> Mapping[str, Json]:
    """What a machine is told when the actor `child` has failed."""
    return {"type": f"xstate.error.actor.{child}", "error": error, "actorId": child}


def _advanced(
    machine: Machine[Any, Any], progress: Progress, snapshot: Snapshot[Any], effects: tuple[Effect, ...]
) -> Progress:
    index, inbox, all_effects = progress.index + len(effects), progress.inbox, progress.effects
    if effects:
        effects = without_unstarted_actors(effects)
        inbox += tuple(event for effect in effects for event in _own_events(machine, effect))
        all_effects += effects
    return Progress(snapshot, inbox, all_effects, index, (*progress.steps, (snapshot, len(all_effects))))


def without_unstarted_actors(effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
    """The `effects` of one step without those that come to nothing.

    Actors start where a step ends. So one that is stopped by the step that asked for it never starts, and what it was
    sent meanwhile is heard by nobody.
    """
    if not any(isinstance(effect, Invoke) for effect in effects):
        return effects
    awaiting, starting, gone = dict[str, list[int]](), dict[str, list[int]](), set[int]()
    for place, effect in enumerate(effects):
        match effect:
            case Send(to=to, target_kind="starting"):
                awaiting.setdefault(to, []).append(place)
            case Send(to=to, target_kind="child") if to in starting:
                starting[to].append(place)
            case Invoke(id=id):
                starting[id] = [*awaiting.pop(id, ()), place]
            case Stop(id=str(id)) if id in starting:
                gone.update(starting.pop(id), {place})
            case _:
                pass
    return tuple(effect for place, effect in enumerate(effects) if place not in gone) if gone else effects


def _own_events(machine: Machine[Any, Any], effect: Effect) -> tuple[Json, ...]:
    """Return the events that `effect` makes the machine take before its turn ends.

    Of a function there is nothing to be seen but that it runs.
    """
    match effect:
        case Send() if is_to_self(effect):
            return (effect.event,)
        case Invoke(id=id, sync=True) if not isinstance(machine.actor(effect.src), Machine):
            return (snapshot_event(id, {"status": "active", "input": effect.input}),)
        case _:
            return ()


def snapshot_event(child: str, snapshot: Json) -> Mapping[str, Json]:
    """Make the event that tells a listening machine that its actor `child` has come to `snapshot`."""
    return {"type": f"{SNAPSHOT}{child}", "snapshot": snapshot}


def is_to_self(effect: Send) -> bool:
    """Whether the machine sends this to itself without a delay: then it is taken before the turn ends."""
    return effect.to == INTERNAL and effect.delay is None


SNAPSHOT = "xstate.snapshot."
"""The prefix of the types of events that bring the snapshots of actors."""


def _with_report(snapshot: Snapshot[Any], event: Json) -> Snapshot[Any]:
    if not snapshot.children or not isinstance(event, Mapping):
        return snapshot
    id, child = event.get("actorId"), snapshot.children.get(str(event.get("actorId")))
    if child is None:
        return snapshot
    reported = _reported(child, str(event.get("type")), event)
    return evolve(snapshot, children={**snapshot.children, str(id): reported})


def _reported(child: Child, type: str, event: Mapping[str, Json]) -> Child:
    if type.startswith("xstate.done.actor."):
        return evolve(child, status="done", output=event.get("output"))
    if type.startswith("xstate.error.actor."):
        return evolve(child, status="error", error=event.get("error"))
    return child


def _runs_here(machine: Machine[Any, Any], child: Child) -> bool:
    return child.status == "active" and not isinstance(machine.actor(child.src), Machine)


def _may_rest(machine: Machine[Any, Any], snapshot: Snapshot[Any], leaf: Node) -> bool:
    return leaf.type == "final" or any(
        has_settled_tag(node) or _waits_for_a_machine(machine, snapshot, node) for node in (leaf, *leaf.ancestors)
    )


def _waits_for_a_machine(machine: Machine[Any, Any], snapshot: Snapshot[Any], node: Node) -> bool:
    children = (snapshot.children.get(invoke.id) for invoke in node.invoke)
    return any(
        child.status == "active" and isinstance(machine.actor(child.src), Machine) for child in children if child
    )
