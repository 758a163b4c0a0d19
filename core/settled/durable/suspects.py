"""Suspects: messages and actors that may have ended the workers which ran them.

A function that ends its process (`os._exit`, no memory left) leaves no error, and takes the turns beside it along. All
that is left are receives without progress, and these prove nothing: a neighbour may have been the cause. So a message
that was received too often is watched. Before anything of the machine's code is run for it, a commit notes that in the
record (`Watch`), and what comes of it removes the note, be it progress, a failure or a release. Whoever finds the note
knows that a worker was lost. From then on this code is run alone: no other turn runs in the process, and no second
actor. A worker that is lost even then was lost to what the note names, and that is charged: an actor ends with the
error `WorkerLost` after as many losses as it has attempts, and anything else has failed its message.

A worker is alone for about a lease at most, and longer each time that this does not suffice, so that whatever runs
beside a suspect, however long, delays its proof but does not prevent it.
"""

from __future__ import annotations

from contextlib import suppress

from settled._fast_frozen import evolve
from settled.data import Json
from settled.durable.apply import end_actor, replace_actor
from settled.durable.commands import (
    Commands,
    Done,
    EndIsolation,
    Isolate,
    Isolated,
    LostWorker,
    ReleaseReason,
)
from settled.durable.commit import TurnStep, record_failure, write_step
from settled.durable.open_turn import function_actor
from settled.durable.outbox import next_due_timer
from settled.durable.policy import TurnEnd
from settled.durable.record import PendingActor, Watch
from settled.durable.release_delays import release_delay
from settled.durable.turn_state import TurnState, release_of
from settled.errors import SettledError
from settled.progress import error_event

MIN_LOSSES = 2
"""How many workers an actor has to cost, alone, before it ends: a single one may have been stopped by anything."""

MAX_LEASES_ALONE = 10
"""For how many leases a worker may begin no other turn because of one suspect."""


def watch(state: TurnState) -> Commands[TurnEnd | None]:
    """Note what is run next, if it has to be watched, and see to it that it is run alone, if it is suspected.

    Return how the turn ended if it could not be.
    """
    if state.record.halted is not None:
        return None
    found = _lost_watch(state)
    if found is not None:
        end = yield from _isolate(state, found)
        if end is not None or not state.deliveries:
            return end or TurnEnd.DONE
        if state.record.halted is not None:
            return None
    state.is_watched = state.is_watched or _is_received_too_often(state)
    is_alone = state.alone_until is not None and state.is_watched and state.now < state.alone_until
    if state.is_watched:
        wanted = Watch(_current_id(state), _actor_that_runs(state) if is_alone else None, is_alone)
        if state.record.watch != wanted or not state.owns_record:
            yield from write_step(state, TurnStep(state.record, made_progress=False, watch=wanted))
    if state.alone_until is not None and not is_alone:
        state.alone_until = None
        answer = yield EndIsolation(state.key)
        assert isinstance(answer, Done)
        state.now = answer.now
    return None


def unwatch(state: TurnState) -> Commands[None]:
    """Remove the note of this worker from the record: it goes on, or gives up, but was not lost."""
    state.is_watched = False
    if state.record.watch is not None and state.owns_record:
        yield from write_step(state, TurnStep(state.record, made_progress=False))


def unwatch_if_possible(state: TurnState) -> Commands[None]:
    """Remove the note like `unwatch` after an error of the backend, if the backend can do that."""
    with suppress(SettledError):
        yield from unwatch(state)


def _is_received_too_often(state: TurnState) -> bool:
    """Return whether the first message was received again and again without progress."""
    # Of later messages the receives prove nothing: they were received along with the first.
    if state.deliveries[0] is not state.first or vain_receives(state) < state.policy.receives_before_watch:
        return False
    record, id = state.record, state.first.message.id
    is_known = record.window.outcome_of_message(state.first.message) is not None
    return not is_known or record.turn is not None or any(entry.message_id == id for entry in record.outbox)


