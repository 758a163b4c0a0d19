"""Commits: write a record and all that goes with it, and deal with failures and lost answers.

The order is the law. In one write: the commit; then messages and timers; then the acknowledgements of what no action
was recorded under. After it the actions are performed, and the rest is acknowledged. Failures are counted by commits
too, because the queue counts receives, and a receive is not a failure. A commit whose answer was lost is looked up in
the store: the record's nonce tells whose commit it is.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from settled._fast_frozen import evolve
from settled.chart.snapshot import Snapshot
from settled.durable.children import snapshot_source
from settled.durable.commands import (
    ActionsPerformed,
    Commands,
    Done,
    Finish,
    Loaded,
    LostWorker,
    PerformActions,
    ReleaseReason,
    load,
    load_dead_letters,
)
from settled.durable.messages import Event, Message, Timer, decode
from settled.durable.policy import TurnEnd
from settled.durable.ports import POSTPONED, CommitConflictError, DeadLetter, Delivery, Position, Stored, Write
from settled.durable.record import (
    CancelTimer,
    FailureCount,
    OutboxEntry,
    PendingActor,
    PerformAction,
    ReceiveCount,
    Record,
    Watch,
)
from settled.durable.record_json import record_to_stored
from settled.durable.record_text import MIN_CHARACTERS_WITH_ROOM
from settled.durable.smaller import MIN_DETAIL_CHARACTERS, smaller_records, without_body
from settled.durable.turn_state import TurnState, release_of
from settled.durable.window import Outcome, Window
from settled.errors import (
    BackendRefusedError,
    ConflictError,
    LeaseLostError,
    OutcomeUnknownError,
    SettledError,
    TooLargeError,
)

MAX_LOST_ANSWERS = 5
"""How many answers to one write may be lost in a row before the turn gives up."""

MAX_DETAIL_CHARACTERS = 1000
"""How much of an error's text a record keeps, so that errors cannot make it outgrow the store."""

KEEP_LESS = "let the machine keep less in its context, such as the address of data that is stored elsewhere"
"""The remedy for a record that is too large."""


@frozen
class TurnStep:
    """One write of a turn: the record to commit, and all that goes with it.

    Attributes:
        record: the record to commit; None to commit nothing.
        done: the deliveries that need not be delivered again once their outbox entries are finished.
        entries: the outbox entries to finish with this write: all those of the steps in `record`.
        add_dead_letters: messages that become dead letters.
        remove_dead_letters: how many of the oldest dead letters are removed.
        made_progress: whether the turn has come further. Only then is a new count of receives begun.
        notes: changes that no message asked for, described for observers.
        watch: what is run next of the machine's code, if that is to be noted in the record.
        lost: what a worker ran alone when it was lost, if this step counts that.
    """

    record: Record | None
    done: tuple[Delivery, ...] = ()
    entries: tuple[OutboxEntry, ...] = ()
    add_dead_letters: tuple[DeadLetter, ...] = ()
    remove_dead_letters: int = 0
    made_progress: bool = True
    notes: tuple[str, ...] = ()
    watch: Watch | None = None
    lost: LostWorker | None = None


@frozen
class AfterWrite:
    """The work that remains after the write of a step: perform `actions`, and acknowledge `acks` after that."""

    actions: tuple[OutboxEntry, ...]
    acks: tuple[Delivery, ...]


