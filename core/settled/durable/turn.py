"""The turn: it takes the messages of one key through their instance, without I/O.

A turn is a generator of commands. It decides; a driver performs. The same generator runs under threads, an event loop,
a Lambda and a simulator, so what is proven of it in one of them holds in all.

Three rules:

- No effect is performed before the step that asked for it is committed, and no message is acknowledged while an effect
  recorded under it remains.
- Until an effect was performed, the turn may be computed again from a newer record, because the core is pure.
  Afterwards a conflict means that another worker has the turn, and this one drops it.
- A machine that has not settled takes no new event: a worker that finds an open turn finishes it first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from settled._fast_frozen import evolve
from settled.durable.apply import apply
from settled.durable.commands import Commands, ReleaseReason, load_dead_letters
from settled.durable.commit import AfterCommit, commit, finish_outbox, perform_and_ack, record_failure
from settled.durable.delays import rearm_timers
from settled.durable.open_turn import is_of_another_definition, resume_open_turn, wait_for_open_turn
from settled.durable.policy import Policy, TurnEnd
from settled.durable.ports import DeadLetter, Delivery, Traits
from settled.durable.record import OutboxEntry, Record, UnreadableSnapshot
from settled.durable.turn_state import TurnState, load_first, release_deliveries, reload
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

MAX_CONFLICTS = 100
"""How many times a turn starts over before it releases its messages. Each time, another worker has made progress."""

MESSAGE_FAILURES = (LogicError, EventError, RecordError, TooLargeError)
"""Errors of the machine's code, its snapshot or its size: each counts as a failure of the current message."""


def turn(
    machine: Machine[Any],
    key: Key,
    deliveries: Sequence[Delivery],
    nonce: str,
    policy: Policy | None = None,
    traits: Traits | None = None,
) -> Commands[TurnEnd]:
    """Take the messages of `deliveries` through the instance `key`.

    Args:
        machine: the machine that `key` is an instance of.
        key: the key of the instance.
        deliveries: messages of `key`, in the order of its queue.
        nonce: text that no other turn was given and that cannot be guessed. A turn recognises its own commits by it,
            and the keys of its effects contain it.
        policy: the turn's limits and waits.
        traits: what the backend declares beyond the contract.

    Raises:
        RecordError: the record cannot be read at all.
        UnavailableError, OutcomeUnknownError, TooLargeError, BackendRefusedError: a port raised it. The queue delivers
            the messages again.
    """
    state = TurnState(machine, key, nonce, policy or Policy(), traits or Traits(), list(deliveries))
    try:
        yield from load_first(state)
        for _ in range(MAX_CONFLICTS):
            try:
                return (yield from _run_until_acked(state))
            except ConflictError:
                # A claimed turn may have performed effects. The worker whose commit came first goes on with it, and
                # performs what remains; to compute it again here would perform effects that no commit asked for.
                if state.claimed:
                    return TurnEnd.LOST
                yield from reload(state)
        return (yield from release_deliveries(state, 0.0, ReleaseReason.CONFLICTS))
    except LeaseLostError:
        return TurnEnd.LOST


def _run_until_acked(state: TurnState) -> Commands[TurnEnd]:
    while state.deliveries:
        end = yield from _run_to_next_commit(state)
        if end is not None:
            return end
    return TurnEnd.DONE


def _run_to_next_commit(state: TurnState) -> Commands[TurnEnd | None]:
    """Advance the turn to its next commit. Return how the turn ended, or None if it can continue."""
    if (unknown := _unknown_version(state)) is not None:
        return (yield from release_deliveries(state, _version_wait(state), ReleaseReason.OTHER_VERSION, str(unknown)))
    if (wait := wait_for_open_turn(state)) is not None:
        return (yield from release_deliveries(state, *wait))
    # Before anything is computed, or the machine's code might kill this worker too before the failure is counted.
    if _is_stuck(state):
        reason = f"received {_receives(state)} times without progress"
        return (yield from record_failure(state, reason, then_release=False))
    try:
        outcome = yield from _next_step(state)
    except MESSAGE_FAILURES as error:
        return (yield from record_failure(state, str(error)))
    # Outside the `try`: from here on the commit stands, whatever happens to what remains.
    return (yield from perform_and_ack(state, outcome)) if isinstance(outcome, AfterCommit) else outcome


def _next_step(state: TurnState) -> Commands[TurnEnd | AfterCommit | None]:
    entries = _outbox_of_these_deliveries(state)
    if entries:  # an earlier worker has committed them, and may have died before it finished them
        return (yield from finish_outbox(state, entries))
    if is_of_another_definition(state):
        return (yield from _rearm_timers(state))
    record = state.record
    if record.halted or (record.turn is None and record.redriving is None):
        return (yield from _apply_batch(state))
    if record.turn is None:
        return (yield from _apply_dead_letter(state))
    return (yield from resume_open_turn(state))


# Records that are not ready for new messages


def _unknown_version(state: TurnState) -> VersionUnknownError | None:
    """Return why this machine must not touch the record: a version that it does not know has written it."""
    snapshot = state.record.snapshot
    error = snapshot.error if isinstance(snapshot, UnreadableSnapshot) else None
    return error if isinstance(error, VersionUnknownError) else None


