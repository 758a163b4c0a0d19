"""The record: all that an instance is between two commands, as one text under one version.

Whatever must not be lost when a worker dies stands here: the snapshot, the timers that are running, the turn that is
open, the effects that are owed, the messages already taken. Everything in it is bounded, so that event 10,000 of an
instance costs and weighs what event 10 did.

The text is JSON with a format number. Parts that hold nothing are left out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeAlias, TypeVar, assert_never

from attrs import evolve, field, frozen

from settled.data import Json, parse, write
from settled.effects import Emit, Execute, Log
from settled.errors import RecordError
from settled.machine import Machine
from settled.message import Due, Key, Message, Parent, Stamp, Timer, encode
from settled.ports import Index, Stored
from settled.snapshot import Snapshot

FORMAT = 1

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
    """The last `size` messages and their outcomes, oldest first, and the furthest step seen of each sender.

    An instance's undelayed messages arrive in the order of its steps, so its furthest one tells all its earlier ones
    apart from new ones, even after their ids have left the window.
    """

    size: int = WINDOW
    outcomes: Mapping[str, Outcome] = {}
    senders: Mapping[str, tuple[int, int, int]] = {}

    def outcome(self, message: Message, stamp: Stamp | None = None) -> Outcome | None:
        """What became of `message`; None if it is new."""
        known = self.outcomes.get(message.id)
        if known is None and stamp and self.senders.get(str(stamp.sender), (0, -1, -1)) >= stamp.position:
            return Outcome.TAKEN
        return known

    def add(self, message: Message, outcome: Outcome, stamp: Stamp | None = None) -> Window:
        """This window with `message` as its newest; what no longer fits is forgotten."""
        outcomes = _newest(self.outcomes, message.id, outcome, self.size)
        if stamp is None:
            return evolve(self, outcomes=outcomes)
        senders = _newest(self.senders, str(stamp.sender), stamp.position, self.size)
        return evolve(self, outcomes=outcomes, senders=senders)


SET_ASIDE = frozenset({Outcome.DEAD, Outcome.REFUSED})
"""The outcomes of messages that lie among the dead letters, and may still be taken from there."""


def _newest(items: Mapping[str, T], key: str, value: T, size: int) -> Mapping[str, T]:
    copy = dict(items)
    copy.pop(key, None)
    copy[key] = value
    if len(copy) > size:
        del copy[next(iter(copy))]
    return copy


@frozen
class RunningTimer:
    """A timer of the machine. `to` is None if `event` is for the machine itself, else the key it is sent to.

    `id` is the name by which the machine can cancel it. `scheduled` says that the timers' port was told: an open turn
    watches its own timers, and hands over those that outlive it.
    """

    due: float
    event: Json
    id: str | None = None
    to: str | None = None
    scheduled: bool = False


@frozen
class ChildInstance:
    """Where the machine that runs as a child lives, and which start of it is the one that counts."""

    key: Key
    generation: str


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
    error: RecordError = field(eq=str)


@frozen
class Record:
    """What the store keeps for a key, decoded.

    `ordinal` is how many events the instance has accepted; `incarnation` is the version with which it was started, so
    an instance that was deleted and started again never repeats an idempotency key. `nonce` is the committer's.
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
            RecordError: this machine cannot read it.
        """
        if isinstance(self.snapshot, Unreadable):
            raise self.snapshot.error
        if self.snapshot is None:
            raise RecordError("the instance was never started")
        return self.snapshot


def due_message(key: Key, token: str) -> Message:
    """The message that says to `key` that its timer `token` is due."""
    return Message(key, token, encode(Due(token)))


def index_of(record: Record, now: float) -> Index:
    """What a store lists the instance by."""
    if isinstance(record.snapshot, Snapshot):
        status, tags = str(record.snapshot.status), tuple(sorted(record.snapshot.tags))
        return Index("halted" if record.halted else status, tags, now)
    return Index("halted" if record.halted else "absent", updated=now)


def store(machine: Machine[Any, Any], record: Record, version: int, now: float) -> Stored:
    """`record` as the text of `version`.

    Raises:
        LogicError: the context is not JSON; the message says where inside it.
    """
    return Stored(version, write(_to_json(machine, record)), index_of(record, now))


def read(machine: Machine[Any, Any], key: Key, body: str, window: int = WINDOW) -> Record:
    """The record that `store` wrote. A snapshot that this machine cannot read is kept as `Unreadable`.

    Raises:
        RecordError: the text is damaged, or of a newer format, or another machine's.
    """
    try:
        data = parse(body)
        written = data["settled"]
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{key}: the stored text is not a record of settled ({error})") from error
    if written != FORMAT:
        raise RecordError(
            f"{key}: the record has format {written!r}, this version of settled reads {FORMAT}: update settled"
        )
    if data["machine"] != machine.id:
        raise RecordError(f"{key}: the record is of machine {data['machine']!r}, not {machine.id!r}")
    try:
        return _from_json(machine, key, data, window)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{key}: the record is damaged ({type(error).__name__}: {error})") from error


def _to_json(machine: Machine[Any, Any], record: Record) -> dict[str, Json]:
    everything: dict[str, Json] = {
        "settled": FORMAT,
        "machine": machine.id,
        "version": machine.version,
        "fingerprint": machine.fingerprint,
        "nonce": record.nonce,
        "incarnation": record.incarnation,
        "ordinal": record.ordinal,
        "snapshot": _snapshot_to_json(machine, record.snapshot),
        "parent": _optional(_parent_to_json, record.parent),
        "timers": {token: _timer_to_json(timer) for token, timer in record.timers.items()},
        "children": {id: [str(child.key), child.generation] for id, child in record.children.items()},
        "turn": _optional(_turn_to_json, record.turn),
        "window": list(record.window.outcomes),
        "outcomes": {
            id: str(outcome) for id, outcome in record.window.outcomes.items() if outcome is not Outcome.TAKEN
        },
        "senders": {sender: list(position) for sender, position in record.window.senders.items()},
        "outbox": [_owed_to_json(owed) for owed in record.outbox],
        "failing": _optional(lambda failing: [failing.id, failing.count, failing.detail], record.failing),
        "receives": _optional(lambda receives: [receives.id, receives.count], record.receives),
        "halted": record.halted,
    }
    lean: dict[str, Json] = {name: value for name, value in everything.items() if value not in (None, [], {})}
    return lean if record.redriving is None else {**lean, "redriving": record.redriving}


def _parent_to_json(parent: Parent) -> Json:
    return [str(parent.key), parent.child, parent.generation]


def _from_json(machine: Machine[Any, Any], key: Key, data: Mapping[str, Any], window: int) -> Record:
    outcomes = dict.fromkeys(data.get("window", ()), Outcome.TAKEN)
    outcomes.update((id, Outcome(outcome)) for id, outcome in data.get("outcomes", {}).items())
    senders = {sender: (position[0], position[1], position[2]) for sender, position in data.get("senders", {}).items()}
    return Record(
        nonce=data["nonce"],
        version=data.get("version"),
        fingerprint=data["fingerprint"],
        incarnation=data["incarnation"],
        ordinal=data["ordinal"],
        snapshot=_optional(lambda raw: _snapshot(machine, raw), data.get("snapshot")),
        parent=_optional(lambda raw: Parent(Key.parse(raw[0]), raw[1], raw[2]), data.get("parent")),
        timers={token: _timer(raw) for token, raw in data.get("timers", {}).items()},
        children={id: ChildInstance(Key.parse(raw[0]), raw[1]) for id, raw in data.get("children", {}).items()},
        turn=_optional(lambda raw: _turn(key, raw), data.get("turn")),
        window=Window(window, outcomes, senders),
        outbox=tuple(_owed(key, raw) for raw in data.get("outbox", ())),
        failing=_optional(lambda raw: Failing(*raw), data.get("failing")),
        receives=_optional(lambda raw: Receives(*raw), data.get("receives")),
        halted=data.get("halted"),
        redriving=data.get("redriving"),
    )


def _optional(convert: Callable[[Any], T], raw: Any) -> T | None:
    return None if raw is None else convert(raw)


def _snapshot_to_json(machine: Machine[Any, Any], snapshot: Snapshot[Any] | Unreadable | None) -> Json:
    match snapshot:
        case None:
            return None
        case Unreadable(raw):
            return raw
        case _:
            return machine.to_json(snapshot)


def _snapshot(machine: Machine[Any, Any], raw: Any) -> Snapshot[Any] | Unreadable:
    try:
        return machine.from_json(raw)
    except RecordError as error:
        return Unreadable(raw, error)


def _timer_to_json(timer: RunningTimer) -> Json:
    return [timer.due, timer.event, timer.id, timer.to, timer.scheduled]


def _timer(raw: Sequence[Any]) -> RunningTimer:
    return RunningTimer(*raw)


def _turn_to_json(turn: OpenTurn) -> Json:
    return {
        "message": [turn.message.id, turn.message.body],
        "ordinal": turn.ordinal,
        "index": turn.index,
        "inbox": list(turn.inbox),
        "calls": [_call_to_json(call) for call in turn.calls],
        "lease": turn.lease,
        "letter": turn.letter,
    }


def _turn(key: Key, raw: Mapping[str, Any]) -> OpenTurn:
    return OpenTurn(
        Message(key, *raw["message"]),
        raw["ordinal"],
        raw["index"],
        tuple(raw["inbox"]),
        tuple(PendingCall(*call) for call in raw["calls"]),
        raw["lease"],
        raw["letter"],
    )


def _call_to_json(call: PendingCall) -> Json:
    return [call.id, call.src, call.input, call.index, call.attempt, call.not_before, call.started_by]


def _owed_to_json(owed: Owed) -> Json:
    match owed.what:
        case Message(key, id, body):
            return [owed.by, "send", str(key), id, body]
        case Timer(id, _, due):
            return [owed.by, "schedule", id, due]
        case CancelTimer(token):
            return [owed.by, "cancel", token]
        case Action(effect, idempotency_key):
            kind, *rest = _action_to_json(effect)
            return [owed.by, kind, idempotency_key, *rest]
        case _:
            assert_never(owed.what)


def _action_to_json(effect: Execute | Emit | Log) -> list[Json]:
    match effect:
        case Execute(index, type, params, context, event):
            return ["execute", index, type, params, context, event]
        case Emit(index, event):
            return ["emit", index, event]
        case Log(index, value, label):
            return ["log", index, value, label]
        case _:
            assert_never(effect)


def _owed(key: Key, raw: Sequence[Any]) -> Owed:
    by, kind, *rest = raw
    return Owed(by, _debt(key, kind, rest))


def _debt(key: Key, kind: str, rest: Sequence[Any]) -> Debt:
    match kind, rest:
        case "send", [to, id, body]:
            return Message(Key.parse(to), id, body)
        case "schedule", [id, due]:
            return Timer(id, due_message(key, id), due)
        case "cancel", [token]:
            return CancelTimer(token)
        case _:
            idempotency_key, *effect = rest
            return Action(_ACTIONS[kind](*effect), idempotency_key)


_ACTIONS: Mapping[str, type[Execute] | type[Emit] | type[Log]] = {"execute": Execute, "emit": Emit, "log": Log}


def idempotency_key(key: Key, incarnation: int, ordinal: int, index: int) -> str:
    """The name of one effect of one instance, the same across all its attempts."""
    return f"{key}/{incarnation}/{ordinal}/{index}"


def delay_in_seconds(delay: timedelta) -> float:
    """`delay` as the ports count it; what is negative is due at once, as in JavaScript."""
    return max(0.0, delay.total_seconds())