def write_step(state: TurnState, step: TurnStep) -> Commands[AfterWrite | None]:
    """Commit the record of `step`, and with the same write send, schedule, cancel and acknowledge what can be by then.

    Return the work that remains, if any.

    Raises:
        LogicError: the context is not JSON. Nothing was written.
        TooLargeError: the record has outgrown the store. Nothing was written.
    """
    entries, acks = step.entries, step.done
    actions = tuple([entry for entry in entries if entry.item.__class__ is PerformAction]) if entries else ()
    if actions:
        acks = _acked_before(actions, acks)
    record = step.record
    if record is None and step.done and state.record.watch is not None:
        record = state.record  # nothing else would remove it
    if record is None:
        record, write = state.record, Write(state.key, acks=acks)
    else:
        next_version = state.next_version
        record = _stamped(state, step, record, f"{state.nonce}.{next_version}", has_actions=bool(actions))
        if state.traits.atomic and len(entries) > len(actions):
            # A write that is atomic sends with the commit, so the record need not keep what it has sent.
            record = evolve(record, outbox=_without_sent(record.outbox, entries))
        stored = record_to_stored(state.machine, record, next_version, state.now)
        dead_letters = step.add_dead_letters, step.remove_dead_letters
        write = Write(state.key, stored, state.version, *dead_letters, acks=acks, holder=state.deliveries[0])
    if len(entries) > len(actions):
        write = _with_outbox(write, entries)
    version = state.version
    try:
        yield from _finish(state, write, record, step.notes, step.lost)
    except TooLargeError as error:
        if state.version != version:
            raise
        raise TooLargeError(f"{error}: {KEEP_LESS}") from error
    if len(entries) > len(actions):
        state.record = evolve(state.record, outbox=_without_sent(state.record.outbox, entries))
    if state.is_watched and write.stored is not None:
        state.is_watched = bool(actions) or not step.made_progress
    return AfterWrite(actions, step.done[len(acks) :]) if actions else None


def write_smaller_step(state: TurnState, refused: SettledError, *steps: TurnStep) -> Commands[AfterWrite | None]:
    """Do `write_step` for the first of `steps` that the store takes with less in its record or in its dead letters.

    Args:
        state: the turn.
        refused: the error with which the store has refused them as they are.
        steps: the steps.

    Raises:
        TooLargeError: the store has refused all of them.
    """
    version = state.version
    for smaller in (smaller for step in steps for smaller in _smaller_steps(state, step)):
        try:
            return (yield from write_step(state, smaller))
        except TooLargeError as error:
            if state.version != version:
                raise  # the commit stands; the store refused something that came after it
            refused = error
    raise refused


def _smaller_steps(state: TurnState, step: TurnStep) -> Iterator[TurnStep]:
    record, dead_letters = step.record, step.add_dead_letters
    assert record is not None, "only what is stored can be too large"
    records = [record]
    if record.halted or record.failing:
        # Only what is no longer pinned may leave the window.
        record = evolve(record, window=record.window.unpin(state.delivered, state.record.window.pinned))
        size = len(record_to_stored(state.machine, record, state.next_version, state.now).body)
        records = list(smaller_records(record, without_oldest=size >= MIN_CHARACTERS_WITH_ROOM))
        yield from (evolve(step, record=each) for each in records)
    without_bodies = tuple([without_body(each) for each in dead_letters])
    if without_bodies != dead_letters:
        for each in records:
            smaller = evolve(each, window=_without_lost(each.window, dead_letters, without_bodies))
            yield evolve(step, record=smaller, add_dead_letters=without_bodies)


def _without_lost(window: Window, before: tuple[DeadLetter, ...], after: tuple[DeadLetter, ...]) -> Window:
    """Return `window` without the postponed messages that are not whole any more: nothing will take them."""
    for letter, smaller in zip(before, after, strict=True):
        if letter.reason == POSTPONED != smaller.reason:
            window = window.add(letter.message, Outcome.DEAD_LETTERED, reason=smaller.reason)
    return window


def perform_and_ack(state: TurnState, after: AfterWrite) -> Commands[TurnEnd | None]:
    """Perform the actions of a step, then acknowledge. A failed action counts as a failure of its message."""
    actions = after.actions
    answer = yield PerformActions(
        state.key,
        tuple([entry.item for entry in actions if isinstance(entry.item, PerformAction)]),
        state.record.readable_snapshot(),
        state.version,
    )
    assert isinstance(answer, ActionsPerformed)
    state.now = answer.now
    performed = actions[: answer.performed]
    outbox = state.record.outbox
    left = () if len(performed) == len(outbox) else tuple([entry for entry in outbox if entry not in performed])
    state.record = evolve(state.record, outbox=left)
    if answer.error is not None:
        return (yield from record_failure(state, answer.error, actions[answer.performed].message_id))
    if state.record.watch is not None:
        state.is_watched = False
        yield from write_step(state, TurnStep(state.record, done=after.acks))
    elif after.acks:
        yield from _finish(state, Write(state.key, acks=after.acks), state.record)
    return None


