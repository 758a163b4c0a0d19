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

from collections.abc import Callable, Sequence
from typing import Any

from settled._fast_frozen import evolve
from settled.durable.apply import apply
from settled.durable.commands import (
    ActorEnded,
    Commands,
    LoadDeadLetters,
    Release,
    ReleaseReason,
    RunActors,
    load_dead_letters,
)
from settled.durable.commit import (
    AfterWrite,
    TurnStep,
    perform_and_ack,
    record_failure,
    with_one_letter_less,
    write_smaller_step,
    write_step,
)
from settled.durable.delays import rearm_timers
from settled.durable.encoded import ENCODED_PREFIX, not_decoded
from settled.durable.messages import Message
from settled.durable.open_turn import (
    is_of_another_definition,
    resume_open_turn,
    step_after_actors,
    suspend,
    wait_for_open_turn,
)
from settled.durable.policy import Policy, TurnEnd
from settled.durable.ports import POSTPONED, DeadLetter, Delivery, Traits
from settled.durable.record import OutboxEntry, Record, UnreadableSnapshot
from settled.durable.release_delays import release_delay
from settled.durable.suspects import unwatch, unwatch_if_possible, vain_receives, watch
from settled.durable.turn_state import CachedRecord, TurnState, confirm_leases, load_record, release_of
from settled.errors import (
    CodecError,
    ConflictError,
    EventError,
    LeaseLostError,
    LogicError,
    RecordError,
    SettledError,
    TooLargeError,
    VersionUnknownError,
)
from settled.key import Key
from settled.machine import Machine

MAX_CONFLICTS = 100
"""How many times a turn starts over before it releases its messages. Each time, another worker has made progress."""

MESSAGE_FAILURES = (LogicError, EventError, RecordError, TooLargeError)
"""Errors of the machine's code, its snapshot or its size: each counts as a failure of the current message.

But not the `CodecError` among them: that is for whoever gives this process its keys, and no instance may halt for it.
"""


