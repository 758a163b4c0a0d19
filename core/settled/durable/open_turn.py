"""An open turn: one that was committed before its machine settled, because actors or timers have to end first.

A worker that finds an open turn resumes it, this worker or another one after a crash; until it is closed, no new
message is applied. Each commit takes it one step further: the events of its inbox were taken, actors are about to
start, or one of them has ended.

While it only waits, its message waits in the queue, and so do all that come after it. Where the queue forgets messages
in the end, a turn that is open for long is suspended instead: one commit schedules a timer and acknowledges the
message, of which the record has all that is needed. What comes meanwhile is postponed: it joins the dead letters, and
is taken from there, in order and before anything newer, once the turn is over.
"""

from __future__ import annotations

from copy import deepcopy

from settled._fast_frozen import evolve
from settled.chart.implementations import Actor
from settled.chart.snapshot import Snapshot
from settled.data import Json, fault_in, write
from settled.durable.apply import advance_open_turn, end_actor, replace_actor, take_due_timer
from settled.durable.commands import ActorCall, ActorEnded, ActorResult, Release, ReleaseReason, RunActors
from settled.durable.commit import TurnStep
from settled.durable.limits import is_larger, too_large
from settled.durable.outbox import suspend_turn
from settled.durable.record import PendingActor, Record, idempotency_key
from settled.durable.turn_state import TurnState, release_of
from settled.errors import RecordError
from settled.machine import Machine
from settled.progress import done_event, error_event, is_settled

_INTERRUPTED: Json = {
    "name": "Interrupted",
    "message": "its worker was lost; whether it has happened, or still will, is unknown",
}


def is_of_another_definition(state: TurnState) -> bool:
    """Return whether the active timers of the instance were started by another definition of its machine."""
    record = state.record
    return (
        record.armed_for[0] != state.machine.fingerprint
        and isinstance(record.snapshot, Snapshot)
        and record.snapshot.status == "active"
        and not record.halted
    )


def wait_for_open_turn(state: TurnState) -> Release | None:
    """Return the release of the deliveries if they must wait for the record's open turn."""
    turn = state.record.turn
    if turn is None or state.record.halted:
        return None
    # The lease protects the turn from workers that merely have a later message of the key. A worker that has the turn's
    # own message was given it by the queue because the one before has lost it.
    is_held = state.now < turn.lease_until and turn.suspension is None
    if is_held and not state.has_delivery_of(turn.message.id):
        return release_of(state, turn.lease_until - state.now, ReleaseReason.OTHER_WORKER)
    wake = _waits_until(state)
    if wake is None or _waits_outside_queue(state, wake):
        return None
    return release_of(state, wake - state.now, ReleaseReason.WAITING)


def _waits_until(state: TurnState) -> float | None:
    """Return until when the open turn has nothing to do; None if it has."""
    turn, snapshot = state.open_turn, state.record.snapshot
    was_interrupted = any(actor.started_by is not None for actor in turn.actors)
    # The turn of an imported instance may be settled from the first. Then it only needs to be closed.
    is_over = isinstance(snapshot, Snapshot) and is_settled(state.machine, snapshot)
    if turn.inbox or was_interrupted or is_over or is_of_another_definition(state):
        return None
    wake = _next_wake(state.record, state.now)
    return wake if wake > state.now else None


def _waits_outside_queue(state: TurnState, wake: float) -> bool:
    turn, retention = state.open_turn, state.traits.retention
    if turn.suspension is not None:
        return True
    # Many short waits add up: what counts is how long the turn will have been open.
    return retention is not None and wake - turn.since > min(state.policy.suspend_after.total_seconds(), retention / 2)


def suspend(state: TurnState) -> Record | None:
    """Return the record with its open turn suspended; None if the turn can go on, or waits in the queue."""
    wake = _waits_until(state)
    if wake is None or not _waits_outside_queue(state, wake):
        return None
    suspension = state.open_turn.suspension
    if suspension is not None and suspension.due == wake:
        return state.record
    return suspend_turn(state.context(), evolve(state.record, outbox=()), wake)


def resume_open_turn(state: TurnState) -> TurnStep | RunActors | Release:
    """Take the next event of the open turn, start the actors that are ready, or wait for one that runs.

    `step_after_actors` continues after `RunActors`.
    """
    if state.open_turn.suspension is not None:
        state.record = evolve(state.record, turn=evolve(state.open_turn, suspension=None))
    record = _take_over_actors(state, state.record)
    # Before any timer: an imported instance that is settled from the first must not see a delay end in this turn.
    is_over = not _inbox(record) and is_settled(state.machine, record.readable_snapshot())
    if not _inbox(record) and not is_over:
        record = take_due_timer(state.context(), record)
    if _inbox(record) or is_over:
        return _drain_inbox(state, record)
    if record is not state.record or _may_start_actor(state):
        return TurnStep(record, entries=record.outbox, made_progress=False)
    return _wait_for_actor(state)


