"""The record: all that an instance is between two commands, as one text under one version.

Whatever must not be lost when a worker dies stands here: the snapshot, the timers that are running, the turn that is
open, the effects that are owed, the messages already taken. Everything in it is bounded, so that event 10,000 of an
instance costs and weighs what event 10 did.

The text is JSON with a format number. Parts that hold nothing are left out of it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from datetime import timedelta
from enum import StrEnum
from itertools import dropwhile
from typing import Any, TypeAlias, TypeVar

from attrs import Factory, field, frozen

from settled.data import Json, parse, quoted
from settled.effects import Emit, Execute, Log
from settled.errors import LogicError, RecordError
from settled.making import evolve
from settled.message import Due, Key, Message, Parent, Stamp, Timer, decode, encode, internal_id
from settled.ports import Position
from settled.snapshot import Snapshot

WINDOW = 256
"""How many message ids a record remembers unless a policy says otherwise: for so long a sender may repeat a message."""

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
    """The last messages and their outcomes, and the furthest step seen of each sender.

    `size` messages whose acknowledgement is certain are remembered, and besides them all of which it is not: these are
    `pinned`, because they may be handed out again, however many others came since. They are at most as many as the
    largest hand-out: what stands ahead of a hand-out was acknowledged, and what was taken behind it was taken with it.

    A message is told by its id and the digest of its body: `lines` are both as they stand in the record, oldest first,
    each pair as JSON in a line of its own. There is no other form of them, because to make one for each message would
    be most of what a small record costs; and a line break inside an id is escaped, so a line is one message and nothing
    else. `pinned` are newer than all of these: the digests by the ids. There is one digest for an id, unless somebody
    has used it again for another message. `unusual` are the outcomes other than ``taken``, by id and digest. `count` is
    how many lines there are.

    An instance's undelayed messages arrive in the order of its steps, so its furthest one tells all its earlier ones
    apart from new ones, even after their ids have left the window: `senders` has it for the last `size` senders.
    """

    size: int = WINDOW
    lines: str = ""
    unusual: Mapping[str, Outcome] = {}
    senders: Mapping[str, tuple[str, int, int]] = {}
    pinned: Mapping[str, tuple[str, ...]] = {}
    count: int = field(default=Factory(lambda self: self.lines.count("\n") + bool(self.lines), takes_self=True))

    @classmethod
    def of(cls, size: int, entries: Iterable[str], **others: Any) -> Window:
        """The window of `entries`, each an id, a space and a digest, oldest first."""
        return cls(size, SEPARATOR.join(map(quoted, entries)), **others)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids, oldest first."""
        return (*(entry[:-DIGEST] for entry in parse(f"[{self.lines}]")), *self.pinned)

    def digests_of(self, id: str) -> tuple[str, ...]:
        """The digests under which `id` is known; empty if it is new, as it nearly always is."""
        pinned = self.pinned.get(id, ())
        text = quoted(id)[1:-1]
        at = self.lines.find(text)
        return pinned if at < 0 else (*self._digests_in_lines(text, at), *pinned)

    def _digests_in_lines(self, text: str, at: int) -> Iterator[str]:
        """The digests of the lines whose id reads `text`, which is found `at` some place first."""
        lines = self.lines
        while at >= 0:
            begin, end = at + len(text), at + len(text) + DIGEST
            # An id may end as another one does, begin so, or contain what looks like it.
            if lines[at - 1 : at] == '"' and (at == 1 or lines[at - 2] == "\n") and lines[end : end + 1] == '"':
                yield lines[begin + 1 : end]
            at = lines.find(text, at + 1)

    def outcome_of(self, id: str, digest: str | None = None) -> Outcome | None:
        """What became of the message `id`, of the body with this `digest` if it is given; None if it is not known."""
        for found in self.digests_of(id):
            if digest in (None, found):
                return self.unusual.get(f"{id} {found}", Outcome.TAKEN)
        return None

    def outcome(self, message: Message, stamp: Stamp | None = None) -> Outcome | None:
        """What became of `message`; None if it is new."""
        known = self.outcome_of(message.id, message.digest)
        return Outcome.TAKEN if known is None and stamp and self._has_passed(stamp) else known

    def _has_passed(self, stamp: Stamp) -> bool:
        birth, *position = self.senders.get(str(stamp.sender), ("", 0, 0))
        return birth == stamp.birth and tuple(position) >= stamp.position

    def is_reused(self, message: Message) -> bool:
        """Whether the id of `message` is that of another one, with another body."""
        return any(
            digest != message.digest and self.unusual.get(f"{message.id} {digest}") is not Outcome.REFUSED
            for digest in self.digests_of(message.id)
        )

    def add(
        self,
        message: Message,
        outcome: Outcome,
        stamp: Stamp | None = None,
        kin: Container[str] = (),
    ) -> Window:
        """This window with `message` as its newest, which is pinned until `settle`.

        It may be known already as set aside; what was taken is never added again. `kin`: senders that are never
        forgotten.
        """
        id, digest = message.id, message.digest
        window = self._without(id, digest) if id in self.pinned or f"{id} {digest}" in self.unusual else self
        unusual, senders, pinned = window.unusual, window.senders, dict(window.pinned)
        pinned[id] = (*pinned.pop(id, ()), digest)
        if outcome is not Outcome.TAKEN:
            unusual = {**unusual, f"{id} {digest}": outcome}
        if stamp is not None:
            senders = _newest(senders, str(stamp.sender), (stamp.birth, *stamp.position), self.size, kin)
        return Window(self.size, window.lines, unusual, senders, pinned, window.count)

    def _without(self, id: str, digest: str) -> Window:
        entry = f"{id} {digest}"
        line = quoted(entry)
        lines = [each for each in self.lines.split(SEPARATOR) if each != line] if self.lines else []
        unusual = {each: outcome for each, outcome in self.unusual.items() if each != entry}
        pinned = {each: tuple(it for it in its if each != id or it != digest) for each, its in self.pinned.items()}
        pinned = {each: its for each, its in pinned.items() if its}
        return Window(self.size, SEPARATOR.join(lines), unusual, self.senders, pinned)

    def settle(self, in_hand: Container[str], before: Iterable[str] = ()) -> Window:
        """This window once somebody was handed the messages `in_hand`, by their ids; what no longer fits is forgotten.

        What stood ahead of these is known to be acknowledged. What stands behind them is not: `before` are the ids that
        were pinned until now, in their order, and another hand-out may have had more of them.
        """
        behind = frozenset(dropwhile(lambda id: id not in in_hand, before))
        gone = [
            f"{id} {digest}"
            for id, its in self.pinned.items()
            if id not in in_hand and id not in behind
            for digest in its
        ]
        if not gone:
            return self
        pinned = {id: its for id, its in self.pinned.items() if id in in_hand or id in behind}
        added, count, unusual = SEPARATOR.join(map(quoted, gone)), self.count + len(gone), self.unusual
        lines = f"{self.lines}{SEPARATOR}{added}" if self.lines else added
        if count > self.size:
            oldest, lines, count = *_split(lines, count - self.size), self.size
            if unusual:
                forgotten = set(parse(f"[{oldest}]"))
                unusual = {entry: outcome for entry, outcome in unusual.items() if entry not in forgotten}
        return Window(self.size, lines, unusual, self.senders, pinned, count)

    def hear(self, sender: Key, birth: str, kin: Container[str]) -> Window:
        """This window, in which `sender` is known to be somebody of whom something may still come."""
        name = str(sender)
        if name in self.senders:
            return self
        return evolve(self, senders=_newest(self.senders, name, (birth, 0, 0), self.size, kin))

    def forget_sender(self, sender: Key) -> Window:
        """This window without `sender`, of which nothing new can come."""
        if str(sender) not in self.senders:
            return self
        return evolve(self, senders={each: last for each, last in self.senders.items() if each != str(sender)})