def _stamped(state: TurnState, step: TurnStep, record: Record, nonce: str, *, has_actions: bool) -> Record:
    """Return `record` as it is committed: claimed by this turn, with its `nonce`, window and high-water mark."""
    if record.turn is not None:
        record = _claim(state, record, step.made_progress)
    if record.watch is not None or step.watch is not None:
        is_kept = state.is_watched and not record.halted and (has_actions or not step.made_progress)
        record = evolve(record, watch=step.watch or (record.watch if is_kept else None))
    return evolve(
        record,
        high_water_mark=_next_mark(state, record, step.done),
        nonce=nonce,
        # Compared with the ids that were pinned before: what lay ahead of these deliveries was acknowledged.
        window=record.window.unpin(state.delivered, state.record.window.pinned),
    )


def _next_mark(state: TurnState, record: Record, done: tuple[Delivery, ...]) -> Position | None:
    last = done[-1] if done else state.deliveries[0]
    position, mark = last.position, record.high_water_mark
    if position is None or (mark is not None and mark.epoch == position.epoch and position.number <= mark.number):
        return mark
    is_taken = done or (record.turn is not None and record.turn.message.id == last.message.id)
    return position if is_taken or record.window.outcome_of_message(last.message) else mark


def _claim(state: TurnState, record: Record, made_progress: bool) -> Record:
    """Claim the open turn of `record`, if there is one, and mark its actors that are ready as started by this turn."""
    if record.turn is None or record.halted:
        return record
    # An actor is marked as started before it starts. After a crash it may have run or not, and the next worker goes by
    # the actor's own `interruption`; marked afterwards, it would run twice undetected.
    actors = tuple(
        evolve(actor, started_by=state.nonce) if actor.started_by is None and actor.not_before <= state.now else actor
        for actor in record.turn.actors
    )
    if state.alone_until is not None:
        actors = _with_one_claim(state, record.turn.actors, actors)
    turn = evolve(record.turn, actors=actors, lease_until=state.now + state.policy.lease.total_seconds())
    head = state.deliveries[0]
    receives = ReceiveCount(head.message.id, head.attempt) if made_progress else record.receives
    return evolve(record, turn=turn, receives=receives)


def _with_one_claim(
    state: TurnState, before: tuple[PendingActor, ...], claimed: tuple[PendingActor, ...]
) -> tuple[PendingActor, ...]:
    """Return `before` with one actor claimed, as in `claimed`, at most: this worker runs one thing at a time."""
    first = next((index for index, actor in enumerate(claimed) if actor.started_by == state.nonce), None)
    is_running = any(actor.started_by == state.nonce for actor in before)
    if first is None or is_running:
        return before
    return (*before[:first], claimed[first], *before[first + 1 :])


def _acked_before(actions: tuple[OutboxEntry, ...], done: tuple[Delivery, ...]) -> tuple[Delivery, ...]:
    """Return the deliveries at the beginning of `done` that may be acknowledged before `actions` are performed."""
    # An acknowledgement with an action still to be performed would lose the action in a crash: only a message that
    # is delivered again brings back a worker that looks into the outbox.
    for count, delivery in enumerate(done):
        for entry in actions:
            if entry.message_id == delivery.message.id:
                return done[:count]
    return done


def _without_sent(outbox: tuple[OutboxEntry, ...], sent: tuple[OutboxEntry, ...]) -> tuple[OutboxEntry, ...]:
    """Return `outbox` without the entries of `sent`, except actions: a write does not perform those."""
    return tuple([entry for entry in outbox if entry not in sent or isinstance(entry.item, PerformAction)])


def _with_outbox(write: Write, entries: tuple[OutboxEntry, ...]) -> Write:
    items = [entry.item for entry in entries]
    return evolve(
        write,
        sends=tuple([item for item in items if isinstance(item, Message)]),
        timers=tuple([item for item in items if isinstance(item, Timer)]),
        cancels=tuple([item.id for item in items if isinstance(item, CancelTimer)]),
    )


