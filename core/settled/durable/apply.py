"""Apply messages to a record, and continue its open turn.

Pure bookkeeping: a record and a message go in, a record comes out. When to commit it, and which effects to perform
then, is for the turn to decide.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias, assert_never

from settled._fast_frozen import evolve
from settled.chart.snapshot import Snapshot
from settled.data import MAX_DEPTH, MAX_EVENT_DEPTH, Json, freeze
from settled.durable.apply_context import ApplyContext, open_turn
from settled.durable.children import (
    has_ended,
    is_from_child,
    related_senders,
    remove_child,
    remove_detached_child,
    report_to_parent,
    resolve_address,
    send_snapshot_to_parent,
    sender_position,
    snapshot_source,
    stop_child,
    with_system_id,
)
from settled.durable.limits import check_start
from settled.durable.messages import (
    RESERVED_PREFIX,
    ChildEnded,
    Content,
    Event,
    ForwardToSystemId,
    ImportChild,
    Message,
    Parent,
    RegisterSystemId,
    SenderPosition,
    Start,
    StopChildInstance,
    TimerFired,
    Wake,
    decode,
    encode,
)
from settled.durable.outbox import (
    cancel_timer,
    enqueue_delayed_send,
    enqueue_effects,
    next_due_timer,
    remove_fired_timer,
    reschedule_early_suspension,
    reschedule_early_timer,
    schedule_timers,
)
from settled.durable.ports import POSTPONED, DeadLetter, Position
from settled.durable.reasons import Cause, outcome_of, why_ignored, why_passed
from settled.durable.record import OpenTurn, PendingActor, Record, port_timer
from settled.durable.restore import restore
from settled.durable.window import IN_DEAD_LETTERS, Outcome
from settled.errors import EventError, LogicError
from settled.key import Key
from settled.progress import Progress, done_event, drain_inbox, error_event, initial_progress, is_settled, take_event

Applicable: TypeAlias = (
    Start | ImportChild | Event | TimerFired | ChildEnded | StopChildInstance | RegisterSystemId | ForwardToSystemId
)
"""The contents that can change a record: all but `Wake`."""


class ApplyResult(NamedTuple):
    """The record after a message, and the dead letter that the message became, if it did."""

    record: Record
    dead_letter: DeadLetter | None = None


def apply(
    context: ApplyContext,
    record: Record,
    message: Message,
    position: Position | None = None,
    *,
    from_dead_letters: bool = False,
    was_postponed: bool = False,
) -> ApplyResult:
    """Apply `message` to `record`: the instance ends up settled, or with its turn open.

    A message that is known or stale leaves `record` as it is, the very same object. While the open turn is suspended,
    the message is postponed.

    Args:
        context: the machine, the key, the time and the commit that is being prepared.
        record: the record before the message.
        message: the message to apply.
        position: its position in its queue, if the queue numbers its messages.
        from_dead_letters: whether it is taken from the dead letters.
        was_postponed: whether it is there because it was postponed, so that nothing newer was taken.

    Raises:
        LogicError: the machine's own code failed.
        RecordError: this machine cannot read the snapshot in `record`.
    """
    if from_dead_letters and message.entry in record.taken_dead_letters:
        others = tuple(entry for entry in record.taken_dead_letters if entry != message.entry)
        return ApplyResult(evolve(record, taken_dead_letters=others))
    if record.turn is not None and record.suspension is not None and record.turn.message.entry == message.entry:
        return ApplyResult(record)  # the record has it, and needs nobody to bring it back
    try:
        content = decode(message.body, MAX_DEPTH if message.id.startswith(RESERVED_PREFIX) else MAX_EVENT_DEPTH)
    except EventError as error:
        if _is_known(record, message, None, from_dead_letters):
            return ApplyResult(record)
        return _invalid(context, record, message, str(error))
    # A dead letter keeps the place it had among its sender's messages. By now the sender may have gone on, or have
    # ended, so its position says nothing about whether the dead letter was applied.
    is_in_order = was_postponed or not from_dead_letters
    sender = content.sender if isinstance(content, Event | ForwardToSystemId) and is_in_order else None
    # `digests_of` is one search in a text. Nearly every message is new, and so costs no more than that.
    has_new_id = not record.window.digests_of(message.id)
    is_known = (not has_new_id or sender is not None) and _is_known(record, message, sender, from_dead_letters)
    # An event of an outsider refers to nothing that could be gone.
    is_plain = isinstance(content, Event) and content.sender is None
    if isinstance(content, Wake) or is_known or (not is_plain and _is_stale(context, record, content, sender)):
        return ApplyResult(record)
    # Before the machine is asked: a message behind the high-water mark may have been applied, and its id forgotten.
    if record.has_passed(position):
        return _invalid(context, record, message, why_passed(record, position))
    if not has_new_id and record.window.is_reused(message):
        return _invalid(
            context, record, message, f"the id {message.id!r} belongs to another message, with another body"
        )
    if record.halted:
        if record.turn is not None and record.turn.message.entry == message.entry:
            record = evolve(record, taken_dead_letters=(*record.taken_dead_letters, message.entry))
        return _dead_letter(context, record, message, Outcome.DEAD_LETTERED, f"halted: {record.halted}")
    if record.turn is not None and record.suspension is not None:
        return _apply_to_suspended(context, record, message, content)
    snapshot = record.snapshot
    is_active = isinstance(snapshot, Snapshot) and snapshot.status == "active"
    if not (is_plain and is_active) and (ignored := why_ignored(record, content)) is not None:
        return ApplyResult(evolve(record, window=record.window.add(message, Outcome.IGNORED, reason=ignored)))
    if reason := _why_invalid(context, record, content):
        return _invalid(context, record, message, reason)
    return ApplyResult(_apply_content(context, record, message, content))


def _invalid(context: ApplyContext, record: Record, message: Message, reason: str) -> ApplyResult:
    return _dead_letter(context, record, message, Outcome.INVALID, reason)


def _dead_letter(context: ApplyContext, record: Record, message: Message, outcome: Outcome, reason: str) -> ApplyResult:
    record = evolve(record, window=record.window.add(message, outcome, reason=reason))
    return ApplyResult(record, DeadLetter(message, reason, context.now))


def _apply_to_suspended(context: ApplyContext, record: Record, message: Message, content: Content) -> ApplyResult:
    """Postpone `message`, or schedule the timer of the suspension again if that is what came, too early."""
    if isinstance(content, TimerFired) and _ends_suspension(record, content.token):
        return ApplyResult(reschedule_early_suspension(context, record, content.times_early))
    # What is wrong with it, if anything, is found when it is taken. A timer of the machine, too: the turn takes those
    # that are due by itself.
    record = evolve(record, window=record.window.add(message, Outcome.POSTPONED))
    detail = f"it waits for the turn of {open_turn(record).message.id}"
    return ApplyResult(record, DeadLetter(message, POSTPONED, context.now, detail))


def _ends_suspension(record: Record, token: str) -> bool:
    return record.suspension is not None and record.suspension.token == token


def _is_known(record: Record, message: Message, sender: SenderPosition | None, from_dead_letters: bool) -> bool:
    outcome = record.window.outcome_of_message(message, sender)
    return outcome is not None and not (from_dead_letters and outcome in IN_DEAD_LETTERS)


def _is_stale(context: ApplyContext, record: Record, content: Applicable, sender: SenderPosition | None) -> bool:
    """Return whether `content` refers to a timer, a child or a start of this instance that no longer exists."""
    if sender is not None and has_ended(record, sender):
        return True
    match content:
        case TimerFired(token, _):
            return token not in record.timers and not _ends_suspension(record, token)
        case ChildEnded(child, generation):
            return not _is_child(record, child, generation) and generation not in record.detached
        case StopChildInstance(generation):
            return record.parent is None or record.parent.generation != generation
        case Event(_, SenderPosition() as sender) if (source := snapshot_source(content)) is not None:
            return not is_from_child(context, source, sender)
        case Start() | ImportChild() | Event() | RegisterSystemId() | ForwardToSystemId():
            return False
        case _:
            assert_never(content)


def _is_child(record: Record, id: str, generation: str) -> bool:
    return id in record.children and record.children[id].generation == generation


def _why_invalid(context: ApplyContext, record: Record, content: Applicable) -> str | None:
    """Return why `content` cannot be applied to this instance; None if it can."""
    try:
        match content:
            case Start() | ImportChild():
                if content.parent is None:
                    check_start(context.key)
            case _ if record.snapshot is None:
                return f"{context.key} was never started"
            case Event(event, sender) if sender is None or snapshot_source(content) is None:
                context.machine.check_json_event(event)
            case ForwardToSystemId(system_id) if not isinstance(resolve_address(record, system_id), Key):
                return f"{context.key}: no actor in its system has the system id {system_id!r}"
            case _:
                pass
    except EventError as error:
        return str(error)
    return None


def _apply_content(context: ApplyContext, record: Record, message: Message, content: Applicable) -> Record:
    match content:
        case Start(input, parent):
            return _start(context, record, message, input, parent)
        case ImportChild(tree, parent):
            return _import_child(context, record, message, tree, parent)
        case Event(event, sender):
            is_judged = sender is None or snapshot_source(content) is None
            return _step(context, record, message, event, sender, is_judged=is_judged)
        case TimerFired(token, early):
            return _fire_timers(context, record, message, token, early)
        case ChildEnded():
            return _end_child(context, record, message, content)
        case StopChildInstance():
            return _stop(context, record, message)
        case RegisterSystemId():
            return _remember(with_system_id(context, record, content), message)
        case ForwardToSystemId():
            return _forward(context, record, message, content)
        case _:
            assert_never(content)


def _start(context: ApplyContext, record: Record, message: Message, input: Json, parent: Parent | None) -> Record:
    progress = drain_inbox(context.machine, initial_progress(context.machine, input))
    record = evolve(
        record,
        start_nonce=context.nonce,
        ordinal=1,
        snapshot=progress.snapshot,
        turn=OpenTurn(message, 0, progress.index, context.nonce, lease_until=context.lease_until, since=context.now),
        parent=parent,
        version=context.machine.version,
        fingerprint=context.machine.fingerprint,
        armed=None,
    )
    return _enter_progress(context, record, progress, is_settled(context.machine, progress.snapshot))


def _import_child(context: ApplyContext, record: Record, message: Message, tree: Json, parent: Parent) -> Record:
    record = restore(context, evolve(record, parent=parent), message, tree)
    snapshot = record.readable_snapshot()
    record = send_snapshot_to_parent(context, record, snapshot)
    return (
        _close_turn(context, record, open_turn(record), snapshot) if is_settled(context.machine, snapshot) else record
    )


def _end_child(context: ApplyContext, record: Record, message: Message, ended: ChildEnded) -> Record:
    child = ended.child
    event = done_event(child, ended.data) if ended.done else error_event(child, ended.data)
    if _is_child(record, child, ended.generation):
        return _step(context, remove_child(context, record, child), message, event)
    # The machine has stopped this child, or given its id to another, before it ended. XState still delivers the event.
    return _step(context, remove_detached_child(record, ended.generation), message, event, is_detached=True)


def _step(
    context: ApplyContext,
    record: Record,
    message: Message,
    event: Json,
    sender: SenderPosition | None = None,
    *,
    is_detached: bool = False,
    is_judged: bool = False,
) -> Record:
    """Take `event` in a turn of its own. If it `is_judged`, it counts as ignored where no transition takes it."""
    event, before = freeze(event), record.readable_snapshot()
    step = take_event(context.machine, Progress(before), event, is_detached=is_detached)
    progress = drain_inbox(context.machine, step)
    can_rest = is_settled(context.machine, progress.snapshot)
    # Only an event that has moved nothing may have changed nothing. The usual one costs no more than this comparison.
    is_moved = bool(step.effects) or step.snapshot.configuration is not before.configuration
    ignored = context.machine.explain(before, event) if is_judged and not is_moved else None
    cause = Cause(before, event, is_detached, ignored)
    # The keys of all effects of this turn contain this commit's nonce, however many commits the turn will take.
    turn = OpenTurn(
        message,
        record.ordinal,
        progress.index,
        context.nonce,
        lease_until=context.lease_until,
        since=context.now,
    )
    record = evolve(record, ordinal=record.ordinal + 1, snapshot=progress.snapshot, turn=turn)
    return _enter_progress(context, record, progress, can_rest, cause, sender)


def _fire_timers(context: ApplyContext, record: Record, message: Message, token: str, early: int) -> Record:
    """Fire the timer `token`, and before it every timer that was due earlier."""
    due = record.timers[token].due
    if due > context.now:
        return reschedule_early_timer(context, record, token, early)
    # The timers port delivers in any order, but the machine must see its delays in the order in which they ended.
    # Once a step leaves its turn open, that turn takes the other due timers itself (see `take_due_timer`).
    while token in record.timers and record.turn is None and record.readable_snapshot().status == "active":
        first = next_due_timer(record, due)
        assert first is not None, "at least `token` is due"
        record = _fire_timer(context, record, message, first)
    return record


def _fire_timer(context: ApplyContext, record: Record, message: Message, token: str) -> Record:
    timer = record.timers[token]
    if timer.message is not None:
        return _remember(enqueue_delayed_send(context, record, token, timer.message), message)
    return _step(context, remove_fired_timer(record, token), message, timer.event)


def _stop(context: ApplyContext, record: Record, message: Message) -> Record:
    snapshot = evolve(record.readable_snapshot(), status="stopped")
    record = evolve(record, snapshot=snapshot, ordinal=record.ordinal + 1)
    return _close_turn(context, record, OpenTurn(message, record.ordinal, 0, context.nonce), snapshot)


def _forward(context: ApplyContext, record: Record, message: Message, forward: ForwardToSystemId) -> Record:
    target = resolve_address(record, forward.system_id)
    assert isinstance(target, Key), "`_why_invalid` has found an actor with this system id"
    # It keeps its id, so that a message forwarded twice is one message to its target.
    forwarded = Message(target, message.id, encode(Event(forward.event, sender_position(context, record))))
    return _remember(context.add_to_outbox(record, forwarded), message, forward.sender)


def _remember(record: Record, message: Message, sender: SenderPosition | None = None) -> Record:
    kept = related_senders(record) if sender else ()
    return evolve(record, window=record.window.add(message, Outcome.TAKEN, sender, kept))


def advance_open_turn(context: ApplyContext, record: Record) -> Record:
    """Take every event in the inbox of the open turn; close the turn if the machine has settled.

    Raises:
        LogicError: the machine's own code failed. The caller keeps `record` as it was, inbox included.
    """
    turn, before = open_turn(record), record.readable_snapshot()
    cause = Cause(before, turn.inbox[0]) if turn.inbox else None
    progress = drain_inbox(context.machine, Progress(before, turn.inbox, index=turn.index))
    turn = evolve(turn, inbox=(), index=progress.index, lease_until=context.lease_until)
    record, can_rest = (
        evolve(record, snapshot=progress.snapshot, turn=turn),
        is_settled(context.machine, progress.snapshot),
    )
    return _enter_progress(context, record, progress, can_rest, cause)


def _enter_progress(
    context: ApplyContext,
    record: Record,
    progress: Progress,
    can_rest: bool,
    cause: Cause | None = None,
    sender: SenderPosition | None = None,
) -> Record:
    """Enter the effects of `progress` into the record, and close its turn if the machine `can_rest`."""
    if record.parent is not None and record.parent.sync:
        record = _enqueue_each_step(context, record, progress)
    elif progress.effects:
        record = enqueue_effects(context, record, progress.effects)
    turn = record.turn
    assert turn is not None, "a step leaves its turn open"
    if can_rest:
        return _close_turn(context, record, turn, progress.snapshot, cause, sender)
    if not turn.actors and not record.timers:
        raise LogicError(
            f"{context.key}: {progress.snapshot.value} is not settled and waits for nothing. "
            "Tag the node `settled`, or give it an `invoke`, an `always` or an `after`."
        )
    return record


def _enqueue_each_step(context: ApplyContext, record: Record, progress: Progress) -> Record:
    # The parent listens to snapshots: after the effects of each step, it is sent the snapshot of that step.
    begin = 0
    for snapshot, end in progress.steps:
        record = enqueue_effects(context, record, progress.effects[begin:end])
        record = send_snapshot_to_parent(context, record, snapshot)
        begin = end
    return record


def take_due_timer(context: ApplyContext, record: Record) -> Record:
    """Move the event of the timer that is due first, if any, into the inbox of the open turn."""
    turn = open_turn(record)
    token = next_due_timer(record, context.now)
    if token is None:
        return record
    timer = record.timers[token]
    if timer.message is not None:
        return _remember(
            enqueue_delayed_send(context, record, token, timer.message),
            port_timer(context.key, token, timer.due, timer.early).message,
        )
    return evolve(remove_fired_timer(record, token), turn=evolve(turn, inbox=(*turn.inbox, timer.event)))


def end_actor(record: Record, actor: PendingActor, event: Json) -> Record:
    """Remove `actor` from the open turn, and put `event`, which tells how it ended, into the turn's inbox."""
    turn = open_turn(record)
    actors = tuple(other for other in turn.actors if other.id != actor.id)
    return evolve(record, turn=evolve(turn, actors=actors, inbox=(*turn.inbox, event)))


def replace_actor(record: Record, actor: PendingActor) -> Record:
    """Put `actor` in the place of the one with its id."""
    turn = open_turn(record)
    actors = tuple(actor if other.id == actor.id else other for other in turn.actors)
    return evolve(record, turn=evolve(turn, actors=actors))


def _close_turn(
    context: ApplyContext,
    record: Record,
    turn: OpenTurn,
    snapshot: Snapshot[Any],
    cause: Cause | None = None,
    sender: SenderPosition | None = None,
) -> Record:
    kept = related_senders(record) if sender else ()
    outcome, reason = outcome_of(context.machine, snapshot, cause)
    window = record.window.add(turn.message, outcome, sender, kept, reason)
    record = evolve(record, turn=None, window=window, failing=None, receives=None)
    # While a turn is open it watches its timers itself; only those that outlive it go to the timers port.
    if snapshot.status != "active":
        return _end_instance(context, record)
    return schedule_timers(context, record) if record.timers else record


def _end_instance(context: ApplyContext, record: Record) -> Record:
    for token in tuple(record.timers):
        record = cancel_timer(context, record, token)
    for child in tuple(record.children):
        record = stop_child(context, record, child)
    return report_to_parent(context, record)
