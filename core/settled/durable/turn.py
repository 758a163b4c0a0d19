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

from attrs import frozen

from settled._fast_frozen import evolve
from settled.chart.implementations import Actor
from settled.chart.snapshot import Snapshot
from settled.data import Json, fault_in
from settled.durable.apply import Accept, Drop, Note, Refuse, accept, advance, examine, replace_call, report, ring
from settled.durable.apply_context import Desk
from settled.durable.commands import Course, Invocation, Result, letters, run
from settled.durable.commit import Owing, Work, begin, commit, fail, give_back, look, pay, perform
from settled.durable.delays import rearm
from settled.durable.messages import Message
from settled.durable.policy import End, Policy
from settled.durable.ports import DeadLetter, Delivery, Position, Traits
from settled.durable.record import Owed, PendingCall, Record, Unreadable, idempotency_key
from settled.errors import Conflict, EventError, LeaseLost, LogicError, RecordError, TooLarge, VersionUnknown
from settled.key import Key
from settled.machine import Machine
from settled.progress import done_event, error_event, is_settled

MOST_CONFLICTS = 100
"""How often a turn computes afresh before it gives its messages back: each time, another worker has made progress."""

FAULTS = (LogicError, EventError, RecordError, TooLarge)
"""What the machine's own code, its snapshot or its size may come to: a failure of the message in hand, and counted."""


def turn(
    machine: Machine[Any, Any],
    key: Key,
    deliveries: Sequence[Delivery],
    nonce: str,
    policy: Policy | None = None,
    traits: Traits | None = None,
) -> Course[End]:
    """Take the messages of `deliveries`, all of `key` and in its order, through the instance.

    Args:
        nonce: text that no other turn was given and nobody can guess; a turn recognises its own commits by it, and the
            keys of its effects begin with it.
        traits: what the backend declares beyond the contract.

    Raises:
        RecordError: the record cannot be read at all.
        Unavailable, Unknown, TooLarge, Denied: as a port raised them. The queue hands the messages out again.
    """
    work = Work(machine, key, nonce, policy or Policy(), traits or Traits(), list(deliveries))
    try:
        yield from begin(work)
        for _ in range(MOST_CONFLICTS):
            try:
                return (yield from _attend(work))
            except Conflict:
                if work.claimed:
                    return End.LOST
                yield from look(work)
        return (yield from give_back(work, 0.0))
    except LeaseLost:
        return End.LOST


def _attend(work: Work) -> Course[End]:
    while work.waiting:
        end = yield from _attend_once(work)
        if end is not None:
            return end
    return End.DONE


def _attend_once(work: Work) -> Course[End | None]:
    """One stretch of the way, up to the next commit and what it owes; an end only if not all was acknowledged.

    What fails before the commit is a failure of the message in hand. The commit stands whatever comes after it.
    """
    if (unknown := _unknown_version(work)) is not None:
        return (yield from give_back(work, _patience(work), str(unknown)))
    wait = _wait_for_open_turn(work)
    if wait is not None:
        return (yield from give_back(work, wait))
    if _has_many_receives(work):
        return (yield from fail(work, _received(work), then_give_back=False))
    try:
        outcome = yield from _next(work)
    except FAULTS as error:
        return (yield from fail(work, str(error)))
    return (yield from perform(work, outcome)) if isinstance(outcome, Owing) else outcome


def _next(work: Work) -> Course[End | Owing | None]:
    debts = _own_debts(work)
    if debts:  # committed under these deliveries by a worker that may have died before it did them
        return (yield from pay(work, debts))
    if _is_of_another_definition(work):
        return (yield from _rearm(work))
    record = work.record
    if record.halted or (record.turn is None and record.redriving is None):
        return (yield from _fold(work))
    if record.turn is None:
        return (yield from _take_letter(work))
    return (yield from _go_on(work))


# What was left behind


def _unknown_version(work: Work) -> VersionUnknown | None:
    """Return the error of a record that another version of the machine has written and this one must not touch."""
    snapshot = work.record.snapshot
    error = snapshot.error if isinstance(snapshot, Unreadable) else None
    return error if isinstance(error, VersionUnknown) else None


def _patience(work: Work) -> float:
    """For how long messages are left to a host that knows their record's version: longer each time, but no lease."""
    return min(work.policy.backoff.wait(work.head.attempt + 1).total_seconds(), work.policy.lease)


def _is_of_another_definition(work: Work) -> bool:
    record = work.record
    return (
        record.armed_for[0] != work.machine.fingerprint
        and isinstance(record.snapshot, Snapshot)
        and record.snapshot.status == "active"
        and not record.halted
    )


def _is_over(work: Work) -> bool:
    """Whether the open turn has settled already; the turn of an adoption may begin so."""
    snapshot = work.record.snapshot
    return isinstance(snapshot, Snapshot) and is_settled(work.machine, snapshot)