def turn(
    machine: Machine[Any],
    key: Key,
    deliveries: Sequence[Delivery],
    nonce: str,
    policy: Policy | None = None,
    traits: Traits | None = None,
    cached: CachedRecord | None = None,
    is_failure: Callable[[BaseException], bool] = lambda error: False,
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
        cached: the record that the caller has committed last, which saves the turn a load. It may be out of date.
        is_failure: returns whether an error that is no `Exception`, such as SystemExit, is a failure of the machine's
            code, and not the end of the process or task.

    Raises:
        RecordError: the record cannot be read at all, or a message of the instance (`CodecError`).
        UnavailableError, OutcomeUnknownError, TooLargeError, BackendRefusedError: a port raised it. The queue delivers
            the messages again.
    """
    ids = frozenset([delivery.message.id for delivery in deliveries])
    state = TurnState(
        machine, key, nonce, policy or Policy(), traits or Traits(), is_failure, deliveries, ids, deliveries[0]
    )
    try:
        for _ in range(MAX_CONFLICTS):
            try:
                end = yield from (_load(state) if cached is None else _commit_on(state, cached))
                while end is None and state.deliveries:
                    end = yield from _advance(state)
                return end or TurnEnd.DONE
            except ConflictError:
                # Its open turn may have performed effects. The worker whose commit came first goes on with it, and
                # performs what remains; to compute it again here would perform effects that no commit asked for.
                if state.owns_open_turn:
                    return TurnEnd.LOST
                cached = None
        delay = release_delay(ReleaseReason.CONFLICTS, vain_receives(state) + 1)
        yield release_of(state, delay, ReleaseReason.CONFLICTS)
        return TurnEnd.RELEASED
    except LeaseLostError:
        return TurnEnd.LOST
    except SettledError:
        yield from unwatch_if_possible(state)
        raise


# The record: cached or loaded


def _commit_on(state: TurnState, cached: CachedRecord) -> Commands[TurnEnd | None]:
    """Take the first step on `cached` if that is a commit, or else load the record.

    Raises:
        ConflictError: `cached` is out of date.
    """
    state.record, state.version, state.now = cached.record, cached.version, cached.now
    if not state.traits.fenced:
        yield from confirm_leases(state)
    # A commit compares versions. Anything else would rest on a record that may be out of date: a message might be
    # dropped as stale whose timer another worker has started, or a failure counted that did not happen.
    try:
        step = _next_step(state) if state.first.attempt <= state.policy.receives_before_watch else None
        if not isinstance(step, TurnStep) or step.record is None:
            return (yield from _load(state))
        after = yield from write_step(state, step)
    except MESSAGE_FAILURES:
        return (yield from _load(state))
    except BaseException as error:
        if isinstance(error, Exception | GeneratorExit) or not state.is_failure(error):
            raise
        return (yield from _load(state))
    return (yield from perform_and_ack(state, after)) if after is not None else None


def _load(state: TurnState) -> Commands[TurnEnd | None]:
    """Load the record. Return how the turn ended if the record is not ready for new messages."""
    # Before anything is watched or counted: that it waits for a key is no failure.
    _check_decoded(state.first.message)
    yield from load_record(state)
    release = _unknown_version(state) or wait_for_open_turn(state)
    if release is not None:
        yield release
        return TurnEnd.RELEASED
    return None


def _unknown_version(state: TurnState) -> Release | None:
    """Return the release of the deliveries if a version that this machine does not know has written the record."""
    snapshot = state.record.snapshot
    if not isinstance(snapshot, UnreadableSnapshot) or not isinstance(snapshot.error, VersionUnknownError):
        return None
    # Longer each time: the hosts of a deploy pass the messages back and forth until one is found that knows them.
    delay = release_delay(ReleaseReason.OTHER_VERSION, vain_receives(state) + 1)
    return release_of(state, delay, ReleaseReason.OTHER_VERSION, str(snapshot.error))


# The steps


def _advance(state: TurnState) -> Commands[TurnEnd | None]:
    """Take the next step of the turn. Return how the turn ended, or None if it can continue."""
    try:
        # Before anything is computed: the machine's code might end this worker.
        if _may_have_to_watch(state) and (end := (yield from watch(state))) is not None:
            return end
        step: TurnStep | LoadDeadLetters | RunActors | Release | None = _next_step(state)
        dead_letters: Sequence[DeadLetter] | None = None
        if isinstance(step, LoadDeadLetters):
            dead_letters = yield from _dead_letters(state)
            step = _dead_letter_step(state, dead_letters)
        elif isinstance(step, RunActors):
            answer = yield step
            assert isinstance(answer, ActorEnded)
            state.now = answer.now
            step = step_after_actors(state, answer)
        if isinstance(step, Release):
            yield from unwatch(state)
            yield step
            return TurnEnd.RELEASED
        after = (yield from _write(state, step, dead_letters)) if step is not None else None
    except CodecError:
        raise
    except MESSAGE_FAILURES as error:
        if state.record.halted and isinstance(error, TooLargeError):
            raise  # halted it is already; in the next turn, the messages of this one need not be remembered any more
        return (yield from record_failure(state, str(error)))
    except BaseException as error:
        if isinstance(error, Exception | GeneratorExit) or not state.is_failure(error):
            raise
        return (yield from record_failure(state, f"{type(error).__name__}: {error}"))
    # Outside the `try`: from here on the commit stands, whatever happens to what remains.
    return (yield from perform_and_ack(state, after)) if after is not None else None


def _may_have_to_watch(state: TurnState) -> bool:
    return (
        state.first.attempt > state.policy.receives_before_watch
        or state.record.watch is not None
        or state.alone_until is not None
    )


def _next_step(state: TurnState) -> TurnStep | LoadDeadLetters | RunActors | Release:
    record = state.record
    entries = _outbox_of_these_deliveries(state) if record.outbox else ()
    if entries:  # an earlier worker has committed them, and may have died before it finished them
        return TurnStep(None, entries=entries)
    is_by_another = record.fingerprint != state.machine.fingerprint or record.armed is not None
    if is_by_another and is_of_another_definition(state) and (rearming := _rearm_timers(state)) is not None:
        return rearming
    is_open = record.turn is not None and not record.halted
    suspended = suspend(state) if is_open else None
    if is_open and suspended is None:
        return resume_open_turn(state)
    if is_open or record.halted or (record.redriving is None and record.postponed is None):
        # Of several messages that are applied at once, it would not be known which one has ended the worker.
        return _apply_batch(state, suspended or record, limit=1 if state.is_watched else None)
    return TurnStep(evolve(record, redriving=None)) if record.redriving == 0 else LoadDeadLetters(state.key)


def _write(
    state: TurnState, step: TurnStep, dead_letters: Sequence[DeadLetter] | None = None
) -> Commands[AfterWrite | None]:
    """Write `step`, or what can be written of it; `dead_letters` are those before it, if they are known."""
    version = state.version
    try:
        after = yield from write_step(state, step)
    except (LogicError, TooLargeError) as error:
        # If the version has changed, the commit stands, and a later part was refused.
        if step.record is None or state.version != version:
            raise
        is_single = len(step.done) + _is_current(step.record) < 2
        if is_single and (isinstance(error, LogicError) or not step.add_dead_letters):
            raise
        refused = error
    else:
        if dead_letters is not None:
            left = (*dead_letters[step.remove_dead_letters :], *step.add_dead_letters)
            state.dead_letters = state.version, left
        return after
    # Together they are too large, or one of them made a context that is not JSON: apply the first one by itself, and
    # only the one that causes the error fails. A message that is set aside is not to fail, whatever its size.
    if not is_single:
        suspended = suspend(state) if _is_open(state.record) else None
        step = _apply_batch(state, suspended or state.record, limit=1)
        try:
            return (yield from write_step(state, step))
        except TooLargeError as error:
            if state.version != version or not step.add_dead_letters:
                raise
            refused = error
    return (yield from write_smaller_step(state, refused, step))


def _is_open(record: Record) -> bool:
    return record.turn is not None and not record.halted


def _is_current(record: Record) -> bool:
    """Return whether `record` has an open turn whose message may be what makes it too large."""
    return _is_open(record) and record.suspension is None


def _rearm_timers(state: TurnState) -> TurnStep | None:
    record = state.record if state.record.turn else evolve(state.record, outbox=())
    record, notes = rearm_timers(state.context(), record)
    if notes:
        return TurnStep(record, entries=record.outbox, made_progress=False, notes=tuple(notes))
    state.record = record
    return None


def _outbox_of_these_deliveries(state: TurnState) -> tuple[OutboxEntry, ...]:
    """Return the outbox entries to finish now: those of the deliveries; all while a turn or a redrive is open."""
    record = state.record
    if record.halted:
        return ()
    # An open turn and dead letters are taken by one worker at a time, so every entry is this worker's to finish.
    # Otherwise an entry of another message is finished by the worker to whom the queue delivers that message.
    if record.turn is not None or record.redriving is not None or record.postponed is not None:
        return record.outbox
    ids = {delivery.message.id for delivery in state.deliveries}
    return tuple([entry for entry in record.outbox if entry.message_id in ids])


def _check_decoded(message: Message) -> None:
    if message.body.startswith(ENCODED_PREFIX):
        raise not_decoded(message.key, f"the message {message.id}", message.body)


# New messages, and those taken from the dead letters


def _apply_batch(state: TurnState, onto: Record, limit: int | None = None) -> TurnStep:
    """Apply messages to `onto`, up to `limit`, until one leaves its turn open or fails; they are committed together.

    `onto` is the record, or the record with its open turn suspended, which is then committed too.
    """
    # Entries of earlier deliveries were finished: the queue never delivers past an unacknowledged message. A halted
    # instance keeps them for its redrive.
    is_new = onto is not state.record
    before = onto if is_new or onto.halted or not onto.outbox else evolve(onto, outbox=())
    record, done, add_dead_letters = before, list[Delivery](), list[DeadLetter]()
    for delivery in state.deliveries[:limit]:
        try:
            _check_decoded(delivery.message)
            applied = apply(state.context(delivery), record, delivery.message, delivery.position)
        except MESSAGE_FAILURES:
            if done:
                break  # commit the ones before it first; then it fails alone, and only its own failure is counted
            raise
        record = applied.record
        if applied.dead_letter:
            add_dead_letters.append(applied.dead_letter)
        if record.turn is not None and not record.halted and record.suspension is None:
            break
        done.append(delivery)
    if record is before and not is_new:
        return TurnStep(None, tuple(done))
    return TurnStep(record, tuple(done), () if record.halted else record.outbox, tuple(add_dead_letters))


def _dead_letters(state: TurnState) -> Commands[Sequence[DeadLetter]]:
    """Return the dead letters as of `state.version`: loaded, unless the commit before this step was about them too."""
    version, known = state.dead_letters
    return known if version == state.version else (yield from load_dead_letters(state.key)).dead_letters


def _dead_letter_step(state: TurnState, dead_letters: Sequence[DeadLetter]) -> TurnStep:
    """Return the next step of a redrive, or of taking what was postponed; it ends when nothing is left to take."""
    record = state.record
    if record.redriving is not None:
        return _taking_step(state, dead_letters[0]) if dead_letters else TurnStep(evolve(record, redriving=None))
    for each in dead_letters:
        _check_decoded(each.message)  # nor is its reason decoded then, and whether it was postponed is not known
    if not record.postponed:
        is_needed = any(each.reason == POSTPONED for each in dead_letters)
        return TurnStep(evolve(record, postponed=len(dead_letters) if is_needed else None))
    if not dead_letters:
        return TurnStep(evolve(record, postponed=0))
    oldest = dead_letters[0]
    if oldest.reason == POSTPONED:
        return _taking_step(state, oldest)
    # It is for an operator. A store removes from the head only, so it goes behind the others. Once all were looked
    # through, those that are left are in their former order.
    record = with_one_letter_less(record)
    return TurnStep(record, add_dead_letters=(oldest,), remove_dead_letters=1)


def _taking_step(state: TurnState, oldest: DeadLetter) -> TurnStep:
    """Apply the oldest dead letter.

    The commit that applies it also removes it. If its turn stays open, it is removed once that is over.
    """
    message = oldest.message
    _check_decoded(message)
    context = state.context()._replace(headers=message.headers)
    was_postponed = state.record.redriving is None
    before = evolve(state.record, outbox=())
    applied = apply(context, before, message, from_dead_letters=True, was_postponed=was_postponed)
    record = applied.record
    if record.turn is not None:
        # The window may have forgotten it before it is removed: others may be placed before it until then.
        taken = (*record.taken_dead_letters, message.entry)
        record = evolve(record, turn=evolve(record.turn, from_dead_letters=True), taken_dead_letters=taken)
        return TurnStep(record, entries=record.outbox)
    add_dead_letters = (applied.dead_letter,) if applied.dead_letter else ()
    return TurnStep(with_one_letter_less(record), (), record.outbox, add_dead_letters, remove_dead_letters=1)
