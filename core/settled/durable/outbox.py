"""Enter the effects and timers of a step into the record.

An effect becomes an outbox entry (a message, a timer, an action), a part of the record that is waited for (a timer, a
function actor, a child), or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import assert_never

from settled._fast_frozen import evolve
from settled.chart.actions import INTERNAL
from settled.durable.apply_context import ApplyContext, open_turn
from settled.durable.children import message_for, start_child, stop_or_detach_child
from settled.durable.messages import Message, internal_id
from settled.durable.record import (
    ActiveTimer,
    CancelTimer,
    OutboxEntry,
    PendingActor,
    PerformAction,
    Record,
    Suspension,
    delay_in_seconds,
    idempotency_key,
    port_timer,
    timer_id,
)
from settled.key import Key
from settled.machine import Machine
from settled.step.effects import Cancel, Effect, Emit, Execute, Invoke, Log, Raise, Schedule, Send, Stop


def enqueue_effects(context: ApplyContext, record: Record, effects: Sequence[Effect]) -> Record:
    """Enter `effects` of the open turn into `record`, in order."""
    awaiting: list[Send] = []
    for effect in effects:
        # An entry action may send to an actor that its node has yet to invoke. As in XState, the event is kept until
        # the actor is started: resolved now, it would be dropped, or go to an earlier child of the same id.
        if isinstance(effect, Send) and effect.target_kind == "starting":
            awaiting.append(effect)
            continue
        record = _enqueue_effect(context, record, effect)
        if isinstance(effect, Invoke):
            for send in awaiting:
                record = _enqueue_effect(context, record, send) if send.to == effect.id else record
            awaiting = [send for send in awaiting if send.to != effect.id]
    return record


def _enqueue_effect(context: ApplyContext, record: Record, effect: Effect) -> Record:
    match effect:
        case Execute() | Emit() | Log():
            turn = record.turn
            assert turn is not None, "effects are those of an open turn"
            key = idempotency_key(context.key, turn.nonce, turn.ordinal, effect.index)
            entry = OutboxEntry(context.message_id, PerformAction(effect, key, context.headers))
            return evolve(record, outbox=(*record.outbox, entry))
        case Invoke():
            return _start_actor(context, record, effect)
        case Stop(_, id):
            return record if id is None else stop_or_detach_child(context, _drop_actor(record, id), id)
        case Send(delay=timedelta() as delay):
            return _start_send_timer(context, record, effect, delay)
        case Send():
            message = None if effect.to == INTERNAL else message_for(context, record, effect)
            return record if message is None else context.add_to_outbox(record, message)
        case Schedule(index, event, delay, id):
            timer = ActiveTimer(context.due_in(delay_in_seconds(delay)), event, id)
            return _start_timer(record, context.effect_key(record, index), timer)
        case Cancel(_, id):
            return _cancel_by_id(context, record, id)
        case Raise():
            return record
        case _:
            assert_never(effect)


def _start_actor(context: ApplyContext, record: Record, effect: Invoke) -> Record:
    logic, turn = context.machine.actor(effect.src), open_turn(record)
    if isinstance(logic, Machine):
        return start_child(context, record, effect, logic.id)
    actor = PendingActor(effect.id, effect.src, effect.input, effect.index)
    return evolve(record, turn=evolve(turn, actors=(*turn.actors, actor)))


def _drop_actor(record: Record, id: str) -> Record:
    turn = open_turn(record)
    return evolve(record, turn=evolve(turn, actors=tuple(actor for actor in turn.actors if actor.id != id)))


def _start_send_timer(context: ApplyContext, record: Record, effect: Send, delay: timedelta) -> Record:
    timer = ActiveTimer(context.due_in(delay_in_seconds(delay)), effect.event, effect.id)
    if effect.to != INTERNAL:
        # The target is resolved now, as in XState: once the timer is due, its id may belong to another child.
        message = message_for(context, record, effect)
        if message is None:
            return record
        context.check_size(message.key, message.body)
        timer = evolve(timer, event=None, message=(str(message.key), message.body))
    return _start_timer(record, context.effect_key(record, effect.index), timer)


# Timers: several may be active under one id, as in XState. The id refers to the last one started, until one of them
# has fired or was cancelled; after that it refers to none.


def _start_timer(record: Record, token: str, timer: ActiveTimer) -> Record:
    return evolve(record, timers={**record.timers, token: timer})


def _cancel_by_id(context: ApplyContext, record: Record, id: str) -> Record:
    named = [token for token, timer in record.timers.items() if timer.id == id]
    return _without_id(cancel_timer(context, record, named[-1]), id) if named else record


def _without_id(record: Record, id: str) -> Record:
    timers = {token: evolve(timer, id=None) if timer.id == id else timer for token, timer in record.timers.items()}
    return evolve(record, timers=timers)


def cancel_timer(context: ApplyContext, record: Record, token: str) -> Record:
    """Remove the timer `token`, and cancel it at the timers port if it was scheduled there."""
    timer = record.timers[token]
    record = _without_timer(record, token)
    return context.add_to_outbox(record, CancelTimer(timer_id(token, timer.early))) if timer.scheduled else record


def _without_timer(record: Record, token: str) -> Record:
    return evolve(record, timers={other: timer for other, timer in record.timers.items() if other != token})


def remove_fired_timer(record: Record, token: str) -> Record:
    """Remove the timer `token`, which has fired."""
    id = record.timers[token].id
    record = _without_timer(record, token)
    return record if id is None else _without_id(record, id)


def next_due_timer(record: Record, now: float) -> str | None:
    """Return the token of the due timer that fires first; None if no timer is due."""
    # Of timers due at the same time, the one started first fires first: `timers` is in the order of their start.
    due = [(timer.due, index, token) for index, (token, timer) in enumerate(record.timers.items()) if timer.due <= now]
    return min(due)[2] if due else None


def schedule_timers(context: ApplyContext, record: Record) -> Record:
    """Add the timers that outlive a turn to the outbox, for the timers port; most are scheduled there already."""
    for token, timer in record.timers.items():
        if not timer.scheduled:
            record = context.add_to_outbox(record, port_timer(context.key, token, timer.due, timer.early))
    return evolve(record, timers={token: evolve(timer, scheduled=True) for token, timer in record.timers.items()})


def enqueue_delayed_send(context: ApplyContext, record: Record, token: str, message: tuple[str, str]) -> Record:
    """Add the message of a delayed send that is due to the outbox."""
    key, body = message
    # The token as message id: a timer that is delivered twice, or again after a crash, sends the same message.
    return context.add_to_outbox(remove_fired_timer(record, token), Message(Key.parse(key), internal_id(token), body))


MAX_DOUBLINGS = 60
"""How many times the delay of an early timer doubles at most, so that it stays a finite time."""


def reschedule_early_timer(context: ApplyContext, record: Record, token: str, times_early: int) -> Record:
    """Schedule the timer `token` again, which was delivered before it was due, unless that was done already."""
    timer = record.timers[token]
    if times_early < timer.early:
        return record
    # Waiting here instead would block the key.
    early = times_early + 1
    record = evolve(record, timers={**record.timers, token: evolve(timer, early=early)})
    due = _due_after_early(context, timer.due, times_early)
    return context.add_to_outbox(record, port_timer(context.key, token, due, early))


def _due_after_early(context: ApplyContext, due: float, times_early: int) -> float:
    if not times_early:
        return due
    # The clock of the port is ahead of this one, and a timer scheduled for the same time would come at once, again and
    # again. So it is delayed by the time left on this clock, doubled for each further early delivery.
    return due + (due - context.now) * 2.0 ** min(times_early - 1, MAX_DOUBLINGS)


def suspend_turn(context: ApplyContext, record: Record, due: float) -> Record:
    """Suspend the open turn until `due`, in the place of an earlier suspension if there is one."""
    turn, before = open_turn(record), record.suspension
    if before is not None:
        record = context.add_to_outbox(record, CancelTimer(timer_id(before.token, before.early)))
    # The nonce of the commit in preparation, which takes no event: so no effect of a turn can have the same key.
    token = idempotency_key(context.key, context.nonce, record.ordinal, 0)
    postponed = 0 if record.postponed is None else record.postponed
    record = evolve(record, turn=evolve(turn, suspension=Suspension(token, due)), postponed=postponed)
    return context.add_to_outbox(record, port_timer(context.key, token, due))


def reschedule_early_suspension(context: ApplyContext, record: Record, times_early: int) -> Record:
    """Schedule the timer of the suspension again, which was delivered before it was due, unless that was done."""
    turn, suspension = open_turn(record), record.suspension
    if suspension is None or times_early < suspension.early:
        return record
    early = times_early + 1
    record = evolve(record, turn=evolve(turn, suspension=evolve(suspension, early=early)))
    due = _due_after_early(context, suspension.due, times_early)
    return context.add_to_outbox(record, port_timer(context.key, suspension.token, due, early))
