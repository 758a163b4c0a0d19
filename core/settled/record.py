"""The record: all that an instance is between two commands, as one text under one version.

Whatever must not be lost when a worker dies stands here: the snapshot, the timers that are running, the turn that is
open, the effects that are owed, the messages already taken. Everything in it is bounded, so that event 10,000 of an
instance costs and weighs what event 10 did.

The text is JSON with a format number. Parts that hold nothing are left out of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeAlias, TypeVar

from attrs import Factory, field, frozen

from settled.data import Json, parse, write
from settled.effects import Emit, Execute, Log
from settled.errors import LogicError, RecordError
from settled.message import Due, Key, Message, Parent, Stamp, Timer, encode
from settled.snapshot import Snapshot

WINDOW = 256
"""How many message ids a record remembers unless a policy says otherwise: the bound of exactly-once."""

T = TypeVar("T")


class Outcome(StrEnum):
    """What became of a message."""

    TAKEN = "taken"
    """Its turn is over."""

    RESOLVED = "resolved"
    """Its turn is over and ended in a node tagged ``resolve``."""

    REJECTED = "rejected"
    """Its turn is over and ended in a node tagged ``reject``."""

    FAILED = "failed"
    """Its turn is over and left the machine in ``error``."""

    IGNORED = "ignored"
    """The machine was not active any more, or was started already; nothing changed."""

    REFUSED = "refused"
    """It is no event for this machine; it lies among the dead letters."""

    DEAD = "dead"
    """It was set aside after its last attempt, or behind one that was; it lies among the dead letters."""


@frozen
class Window:
    """The last `size` messages and their outcomes, and the furthest step seen of each sender.

    An instance's undelayed messages arrive in the order of its steps, so its furthest one tells all its earlier ones
    apart from new ones, even after their ids have left the window.

    `lines` are the ids as they stand in the record, oldest first: each is JSON, in a line of its own. There is no other
    form of them, because to make one for each message would be most of what a small record costs; and a line break
    inside an id is escaped, so a line is one id and nothing else. `unusual` are the outcomes other than ``taken``.
    `count` is how many lines there are.
    """

    size: int = WINDOW
    lines: str = ""
    unusual: Mapping[str, Outcome] = {}
    senders: Mapping[str, tuple[int, int, int]] = {}
    count: int = field(default=Factory(lambda self: self.lines.count("\n") + bool(self.lines), takes_self=True))

    @classmethod
    def of(cls, size: int, ids: Iterable[str], **others: Any) -> Window:
        """The window of `ids`, oldest first."""
        return cls(size, BETWEEN.join(map(write, ids)), **others)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids, oldest first."""
        return tuple(parse(f"[{self.lines}]"))

    def outcome_of(self, id: str) -> Outcome | None:
        """What became of the message `id`; None if it is not among the last ones."""
        return self.unusual.get(id, Outcome.TAKEN) if self._has(write(id)) else None

    def _has(self, line: str) -> bool:
        # Nearly always it is new, and then nothing need be put together to know it.
        return line in self.lines and f"\n{line}{BETWEEN}" in f"\n{self.lines}{BETWEEN}"

    def outcome(self, message: Message, stamp: Stamp | None = None) -> Outcome | None:
        """What became of `message`; None if it is new."""
        known = self.outcome_of(message.id)
        if known is None and stamp and self.senders.get(str(stamp.sender), (0, -1, -1)) >= stamp.position:
            return Outcome.TAKEN
        return known

    def add(self, message: Message, outcome: Outcome, stamp: Stamp | None = None) -> Window:
        """This window with `message` as its newest; what no longer fits is forgotten."""
        line, lines, count = write(message.id), self.lines, self.count + 1
        if self._has(line):
            lines, count = BETWEEN.join(other for other in lines.split(BETWEEN) if other != line), count - 1
        lines = f"{lines}{BETWEEN}{line}" if lines else line
        unusual, senders = self.unusual, self.senders
        if count > self.size:
            oldest, _, lines = lines.partition(BETWEEN)
            unusual, count = unusual and {id: each for id, each in unusual.items() if write(id) != oldest}, count - 1
        if outcome is not Outcome.TAKEN or message.id in unusual:
            unusual = {id: each for id, each in unusual.items() if id != message.id}
            unusual |= {} if outcome is Outcome.TAKEN else {message.id: outcome}
        if stamp is not None:
            senders = _newest(senders, str(stamp.sender), stamp.position, self.size)
        return Window(self.size, lines, unusual, senders, count)