def vain_receives(state: TurnState) -> int:
    """Count how many receives of the first message, before this one, came to nothing since it last made progress."""
    seen, first = state.record.receives, state.first
    return first.attempt - (seen.count if seen and seen.id == first.message.id else 1)


def _current_id(state: TurnState) -> str:
    turn = state.record.turn
    return state.deliveries[0].message.id if turn is None else turn.message.id


def _lost_watch(state: TurnState) -> Watch | None:
    """Return the note of a worker that was lost with what this one would run next."""
    found = state.record.watch
    if found is None or state.owns_record or found.message_id != _current_id(state):
        return None
    return found


def _actor_that_runs(state: TurnState) -> str | None:
    """Return the id of the actor that the turn waits for next; None if something else is run before."""
    record = state.record
    if record.turn is None or record.turn.inbox or record.outbox or next_due_timer(record, state.now) is not None:
        return None
    return next((actor.id for actor in record.turn.actors if actor.started_by == state.nonce), None)


def _isolate(state: TurnState, found: Watch) -> Commands[TurnEnd | None]:
    """Get alone in this process, and charge what `found` names if it was run alone before."""
    lease, actor = state.policy.lease.total_seconds(), _watched_actor(state, found)
    leases = min(max(1, vain_receives(state) - state.policy.receives_before_watch), MAX_LEASES_ALONE)
    until, losses = state.now + leases * lease, _losses(state, found, actor)
    if state.alone_until is None:
        answer = yield Isolate(state.key, found.message_id, leases * lease, losses)
        assert isinstance(answer, Isolated)
        state.now = answer.now
        if not answer.is_alone:
            # For as long as it may keep the others out next time, so that they get half of the time at least.
            reason = ReleaseReason.STOPPING if answer.stopping else ReleaseReason.SUSPECT
            delay = 0.0 if answer.stopping else max(leases * lease, release_delay(reason, vain_receives(state) + 1))
            yield release_of(state, delay, reason)
            return TurnEnd.RELEASED
        state.alone_until = until
    state.is_watched = True
    if found.is_alone:
        yield from _charge(state, found, actor, losses)
    return None


def _watched_actor(state: TurnState, found: Watch) -> PendingActor | None:
    turn = state.record.turn
    return next((actor for actor in turn.actors if actor.id == found.actor), None) if turn else None


def _losses(state: TurnState, found: Watch, actor: PendingActor | None) -> int:
    """Return how many workers were lost to what `found` names, and nothing else."""
    if not found.is_alone:
        return 0
    if found.actor is not None:
        return 1 + (actor.losses if actor else 0)
    failing = state.record.failing
    return 1 + (failing.count if failing and failing.id == found.message_id else 0)


def _charge(state: TurnState, found: Watch, actor: PendingActor | None, losses: int) -> Commands[None]:
    if found.actor is None:
        lost, head = LostWorker(found.message_id, None, losses), state.deliveries[0]
        yield from record_failure(
            state, "its worker was lost while it ran the machine's own functions alone", lost=lost
        )
        state.is_watched = head in state.deliveries  # unless it was skipped
        return
    # One that must not be run again has failed by its first interruption (see `resume_open_turn`).
    if actor is None or (logic := function_actor(state, actor)).interruption == "fail":
        return
    lost, note = LostWorker(found.message_id, actor.src, losses), Watch(found.message_id, is_alone=True)
    if losses < max(MIN_LOSSES, logic.retry.attempts):
        again = evolve(actor, attempt=actor.attempt + 1, not_before=state.now, started_by=None, losses=losses)
        step = TurnStep(replace_actor(state.record, again), made_progress=False, watch=note, lost=lost)
    else:
        ended = end_actor(state.record, actor, error_event(actor.id, _worker_lost(state, actor, losses)))
        step = TurnStep(ended, lost=lost)
    yield from write_step(state, step)


def _worker_lost(state: TurnState, actor: PendingActor, losses: int) -> Json:
    times = "workers were" if losses > 1 else "worker was"
    message = f"{losses} {times} lost while running the actor {actor.src!r} of {state.key} and nothing else"
    return {"name": "WorkerLost", "message": message}
