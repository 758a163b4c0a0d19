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
from settled.durable.apply_context import Desk, open_turn
from settled.durable.children import (
    address,
    enlisted,
    forget_child,
    has_ended,
    is_seen,
    kin_of,
    show_parent,
    shown_by,
    stamped,
    stop_child,
    take_leave,
    tell_parent,
)
from settled.durable.messages import (
    Adopt,
    Due,
    Enlist,
    Event,
    Forward,
    Message,
    Nudge,
    Parent,
    Report,
    Stamp,
    Start,
    Stop,
    check_start,
    decode,
    encode,
)
from settled.durable.outbox import fired, first_due, forget_timer, hand_over_timers, post, put_off, relay
from settled.durable.ports import Position
from settled.durable.record import OpenTurn, PendingCall, Record, due_message
from settled.durable.restore import restore
from settled.durable.window import SET_ASIDE, Outcome
from settled.errors import EventError, LogicError
from settled.key import Key
from settled.progress import Progress, begin, done_event, drain, error_event, is_settled, take

Applicable: TypeAlias = Start | Adopt | Event | Due | Report | Stop | Enlist | Forward
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
    desk: Desk, record: Record, message: Message, position: Position | None = None, letter: bool = False
) -> Verdict:
    """Judge what `message` is to this record, before anything is computed.

    Args:
        position: where it stands in its queue, if that numbers its messages.
        letter: it is taken from the dead letters.
    """
    try:
        content = decode(message.body)
    except EventError as error:
        return Drop() if _is_known(record, message, None, letter) else Refuse(Outcome.REFUSED, str(error))
    # What was set aside stood in its place when it was: who has passed it since, or has ended, says nothing of it.
    stamp = content.stamp if isinstance(content, Event | Forward) and not letter else None
    is_new = not record.window.digests_of(message.id)
    is_known = (not is_new or stamp is not None) and _is_known(record, message, stamp, letter)
    if isinstance(content, Nudge) or is_known or _is_stale(desk, record, content, stamp):
        return Drop()
    if record.has_passed(position):
        return Refuse(Outcome.REFUSED, _why_passed(record, position))
    if not is_new and record.window.is_reused(message):
        return Refuse(Outcome.REFUSED, f"the id {message.id!r} is that of another message, with another body")
    if record.halted:
        return Refuse(Outcome.DEAD, f"halted: {record.halted}")
    return _judge(desk, record, content)


def _why_passed(record: Record, position: Position | None) -> str:
    # Who was left behind with it does not come so far: the hand-out counts, and so the queue contradicts the record.
    assert record.mark is not None and position is not None
    return (
        f"it stands at {position.number} of its queue, where all up to {record.mark.number} were taken, but its id is "
        "not known: perhaps it was taken, perhaps not"
    )


def _is_known(record: Record, message: Message, stamp: Stamp | None, letter: bool) -> bool:
    outcome = record.window.outcome(message, stamp)
    return outcome is not None and not (letter and outcome in SET_ASIDE)


def _is_stale(desk: Desk, record: Record, content: Applicable, stamp: Stamp | None) -> bool:
    if stamp is not None and has_ended(record, stamp):
        return True
    match content:
        case Due(token, _):
            return token not in record.timers
        case Report(child, generation):
            return not _is_child(record, child, generation) and generation not in record.parting
        case Stop(generation):
            return record.parent is None or record.parent.generation != generation
        case Event(_, Stamp() as sender) if (shown := shown_by(content)) is not None:
            return not is_seen(desk, shown, sender)
        case Start() | Adopt() | Event() | Enlist() | Forward():
            return False
        case _:
            assert_never(content)


def _is_child(record: Record, id: str, generation: str) -> bool:
    return id in record.children and record.children[id].generation == generation


def _judge(desk: Desk, record: Record, content: Applicable) -> Verdict:
    if isinstance(content, Start | Adopt):
        return _judge_beginning(desk, record, content)
    if record.snapshot is None:
        return Refuse(Outcome.REFUSED, f"{desk.key} was never started")
    if record.live().status != "active":
        return Note(Outcome.IGNORED)
    if isinstance(content, Event) and shown_by(content) is None:
        try:
            desk.machine.admit(content.event)
        except EventError as error:
            return Refuse(Outcome.REFUSED, str(error))
    if isinstance(content, Forward) and not isinstance(address(record, content.system_id), Key):
        return Refuse(Outcome.REFUSED, f"{desk.key}: nobody in its system goes by {content.system_id!r}")
    return Accept(content)


