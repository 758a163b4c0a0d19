"""The ledger: what a message, and what comes up inside a turn, does to a record.

Pure bookkeeping: a record and a message go in, a record comes out. When to commit it, and what to perform then, is for
the turn to say.
"""

from __future__ import annotations

from typing import Any, TypeAlias, assert_never

from attrs import frozen

from settled._fast_frozen import evolve
from settled.chart.settled_tags import REJECT, RESOLVE
from settled.data import Json
from settled.durable.apply_context import ApplyContext, open_turn
from settled.durable.children import (
    has_said_all,
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
from settled.durable.messages import (
    ChildEnded,
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
    check_start,
    decode,
    encode,
)
from settled.durable.outbox import (
    cancel_timer,
    enqueue_delayed_send,
    enqueue_effects,
    next_due_timer,
    postpone_timer,
    remove_fired_timer,
    schedule_timers,
)
from settled.durable.ports import Position
from settled.durable.record import OpenTurn, PendingActor, Record, timer_message
from settled.durable.restore import restore
from settled.durable.window import IN_DEAD_LETTERS, Outcome
from settled.errors import EventError, LogicError
from settled.key import Key
from settled.progress import Progress, done_event, drain_inbox, error_event, initial_progress, is_settled, take_event

Applicable: TypeAlias = (
    Start | ImportChild | Event | TimerFired | ChildEnded | StopChildInstance | RegisterSystemId | ForwardToSystemId
)
"""The contents that change a record: all but a nudge."""


@frozen
class Drop:
    """Nothing to do: the message is known, stale, or a mere nudge. It can be acknowledged."""


@frozen
class Note:
    """Nothing to apply, but the outcome is to be remembered."""

    outcome: Outcome


@frozen
class Refuse:
    """The message is to be set aside, and `reason` says why."""

    outcome: Outcome
    reason: str


@frozen
class Accept:
    """The message is to be applied."""

    content: Applicable


Verdict = Drop | Note | Refuse | Accept


def examine(
    context: ApplyContext, record: Record, message: Message, position: Position | None = None, dead_letter: bool = False
) -> Verdict:
    """Judge what `message` is to this record, before anything is computed.

    Args:
        position: where it stands in its queue, if that numbers its messages.
        letter: it is taken from the dead letters.
    """
    try:
        content = decode(message.body)
    except EventError as error:
        return Drop() if _is_known(record, message, None, dead_letter) else Refuse(Outcome.INVALID, str(error))
    # What was set aside stood in its place when it was: who has passed it since, or has ended, says nothing of it.
    sender = content.sender if isinstance(content, Event | ForwardToSystemId) and not dead_letter else None
    is_new = not record.window.digests_of(message.id)
    is_known = (not is_new or sender is not None) and _is_known(record, message, sender, dead_letter)
    if isinstance(content, Wake) or is_known or _is_stale(context, record, content, sender):
        return Drop()
    if record.has_passed(position):
        return Refuse(Outcome.INVALID, _why_passed(record, position))
    if not is_new and record.window.is_reused(message):
        return Refuse(Outcome.INVALID, f"the id {message.id!r} is that of another message, with another body")
    if record.halted:
        return Refuse(Outcome.DEAD_LETTERED, f"halted: {record.halted}")
    return _judge(context, record, content)


def _why_passed(record: Record, position: Position | None) -> str:
    # Who was left behind with it does not come so far: the hand-out counts, and so the queue contradicts the record.
    assert record.high_water_mark is not None and position is not None
    return (
        f"it stands at {position.number} of its queue, where all up to "
        f"{record.high_water_mark.number} were taken, but its id is "
        "not known: perhaps it was taken, perhaps not"
    )


def _is_known(record: Record, message: Message, sender: SenderPosition | None, dead_letter: bool) -> bool:
    outcome = record.window.outcome(message, sender)
    return outcome is not None and not (dead_letter and outcome in IN_DEAD_LETTERS)


def _is_stale(context: ApplyContext, record: Record, content: Applicable, sender: SenderPosition | None) -> bool:
    if sender is not None and has_said_all(record, sender):
        return True
    match content:
        case TimerFired(token, _):
            return token not in record.timers
        case ChildEnded(child, generation):
            return not _is_child(record, child, generation) and generation not in record.detached
        case StopChildInstance(generation):
            return record.parent is None or record.parent.generation != generation
        case Event(_, SenderPosition() as sender) if (shown := snapshot_source(content)) is not None:
            return not is_from_child(context, shown, sender)
        case Start() | ImportChild() | Event() | RegisterSystemId() | ForwardToSystemId():
            return False
        case _:
            assert_never(content)


def _is_child(record: Record, id: str, generation: str) -> bool:
    return id in record.children and record.children[id].generation == generation


def _judge(context: ApplyContext, record: Record, content: Applicable) -> Verdict:
    if isinstance(content, Start | ImportChild):
        return _judge_beginning(context, record, content)
    if record.snapshot is None:
        return Refuse(Outcome.INVALID, f"{context.key} was never started")
    if record.readable_snapshot().status != "active":
        return Note(Outcome.IGNORED)
    if isinstance(content, Event) and snapshot_source(content) is None:
        try:
            context.machine.admit(content.event)
        except EventError as error:
            return Refuse(Outcome.INVALID, str(error))
    if isinstance(content, ForwardToSystemId) and not isinstance(resolve_address(record, content.system_id), Key):
        return Refuse(Outcome.INVALID, f"{context.key}: nobody in its system goes by {content.system_id!r}")
    return Accept(content)


def _judge_beginning(context: ApplyContext, record: Record, content: Start | ImportChild) -> Verdict:
    if record.snapshot is not None:
        return Note(Outcome.IGNORED)
    if content.parent is None:
        try:
            check_start(context.key)
        except EventError as error:
            return Refuse(Outcome.INVALID, str(error))
    return Accept(content)


def accept(context: ApplyContext, record: Record, message: Message, content: Applicable) -> Record:
    """`record` once `message` was applied: settled, or with its turn left open.

    Raises:
        LogicError: the machine's own code failed; `record` stands as it was.
    """
    match content:
        case Start(input, parent):
            return _start(context, record, message, input, parent)
        case ImportChild(tree, parent):
            return _import_child(context, record, message, tree, parent)
        case Event(event, sender):
            return _step(context, record, message, event, sender)
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
        birth=context.nonce,
        ordinal=1,
        snapshot=progress.snapshot,
        turn=OpenTurn(message, 0, progress.index, context.nonce, lease=context.lease_until),
        parent=parent,
        version=context.machine.version,
        fingerprint=context.machine.fingerprint,
        armed=None,
    )
    return _enter_progress(context, record, progress)