def _version_wait(state: TurnState) -> float:
    """Return for how long to leave the messages to a host that knows the record's version, in seconds."""
    # Longer each time, so that the two hosts of a deploy do not pass the messages back and forth; but never
    # longer than a lease.
    return min(state.policy.backoff.wait(state.head.attempt + 1).total_seconds(), state.policy.lease.total_seconds())


def _rearm_timers(state: TurnState) -> Commands[AfterCommit | None]:
    record = state.record if state.record.turn else evolve(state.record, outbox=())
    record, notes = rearm_timers(state.context(), record)
    if notes:
        return (yield from commit(state, record, new_entries=record.outbox, made_progress=False, notes=tuple(notes)))
    state.record = record
    return None


def _is_stuck(state: TurnState) -> bool:
    """Return whether the first message was received so often without progress that it seems to kill its workers."""
    if state.receives_counted or state.record.halted:
        return False
    state.receives_counted = True
    if _receives(state) <= state.policy.max_receives:
        return False
    is_known = state.record.window.outcome_of_message(state.head.message) is not None
    return not is_known or state.record.turn is not None or bool(_outbox_of_these_deliveries(state))


def _receives(state: TurnState) -> int:
    """Count how many times the first message was received since it last made progress."""
    seen, head = state.record.receives, state.head
    return head.attempt - (seen.count if seen and seen.id == head.message.id else 0)


def _outbox_of_these_deliveries(state: TurnState) -> tuple[OutboxEntry, ...]:
    """Return the outbox entries to finish now: those of the deliveries; all while a turn or a redrive is open."""
    record = state.record
    if record.halted:
        return ()
    # An open turn and a redrive belong to one worker at a time, so every entry is this worker's to finish. Otherwise
    # an entry of another message is finished by the worker to whom the queue delivers that message.
    if record.redriving is not None or record.turn is not None:
        return record.outbox
    return tuple(entry for entry in record.outbox if state.has_delivery_of(entry.message_id))


# New messages, and those taken from the dead letters


def _apply_batch(state: TurnState) -> Commands[AfterCommit | None]:
    """Apply messages until one leaves its turn open or fails, and commit them together."""
    # Entries of earlier deliveries were finished: the queue never delivers past an unacknowledged message. A halted
    # instance keeps them for its redrive.
    keeps_outbox = state.record.halted is not None or not state.record.outbox
    before = state.record if keeps_outbox else evolve(state.record, outbox=())
    record, done, add_dead_letters = before, list[Delivery](), list[DeadLetter]()
    for delivery in state.deliveries[: 1 if state.one_by_one else None]:
        try:
            applied = apply(state.context(delivery), record, delivery.message, delivery.position)
        except MESSAGE_FAILURES:
            if done:
                break  # commit the ones before it first; then it fails alone, and only its own failure is counted
            raise
        record = applied.record
        add_dead_letters += [applied.dead_letter] if applied.dead_letter else []
        if record.turn is not None and not record.halted:
            break
        done.append(delivery)
    if record is before and not state.is_fresh:
        # Nothing to commit, so no conflict would tell that the cached record is out of date.
        yield from reload(state)
        return None
    if record is before:
        return (yield from finish_outbox(state, (), tuple(done)))
    new_entries = () if record.halted else record.outbox
    return (yield from _commit_batch(state, record, tuple(done), tuple(add_dead_letters), new_entries))


def _commit_batch(
    state: TurnState,
    record: Record,
    done: tuple[Delivery, ...],
    add_dead_letters: tuple[DeadLetter, ...],
    new_entries: tuple[OutboxEntry, ...],
) -> Commands[AfterCommit | None]:
    version = state.version
    try:
        after = yield from commit(state, record, done, add_dead_letters, new_entries=new_entries)
    except (LogicError, TooLargeError):
        # Together they are too large, or one of them made a context that is not JSON: apply them one to a commit, and
        # only the one that causes the error fails. If the version has changed, the commit stands, and a later part was
        # refused.
        if state.one_by_one or state.version != version:
            raise
        state.one_by_one = True
        return None
    state.one_by_one = False
    return after


def _apply_dead_letter(state: TurnState) -> Commands[AfterCommit]:
    """Apply the oldest dead letter; the redrive ends when none is left.

    The commit that applies it also removes it. If its turn stays open, it is removed once it is found to be known.
    """
    found = (yield from load_dead_letters(state.key)).dead_letters if state.record.redriving else ()
    if not found:
        return (yield from commit(state, evolve(state.record, redriving=None)))
    applied = apply(state.context(), evolve(state.record, outbox=()), found[0].message, from_dead_letters=True)
    record = applied.record
    if record.turn is not None:
        record = evolve(record, turn=evolve(record.turn, from_dead_letters=True))
        return (yield from commit(state, record, new_entries=record.outbox))
    add_dead_letters = (applied.dead_letter,) if applied.dead_letter else ()
    # At 0 the redrive is still on. It ends by a commit of its own: until then, the worker that comes next finishes the
    # outbox entries of the last dead letter.
    record = evolve(record, redriving=max(0, (record.redriving or 0) - 1))
    return (
        yield from commit(
            state, record, add_dead_letters=add_dead_letters, remove_dead_letters=1, new_entries=record.outbox
        )
    )