def _judge_beginning(desk: Desk, record: Record, content: Start | Adopt) -> Verdict:
    if record.snapshot is not None:
        return Note(Outcome.IGNORED)
    if content.parent is None:
        try:
            check_start(desk.key)
        except EventError as error:
            return Refuse(Outcome.REFUSED, str(error))
    return Accept(content)


def accept(desk: Desk, record: Record, message: Message, content: Applicable) -> Record:
    """`record` once `message` was applied: settled, or with its turn left open.

    Raises:
        LogicError: the machine's own code failed; `record` stands as it was.
    """
    match content:
        case Start(input, parent):
            return _start(desk, record, message, input, parent)
        case Adopt(tree, parent):
            return _adopt(desk, record, message, tree, parent)
        case Event(event, stamp):
            return _step(desk, record, message, event, stamp)
        case Due(token, early):
            return _fire(desk, record, message, token, early)
        case Report():
            return _hear_end(desk, record, message, content)
        case Stop():
            return _stop(desk, record, message)
        case Enlist():
            return _noted(enlisted(desk, record, content), message)
        case Forward():
            return _pass_on(desk, record, message, content)
        case _:
            assert_never(content)


def _start(desk: Desk, record: Record, message: Message, input: Json, parent: Parent | None) -> Record:
    progress = drain(desk.machine, begin(desk.machine, input))
    record = evolve(
        record,
        birth=desk.nonce,
        ordinal=1,
        snapshot=progress.snapshot,
        turn=OpenTurn(message, 0, progress.index, desk.nonce, lease=desk.lease),
        parent=parent,
        version=desk.machine.version,
        fingerprint=desk.machine.fingerprint,
        armed=None,
    )
    return _after(desk, record, progress)


def _adopt(desk: Desk, record: Record, message: Message, tree: Json, parent: Parent) -> Record:
    record = restore(desk, evolve(record, parent=parent), message, tree)
    record = show_parent(desk, record, record.live())
    return _close(desk, record, open_turn(record)) if is_settled(desk.machine, record.live()) else record


def _hear_end(desk: Desk, record: Record, message: Message, report: Report) -> Record:
    child = report.child
    event = done_event(child, report.data) if report.done else error_event(child, report.data)
    if _is_child(record, child, report.generation):
        return _step(desk, forget_child(desk, record, child), message, event)
    return _step(desk, take_leave(record, report.generation), message, event, is_parting=True)


def _step(
    desk: Desk, record: Record, message: Message, event: Json, stamp: Stamp | None = None, *, is_parting: bool = False
) -> Record:
    step = take(desk.machine, Progress(record.live()), event, is_parting=is_parting)
    progress = drain(desk.machine, step)
    turn = OpenTurn(message, record.ordinal, progress.index, desk.nonce, lease=desk.lease)
    record = evolve(record, ordinal=record.ordinal + 1, snapshot=progress.snapshot, turn=turn)
    return _after(desk, record, progress, stamp)


def _fire(desk: Desk, record: Record, message: Message, token: str, early: int) -> Record:
    """The timer `token` is due. What is due before it comes first, for the timers' port keeps no order among them.

    A turn that is left open looks at the timers that are due by itself.
    """
    due = record.timers[token].due
    if due > desk.now:
        return put_off(desk, record, token, early)
    while token in record.timers and record.turn is None and record.live().status == "active":
        first = first_due(record, due)
        assert first is not None, "at least `token` is due"
        record = _fire_one(desk, record, message, first)
    return record


def _fire_one(desk: Desk, record: Record, message: Message, token: str) -> Record:
    timer = record.timers[token]
    if timer.message is not None:
        return _noted(relay(desk, record, token, timer.message), message)
    return _step(desk, fired(record, token), message, timer.event)


def _stop(desk: Desk, record: Record, message: Message) -> Record:
    record = evolve(record, snapshot=evolve(record.live(), status="stopped"), ordinal=record.ordinal + 1)
    return _close(desk, record, OpenTurn(message, record.ordinal, 0, desk.nonce))


