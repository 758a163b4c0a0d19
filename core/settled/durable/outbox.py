"""Posting: each effect of a step is entered into the record.

It becomes something owed (a message, a timer, an action), something watched (a timer, a call of a function actor, a
child), or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import assert_never

from settled._fast_frozen import evolve
from settled.durable.apply_context import ApplyContext, open_turn
from settled.durable.children import message_for, start_child, stop_or_detach_child
from settled.durable.messages import Message, Timer, internal_id
from settled.durable.record import (
    ActiveTimer,
    CancelTimer,
    PendingActor,
    PerformAction,
    Record,
    delay_in_seconds,
    timer_message,
)
from settled.key import Key
from settled.machine import Machine
from settled.progress import INTERNAL
from settled.step.effects import Cancel, Effect, Emit, Execute, Invoke, Log, Raise, Schedule, Send, Stop


def enqueue_effects(context: ApplyContext, record: Record, effects: Sequence[Effect]) -> Record:
    """`record` with `effects` of its open turn entered, in their order.

    But for one thing: an entry action may send to an actor that its own node is about to start. XState keeps such an
    event until the actor is there, and so does this.
    """
    early: list[Send] = []
    for effect in effects:
        if isinstance(effect, Send) and effect.target_kind == "awaited":
            early.append(effect)
            continue
        record = _enqueue_effect(context, record, effect)
        if isinstance(effect, Invoke):
            for send in early:
                record = _enqueue_effect(context, record, send) if send.to == effect.id else record
            early = [send for send in early if send.to != effect.id]
    return record


def _enqueue_effect(context: ApplyContext, record: Record, effect: Effect) -> Record:
    match effect:
        case Execute() | Emit() | Log():
            return context.add_to_outbox(record, PerformAction(effect, context.effect_key(record, effect.index)))
        case Invoke():
            return _invoke(context, record, effect)
        case Stop(_, id):
            return record if id is None else stop_or_detach_child(context, _drop_actor(record, id), id)
        case Send(delay=timedelta() as delay):
            return _start_send_timer(context, record, effect, delay)
        case Send():
            message = None if effect.to == INTERNAL else message_for(context, record, effect)
            return record if message is None else context.add_to_outbox(record, message)
        case Schedule(index, event, delay, id):
            timer = ActiveTimer(context.due_in(delay_in_seconds(delay)), event, id)
            return _start_timer(context, record, context.effect_key(record, index), timer)
        case Cancel(_, id):
            return _cancel_by_id(context, record, id)
        case Raise():
            return record
        case _:
            assert_never(effect)


def _invoke(context: ApplyContext, record: Record, effect: Invoke) -> Record:
    logic, turn = context.machine.actor(effect.src), open_turn(record)
    if isinstance(logic, Machine):
        return start_child(context, record, effect, logic.id)
    actor = PendingActor(effect.id, effect.src, effect.input, effect.index)
    return evolve(record, turn=evolve(turn, actors=(*turn.actors, actor)))


def _drop_actor(record: Record, id: str) -> Record:
    turn = open_turn(record)
    return evolve(record, turn=evolve(turn, actors=tuple(actor for actor in turn.actors if actor.id != id)))


def _start_send_timer(context: ApplyContext, record: Record, effect: Send, delay: timedelta) -> Record:
    """A timer of the sender's. Whom it is for is settled now: a child may be gone by then, or be another one."""
    timer = ActiveTimer(context.due_in(delay_in_seconds(delay)), effect.event, effect.id)
    if effect.to != INTERNAL:
        message = message_for(context, record, effect)
        if message is None:
            return record
        timer = evolve(timer, event=None, message=(str(message.key), message.body))
    return _start_timer(context, record, context.effect_key(record, effect.index), timer)


# Timers


# Several may run under one id. It is the name of the last of them, for as long as none of them has fired or been
# cancelled; the others cannot be called by it any more.


def _start_timer(context: ApplyContext, record: Record, token: str, timer: ActiveTimer) -> Record:
    return evolve(record, timers={**record.timers, token: timer})


def _cancel_by_id(context: ApplyContext, record: Record, id: str) -> Record:
    named = [token for token, timer in record.timers.items() if timer.id == id]
    return _without_id(cancel_timer(context, record, named[-1]), id) if named else record


def _without_id(record: Record, id: str) -> Record:
    timers = {token: evolve(timer, id=None) if timer.id == id else timer for token, timer in record.timers.items()}
    return evolve(record, timers=timers)


def cancel_timer(context: ApplyContext, record: Record, token: str) -> Record:
    """`record` without a timer that must not fire any more."""
    scheduled = record.timers[token].scheduled
    record = _without_timer(record, token)
    return context.add_to_outbox(record, CancelTimer(token)) if scheduled else record


def _without_timer(record: Record, token: str) -> Record:
    return evolve(record, timers={other: timer for other, timer in record.timers.items() if other != token})


def remove_fired_timer(record: Record, token: str) -> Record:
    """`record` without a timer that has fired."""
    id = record.timers[token].id
    record = _without_timer(record, token)
    return record if id is None else _without_id(record, id)


def next_due_timer(record: Record, now: float) -> str | None:
    """The token of the timer that is to fire first: of those due at one moment, the one that was scheduled first."""
    due = [(timer.due, place, token) for place, (token, timer) in enumerate(record.timers.items()) if timer.due <= now]
    return min(due)[2] if due else None


def schedule_timers(context: ApplyContext, record: Record) -> Record:
    """`record`, whose turn is over, with all of its timers owed to the timers' port, which has most of them already."""
    if not record.timers:
        return record
    for token, timer in record.timers.items():
        if not timer.scheduled:
            record = context.add_to_outbox(record, Timer(token, timer_message(context.key, token), timer.due))
    return evolve(record, timers={token: evolve(timer, scheduled=True) for token, timer in record.timers.items()})


def enqueue_delayed_send(context: ApplyContext, record: Record, token: str, message: tuple[str, str]) -> Record:
    """A delayed send is due: its message is owed, under the idempotency key that it was scheduled under."""
    key, body = message
    return context.add_to_outbox(remove_fired_timer(record, token), Message(Key.parse(key), internal_id(token), body))


MAX_DOUBLINGS = 60
"""The most times that the delay of an early timer doubles; that is beyond every clock."""


def postpone_timer(context: ApplyContext, record: Record, token: str, early: int) -> Record:
    """`record`, whose timer `token` has come before it is due, and is owed to the timers' port again.

    To wait for it here would block the key. Where it is early again the port's clock is ahead of this one, and would
    bring it at once for ever: it is to come later by as much as is left here, and by twice as much each further time.
    """
    due = record.timers[token].due
    if early:
        due += (due - context.now) * 2.0 ** min(early - 1, MAX_DOUBLINGS)
    return context.add_to_outbox(record, Timer(token, timer_message(context.key, token, early + 1), due))
