"""How a record is written: as JSON text with a format number, which leaves out the parts that hold nothing.

A record of another format, or of another machine, is not touched. A snapshot that this machine cannot read is kept as
it was found, so that nothing is lost by a deploy that forgot a state.

Of a deleted instance a tombstone stays: how far it had come in its queue, and the messages that it had taken, so that
none of them is taken by the next instance of its name.
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
    Failing,
    OpenTurn,
    OutboxEntry,
    OutboxItem,
    PendingActor,
    PerformAction,
    Receives,
    Record,
    Unreadable,
    timer_message,
    times_early,
)
from settled.durable.window import WINDOW, Outcome, Window
from settled.errors import LogicError, RecordError, VersionUnknownError
from settled.key import Key
from settled.machine import Machine
from settled.step.effects import Emit, Execute, Log

FORMAT = 3


def index_of(record: Record, now: float) -> Index:
    """What a store lists the instance by."""
    if isinstance(record.snapshot, Snapshot):
        status, tags = str(record.snapshot.status), tuple(sorted(record.snapshot.tags))
        return Index("halted" if record.halted else status, tags, now)
    return Index("halted" if record.halted else "absent", updated=now)


def record_to_stored(machine: Machine[Any, Any], record: Record, version: int, now: float) -> Stored:
    """`record` as the text of `version`.

    Raises:
        LogicError: the context is not JSON; the message says where inside it.
    """
    snapshot = _snapshot_to_text(machine, record.snapshot)
    parts = (write(_to_json(machine, record))[:-1], ',"snapshot":', snapshot, _WINDOW, record.window.encoded_ids, _END)
    return Stored(version, "".join(parts), index_of(record, now))


def record_from_json(
    machine: Machine[Any, Any], key: Key, body: str, window: int = WINDOW, accepts: Container[str] = ()
) -> Record:
    """The record that `store` wrote. A snapshot that this machine cannot read is kept as `Unreadable`.

    Args:
        accepts: versions of the machine whose snapshots are taken as they are, though it does not know them.

    Raises:
        RecordError: the text is damaged, or of another format, or another machine's.
    """
    data, lines = _parsed(key, body)
    if data.get("machine") != machine.id:
        raise RecordError(f"{key}: the record is of machine {data.get('machine')!r}, not {machine.id!r}")
    with _damaged(key):
        return _from_json(machine, key, data, lines, window, accepts)


def record_to_tombstone(key: Key, stored: Stored, now: float) -> Stored:
    """The tombstone of the instance that was `stored`; also of one whose text cannot be read."""
    left = Record()
    with suppress(RecordError):
        parsed, lines = _parsed(key, stored.body)
        with _damaged(key):
            left = Record(
                high_water_mark=_mark(parsed), window=_with_open_turn(key, parsed, _window(parsed, lines, WINDOW))
            )
    data: dict[str, Json] = {"settled": FORMAT, "machine": key.machine, **_remembered(left)}
    text = "".join((write(data)[:-1], _WINDOW, left.window.encoded_ids, _END))
    return Stored(stored.version + 1, text, Index(DELETED, updated=now))


def _with_open_turn(key: Key, data: Mapping[str, Any], window: Window) -> Window:
    """Add to `window` the message that a turn was open for: it was taken, too."""
    if "turn" not in data:
        return window
    message = Message(key, *data["turn"]["message"])
    return window.add(message, Outcome.TAKEN) if window.outcome(message) is None else window


def record_from_tombstone(key: Key, body: str, window: int = WINDOW) -> Record:
    """Read what is left of a deleted instance, or would be left of a live one: no snapshot, only its window and mark.

    Raises:
        RecordError: the text is damaged, or of another format.
    """
    data, lines = _parsed(key, body)
    with _damaged(key):
        return Record(high_water_mark=_mark(data), window=_window(data, lines, window))


@contextmanager
def _damaged(key: Key) -> Generator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{key}: the record is damaged ({type(error).__name__}: {error})") from error


def _to_json(machine: Machine[Any, Any], record: Record) -> dict[str, Json]:
    # What could not be read was not migrated either: it stays what its own version has written.
    author = record if isinstance(record.snapshot, Unreadable) else machine
    data: dict[str, Json] = {
        "settled": FORMAT,
        "machine": machine.id,
        "fingerprint": author.fingerprint,
        "nonce": record.nonce,
        "birth": record.birth,
        "ordinal": record.ordinal,
    }
    if author.version is not None:
        data["version"] = author.version
    if record.snapshot is not None and record.armed_for[0] != author.fingerprint:
        data["armed"] = record.armed_for
    for name, part in _PARTS.items():
        value = getattr(record, name)
        if value or value == 0:  # a redrive of which no dead letter is left is not over yet
            data[name] = part.to_json(value)
    return data | _remembered(record)


def _remembered(record: Record) -> dict[str, Json]:
    """Write the parts that outlive the instance, except the window's lines."""
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