def _split(lines: str, count: int) -> tuple[str, str]:
    """The first `count` of `lines`, and the others."""
    at = -1
    for _ in range(count):
        at = lines.find("\n", at + 1)
        if at < 0:
            return lines, ""
    return lines[: at - 1], lines[at + 1 :]


SEPARATOR = ",\n"
"""What stands between two messages of a window."""

DIGEST = 7
"""How many characters of an entry come behind the id: a space, and the digest."""


def _newest(items: Mapping[str, T], key: str, value: T, size: int, kept: Container[str]) -> Mapping[str, T]:
    copy = dict(items)
    copy.pop(key, None)
    copy[key] = value
    if len(copy) > size:
        strangers = [each for each in copy if each not in kept]
        if len(strangers) > size:
            del copy[strangers[0]]
    return copy


SET_ASIDE = frozenset({Outcome.DEAD, Outcome.REFUSED})
"""The outcomes of messages that lie among the dead letters, and may still be taken from there."""


@frozen
class RunningTimer:
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

    `nonce` is that of the commit that accepted the message. `inbox` are events still to be taken inside the turn,
    `index` the number of its next effect. Until `lease` (seconds since the epoch) nobody else may go on with it.
    `letter`: the message lies among the dead letters.
    """

    message: Message
    ordinal: int
    index: int
    nonce: str
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
    timers: Mapping[str, RunningTimer] = {}
    children: Mapping[str, ChildInstance] = {}
    parting: Mapping[str, Key] = {}
    system: Mapping[str, Key] = {}
    turn: OpenTurn | None = None
    mark: Position | None = None
    armed: tuple[str, str | None] | None = None
    window: Window = Window()
    outbox: tuple[Owed, ...] = ()
    failing: Failing | None = None
    receives: Receives | None = None
    halted: str | None = None
    redriving: int | None = None

    @property
    def armed_for(self) -> tuple[str, str | None]:
        """The fingerprint and the version of the machine whose delays are running."""
        return self.armed or (self.fingerprint, self.version)

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

    def has_passed(self, position: Position | None) -> bool:
        """Whether what stands at `position` was taken or set aside; False where its queue cannot tell."""
        mark = self.mark
        if mark is None or position is None or mark.epoch != position.epoch:
            return False
        return position.number <= mark.number

    def mark_past(self, position: Position | None) -> Position | None:
        """The mark of this record once what stands at `position` was taken or set aside."""
        return self.mark if position is None or self.has_passed(position) else position


def due_message(key: Key, token: str, early: int = 0) -> Message:
    """The message that says to `key` that its timer `token` is due, after it was said too early `early` times."""
    # The queue has seen the first id already, and would take the same one for a repetition.
    return Message(key, internal_id(f"{token}@{early}" if early else token), encode(Due(token, early)))


def early_of(message: Message) -> int:
    """How often what the timer's `message` says was too early."""
    content = decode(message.body)
    return content.early if isinstance(content, Due) else 0


def idempotency_key(key: Key, nonce: str, ordinal: int, index: int) -> str:
    """The name of one effect of one instance, the same across all its attempts and never that of another effect.

    `nonce` is that of the commit that accepted the event, so an instance that was deleted and started again, or a store
    that was restored from a backup, cannot come to the same name.
    """
    return f"{key}/{nonce}/{ordinal}/{index}"


def delay_in_seconds(delay: timedelta) -> float:
    """`delay` as the ports count it; what is negative is due at once, as in JavaScript."""
    return max(0.0, delay.total_seconds())