def _import_child(context: ApplyContext, record: Record, message: Message, tree: Json, parent: Parent) -> Record:
    record = restore(context, evolve(record, parent=parent), message, tree)
    record = send_snapshot_to_parent(context, record, record.readable_snapshot())
    return (
        _close_turn(context, record, open_turn(record))
        if is_settled(context.machine, record.readable_snapshot())
        else record
    )


def _end_child(context: ApplyContext, record: Record, message: Message, report: ChildEnded) -> Record:
    child = report.child
    event = done_event(child, report.data) if report.done else error_event(child, report.data)
    if _is_child(record, child, report.generation):
        return _step(context, remove_child(context, record, child), message, event)
    return _step(context, remove_detached_child(record, report.generation), message, event, is_parting=True)


def _step(
    context: ApplyContext,
    record: Record,
    message: Message,
    event: Json,
    sender: SenderPosition | None = None,
    *,
    is_parting: bool = False,
) -> Record:
    step = take_event(context.machine, Progress(record.readable_snapshot()), event, is_detached=is_parting)
    progress = drain_inbox(context.machine, step)
    turn = OpenTurn(message, record.ordinal, progress.index, context.nonce, lease=context.lease_until)
    record = evolve(record, ordinal=record.ordinal + 1, snapshot=progress.snapshot, turn=turn)
    return _enter_progress(context, record, progress, sender)


def _fire_timers(context: ApplyContext, record: Record, message: Message, token: str, early: int) -> Record:
    """The timer `token` is due. What is due before it comes first, for the timers' port keeps no order among them.

    A turn that is left open looks at the timers that are due by itself.
    """
    due = record.timers[token].due
    if due > context.now:
        return postpone_timer(context, record, token, early)
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
    record = evolve(record, snapshot=evolve(record.readable_snapshot(), status="stopped"), ordinal=record.ordinal + 1)
    return _close_turn(context, record, OpenTurn(message, record.ordinal, 0, context.nonce))