def _parsed(key: Key, body: str) -> tuple[Mapping[str, Any], str]:
    """The record as JSON, and the window's lines, which come last and need not be read.

    Raises:
        RecordError: it is none, or of another format.
    """
    with _no_record(key):
        data, lines = _halves(body)
    check_format(key, data)
    return data, lines


def check_format(key: Key, data: Any) -> None:
    """Let the record that reads as `data` be read further, if it is one of this format.

    Raises:
        RecordError: it is none, or of another format.
    """
    with _no_record(key):
        written = data["settled"]
    if written != FORMAT:
        older = isinstance(written, int) and written < FORMAT
        remedy = "finish it with the settled that wrote it, or delete it" if older else "update settled"
        raise RecordError(f"{key}: the record has format {written!r}, this version of settled reads {FORMAT}: {remedy}")


@contextmanager
def _no_record(key: Key) -> Generator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{key}: the stored text is not a record of settled ({error})") from error


def _halves(body: str) -> tuple[Any, str]:
    begin, _, end = body.rpartition(_WINDOW)
    if begin and end.endswith(_END):
        with suppress(ValueError):  # it was not ours, but within something else: then `begin` is no whole object
            return parse(begin + "}"), end.removesuffix(_END)
    data = parse(body)
    return data, Window.of(WINDOW, data.get("window", ())).encoded_ids


_WINDOW, _END = ',"window":[', "]}"


def _from_json(
    machine: Machine[Any, Any], key: Key, data: Mapping[str, Any], lines: str, window: int, accepts: Container[str]
) -> Record:
    snapshot, version = data.get("snapshot"), data.get("version")
    return Record(
        nonce=data["nonce"],
        version=version,
        fingerprint=data["fingerprint"],
        birth=data["birth"],
        ordinal=data["ordinal"],
        snapshot=None if snapshot is None else _snapshot(machine, snapshot, version, accepts),
        high_water_mark=_mark(data),
        armed=(data["armed"][0], data["armed"][1]) if "armed" in data else None,
        window=_window(data, lines, window),
        **{name: part.from_json(key, data[name]) for name, part in _PARTS.items() if name in data},
    )


def _mark(data: Mapping[str, Any]) -> Position | None:
    return Position(*data["high_water_mark"]) if "high_water_mark" in data else None


def _window(data: Mapping[str, Any], lines: str, size: int) -> Window:
    unusual = {entry: Outcome(outcome) for entry, outcome in data.get("outcomes", {}).items()}
    senders = {sender: (last[0], last[1], last[2]) for sender, last in data.get("senders", {}).items()}
    pinned = {id: tuple(digests) for id, digests in data.get("pinned", {}).items()}
    return Window(size, lines, unusual, senders, pinned)


def _snapshot_to_text(machine: Machine[Any, Any], snapshot: Snapshot[Any] | Unreadable | None) -> str:
    match snapshot:
        case None:
            return "null"
        case Unreadable(raw):
            return write(raw)
        case _:
            return machine.dump(snapshot)


def _snapshot(
    machine: Machine[Any, Any], raw: Any, version: str | None, accepts: Container[str]
) -> Snapshot[Any] | Unreadable:
    if not machine.knows_version(version) and (version is None or version not in accepts):
        known = f"is version {machine.version!r}" if machine.version else "declares no version"
        return Unreadable(
            raw,
            VersionUnknownError(
                f"written by version {version!r} of {machine.id!r}, which here {known} and has no migration from it: "
                "leave it to a host that knows it, register a migration, or let the policy accept that version"
            ),
        )
    try:
        return machine.from_json(machine.migrate(raw, version))
    except (RecordError, LogicError) as error:
        return Unreadable(raw, error)


def _timer_to_json(timer: ActiveTimer) -> Json:
    return [timer.due, timer.event, timer.id, timer.message, timer.scheduled]