def _finish(
    state: TurnState, write: Write, record: Record, notes: tuple[str, ...] = (), lost: LostWorker | None = None
) -> Commands[None]:
    """Do all of `write`, whatever answers are lost. `state.record` becomes `record` with the commit, not before."""
    for _ in range(MAX_LOST_ANSWERS):
        try:
            version = state.version if write.stored is None else write.stored.version
            answer = yield Finish(write, record, notes, version, lost)
        except (ConflictError, LeaseLostError, OutcomeUnknownError, TooLargeError, BackendRefusedError) as error:
            if write.stored is None:
                raise
            write = yield from _resolve_lost_commit(state, write, write.stored, record, error)
            if write.stored is None and isinstance(error, TooLargeError | BackendRefusedError):
                raise  # the commit stands, and a later part of the write was refused: repeating it would not help
            continue
        assert isinstance(answer, Done)
        state.now = answer.now
        if write.stored is not None:
            state.record, state.version = record, write.stored.version
        # `acks` are the first of the deliveries: nothing is acknowledged ahead of its turn.
        state.deliveries = state.deliveries[len(write.acks) :]
        return
    raise OutcomeUnknownError(f"{state.key}: the answers of {MAX_LOST_ANSWERS} writes in a row were lost")


def _resolve_lost_commit(
    state: TurnState,
    write: Write,
    stored: Stored,
    record: Record,
    error: ConflictError | LeaseLostError | OutcomeUnknownError | TooLargeError | BackendRefusedError,
) -> Commands[Write]:
    """Return what is still to be written after `error`: everything but the commit, if that is already in the store."""
    if state.traits.atomic and isinstance(error, TooLargeError | BackendRefusedError):
        raise error
    if isinstance(error, CommitConflictError):
        loaded = Loaded(error.stored, error.now)
    else:
        loaded = yield from load(state.key)
    state.now, found = loaded.now, loaded.stored
    # The body contains the nonce, which no other commit has. So a conflict may be this turn's own commit: its answer
    # was lost, and the vendor's client or a proxy has repeated the request.
    if found is not None and found.version == stored.version and found.body == stored.body:
        state.record, state.version = record, stored.version
        return evolve(write, stored=None, add_dead_letters=(), remove_dead_letters=0)
    if isinstance(error, OutcomeUnknownError) and (found.version if found else 0) == write.expected:
        return write
    if isinstance(error, ConflictError | OutcomeUnknownError):
        state.found = loaded
    if isinstance(error, OutcomeUnknownError):
        raise ConflictError(f"{state.key}: another commit came first") from error
    raise error


def record_failure(
    state: TurnState, detail: str, message_id: str | None = None, lost: LostWorker | None = None
) -> Commands[TurnEnd | None]:
    """Count a failure of a message; after its last attempt make it a dead letter, and halt the instance or go on.

    The commit keeps the open turn and every outbox entry that is not finished.

    Args:
        state: the turn.
        detail: the error's text.
        message_id: the id of the message that failed, if that is not the current message.
        lost: what the worker ran that was lost, if that is the failure. The next attempt is then made at once; after
            others, the deliveries are returned to the queue.
    """
    state.is_watched = False  # the failure is known, so whatever was run has not ended this worker
    message, version = _current_message(state, message_id), state.version
    count = _failure_count(state, message, detail[:MAX_DETAIL_CHARACTERS])
    is_last = count.count >= state.policy.max_attempts
    skipping = (yield from _skipping_step(state, message, count, detail)) if is_last else None
    try:
        step = skipping or _failing_step(state, message, count, detail, is_last=is_last)
        yield from write_step(state, evolve(step, lost=lost))
    except TooLargeError as refused:
        if state.version != version:
            raise  # the commit stands; the store refused something that came after it
        # Uncounted, the message would fail for ever. So texts make room for the count, and so does the result of an
        # actor that has just ended: it may be what is too large, and then its actor runs again.
        state.record = state.committed
        count = evolve(count, detail=detail[:MIN_DETAIL_CHARACTERS])
        failing = _failing_step(state, message, count, None, is_last=is_last)
        steps = (failing,) if skipping is None else (skipping, failing)
        yield from write_smaller_step(state, refused, *(evolve(step, lost=lost) for step in steps))
    if is_last or lost is not None:
        return None
    wait = state.policy.backoff.wait(count.count + 1).total_seconds()
    detail = f"{count.count} of {state.policy.max_attempts} times, now with {count.detail}"
    yield release_of(state, wait, ReleaseReason.FAILED, detail)
    return TurnEnd.RELEASED


