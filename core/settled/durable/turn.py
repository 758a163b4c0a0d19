"""The turn: the way of a key's messages through its instance, without I/O.

A turn is a generator of commands. It decides; a driver does. The same generator runs under threads, an event loop, a
Lambda and a simulator, so what was proven of it in one of them holds in all.

Three rules carry the rest:

- Nothing is performed before the step that asked for it is committed, and what is acknowledged is owed no more.
- Until something was performed the turn may be computed afresh, because the core is pure; afterwards a commit that
  is refused means that another worker owns the turn, and this one drops it.
- A new event never meets a machine that has not settled: an open turn is finished first, whoever finds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from settled._fast_frozen import evolve
from settled.chart.implementations import Actor
from settled.chart.snapshot import Snapshot
from settled.data import Json, fault_in
from settled.durable.apply import advance_open_turn, apply, end_actor, replace_actor, take_due_timer
from settled.durable.commands import ActorCall, ActorResult, Commands, load_dead_letters, run_actors
from settled.durable.commit import (
    AfterCommit,
    TurnState,
    commit,
    finish_commit,
    finish_step,
    load_first,
    record_failure,
    release_deliveries,
    reload,
)
from settled.durable.delays import rearm_timers
from settled.durable.policy import Policy, TurnEnd
from settled.durable.ports import DeadLetter, Delivery, Traits
from settled.durable.record import OutboxEntry, PendingActor, Record, Unreadable, idempotency_key
from settled.errors import (
    ConflictError,
    EventError,
    LeaseLostError,
    LogicError,
    RecordError,
    TooLargeError,
    VersionUnknownError,
)
from settled.key import Key
from settled.machine import Machine
from settled.progress import done_event, error_event, is_settled

MAX_CONFLICTS = 100
"""How often a turn computes afresh before it gives its messages back: each time, another worker has made progress."""

MESSAGE_FAILURES = (LogicError, EventError, RecordError, TooLargeError)
"""What the machine's own code, its snapshot or its size may come to: a failure of the message in hand, and counted."""


def turn(
    machine: Machine[Any, Any],
    key: Key,
    deliveries: Sequence[Delivery],
    nonce: str,
    policy: Policy | None = None,
    traits: Traits | None = None,
) -> Commands[TurnEnd]:
    """Take the messages of `deliveries`, all of `key` and in its order, through the instance.

    Args:
        nonce: text that no other turn was given and nobody can guess; a turn recognises its own commits by it, and the
            keys of its effects begin with it.
        traits: what the backend declares beyond the contract.

    Raises:
        RecordError: the record cannot be read at all.
        Unavailable, Unknown, TooLarge, Denied: as a port raised them. The queue hands the messages out again.
    """
    state = TurnState(machine, key, nonce, policy or Policy(), traits or Traits(), list(deliveries))
    try:
        yield from load_first(state)
        for _ in range(MAX_CONFLICTS):
            try:
                return (yield from _run_until_acked(state))
            except ConflictError:
                if state.claimed:
                    return TurnEnd.LOST
                yield from reload(state)
        return (yield from release_deliveries(state, 0.0))
    except LeaseLostError:
        return TurnEnd.LOST


def _run_until_acked(state: TurnState) -> Commands[TurnEnd]:
    while state.deliveries:
        end = yield from _run_to_next_commit(state)
        if end is not None:
            return end
    return TurnEnd.DONE


def _run_to_next_commit(state: TurnState) -> Commands[TurnEnd | None]:
    """One stretch of the way, up to the next commit and what it owes; an end only if not all was acknowledged.

    What fails before the commit is a failure of the message in hand. The commit stands whatever comes after it.
    """
    if (unknown := _unknown_version(state)) is not None:
        return (yield from release_deliveries(state, _version_wait(state), str(unknown)))
    wait = _wait_for_open_turn(state)
    if wait is not None:
        return (yield from release_deliveries(state, wait))
    if _has_many_receives(state):
        return (yield from record_failure(state, _received(state), then_release=False))
    try:
        outcome = yield from _next_step(state)
    except MESSAGE_FAILURES as error:
        return (yield from record_failure(state, str(error)))
    return (yield from finish_commit(state, outcome)) if isinstance(outcome, AfterCommit) else outcome