def _timer(raw: Sequence[Any]) -> ActiveTimer:
    due, event, id, message, scheduled = raw
    return ActiveTimer(due, event, id, None if message is None else (message[0], message[1]), scheduled)


def _turn_to_json(turn: OpenTurn) -> Json:
    return {
        "message": [turn.message.id, turn.message.body],
        "ordinal": turn.ordinal,
        "index": turn.index,
        "nonce": turn.nonce,
        "inbox": list(turn.inbox),
        "actors": [_call_to_json(actor) for actor in turn.actors],
        "lease": turn.lease,
        "from_dead_letters": turn.from_dead_letters,
    }


def _turn(key: Key, raw: Mapping[str, Any]) -> OpenTurn:
    return OpenTurn(
        Message(key, *raw["message"]),
        raw["ordinal"],
        raw["index"],
        raw["nonce"],
        tuple(raw["inbox"]),
        tuple(PendingActor(*actor) for actor in raw["actors"]),
        raw["lease"],
        raw["from_dead_letters"],
    )


def _call_to_json(actor: PendingActor) -> Json:
    return [actor.id, actor.src, actor.input, actor.index, actor.attempt, actor.not_before, actor.started_by]


def _owed_to_json(entry: OutboxEntry) -> Json:
    match entry.item:
        case Message(key, id, body):
            return [entry.delivery_id, "send", str(key), id, body]
        case Timer(id, message, due):
            return [entry.delivery_id, "schedule", id, due, times_early(message)]
        case CancelTimer(token):
            return [entry.delivery_id, "cancel", token]
        case PerformAction(effect, idempotency_key):
            kind, *rest = _action_to_json(effect)
            return [entry.delivery_id, kind, idempotency_key, *rest]
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


def _owed(key: Key, raw: Sequence[Any]) -> OutboxEntry:
    by, kind, *rest = raw
    return OutboxEntry(by, _debt(key, kind, rest))


def _debt(key: Key, kind: str, rest: Sequence[Any]) -> OutboxItem:
    match kind, rest:
        case "send", [to, id, body]:
            return Message(Key.parse(to), id, body)
        case "schedule", [id, due, early]:
            return Timer(id, timer_message(key, id, early), due)
        case "cancel", [token]:
            return CancelTimer(token)
        case _:
            idempotency_key, *effect = rest
            return PerformAction(_ACTIONS[kind](*effect), idempotency_key)


_ACTIONS: Mapping[str, type[Execute] | type[Emit] | type[Log]] = {"execute": Execute, "emit": Emit, "log": Log}


@frozen
class _Part:
    """A part of a record that may hold nothing: how it is written where it does not, and read for an instance."""

    to_json: Callable[[Any], Json]
    from_json: Callable[[Key, Any], Any]


_PARTS: Mapping[str, _Part] = {
    "parent": _Part(parent_to_json, lambda key, raw: parent_from_json(raw)),
    "timers": _Part(
        lambda timers: {token: _timer_to_json(timer) for token, timer in timers.items()},
        lambda key, raw: {token: _timer(each) for token, each in raw.items()},
    ),
    "children": _Part(
        lambda children: {id: [str(each.key), each.generation, each.system_id] for id, each in children.items()},
        lambda key, raw: {id: ChildInstance(Key.parse(child), *rest) for id, (child, *rest) in raw.items()},
    ),
    "detached": _Part(
        lambda detached: {generation: str(child) for generation, child in detached.items()},
        lambda key, raw: {generation: Key.parse(child) for generation, child in raw.items()},
    ),
    "system": _Part(
        lambda system: {id: str(member) for id, member in system.items()},
        lambda key, raw: {id: Key.parse(member) for id, member in raw.items()},
    ),
    "turn": _Part(_turn_to_json, _turn),
    "outbox": _Part(
        lambda outbox: [_owed_to_json(entry) for entry in outbox],
        lambda key, raw: tuple(_owed(key, each) for each in raw),
    ),
    "failing": _Part(
        lambda failing: [failing.id, failing.count, failing.detail],
        lambda key, raw: Failing(*raw),
    ),
    "receives": _Part(
        lambda receives: [receives.id, receives.count],
        lambda key, raw: Receives(*raw),
    ),
    "halted": _Part(str, lambda key, raw: raw),
    "redriving": _Part(int, lambda key, raw: raw),
}