def _rearm(work: Work) -> Course[Owing | None]:
    record = work.record if work.record.turn else evolve(work.record, outbox=())
    record, notes = rearm(work.desk(), record)
    if notes:
        return (yield from commit(work, record, fresh=record.outbox, progress=False, notes=tuple(notes)))
    work.record = record
    return None


def _wait_for_open_turn(work: Work) -> float | None:
    """For how long these messages must wait for the record's open turn; None if it can be gone on with, or is none."""
    turn = work.record.turn
    if turn is None or work.claimed or work.record.halted:
        return None
    if not work.is_waiting(turn.message.id) and work.now < turn.lease:
        return turn.lease - work.now
    interrupted = any(call.started_by is not None for call in turn.calls)
    wait = _next_wake(work.record, work.now) - work.now
    is_stuck = turn.inbox or interrupted or _is_of_another_definition(work) or _is_over(work)
    return None if is_stuck or wait <= 0 else wait


def _next_wake(record: Record, now: float) -> float:
    """When the open turn has something to do by itself: a timer is due, or a call may be tried again."""
    calls = record.turn.calls if record.turn else ()
    wakes = [timer.due for timer in record.timers.values()]
    wakes += [call.not_before for call in calls if call.started_by is None]
    return min(wakes, default=now)


def _has_many_receives(work: Work) -> bool:
    """Whether a failure is to be committed before anything is computed: workers seem to die of this message."""
    if work.receives_counted or work.record.halted:
        return False
    work.receives_counted = True
    return _receives(work) > work.policy.max_receives and _is_unfinished(work)


def _receives(work: Work) -> int:
    """Count how often the head was received since its last progress."""
    seen, head = work.record.receives, work.head
    return head.attempt - (seen.count if seen and seen.id == head.message.id else 0)


def _received(work: Work) -> str:
    return f"received {_receives(work)} times without progress"


def _is_unfinished(work: Work) -> bool:
    known = work.record.window.outcome(work.head.message) is not None
    return not known or work.record.turn is not None or bool(_own_debts(work))


def _own_debts(work: Work) -> tuple[Owed, ...]:
    """What the record owes under the deliveries in hand; all of it, where nobody else can be meant."""
    record = work.record
    if record.halted:
        return ()
    if record.redriving is not None or record.turn is not None:
        return record.outbox
    return tuple(owed for owed in record.outbox if work.is_waiting(owed.by))


# New messages, and those taken from the dead letters


@frozen
class _Entry:
    """A record after a message was looked at, and the dead letter that the message became, if it did."""

    record: Record
    letter: DeadLetter | None = None


def _enter(
    desk: Desk, record: Record, message: Message, position: Position | None = None, letter: bool = False
) -> _Entry:
    verdict = examine(desk, record, message, position, letter)
    match verdict:
        case Drop():
            return _Entry(record)
        case Note(outcome):
            return _Entry(evolve(record, window=record.window.add(message, outcome)))
        case Refuse(outcome, reason):
            refused = evolve(record, window=record.window.add(message, outcome))
            return _Entry(refused, DeadLetter(message, reason, desk.now))
        case Accept(content):
            return _Entry(accept(desk, record, message, content))


def _fold(work: Work) -> Course[Owing | None]:
    """Apply as many messages in one commit as settle without running anything; one that does not is the last."""
    is_free = work.record.halted is not None or not work.record.outbox
    before = work.record if is_free else evolve(work.record, outbox=())
    record, done, bury = before, list[Delivery](), list[DeadLetter]()
    for delivery in work.waiting[: 1 if work.alone else None]:
        try:
            entry = _enter(work.desk(delivery), record, delivery.message, delivery.position)
        except FAULTS:
            if done:
                break
            raise
        record = entry.record
        bury += [entry.letter] if entry.letter else []
        if record.turn is not None and not record.halted:
            break
        done.append(delivery)
    if record is before and not work.is_fresh:
        yield from look(work)
        return None
    if record is before:
        return (yield from pay(work, (), tuple(done)))
    fresh = () if record.halted else record.outbox
    return (yield from _commit_fold(work, record, tuple(done), tuple(bury), fresh))


def _commit_fold(
    work: Work, record: Record, done: tuple[Delivery, ...], bury: tuple[DeadLetter, ...], fresh: tuple[Owed, ...]
) -> Course[Owing | None]:
    version = work.version
    try:
        owing = yield from commit(work, record, done, bury, fresh=fresh)
    except (LogicError, TooLarge):
        if work.alone or work.version != version:
            raise
        work.alone = True
        return None
    work.alone = False
    return owing