def _next_step(state: TurnState) -> Commands[TurnEnd | AfterCommit | None]:
    entries = _outbox_of_these_deliveries(state)
    if entries:  # committed under these deliveries by a worker that may have died before it did them
        return (yield from finish_step(state, entries))
    if _is_of_another_definition(state):
        return (yield from _rearm_timers(state))
    record = state.record
    if record.halted or (record.turn is None and record.redriving is None):
        return (yield from _apply_batch(state))
    if record.turn is None:
        return (yield from _apply_dead_letter(state))
    return (yield from _resume_open_turn(state))


# What was left behind


def _unknown_version(state: TurnState) -> VersionUnknownError | None:
    """Return the error of a record that another version of the machine has written and this one must not touch."""
    snapshot = state.record.snapshot
    error = snapshot.error if isinstance(snapshot, Unreadable) else None
    return error if isinstance(error, VersionUnknownError) else None


def _version_wait(state: TurnState) -> float:
    """For how long messages are left to a host that knows their record's version: longer each time, but no lease."""
    return min(state.policy.backoff.wait(state.head.attempt + 1).total_seconds(), state.policy.lease)


def _is_of_another_definition(state: TurnState) -> bool:
    record = state.record
    return (
        record.armed_for[0] != state.machine.fingerprint
        and isinstance(record.snapshot, Snapshot)
        and record.snapshot.status == "active"
        and not record.halted
    )


def _is_over(state: TurnState) -> bool:
    """Whether the open turn has settled already; the turn of an adoption may begin so."""
    snapshot = state.record.snapshot
    return isinstance(snapshot, Snapshot) and is_settled(state.machine, snapshot)


def _rearm_timers(state: TurnState) -> Commands[AfterCommit | None]:
    record = state.record if state.record.turn else evolve(state.record, outbox=())
    record, notes = rearm_timers(state.context(), record)
    if notes:
        return (yield from commit(state, record, fresh=record.outbox, progress=False, notes=tuple(notes)))
    state.record = record
    return None


def _wait_for_open_turn(state: TurnState) -> float | None:
    """For how long these messages must wait for the record's open turn; None if it can be gone on with, or is none."""
    turn = state.record.turn
    if turn is None or state.claimed or state.record.halted:
        return None
    if not state.is_in_hand(turn.message.id) and state.now < turn.lease:
        return turn.lease - state.now
    interrupted = any(actor.started_by is not None for actor in turn.actors)
    wait = _next_wake(state.record, state.now) - state.now
    is_stuck = turn.inbox or interrupted or _is_of_another_definition(state) or _is_over(state)
    return None if is_stuck or wait <= 0 else wait


def _next_wake(record: Record, now: float) -> float:
    """When the open turn has something to do by itself: a timer is due, or a call may be tried again."""
    actors = record.turn.actors if record.turn else ()
    wakes = [timer.due for timer in record.timers.values()]
    wakes += [actor.not_before for actor in actors if actor.started_by is None]
    return min(wakes, default=now)


def _has_many_receives(state: TurnState) -> bool:
    """Whether a failure is to be committed before anything is computed: workers seem to die of this message."""
    if state.receives_counted or state.record.halted:
        return False
    state.receives_counted = True
    return _receives(state) > state.policy.max_receives and _is_unfinished(state)


def _receives(state: TurnState) -> int:
    """Count how often the head was received since its last progress."""
    seen, head = state.record.receives, state.head
    return head.attempt - (seen.count if seen and seen.id == head.message.id else 0)


def _received(state: TurnState) -> str:
    return f"received {_receives(state)} times without progress"