def _may_start_actor(state: TurnState) -> bool:
    actors = state.open_turn.actors
    if state.alone_until is not None and any(actor.started_by == state.nonce for actor in actors):
        return False  # they are run one at a time
    return any(actor.started_by is None and actor.not_before <= state.now for actor in actors)


def _next_wake(record: Record, now: float) -> float:
    """Return when the open turn has something to do by itself: a timer is due, or an actor may be tried again."""
    actors = record.turn.actors if record.turn else ()
    wakes = [timer.due for timer in record.timers.values()]
    wakes += [actor.not_before for actor in actors if actor.started_by is None]
    return min(wakes, default=now)


def _inbox(record: Record) -> tuple[Json, ...]:
    return record.turn.inbox if record.turn else ()


def _take_over_actors(state: TurnState, record: Record) -> Record:
    """Start the actors of a lost worker again under their keys, or let them fail, as each of them declares."""
    for actor in state.open_turn.actors:
        if actor.started_by in (None, state.nonce):
            continue
        if function_actor(state, actor).interruption == "rerun":
            again = evolve(actor, attempt=actor.attempt + 1, started_by=None, not_before=state.now)
            record = replace_actor(record, again)
        elif not _inbox(record):  # one failure at a time: the machine may stop the others when it sees the first
            record = end_actor(record, actor, error_event(actor.id, _INTERRUPTED))
    return record


def function_actor(state: TurnState, actor: PendingActor) -> Actor:
    """Return the implementation of `actor`.

    Raises:
        RecordError: it is a machine by now.
    """
    logic = state.machine.actor(actor.src)
    if isinstance(logic, Machine):
        raise RecordError(
            f"{state.key}: the actor {actor.src!r} was a function when it was started, and is a machine now"
        )
    return logic


def _drain_inbox(state: TurnState, record: Record) -> TurnStep:
    # `state.record` gets the inbox before the machine's code runs: if that fails, the commit of the failure keeps the
    # inbox, and an actor that has ended need not run again.
    state.before_inbox = state.version, state.record
    state.record, turn, head = record, state.open_turn, state.deliveries[0]
    record = advance_open_turn(state.context(), evolve(record, outbox=()))
    is_over = record.turn is None and turn.message.id == head.message.id
    return TurnStep(record, (head,) if is_over else (), record.outbox)


def _wait_for_actor(state: TurnState) -> RunActors | Release:
    """Wait until a running actor ends; if none runs, release the deliveries until there is something to do."""
    running = [actor for actor in state.open_turn.actors if actor.started_by == state.nonce]
    wake = _next_wake(state.record, state.now)
    if not running:
        return release_of(state, max(0.0, wake - state.now), ReleaseReason.WAITING)
    calls = tuple([_actor_call(state, actor) for actor in running])
    until = wake if wake > state.now else None
    if state.alone_until is not None:
        until = state.alone_until if until is None else min(until, state.alone_until)
    return RunActors(state.key, calls, until, state.version)


def step_after_actors(state: TurnState, answer: ActorEnded) -> TurnStep | Release | None:
    """Return the step that takes the end of an actor; None if a timer is due first."""
    if answer.result is not None:
        return _record_result(state, answer.result)
    return release_of(state, 0.0, ReleaseReason.STOPPING) if answer.stopping else None


def _actor_call(state: TurnState, actor: PendingActor) -> ActorCall:
    # The nonce is that of the commit which opened the turn, so every attempt, by whatever worker, has the same key.
    key = idempotency_key(state.key, state.open_turn.nonce, state.open_turn.ordinal, actor.index)
    # A copy, which the actor may change as it likes: the next attempt gets another one.
    input, headers = deepcopy(actor.input), state.open_turn.message.headers
    return ActorCall(actor.id, actor.src, input, key, actor.attempt, headers)


def _record_result(state: TurnState, result: ActorResult) -> TurnStep:
    """Record that an actor is tried again later or, after its last attempt, let the machine take its end."""
    actor = next(actor for actor in state.open_turn.actors if actor.id == result.id)
    retry = function_actor(state, actor).retry
    if not result.ok and actor.attempt < retry.attempts:
        due = state.now + retry.backoff.wait(actor.attempt + 1).total_seconds()
        again = evolve(actor, attempt=actor.attempt + 1, not_before=due, started_by=None)
        return TurnStep(replace_actor(state.record, again))
    ended = end_actor(state.record, actor, _end_event(state, actor, result))
    # A watched actor has ended with this commit, before the machine's own functions take its result.
    return TurnStep(ended) if state.is_watched else _drain_inbox(state, ended)


def _end_event(state: TurnState, actor: PendingActor, result: ActorResult) -> Json:
    fault = fault_in(result.data, "output")
    if fault is not None:
        return error_event(actor.id, {"name": "TypeError", "message": f"{actor.src}: {fault}"})
    text, largest = write(result.data), state.traits.largest_message
    if is_larger(text, largest):
        error = too_large(f"{actor.src}: its result", text, largest)
        return error_event(actor.id, {"name": "TooLargeError", "message": str(error)})
    return done_event(actor.id, result.data) if result.ok else error_event(actor.id, result.data)