def _take_letter(work: Work) -> Course[Owing]:
    """A redrive is under way: the oldest dead letter is taken.

    It leaves its place in the commit that applies it; if its turn is left open, when it is found to be known.
    """
    lying = (yield from letters(work.key)).letters if work.record.redriving else ()
    if not lying:
        return (yield from commit(work, evolve(work.record, redriving=None)))
    entry = _enter(work.desk(), evolve(work.record, outbox=()), lying[0].message, letter=True)
    record = entry.record
    if record.turn is not None:
        return (yield from commit(work, evolve(record, turn=evolve(record.turn, letter=True)), fresh=record.outbox))
    bury = (entry.letter,) if entry.letter else ()
    return (yield from commit(work, _one_letter_less(record), bury=bury, unbury=1, fresh=record.outbox))


def _one_letter_less(record: Record) -> Record:
    """The redrive ends by a commit of its own: until then whoever comes next performs what its last letter owes."""
    return evolve(record, redriving=max(0, (record.redriving or 0) - 1))


# The open turn


def _go_on(work: Work) -> Course[End | Owing | None]:
    """Take the next event of the open turn, or start what is ready, or wait for what runs."""
    record = _take_up_calls(work, work.record)
    # What was adopted may be settled from the first: then its turn is over before any of its timers is looked at.
    is_over = not _inbox(record) and is_settled(work.machine, record.live())
    if not _inbox(record) and not is_over:
        record = ring(work.desk(), record)
    if _inbox(record) or is_over:
        return (yield from _advance(work, record))
    ready = any(call.started_by is None and call.not_before <= work.now for call in work.open_turn.calls)
    if record is not work.record or ready:
        return (yield from commit(work, record, fresh=record.outbox, progress=False))
    return (yield from _run(work))


def _inbox(record: Record) -> tuple[Json, ...]:
    return record.turn.inbox if record.turn else ()


def _take_up_calls(work: Work, record: Record) -> Record:
    """What another worker had started runs again under its key, or counts as failed: one of these at a time."""
    for call in work.open_turn.calls:
        if call.started_by in (None, work.nonce):
            continue
        if _logic(work, call).interruption == "rerun":
            record = replace_call(record, evolve(call, attempt=call.attempt + 1, started_by=None, not_before=work.now))
        elif not _inbox(record):
            record = report(record, call, error_event(call.id, _INTERRUPTED))
    return record


_INTERRUPTED: Json = {
    "name": "Interrupted",
    "message": "its worker was lost; whether it has happened, or still will, is unknown",
}


def _logic(work: Work, call: PendingCall) -> Actor:
    logic = work.machine.actor(call.src)
    if isinstance(logic, Machine):
        raise RecordError(
            f"{work.key}: the actor {call.src!r} was a function when it was started, and is a machine now"
        )
    return logic


def _advance(work: Work, record: Record) -> Course[Owing]:
    """Take what lies in the inbox. If that fails, the inbox is kept: what has run need not run again."""
    work.record, finished = record, work.open_turn
    record = advance(work.desk(), evolve(record, outbox=()))
    if record.turn is not None:
        return (yield from commit(work, record, fresh=record.outbox))
    done = (work.head,) if finished.message.id == work.head.message.id else ()
    return (yield from commit(work, record, done, fresh=record.outbox))


def _run(work: Work) -> Course[End | Owing | None]:
    """Wait for the next call to end; with none running, park: give the messages back until there is something to do."""
    running = tuple(call for call in work.open_turn.calls if call.started_by == work.nonce)
    wake = _next_wake(work.record, work.now)
    if not running:
        return (yield from give_back(work, max(0.0, wake - work.now)))
    invocations = tuple(_invocation(work, call) for call in running)
    answer = yield from run(work.key, invocations, wake if wake > work.now else None, work.version)
    work.now = answer.now
    if answer.result is not None:
        return (yield from _journal(work, answer.result))
    return (yield from give_back(work, 0.0)) if answer.interrupted else None


def _invocation(work: Work, call: PendingCall) -> Invocation:
    name = idempotency_key(work.key, work.open_turn.nonce, work.open_turn.ordinal, call.index)
    return Invocation(call.id, call.src, call.input, name, call.attempt)


def _journal(work: Work, result: Result) -> Course[Owing]:
    """A call has ended: for good, and the machine is told; or it will be tried again, and the record is."""
    call = next(call for call in work.open_turn.calls if call.id == result.id)
    retry = _logic(work, call).retry
    if not result.ok and call.attempt < retry.attempts:
        due = work.now + retry.wait(call.attempt + 1).total_seconds()
        again = evolve(call, attempt=call.attempt + 1, not_before=due, started_by=None)
        return (yield from commit(work, replace_call(work.record, again)))
    return (yield from _advance(work, report(work.record, call, _end_of(call, result))))


def _end_of(call: PendingCall, result: Result) -> Json:
    fault = fault_in(result.data, "output")
    if fault is not None:
        return error_event(call.id, {"name": "TypeError", "message": f"{call.src}: {fault}"})
    return done_event(call.id, result.data) if result.ok else error_event(call.id, result.data)