def _is_unfinished(state: TurnState) -> bool:
    known = state.record.window.outcome(state.head.message) is not None
    return not known or state.record.turn is not None or bool(_outbox_of_these_deliveries(state))


def _outbox_of_these_deliveries(state: TurnState) -> tuple[OutboxEntry, ...]:
    """What the record owes under the deliveries in hand; all of it, where nobody else can be meant."""
    record = state.record
    if record.halted:
        return ()
    if record.redriving is not None or record.turn is not None:
        return record.outbox
    return tuple(entry for entry in record.outbox if state.is_in_hand(entry.delivery_id))


# New messages, and those taken from the dead letters


def _apply_batch(state: TurnState) -> Commands[AfterCommit | None]:
    """Apply as many messages in one commit as settle without running anything; one that does not is the last."""
    is_free = state.record.halted is not None or not state.record.outbox
    before = state.record if is_free else evolve(state.record, outbox=())
    record, done, bury = before, list[Delivery](), list[DeadLetter]()
    for delivery in state.deliveries[: 1 if state.one_by_one else None]:
        try:
            applied = apply(state.context(delivery), record, delivery.message, delivery.position)
        except MESSAGE_FAILURES:
            if done:
                break
            raise
        record = applied.record
        bury += [applied.dead_letter] if applied.dead_letter else []
        if record.turn is not None and not record.halted:
            break
        done.append(delivery)
    if record is before and not state.is_fresh:
        yield from reload(state)
        return None
    if record is before:
        return (yield from finish_step(state, (), tuple(done)))
    fresh = () if record.halted else record.outbox
    return (yield from _commit_batch(state, record, tuple(done), tuple(bury), fresh))


def _commit_batch(
    state: TurnState,
    record: Record,
    done: tuple[Delivery, ...],
    bury: tuple[DeadLetter, ...],
    fresh: tuple[OutboxEntry, ...],
) -> Commands[AfterCommit | None]:
    version = state.version
    try:
        owing = yield from commit(state, record, done, bury, fresh=fresh)
    except (LogicError, TooLargeError):
        if state.one_by_one or state.version != version:
            raise
        state.one_by_one = True
        return None
    state.one_by_one = False
    return owing


def _apply_dead_letter(state: TurnState) -> Commands[AfterCommit]:
    """A redrive is under way: the oldest dead letter is taken.

    It leaves its place in the commit that applies it; if its turn is left open, when it is found to be known.
    """
    found = (yield from load_dead_letters(state.key)).dead_letters if state.record.redriving else ()
    if not found:
        return (yield from commit(state, evolve(state.record, redriving=None)))
    applied = apply(state.context(), evolve(state.record, outbox=()), found[0].message, from_dead_letters=True)
    record = applied.record
    if record.turn is not None:
        return (
            yield from commit(
                state, evolve(record, turn=evolve(record.turn, from_dead_letters=True)), fresh=record.outbox
            )
        )
    bury = (applied.dead_letter,) if applied.dead_letter else ()
    return (yield from commit(state, _one_fewer_to_redrive(record), bury=bury, unbury=1, fresh=record.outbox))


def _one_fewer_to_redrive(record: Record) -> Record:
    """The redrive ends by a commit of its own: until then whoever comes next performs what its last letter owes."""
    return evolve(record, redriving=max(0, (record.redriving or 0) - 1))


# The open turn


def _resume_open_turn(state: TurnState) -> Commands[TurnEnd | AfterCommit | None]:
    """Take the next event of the open turn, or start what is ready, or wait for what runs."""
    record = _take_over_actors(state, state.record)
    # What was adopted may be settled from the first: then its turn is over before any of its timers is looked at.
    is_over = not _inbox(record) and is_settled(state.machine, record.readable_snapshot())
    if not _inbox(record) and not is_over:
        record = take_due_timer(state.context(), record)
    if _inbox(record) or is_over:
        return (yield from _drain_inbox(state, record))
    ready = any(actor.started_by is None and actor.not_before <= state.now for actor in state.open_turn.actors)
    if record is not state.record or ready:
        return (yield from commit(state, record, fresh=record.outbox, progress=False))
    return (yield from _wait_for_actor(state))