BETWEEN = ",\n"
"""What stands between two ids of a window."""


def _newest(items: Mapping[str, T], key: str, value: T, size: int) -> Mapping[str, T]:
    copy = dict(items)
    copy.pop(key, None)
    copy[key] = value
    if len(copy) > size:
        del copy[next(iter(copy))]
    return copy


SET_ASIDE = frozenset({Outcome.DEAD, Outcome.REFUSED})
"""The outcomes of messages that lie among the dead letters, and may still be taken from there."""


@frozen
class RunningTimer:
    """A timer of the machine: `event` is for itself, or else `message` (a key and a body) is for another.

    `id` is the name by which the machine can cancel it. `scheduled` says that the timers' port was told: an open turn
    watches its own timers, and hands over those that outlive it.
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
class PendingCall:
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

    `inbox` are events still to be taken inside the turn, `index` the number of its next effect. Until `lease` (seconds
    since the epoch) nobody else may go on with it. `letter`: the message lies among the dead letters.
    """

    message: Message
    ordinal: int
    index: int
    inbox: tuple[Json, ...] = ()
    calls: tuple[PendingCall, ...] = ()
    lease: float = 0.0
    letter: bool = False


@frozen
class CancelTimer:
    """Tell the timers' port to forget `token`."""

    token: str


@frozen
class Action:
    """A custom action, an emitted event or a line of a log, under its idempotency key."""

    effect: Execute | Emit | Log
    idempotency_key: str


Debt: TypeAlias = Message | Timer | CancelTimer | Action


@frozen
class Owed:
    """Something a committed step still owes, and the id of the delivery it was committed under.

    That delivery's acknowledgement confirms it: nothing of a key is handed out before what stands ahead of it was
    acknowledged, so whoever holds another delivery knows it was done.
    """

    by: str
    what: Debt


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

    `ordinal` is how many events the instance has accepted; `incarnation` is the version with which it was started, so
    an instance that was deleted and started again never repeats an idempotency key. `nonce` is the committer's.
    `system` is a root's directory of system ids.
    `redriving` is how many dead letters are to be taken before anything newer; None when no redrive is under way.
    """

    nonce: str = ""
    version: str | None = None
    fingerprint: str = ""
    incarnation: int = 0
    ordinal: int = 0
    snapshot: Snapshot[Any] | Unreadable | None = None
    parent: Parent | None = None
    timers: Mapping[str, RunningTimer] = {}
    children: Mapping[str, ChildInstance] = {}
    system: Mapping[str, Key] = {}
    turn: OpenTurn | None = None
    window: Window = Window()
    outbox: tuple[Owed, ...] = ()
    failing: Failing | None = None
    receives: Receives | None = None
    halted: str | None = None
    redriving: int | None = None

    def live(self) -> Snapshot[Any]:
        """The snapshot.

        Raises:
            RecordError, LogicError: this machine cannot read it, or a migration raised.
        """
        if isinstance(self.snapshot, Unreadable):
            raise self.snapshot.error
        if self.snapshot is None:
            raise RecordError("the instance was never started")
        return self.snapshot


def due_message(key: Key, token: str) -> Message:
    """The message that says to `key` that its timer `token` is due."""
    return Message(key, token, encode(Due(token)))


def idempotency_key(key: Key, incarnation: int, ordinal: int, index: int) -> str:
    """The name of one effect of one instance, the same across all its attempts."""
    return f"{key}/{incarnation}/{ordinal}/{index}"


def delay_in_seconds(delay: timedelta) -> float:
    """`delay` as the ports count it; what is negative is due at once, as in JavaScript."""
    return max(0.0, delay.total_seconds())
