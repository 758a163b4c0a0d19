"""Find what an instance waits for in vain, and the messages with which it goes on.

A timer or a message can be lost outside the record: a store was restored without its timers, a schedule's role lost a
permission for days, or a message waited for longer than its queue keeps messages. The record still has the timer, and
the open turn, so they can be sent again.

Each message here is safe to send, whenever and however often: a timer that is no longer active is stale, and a `Wake`
changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from settled.durable.messages import Message, TimerFired, Wake, encode, internal_id
from settled.durable.ports import Stored
from settled.durable.record import OpenTurn
from settled.durable.record_view import RecordView
from settled.key import Key


@frozen
class Overdue:
    """Something that should have happened to an instance.

    Attributes:
        what: a description of it, for people.
        since: when it was due, in seconds since the epoch.
        message: the message that makes it happen.
    """

    what: str
    since: float
    message: Message


def find_overdue(key: Key, stored: Stored, before: float, nonce: str) -> tuple[Overdue, ...]:
    """Return what was due to the instance `key` before the time `before`, in seconds since the epoch.

    A halted instance waits for an operator, so nothing is due to it.

    Args:
        key: the instance.
        stored: its stored state, with its text.
        before: what is due later is left to the backend.
        nonce: unique text, for the ids of the messages. The ids that were used before might be known to the queue.

    Raises:
        RecordError: the text is damaged, encoded, or has a format that this version of settled does not read.
    """
    view = RecordView.of(key, stored.body)
    if view.halted is not None:
        return ()
    found = [*_timers(key, view, nonce), *_turns(key, view, stored.index.updated, nonce)]
    return tuple([each for each in found if each.since < before])


def _timers(key: Key, view: RecordView, nonce: str) -> Iterator[Overdue]:
    for token, timer in view.timers.items():
        if timer.scheduled:  # an open turn watches the others itself
            message = Message(key, internal_id(f"{token}/{nonce}"), encode(TimerFired(token, timer.early)))
            yield Overdue(f"the timer {timer.id or token}", timer.due, message)


def _turns(key: Key, view: RecordView, updated: float, nonce: str) -> Iterator[Overdue]:
    # Not for the outbox: a record keeps the effects of its last message although they were performed, because the
    # acknowledgement of the message says so. To wake all that have some would perform them all again.
    wake = Message(key, internal_id(f"wake/{nonce}"), encode(Wake()))
    if view.turn is not None:
        since = max(updated, _due(view.turn, view))
        yield Overdue(f"the open turn of {view.turn.message.id}", since, wake)
    elif view.redriving is not None:
        yield Overdue("the redrive of its dead letters", updated, wake)
    elif view.postponed is not None:
        yield Overdue("what was postponed", updated, wake)


def _due(turn: OpenTurn, view: RecordView) -> float:
    """Return when a worker should have gone on with the open turn."""
    if turn.inbox or any(actor.started_by is not None for actor in turn.actors):
        return turn.lease_until
    wakes = [timer.due for timer in view.timers.values()] + [actor.not_before for actor in turn.actors]
    return max(turn.lease_until, min(wakes, default=turn.lease_until))