def _inbox(record: Record) -> tuple[Json, ...]:
    return record.turn.inbox if record.turn else ()


def _take_over_actors(state: TurnState, record: Record) -> Record:
    """What another worker had started runs again under its key, or counts as failed: one of these at a time."""
    for actor in state.open_turn.actors:
        if actor.started_by in (None, state.nonce):
            continue
        if _function_actor(state, actor).interruption == "rerun":
            record = replace_actor(
                record, evolve(actor, attempt=actor.attempt + 1, started_by=None, not_before=state.now)
            )
        elif not _inbox(record):
            record = end_actor(record, actor, error_event(actor.id, _INTERRUPTED))
    return record


_INTERRUPTED: Json = {
    "name": "Interrupted",
    "message": "its worker was lost; whether it has happened, or still will, is unknown",
}


def _function_actor(state: TurnState, actor: PendingActor) -> Actor:
    logic = state.machine.actor(actor.src)
    if isinstance(logic, Machine):
        raise RecordError(
            f"{state.key}: the actor {actor.src!r} was a function when it was started, and is a machine now"
        )
    return logic


def _drain_inbox(state: TurnState, record: Record) -> Commands[AfterCommit]:
    """Take what lies in the inbox. If that fails, the inbox is kept: what has run need not run again."""
    state.record, finished = record, state.open_turn
    record = advance_open_turn(state.context(), evolve(record, outbox=()))
    if record.turn is not None:
        return (yield from commit(state, record, fresh=record.outbox))
    done = (state.head,) if finished.message.id == state.head.message.id else ()
    return (yield from commit(state, record, done, fresh=record.outbox))


def _wait_for_actor(state: TurnState) -> Commands[TurnEnd | AfterCommit | None]:
    """Wait for the next call to end; with none running, park: give the messages back until there is something to do."""
    running = tuple(actor for actor in state.open_turn.actors if actor.started_by == state.nonce)
    wake = _next_wake(state.record, state.now)
    if not running:
        return (yield from release_deliveries(state, max(0.0, wake - state.now)))
    invocations = tuple(_actor_call(state, actor) for actor in running)
    answer = yield from run_actors(state.key, invocations, wake if wake > state.now else None, state.version)
    state.now = answer.now
    if answer.result is not None:
        return (yield from _record_result(state, answer.result))
    return (yield from release_deliveries(state, 0.0)) if answer.interrupted else None


def _actor_call(state: TurnState, actor: PendingActor) -> ActorCall:
    name = idempotency_key(state.key, state.open_turn.nonce, state.open_turn.ordinal, actor.index)
    return ActorCall(actor.id, actor.src, actor.input, name, actor.attempt)


def _record_result(state: TurnState, result: ActorResult) -> Commands[AfterCommit]:
    """A call has ended: for good, and the machine is told; or it will be tried again, and the record is."""
    actor = next(actor for actor in state.open_turn.actors if actor.id == result.id)
    retry = _function_actor(state, actor).retry
    if not result.ok and actor.attempt < retry.attempts:
        due = state.now + retry.wait(actor.attempt + 1).total_seconds()
        again = evolve(actor, attempt=actor.attempt + 1, not_before=due, started_by=None)
        return (yield from commit(state, replace_actor(state.record, again)))
    return (yield from _drain_inbox(state, end_actor(state.record, actor, _end_of(actor, result))))


def _end_of(actor: PendingActor, result: ActorResult) -> Json:
    fault = fault_in(result.data, "output")
    if fault is not None:
        return error_event(actor.id, {"name": "TypeError", "message": f"{actor.src}: {fault}"})
    return done_event(actor.id, result.data) if result.ok else error_event(actor.id, result.data)
