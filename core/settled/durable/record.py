"""The record: the complete durable state of an instance, stored as one text under one version.

Law: everything that must survive the death of a worker is here: the snapshot, the active timers, the open turn, the
outbox, and the dedup window. Every part is bounded, so that event 10,000 of an instance costs as much, and makes its
record as large, as event 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeAlias

from attrs import field, frozen

from settled.chart.snapshot import Snapshot
from settled.data import Json
from settled.durable.headers import NO_HEADERS
from settled.durable.messages import Message, Parent, Timer, TimerFired, encode, internal_id
from settled.durable.ports import Position
from settled.durable.window import EMPTY_WINDOW, Window
from settled.errors import LogicError, RecordError
from settled.key import Key
from settled.step.effects import Emit, Execute, Log


@frozen
class ActiveTimer:
    """An active timer of the machine.

    Attributes:
        due: seconds since the epoch.
        event: the event for the machine itself, if `message` is None.
        id: the id by which the machine can cancel it; of several timers with one id, this refers to the last. None once
            a timer with the id has fired or was cancelled.
        message: the key and body of a delayed send to another instance.
        scheduled: whether the timer was passed to the timers port. An open turn watches its own timers; those that
            outlive it are scheduled when it closes.
        early: how many times the timers port has delivered it before it was due.
    """

    due: float
    event: Json
    id: str | None = None
    message: tuple[str, str] | None = None
    scheduled: bool = False
    early: int = 0


@frozen
class ChildInstance:
    """A child machine: its key, and its generation, which identifies one start of it; other generations are stale."""

    key: Key
    generation: str
    system_id: str | None = None


@frozen
class PendingActor:
    """A function actor whose result the open turn still needs.

    Attributes:
        id: the id of the actor.
        src: the name of its implementation.
        input: its input.
        index: the last part of its idempotency key.
        attempt: counts its starts, from 1.
        not_before: the earliest start of this attempt, in seconds since the epoch.
        started_by: the nonce of the turn that claimed this attempt; None while it waits for `not_before`.
        losses: how many workers were lost while they ran it and nothing else.
    """

    id: str
    src: str
    input: Json
    index: int
    attempt: int = 1
    not_before: float = 0.0
    started_by: str | None = None
    losses: int = 0


@frozen
class Suspension:
    """A long wait of an open turn. Its message has left the queue, and a timer brings a worker back.

    Attributes:
        token: the timer at the timers port; the machine knows nothing of it.
        due: when the turn goes on, in seconds since the epoch.
        early: how many times the timers port has delivered the timer before it was due.
    """

    token: str
    due: float
    early: int = 0


@frozen
class OpenTurn:
    """A turn that was committed before the machine settled.

    Attributes:
        message: the message that the turn is for.
        ordinal: the number of its event within the instance.
        index: the number of its next effect.
        nonce: the nonce of the commit that took the message.
        inbox: events still to be taken within the turn.
        actors: function actors whose results it still needs.
        lease_until: until when no other worker may resume it, in seconds since the epoch.
        from_dead_letters: whether the message is still in the list of dead letters.
        since: when it was opened, in seconds since the epoch.
        suspension: the long wait that it is in; None if a message in the queue will bring a worker.
    """

    message: Message
    ordinal: int
    index: int
    nonce: str
    inbox: tuple[Json, ...] = ()
    actors: tuple[PendingActor, ...] = ()
    lease_until: float = 0.0
    from_dead_letters: bool = False
    since: float = 0.0
    suspension: Suspension | None = None


@frozen
class CancelTimer:
    """Cancel the timer `id` at the timers port."""

    id: str


@frozen
class PerformAction:
    """A custom action, an emitted event or a log line, with its idempotency key and the headers of its message."""

    effect: Execute | Emit | Log
    idempotency_key: str
    headers: Mapping[str, str] = NO_HEADERS


OutboxItem: TypeAlias = Message | Timer | CancelTimer | PerformAction


@frozen
class OutboxEntry:
    """An effect that a committed step still has to perform, and the id of the message it was committed under.

    The message is acknowledged only once the effect is performed. The queue never delivers past an unacknowledged
    message, so a later delivery of the key implies that this entry is done.
    """

    message_id: str
    item: OutboxItem


@frozen
class FailureCount:
    """How many times the message `id` has failed, and the last error."""

    id: str
    count: int
    detail: str


@frozen
class ReceiveCount:
    """How many times the message `id` had been received when it last made progress."""

    id: str
    count: int


@frozen
class Watch:
    """A note of the code that a worker runs next, committed before it does, and removed by what comes of it.

    Whoever finds it knows that this worker was lost meanwhile.

    Attributes:
        message_id: the message that it is run for.
        actor: the id of the actor that is run; None for guards, actions and the like.
        is_alone: whether the worker ran nothing else, so that nothing else can have ended it.
    """

    message_id: str
    actor: str | None = None
    is_alone: bool = False


@frozen
class UnreadableSnapshot:
    """A stored snapshot that this machine cannot read, kept unchanged, and the error."""

    raw: Json
    error: RecordError | LogicError = field(eq=str)


@frozen(slots=False)
class Record:
    """The decoded record of an instance.

    Attributes:
        nonce: the nonce of the commit that wrote it: unique among all commits, and impossible to guess.
        version: the version of the machine that wrote it.
        fingerprint: the fingerprint of the machine that wrote it.
        start_nonce: the nonce with which the instance was started.
        ordinal: how many events the instance has taken.
        snapshot: the machine's snapshot; None before its start.
        parent: the parent, if the instance is a child.
        timers: active timers by token, in the order in which they were started.
        children: child machines by id.
        detached: the keys, by generation, of children that no longer have an id here but whose reports still count:
            those stopped by the last event they sent, and those whose id was given to another child.
        system_ids: the directory of system ids, if this is the root.
        turn: the open turn.
        high_water_mark: the highest position in its queue that was taken or dead-lettered; it outlives the instance.
        armed: fingerprint and version of the machine whose delays are running, where it is not the one that wrote
            the record.
        window: the dedup window.
        outbox: effects that are committed and not yet known to be performed, in the order of their steps.
        failing: the failures of the current message.
        receives: the receives of the current message up to its last progress.
        watch: what is run of a message that was received again and again without progress.
        halted: why the instance waits for an operator.
        taken_dead_letters: the dead letters, each as ``"ID DIGEST"``, that were taken or whose turn is open: they
            must not be taken again before they are removed, and the window may have forgotten them.
        redriving: how many dead letters to take before anything newer; None if no redrive is in progress. 0 means
            that all are taken, and the effects of the last one may still be in the outbox.
        postponed: how many dead letters to look through, before anything newer, for messages that were postponed while
            a turn was suspended; None if no turn was, since the last of them was taken. 0 means that looking through
            them has yet to begin, or is to begin anew.
    """

    nonce: str = ""
    version: str | None = None
    fingerprint: str = ""
    start_nonce: str = ""
    ordinal: int = 0
    snapshot: Snapshot[Any] | UnreadableSnapshot | None = None
    parent: Parent | None = None
    timers: Mapping[str, ActiveTimer] = {}
    children: Mapping[str, ChildInstance] = {}
    detached: Mapping[str, Key] = {}
    system_ids: Mapping[str, Key] = {}
    turn: OpenTurn | None = None
    high_water_mark: Position | None = None
    armed: tuple[str, str | None] | None = None
    window: Window = EMPTY_WINDOW
    # Append only at the end, and in the order of the effects: a receiver identifies a message by its position here (see
    # `children.sender_position`), and a send that comes out of order would be dropped as a repetition.
    outbox: tuple[OutboxEntry, ...] = ()
    failing: FailureCount | None = None
    receives: ReceiveCount | None = None
    watch: Watch | None = None
    halted: str | None = None
    redriving: int | None = None
    taken_dead_letters: tuple[str, ...] = ()
    postponed: int | None = None

    @property
    def suspension(self) -> Suspension | None:
        """The suspension of the open turn; None if it is not suspended, or none is open, or the instance is halted."""
        return None if self.turn is None or self.halted else self.turn.suspension

    @property
    def takes_dead_letters(self) -> bool:
        """Whether dead letters are taken, or were until a moment ago, before anything newer.

        What every event runs through asks the two fields itself, which saves a call.
        """
        return self.redriving is not None or self.postponed is not None

    @property
    def armed_for(self) -> tuple[str, str | None]:
        """The fingerprint and version of the machine whose delays are running."""
        return self.armed or (self.fingerprint, self.version)

    def readable_snapshot(self) -> Snapshot[Any]:
        """Return the snapshot.

        Raises:
            RecordError: the instance was never started, or this machine cannot read the snapshot.
            LogicError: a migration raised.
        """
        if isinstance(self.snapshot, UnreadableSnapshot):
            raise self.snapshot.error
        if self.snapshot is None:
            raise RecordError("the instance was never started")
        return self.snapshot

    def has_passed(self, position: Position | None) -> bool:
        """Return whether the message at `position` was taken or dead-lettered.

        False if the positions cannot be compared.
        """
        mark = self.high_water_mark
        if mark is None or position is None or mark.epoch != position.epoch:
            return False
        return position.number <= mark.number


EMPTY_RECORD = Record()


def timer_id(token: str, early: int) -> str:
    """Return the id, at the timers port, of the timer `token` once it was delivered too early `early` times."""
    # A postponed timer has an id of its own. Under the first one, a worker that was frozen before it scheduled the
    # timer would put the first one in its place, whose message the queue drops as a repetition: it would never fire.
    return f"{token}@{early}" if early else token


def port_timer(key: Key, token: str, due: float, early: int = 0, headers: Mapping[str, str] = NO_HEADERS) -> Timer:
    """Return the timer `token` of `key`, delivered too early `early` times, as the timers port gets it."""
    id = timer_id(token, early)
    return Timer(id, Message(key, internal_id(id), encode(TimerFired(token, early)), headers), due)


def idempotency_key(key: Key, nonce: str, ordinal: int, index: int) -> str:
    """Return the key of one effect: the same in each of its attempts, and never reused for another effect.

    Args:
        key: the instance.
        nonce: the nonce of the commit that took the event: the turn's nonce, a dot, and the version.
        ordinal: the number of the event within the instance.
        index: the number of the effect within the turn.
    """
    # The nonce makes the key unique for ever. Ordinals and indexes repeat when an instance is deleted and started
    # again, or a store is restored from a backup; a receiver would then drop a new effect as a duplicate.
    return f"{key}/{nonce}/{ordinal}/{index}"


def delay_in_seconds(delay: timedelta) -> float:
    """Return `delay` in seconds, the unit of the ports; a negative delay is due at once, as in JavaScript."""
    return max(0.0, delay.total_seconds())
