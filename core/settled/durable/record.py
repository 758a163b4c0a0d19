"""The record: all that an instance is between two commands, as one text under one version.

Whatever must not be lost when a worker dies stands here: the snapshot, the timers that are running, the turn that is
open, the effects that are owed, the messages already taken. Everything in it is bounded, so that event 10,000 of an
instance costs and weighs what event 10 did.

The text is JSON with a format number. Parts that hold nothing are left out of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeAlias

from attrs import field, frozen

from settled.chart.snapshot import Snapshot
from settled.data import Json
from settled.durable.messages import Message, Parent, Timer, TimerFired, decode, encode, internal_id
from settled.durable.ports import Position
from settled.durable.window import EMPTY_WINDOW, Window
from settled.errors import LogicError, RecordError
from settled.key import Key
from settled.step.effects import Emit, Execute, Log


@frozen
class ActiveTimer:
    """A timer of the machine: `event` is for itself, or else `message` (a key and a body) is for another.

    `id` is the name by which the machine can cancel it, as long as that is not another's. `scheduled` says that the
    timers' port was told: an open turn watches its own timers, and hands over those that outlive it.
    """

    due: float
    event: Json
    id: str | None = None
    message: tuple[str, str] | None = None
    scheduled: bool = False


@frozen
class ChildInstance:
    """Where the machine that runs as a child lives, and which start of it is the one that counts."""

    key: Key
    generation: str
    system_id: str | None = None


@frozen
class PendingActor:
    """A function actor whose result the open turn still needs.

    `index` completes its idempotency key. `attempt` counts its starts from 1. `started_by` is the nonce of the turn
    that claimed this attempt; None while the attempt waits for `not_before`.
    """

    id: str
    src: str
    input: Json
    index: int
    attempt: int = 1
    not_before: float = 0.0
    started_by: str | None = None


@frozen
class OpenTurn:
    """A turn that was committed before it settled: its message, and how far it came.

    `nonce` is that of the commit that accepted the message. `inbox` are events still to be taken inside the turn,
    `index` the number of its next effect. Until `lease` (seconds since the epoch) nobody else may go on with it.
    `letter`: the message lies among the dead letters.
    """

    message: Message
    ordinal: int
    index: int
    nonce: str
    inbox: tuple[Json, ...] = ()
    actors: tuple[PendingActor, ...] = ()
    lease: float = 0.0
    from_dead_letters: bool = False


@frozen
class CancelTimer:
    """Tell the timers' port to forget `token`."""

    token: str


@frozen
class PerformAction:
    """A custom action, an emitted event or a line of a log, under its idempotency key."""

    effect: Execute | Emit | Log
    idempotency_key: str


OutboxItem: TypeAlias = Message | Timer | CancelTimer | PerformAction


@frozen
class OutboxEntry:
    """Something a committed step still owes, and the id of the delivery it was committed under.

    That delivery's acknowledgement confirms it: nothing of a key is handed out before what stands ahead of it was
    acknowledged, so whoever holds another delivery knows it was done.
    """

    delivery_id: str
    item: OutboxItem


@frozen
class Failing:
    """How often the message `id` has failed, and the last error."""

    id: str
    count: int
    detail: str


@frozen
class Receives:
    """How often the message `id` had been received when it last made progress."""

    id: str
    count: int


@frozen
class Unreadable:
    """A stored snapshot that this machine cannot read. It is kept as it was found."""

    raw: Json
    error: RecordError | LogicError = field(eq=str)


@frozen(slots=False)
class Record:
    """What the store keeps for a key, decoded.

    `nonce` is that of the commit that wrote it: no two commits have the same one, and nobody can guess the next.
    `parting` are the children that have no name any more but are still to report: those stopped by the last they said,
    and those whose name was given to another; their keys by their generations.
    `birth` is the nonce with which the instance was started. `ordinal` is how many events it has accepted. `mark` is
    the highest position in its queue that was taken or set aside; it outlives the instance. `system` is a root's
    directory of system ids.
    `fingerprint` and `version` are of the machine that wrote it; `armed` are those of the one that its timers are of,
    where that is another one.
    `redriving` is how many dead letters are to be taken before anything newer; None when no redrive is under way.
    """

    nonce: str = ""
    version: str | None = None
    fingerprint: str = ""
    birth: str = ""
    ordinal: int = 0
    snapshot: Snapshot[Any] | Unreadable | None = None
    parent: Parent | None = None
    timers: Mapping[str, ActiveTimer] = {}
    children: Mapping[str, ChildInstance] = {}
    detached: Mapping[str, Key] = {}
    system: Mapping[str, Key] = {}
    turn: OpenTurn | None = None
    high_water_mark: Position | None = None
    armed: tuple[str, str | None] | None = None
    window: Window = EMPTY_WINDOW
    outbox: tuple[OutboxEntry, ...] = ()
    failing: Failing | None = None
    receives: Receives | None = None
    halted: str | None = None
    redriving: int | None = None

    @property
    def armed_for(self) -> tuple[str, str | None]:
        """The fingerprint and the version of the machine whose delays are running."""
        return self.armed or (self.fingerprint, self.version)

    def readable_snapshot(self) -> Snapshot[Any]:
        """The snapshot.

        Raises:
            RecordError, LogicError: this machine cannot read it, or a migration raised.
        """
        if isinstance(self.snapshot, Unreadable):
            raise self.snapshot.error
        if self.snapshot is None:
            raise RecordError("the instance was never started")
        return self.snapshot

    def has_passed(self, position: Position | None) -> bool:
        """Whether what stands at `position` was taken or set aside; False where its queue cannot tell."""
        mark = self.high_water_mark
        if mark is None or position is None or mark.epoch != position.epoch:
            return False
        return position.number <= mark.number

    def mark_after(self, position: Position | None) -> Position | None:
        """The mark of this record once what stands at `position` was taken or set aside."""
        return self.high_water_mark if position is None or self.has_passed(position) else position


def timer_message(key: Key, token: str, early: int = 0) -> Message:
    """The message that says to `key` that its timer `token` is due, after it was said too early `early` times."""
    # The queue has seen the first id already, and would take the same one for a repetition.
    return Message(key, internal_id(f"{token}@{early}" if early else token), encode(TimerFired(token, early)))


def times_early(message: Message) -> int:
    """Return how often the timer whose `message` this is came too early."""
    content = decode(message.body)
    return content.early if isinstance(content, TimerFired) else 0


def idempotency_key(key: Key, nonce: str, ordinal: int, index: int) -> str:
    """The name of one effect of one instance, the same across all its attempts and never that of another effect.

    `nonce` is that of the commit that accepted the event, so an instance that was deleted and started again, or a store
    that was restored from a backup, cannot come to the same name.
    """
    return f"{key}/{nonce}/{ordinal}/{index}"


def delay_in_seconds(delay: timedelta) -> float:
    """`delay` as the ports count it; what is negative is due at once, as in JavaScript."""
    return max(0.0, delay.total_seconds())