def _failure_count(state: TurnState, message: Message, detail: str) -> FailureCount:
    before = state.record.failing
    return FailureCount(message.id, 1 + (before.count if before and before.id == message.id else 0), detail)


def _failing_step(
    state: TurnState, message: Message, failing: FailureCount, reason: str | None, *, is_last: bool
) -> TurnStep:
    """Return the step that counts one more failure of `message`, or halts the instance if it `is_last`."""
    if is_last:
        return _halting_step(state, message, failing, reason)
    head = state.deliveries[0]
    record = evolve(state.record, failing=failing, receives=ReceiveCount(head.message.id, head.attempt))
    return TurnStep(record, made_progress=False)


def _current_message(state: TurnState, message_id: str | None) -> Message:
    named = next((each.message for each in state.deliveries if each.message.id == message_id), None)
    if named is not None:
        return named
    return state.deliveries[0].message if state.record.turn is None else state.record.turn.message


def _skipping_step(
    state: TurnState, message: Message, failing: FailureCount, reason: str | None
) -> Commands[TurnStep | None]:
    """Return the step that makes `message` a dead letter and goes on; None if the instance has to be halted."""
    record = state.record
    # What cannot be read fails every event alike; and an open turn or a taken message has had effects.
    if state.policy.failed_events != "skip" or record.turn is not None or not isinstance(record.snapshot, Snapshot):
        return None
    # Before a dead letter is taken, the effects of the one before it are performed: with any left, they have failed.
    is_redriven = bool(record.postponed if record.redriving is None else record.redriving) and not record.outbox
    if is_redriven:  # what has failed is the oldest dead letter, and not the message that woke the worker
        message = (yield from load_dead_letters(state.key)).dead_letters[0].message
    elif record.takes_dead_letters or record.window.outcome_of_message(message) is not None:
        return None
    content = decode(message.body)
    if not isinstance(content, Event) or snapshot_source(content) is not None:
        return None
    window = record.window.add(message, Outcome.DEAD_LETTERED, reason=reason)
    record = evolve(record, window=window, failing=None, receives=None)
    dead_letters = (_dead_letter(state, message, failing),)
    if is_redriven:  # from the head of the dead letters to their end
        return TurnStep(with_one_letter_less(record), add_dead_letters=dead_letters, remove_dead_letters=1)
    return TurnStep(record, done=(state.deliveries[0],), add_dead_letters=dead_letters)


def with_one_letter_less(record: Record) -> Record:
    """Return `record`, whose redrive, or whose postponed messages, have one dead letter less to take."""
    # At 0 they are not over. They end by a commit of their own: until then, the worker that comes next finishes the
    # outbox entries of the last dead letter.
    if record.redriving is not None:
        return evolve(record, redriving=max(0, record.redriving - 1))
    return evolve(record, postponed=max(0, (record.postponed or 0) - 1))


def _dead_letter(state: TurnState, message: Message, failing: FailureCount) -> DeadLetter:
    return DeadLetter(message, f"failed {failing.count} times", state.now, failing.detail)


def _halting_step(state: TurnState, message: Message, failing: FailureCount, reason: str | None) -> TurnStep:
    record, turn = state.record, state.record.turn
    # A message that a redrive took from the dead letters is still among them, and must not be added a second time.
    is_dead_letter = record.takes_dead_letters if turn is None else turn.from_dead_letters
    is_known = record.window.outcome_of_message(message) is not None
    if not is_dead_letter and not is_known:
        record = evolve(record, window=record.window.add(message, Outcome.DEAD_LETTERED, reason=reason))
    if not is_dead_letter and (is_known or (turn is not None and turn.message.entry == message.entry)):
        record = evolve(record, taken_dead_letters=(*record.taken_dead_letters, message.entry))
    record = evolve(
        record,
        turn=turn and evolve(turn, from_dead_letters=True, suspension=None),
        window=record.window.without_postponed() if record.postponed is not None else record.window,
        failing=None,
        receives=None,
        halted=f"{message.id} failed {failing.count} times, at last with {failing.detail}",
        redriving=None,
        postponed=None,
    )
    return TurnStep(record, add_dead_letters=() if is_dead_letter else (_dead_letter(state, message, failing),))