def _forward(context: ApplyContext, record: Record, message: Message, forward: ForwardToSystemId) -> Record:
    target = resolve_address(record, forward.system_id)
    assert isinstance(target, Key), "an address that nobody has is refused before"
    passed = Message(target, message.id, encode(Event(forward.event, sender_position(context, record))))
    return _remember(context.add_to_outbox(record, passed), message, forward.sender)


def _remember(record: Record, message: Message, sender: SenderPosition | None = None) -> Record:
    kept = related_senders(record) if sender else ()
    return evolve(record, window=record.window.add(message, Outcome.TAKEN, sender, kept))


def advance_open_turn(context: ApplyContext, record: Record) -> Record:
    """`record` after its open turn has taken all that lies in its inbox: settled, or still open.

    Raises:
        LogicError: the machine's own code failed; `record` stands as it was, inbox included.
    """
    turn = open_turn(record)
    progress = drain_inbox(context.machine, Progress(record.readable_snapshot(), turn.inbox, index=turn.index))
    turn = evolve(turn, inbox=(), index=progress.index, lease=context.lease_until)
    return _enter_progress(context, evolve(record, snapshot=progress.snapshot, turn=turn), progress)


def _enter_progress(
    context: ApplyContext, record: Record, progress: Progress, sender: SenderPosition | None = None
) -> Record:
    """`record`, whose open turn has come as far as `progress`, with its effects entered; closed if it has settled."""
    record = _enqueue_effects(context, record, progress)
    posted = open_turn(record)
    if is_settled(context.machine, progress.snapshot):
        return _close_turn(context, record, posted, sender)
    if not posted.actors and not record.timers:
        raise LogicError(
            f"{context.key}: {progress.snapshot.value} is not settled and waits for nothing. "
            "Tag the node `settled`, or give it an `invoke`, an `always` or an `after`."
        )
    return record


def _enqueue_effects(context: ApplyContext, record: Record, progress: Progress) -> Record:
    if record.parent is None or not record.parent.sync:
        return enqueue_effects(context, record, progress.effects)
    begin = 0
    for snapshot, end in progress.steps:
        record = send_snapshot_to_parent(
            context, enqueue_effects(context, record, progress.effects[begin:end]), snapshot
        )
        begin = end
    return record


def take_due_timer(context: ApplyContext, record: Record) -> Record:
    """`record` with the first timer that is due, if one is, in the inbox of its open turn."""
    turn = open_turn(record)
    token = next_due_timer(record, context.now)
    if token is None:
        return record
    timer = record.timers[token]
    if timer.message is not None:
        return _remember(enqueue_delayed_send(context, record, token, timer.message), timer_message(context.key, token))
    return evolve(remove_fired_timer(record, token), turn=evolve(turn, inbox=(*turn.inbox, timer.event)))


def end_actor(record: Record, actor: PendingActor, event: Json) -> Record:
    """`record` with the end of `call` in the inbox of its open turn."""
    turn = open_turn(record)
    actors = tuple(other for other in turn.actors if other.id != actor.id)
    return evolve(record, turn=evolve(turn, actors=actors, inbox=(*turn.inbox, event)))


def replace_actor(record: Record, actor: PendingActor) -> Record:
    """`record` with `call` in the place of the one of the same id."""
    turn = open_turn(record)
    actors = tuple(actor if other.id == actor.id else other for other in turn.actors)
    return evolve(record, turn=evolve(turn, actors=actors))


def _close_turn(context: ApplyContext, record: Record, turn: OpenTurn, sender: SenderPosition | None = None) -> Record:
    """The turn is over: its timers go to the timers' port, its outcome into the window."""
    snapshot = record.readable_snapshot()
    kept = related_senders(record) if sender else ()
    window = record.window.add(turn.message, _outcome(snapshot), sender, kept)
    record = evolve(record, turn=None, window=window, failing=None, receives=None)
    return schedule_timers(context, record) if snapshot.status == "active" else _end_instance(context, record)


def _outcome(snapshot: Any) -> Outcome:
    if snapshot.status == "error":
        return Outcome.FAILED
    if snapshot.has_tag(REJECT):
        return Outcome.REJECTED
    return Outcome.RESOLVED if snapshot.has_tag(RESOLVE) else Outcome.TAKEN


def _end_instance(context: ApplyContext, record: Record) -> Record:
    """The machine has ended: its timers with it, its children too, and its parent is told."""
    for token in tuple(record.timers):
        record = cancel_timer(context, record, token)
    for child in tuple(record.children):
        record = stop_child(context, record, child)
    return report_to_parent(context, record)