def _pass_on(desk: Desk, record: Record, message: Message, forward: Forward) -> Record:
    target = address(record, forward.system_id)
    assert isinstance(target, Key), "an address that nobody has is refused before"
    passed = Message(target, message.id, encode(Event(forward.event, stamped(desk, record))))
    return _noted(desk.owing(record, passed), message, forward.stamp)


def _noted(record: Record, message: Message, stamp: Stamp | None = None) -> Record:
    kin = kin_of(record) if stamp else ()
    return evolve(record, window=record.window.add(message, Outcome.TAKEN, stamp, kin))


def advance(desk: Desk, record: Record) -> Record:
    """`record` after its open turn has taken all that lies in its inbox: settled, or still open.

    Raises:
        LogicError: the machine's own code failed; `record` stands as it was, inbox included.
    """
    turn = open_turn(record)
    progress = drain(desk.machine, Progress(record.live(), turn.inbox, index=turn.index))
    turn = evolve(turn, inbox=(), index=progress.index, lease=desk.lease)
    return _after(desk, evolve(record, snapshot=progress.snapshot, turn=turn), progress)


def _after(desk: Desk, record: Record, progress: Progress, stamp: Stamp | None = None) -> Record:
    """`record`, whose open turn has come as far as `progress`, with its effects entered; closed if it has settled."""
    record = _posted(desk, record, progress)
    posted = open_turn(record)
    if is_settled(desk.machine, progress.snapshot):
        return _close(desk, record, posted, stamp)
    if not posted.calls and not record.timers:
        raise LogicError(
            f"{desk.key}: {progress.snapshot.value} is not settled and waits for nothing. "
            "Tag the node `settled`, or give it an `invoke`, an `always` or an `after`."
        )
    return record


def _posted(desk: Desk, record: Record, progress: Progress) -> Record:
    if record.parent is None or not record.parent.sync:
        return post(desk, record, progress.effects)
    begin = 0
    for snapshot, end in progress.steps:
        record = show_parent(desk, post(desk, record, progress.effects[begin:end]), snapshot)
        begin = end
    return record


def ring(desk: Desk, record: Record) -> Record:
    """`record` with the first timer that is due, if one is, in the inbox of its open turn."""
    turn = open_turn(record)
    token = first_due(record, desk.now)
    if token is None:
        return record
    timer = record.timers[token]
    if timer.message is not None:
        return _noted(relay(desk, record, token, timer.message), due_message(desk.key, token))
    return evolve(fired(record, token), turn=evolve(turn, inbox=(*turn.inbox, timer.event)))


def report(record: Record, call: PendingCall, event: Json) -> Record:
    """`record` with the end of `call` in the inbox of its open turn."""
    turn = open_turn(record)
    calls = tuple(other for other in turn.calls if other.id != call.id)
    return evolve(record, turn=evolve(turn, calls=calls, inbox=(*turn.inbox, event)))


def replace_call(record: Record, call: PendingCall) -> Record:
    """`record` with `call` in the place of the one of the same id."""
    turn = open_turn(record)
    calls = tuple(call if other.id == call.id else other for other in turn.calls)
    return evolve(record, turn=evolve(turn, calls=calls))


def _close(desk: Desk, record: Record, turn: OpenTurn, stamp: Stamp | None = None) -> Record:
    """The turn is over: its timers go to the timers' port, its outcome into the window."""
    snapshot = record.live()
    kin = kin_of(record) if stamp else ()
    window = record.window.add(turn.message, _outcome(snapshot), stamp, kin)
    record = evolve(record, turn=None, window=window, failing=None, receives=None)
    return hand_over_timers(desk, record) if snapshot.status == "active" else _end(desk, record)


def _outcome(snapshot: Any) -> Outcome:
    if snapshot.status == "error":
        return Outcome.FAILED
    if snapshot.has_tag(REJECT):
        return Outcome.REJECTED
    return Outcome.RESOLVED if snapshot.has_tag(RESOLVE) else Outcome.TAKEN


def _end(desk: Desk, record: Record) -> Record:
    """The machine has ended: its timers with it, its children too, and its parent is told."""
    for token in tuple(record.timers):
        record = forget_timer(desk, record, token)
    for child in tuple(record.children):
        record = stop_child(desk, record, child)
    return tell_parent(desk, record)
