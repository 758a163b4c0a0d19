"""The JSON format of records and tombstones.

The text has a format number and omits empty parts. A record of another format or another machine is never changed. A
snapshot that this machine cannot read is kept unchanged, so a deploy that removed a state loses nothing.

A tombstone keeps the high-water mark and the dedup window of a deleted instance, so that the next instance of the same
name takes none of its messages.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, assert_never

from attrs import frozen

from settled.chart.snapshot import Snapshot
from settled.data import Json, parse, write
from settled.durable.messages import Message, Timer, parent_from_json, parent_to_json
from settled.durable.ports import DELETED, Index, Position, Stored
from settled.durable.record import (
    ActiveTimer,
    CancelTimer,
    ChildInstance,
    FailureCount,
    OpenTurn,
    OutboxEntry,
    OutboxItem,
    PendingActor,
    PerformAction,
    ReceiveCount,
    Record,
    UnreadableSnapshot,
    early_count_of,
    timer_message,
)
from settled.durable.window import WINDOW, Outcome, Window
from settled.errors import LogicError, RecordError, VersionUnknownError
from settled.key import Key
from settled.machine import Machine
from settled.step.effects import Emit, Execute, Log

FORMAT = 3


def index_of(record: Record, now: float) -> Index:
    """Return the fields by which a store lists the instance."""
    if isinstance(record.snapshot, Snapshot):
        status, tags = str(record.snapshot.status), tuple(sorted(record.snapshot.tags))
        return Index("halted" if record.halted else status, tags, now)
    return Index("halted" if record.halted else "absent", updated=now)


def record_to_stored(machine: Machine[Any], record: Record, version: int, now: float) -> Stored:
    """Return `record` as the stored state of `version`.

    Raises:
        LogicError: the context is not JSON; the error message says where.
    """
    snapshot = _snapshot_to_text(machine, record.snapshot)
    # The window comes last and is copied as text: parsing its ids would be most of the cost of a small record.
    parts = (write(_to_json(machine, record))[:-1], ',"snapshot":', snapshot, _WINDOW, record.window.encoded_ids, _END)
    return Stored(version, "".join(parts), index_of(record, now))


def record_from_json(
    machine: Machine[Any], key: Key, body: str, window: int = WINDOW, accepts: Container[str] = ()
) -> Record:
    """Return the record that `record_to_stored` wrote.

    A snapshot that this machine cannot read is kept as an `UnreadableSnapshot`.

    Args:
        machine: the machine of the instance.
        key: the instance.
        body: the stored text.
        window: the size of the dedup window.
        accepts: versions that the machine does not know but whose snapshots are used as they are.

    Raises:
        RecordError: the text is damaged, or has another format, or belongs to another machine.
    """
    data, lines = _parse(key, body)
    if data.get("machine") != machine.id:
        raise RecordError(f"{key}: the record is of machine {data.get('machine')!r}, not {machine.id!r}")
    with _damage_as_record_error(key):
        return _from_json(machine, key, data, lines, window, accepts)


def record_to_tombstone(key: Key, stored: Stored, now: float) -> Stored:
    """Return the tombstone for the instance `stored`."""
    remains = Record()
    with suppress(RecordError):  # an operator must be able to delete an instance whose record cannot be read
        parsed, lines = _parse(key, stored.body)
        with _damage_as_record_error(key):
            window = _with_open_turn(key, parsed, _window(parsed, lines, WINDOW))
            remains = Record(high_water_mark=_high_water_mark(parsed), window=window)
    data: dict[str, Json] = {"settled": FORMAT, "machine": key.machine, **_surviving_parts(remains)}
    text = "".join((write(data)[:-1], _WINDOW, remains.window.encoded_ids, _END))
    return Stored(stored.version + 1, text, Index(DELETED, updated=now))


def _with_open_turn(key: Key, data: Mapping[str, Any], window: Window) -> Window:
    if "turn" not in data:
        return window
    # The message of an open turn enters the window only when the turn closes. It was taken all the same: without it
    # here, its redelivery would be a new message to the next instance.
    message = Message(key, *data["turn"]["message"])
    return window.add(message, Outcome.TAKEN) if window.outcome_of_message(message) is None else window


def record_from_tombstone(key: Key, body: str, window: int = WINDOW) -> Record:
    """Return a record that has only what outlives the instance: the high-water mark and the dedup window.

    `body` may be a tombstone, or the record of a live instance.

    Raises:
        RecordError: the text is damaged, or has another format.
    """
    data, lines = _parse(key, body)
    with _damage_as_record_error(key):
        return Record(high_water_mark=_high_water_mark(data), window=_window(data, lines, window))


@contextmanager
def _damage_as_record_error(key: Key) -> Generator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{key}: the record is damaged ({type(error).__name__}: {error})") from error


def _to_json(machine: Machine[Any], record: Record) -> dict[str, Json]:
    # An unreadable snapshot was not migrated either, so it keeps the fingerprint and version of its writer. Under this
    # machine's version it would never be migrated.
    author = record if isinstance(record.snapshot, UnreadableSnapshot) else machine
    data: dict[str, Json] = {
        "settled": FORMAT,
        "machine": machine.id,
        "fingerprint": author.fingerprint,
        "nonce": record.nonce,
        "start_nonce": record.start_nonce,
        "ordinal": record.ordinal,
    }
    if author.version is not None:
        data["version"] = author.version
    if record.snapshot is not None and record.armed_for[0] != author.fingerprint:
        data["armed"] = record.armed_for
    for name, part in _PARTS.items():
        value = getattr(record, name)
        if value or value == 0:  # `redriving` is 0 until the effects of the last dead letter are performed
            data[name] = part.to_json(value)
    return data | _surviving_parts(record)


def _surviving_parts(record: Record) -> dict[str, Json]:
    """Return the parts that outlive the instance, except for the lines of the window."""
    data: dict[str, Json] = {}
    window = record.window
    if record.high_water_mark is not None:
        data["high_water_mark"] = [record.high_water_mark.epoch, record.high_water_mark.number]
    if window.pinned:
        data["pinned"] = window.pinned
    if window.other_outcomes:
        data["outcomes"] = {entry: str(outcome) for entry, outcome in window.other_outcomes.items()}
    if window.senders:
        data["senders"] = window.senders
    return data


def _parse(key: Key, body: str) -> tuple[Mapping[str, Any], str]:
    """Return the record as JSON, without its window, and the lines of the window, unparsed.

    Raises:
        RecordError: `body` is not a record, or has another format.
    """
    with _foreign_as_record_error(key):
        data, lines = _split(body)
    check_format(key, data)
    return data, lines


def check_format(key: Key, data: Any) -> None:
    """Check that `data` is a record of this format.

    Raises:
        RecordError: `data` is not a record, or has another format.
    """
    with _foreign_as_record_error(key):
        written = data["settled"]
    if written != FORMAT:
        older = isinstance(written, int) and written < FORMAT
        remedy = "finish it with the settled that wrote it, or delete it" if older else "update settled"
        raise RecordError(f"{key}: the record has format {written!r}, this version of settled reads {FORMAT}: {remedy}")


@contextmanager
def _foreign_as_record_error(key: Key) -> Generator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{key}: the stored text is not a record of settled ({error})") from error


def _split(body: str) -> tuple[Any, str]:
    head, _, lines = body.rpartition(_WINDOW)
    if head and lines.endswith(_END):
        with suppress(ValueError):  # this "window" was nested, for instance in the context: then `head` is incomplete
            return parse(head + "}"), lines.removesuffix(_END)
    data = parse(body)
    return data, Window.of(WINDOW, data.get("window", ())).encoded_ids


_WINDOW, _END = ',"window":[', "]}"


def _from_json(
    machine: Machine[Any], key: Key, data: Mapping[str, Any], lines: str, window: int, accepts: Container[str]
) -> Record:
    snapshot, version = data.get("snapshot"), data.get("version")
    return Record(
        nonce=data["nonce"],
        version=version,
        fingerprint=data["fingerprint"],
        start_nonce=data["start_nonce"],
        ordinal=data["ordinal"],
        snapshot=None if snapshot is None else _snapshot_from_json(machine, snapshot, version, accepts),
        high_water_mark=_high_water_mark(data),
        armed=(data["armed"][0], data["armed"][1]) if "armed" in data else None,
        window=_window(data, lines, window),
        **{name: part.from_json(key, data[name]) for name, part in _PARTS.items() if name in data},
    )


def _high_water_mark(data: Mapping[str, Any]) -> Position | None:
    return Position(*data["high_water_mark"]) if "high_water_mark" in data else None


def _window(data: Mapping[str, Any], lines: str, size: int) -> Window:
    outcomes = {entry: Outcome(outcome) for entry, outcome in data.get("outcomes", {}).items()}
    senders = {sender: (last[0], last[1], last[2]) for sender, last in data.get("senders", {}).items()}
    pinned = {id: tuple(digests) for id, digests in data.get("pinned", {}).items()}
    return Window(size, lines, outcomes, senders, pinned)


def _snapshot_to_text(machine: Machine[Any], snapshot: Snapshot[Any] | UnreadableSnapshot | None) -> str:
    match snapshot:
        case None:
            return "null"
        case UnreadableSnapshot(raw):
            return write(raw)
        case _:
            return machine.dump(snapshot)


def _snapshot_from_json(
    machine: Machine[Any], raw: Any, version: str | None, accepts: Container[str]
) -> Snapshot[Any] | UnreadableSnapshot:
    if not machine.knows_version(version) and (version is None or version not in accepts):
        known = f"is version {machine.version!r}" if machine.version else "declares no version"
        return UnreadableSnapshot(
            raw,
            VersionUnknownError(
                f"written by version {version!r} of {machine.id!r}, which here {known} and has no migration from it: "
                "leave it to a host that knows it, register a migration, or let the policy accept that version"
            ),
        )
    try:
        return machine.from_json(machine.migrate(raw, version))
    except (RecordError, LogicError) as error:
        return UnreadableSnapshot(raw, error)


def _timer_to_json(timer: ActiveTimer) -> Json:
    return [timer.due, timer.event, timer.id, timer.message, timer.scheduled]


def _timer_from_json(raw: Sequence[Any]) -> ActiveTimer:
    due, event, id, message, scheduled = raw
    return ActiveTimer(due, event, id, None if message is None else (message[0], message[1]), scheduled)


def _turn_to_json(turn: OpenTurn) -> Json:
    return {
        "message": [turn.message.id, turn.message.body],
        "ordinal": turn.ordinal,
        "index": turn.index,
        "nonce": turn.nonce,
        "inbox": list(turn.inbox),
        "actors": [_actor_to_json(actor) for actor in turn.actors],
        "lease_until": turn.lease_until,
        "from_dead_letters": turn.from_dead_letters,
    }


def _turn_from_json(key: Key, raw: Mapping[str, Any]) -> OpenTurn:
    return OpenTurn(
        Message(key, *raw["message"]),
        raw["ordinal"],
        raw["index"],
        raw["nonce"],
        tuple(raw["inbox"]),
        tuple(PendingActor(*actor) for actor in raw["actors"]),
        raw["lease_until"],
        raw["from_dead_letters"],
    )


def _actor_to_json(actor: PendingActor) -> Json:
    return [actor.id, actor.src, actor.input, actor.index, actor.attempt, actor.not_before, actor.started_by]


def _outbox_entry_to_json(entry: OutboxEntry) -> Json:
    match entry.item:
        case Message(key, id, body):
            return [entry.message_id, "send", str(key), id, body]
        case Timer(id, message, due):
            return [entry.message_id, "schedule", id, due, early_count_of(message)]
        case CancelTimer(token):
            return [entry.message_id, "cancel", token]
        case PerformAction(effect, idempotency_key):
            kind, *rest = _action_to_json(effect)
            return [entry.message_id, kind, idempotency_key, *rest]
        case _:
            assert_never(entry.item)


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


def _outbox_entry_from_json(key: Key, raw: Sequence[Any]) -> OutboxEntry:
    message_id, kind, *rest = raw
    return OutboxEntry(message_id, _outbox_item_from_json(key, kind, rest))


def _outbox_item_from_json(key: Key, kind: str, rest: Sequence[Any]) -> OutboxItem:
    match kind, rest:
        case "send", [to, id, body]:
            return Message(Key.parse(to), id, body)
        case "schedule", [id, due, early]:  # the message is rebuilt from its token, so that the record stays small
            return Timer(id, timer_message(key, id, early), due)
        case "cancel", [token]:
            return CancelTimer(token)
        case _:
            idempotency_key, *effect = rest
            return PerformAction(_ACTION_TYPES[kind](*effect), idempotency_key)


_ACTION_TYPES: Mapping[str, type[Execute] | type[Emit] | type[Log]] = {"execute": Execute, "emit": Emit, "log": Log}


@frozen
class _Part:
    """The JSON conversion of a part of a record that is omitted when it is empty."""

    to_json: Callable[[Any], Json]
    from_json: Callable[[Key, Any], Any]


_PARTS: Mapping[str, _Part] = {
    "parent": _Part(parent_to_json, lambda key, raw: parent_from_json(raw)),
    "timers": _Part(
        lambda timers: {token: _timer_to_json(timer) for token, timer in timers.items()},
        lambda key, raw: {token: _timer_from_json(each) for token, each in raw.items()},
    ),
    "children": _Part(
        lambda children: {id: [str(each.key), each.generation, each.system_id] for id, each in children.items()},
        lambda key, raw: {id: ChildInstance(Key.parse(child), *rest) for id, (child, *rest) in raw.items()},
    ),
    "detached": _Part(
        lambda detached: {generation: str(child) for generation, child in detached.items()},
        lambda key, raw: {generation: Key.parse(child) for generation, child in raw.items()},
    ),
    "system_ids": _Part(
        lambda system: {id: str(member) for id, member in system.items()},
        lambda key, raw: {id: Key.parse(member) for id, member in raw.items()},
    ),
    "turn": _Part(_turn_to_json, _turn_from_json),
    "outbox": _Part(
        lambda outbox: [_outbox_entry_to_json(entry) for entry in outbox],
        lambda key, raw: tuple(_outbox_entry_from_json(key, each) for each in raw),
    ),
    "failing": _Part(
        lambda failing: [failing.id, failing.count, failing.detail],
        lambda key, raw: FailureCount(*raw),
    ),
    "receives": _Part(
        lambda receives: [receives.id, receives.count],
        lambda key, raw: ReceiveCount(*raw),
    ),
    "halted": _Part(str, lambda key, raw: raw),
    "redriving": _Part(int, lambda key, raw: raw),
}
