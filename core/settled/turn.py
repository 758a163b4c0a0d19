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

from settled.commands import Course, Invocation, Result, letters, run
from settled.data import Json, fault_in
from settled.desk import Desk
from settled.errors import Conflict, EventError, LogicError, RecordError, TooLarge
from settled.ledger import Accept, Drop, Note, Refuse, accept, advance, examine, replace_call, report, ring
from settled.logic import Actor
from settled.machine import Machine
from settled.making import evolve
from settled.message import Key, Message
from settled.ports import DeadLetter, Delivery, Write
from settled.record import Owed, PendingCall, Record, idempotency_key
from settled.settle import done_event, error_event
from settled.work import End, Policy, Work, begin, commit, fail, give_back, look, pay

MOST_CONFLICTS = 100
"""How often a turn computes afresh before it gives its messages back: each time, another worker has made progress."""

FAULTS = (LogicError, EventError, RecordError, TooLarge)
"""What the machine's own code, its snapshot or its size may come to: a failure of the message in hand, and counted."""


def turn(
    machine: Machine[Any, Any], key: Key, deliveries: Sequence[Delivery], nonce: str, policy: Policy | None = None
) -> Course[End]:
    """Take the messages of `deliveries`, all of `key` and in its order, through the instance.

    Args:
        nonce: text that no other turn was given; by it a turn recognises its own commits.

    Raises:
        RecordError: the record cannot be read at all.
        Unavailable, Unknown, TooLarge, Denied: as a port raised them. The queue hands the messages out again.
    """
    work = Work(machine, key, nonce, policy or Policy(), list(deliveries))
    yield from begin(work)
    for _ in range(MOST_CONFLICTS):
        try:
            return (yield from _attend(work))
        except Conflict:
            if work.claimed:
                return End.LOST
            yield from look(work)
    return (yield from give_back(work, 0.0))


def _attend(work: Work) -> Course[End]:
    while work.waiting:
        end = yield from _attend_once(work)
        if end is not None:
            return end
    return End.DONE


def _attend_once(work: Work) -> Course[End | None]:
    """One stretch of the way, up to the next commit; an end only if the deliveries were not all acknowledged."""
    record = work.record
    wait = _wait_for_open_turn(work)
    if wait is not None:
        return (yield from give_back(work, wait))
    try:
        end = (yield from _count_receives(work)) or (yield from _repeat_debts(work))
        if end is not None or work.record is not record:
            return end
        return (yield from _next_step(work))
    except FAULTS as error:
        return (yield from fail(work, str(error)))


def _next_step(work: Work) -> Course[End | None]:
    record = work.record
    if record.halted or (record.turn is None and record.redriving is None):
        return (yield from _fold(work))
    if record.turn is None:
        return (yield from _take_letter(work))
    return (yield from _go_on(work))


# What was left behind


def _wait_for_open_turn(work: Work) -> float | None:
    """For how long these messages must wait for the record's open turn; None if it can be gone on with, or is none."""
    turn = work.record.turn
    if turn is None or work.claimed or work.record.halted:
        return None
    if not work.is_waiting(turn.message.id) and work.now < turn.lease:
        return turn.lease - work.now
    interrupted = any(call.started_by is not None for call in turn.calls)
    wait = _next_wake(work.record, work.now) - work.now
    return None if turn.inbox or interrupted or wait <= 0 else wait


def _next_wake(record: Record, now: float) -> float:
    """When the open turn has something to do by itself: a timer is due, or a call may be tried again."""
    calls = record.turn.calls if record.turn else ()
    wakes = [timer.due for timer in record.timers.values()]
    wakes += [call.not_before for call in calls if call.started_by is None]
    return min(wakes, default=now)


def _count_receives(work: Work) -> Course[End | None]:
    """Past a bound on the receives since the last progress, commit a failure before anything is computed."""
    if work.receives_counted or work.record.halted:
        return None
    work.receives_counted = True
    seen, head = work.record.receives, work.head
    since = head.attempt - (seen.count if seen and seen.id == head.message.id else 0)
    if since <= work.policy.max_receives or not _is_unfinished(work):
        return None
    return (yield from fail(work, f"received {since} times without progress", then_give_back=False))


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


def _repeat_debts(work: Work) -> Course[End | None]:
    """Perform again what was committed under these deliveries by a worker that may have died before it did."""
    debts = _own_debts(work)
    return (yield from pay(work, debts, Write(work.key))) if debts else None


# New messages, and those taken from the dead letters


@frozen
class _Entry:
    """A record after a message was looked at, and the dead letter that the message became, if it did."""

    record: Record
    letter: DeadLetter | None = None


def _enter(desk: Desk, record: Record, message: Message, letter: bool = False) -> _Entry:
    verdict = examine(desk, record, message, letter)
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


def _fold(work: Work) -> Course[End | None]:
    """Apply as many messages in one commit as settle without running anything; one that does not is the last."""
    is_free = work.record.halted is not None or not work.record.outbox
    before = work.record if is_free else evolve(work.record, outbox=())
    record, done, bury = before, list[Delivery](), list[DeadLetter]()
    for delivery in work.waiting[: 1 if work.alone else None]:
        try:
            entry = _enter(work.desk(delivery), record, delivery.message)
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
        return (yield from pay(work, (), Write(work.key), tuple(done)))
    fresh = () if record.halted else record.outbox
    return (yield from _commit_fold(work, record, tuple(done), tuple(bury), fresh))


def _commit_fold(
    work: Work, record: Record, done: tuple[Delivery, ...], bury: tuple[DeadLetter, ...], fresh: tuple[Owed, ...]
) -> Course[End | None]:
    try:
        end = yield from commit(work, record, done, bury, fresh=fresh)
    except (LogicError, TooLarge):
        if work.alone:
            raise
        work.alone = True
        return None
    work.alone = False
    return end


def _take_letter(work: Work) -> Course[End | None]:
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


def _go_on(work: Work) -> Course[End | None]:
    """Take the next event of the open turn, or start what is ready, or wait for what runs."""
    record = _adopt(work, work.record)
    if not _inbox(record):
        record = ring(work.desk(), record)
    if _inbox(record):
        return (yield from _advance(work, record))
    ready = any(call.started_by is None and call.not_before <= work.now for call in work.open_turn.calls)
    if record is not work.record or ready:
        return (yield from commit(work, record, fresh=record.outbox, progress=False))
    return (yield from _run(work))


def _inbox(record: Record) -> tuple[Json, ...]:
    return record.turn.inbox if record.turn else ()


def _adopt(work: Work, record: Record) -> Record:
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


def _advance(work: Work, record: Record) -> Course[End | None]:
    """Take what lies in the inbox. If that fails, the inbox is kept: what has run need not run again."""
    work.record, finished = record, work.open_turn
    record = advance(work.desk(), evolve(record, outbox=()))
    if record.turn is not None:
        return (yield from commit(work, record, fresh=record.outbox))
    done = (work.head,) if finished.message.id == work.head.message.id else ()
    return (yield from commit(work, record, done, fresh=record.outbox))


def _run(work: Work) -> Course[End | None]:
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
    name = idempotency_key(work.key, work.record.incarnation, work.open_turn.ordinal, call.index)
    return Invocation(call.id, call.src, call.input, name, call.attempt)


def _journal(work: Work, result: Result) -> Course[End | None]:
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
