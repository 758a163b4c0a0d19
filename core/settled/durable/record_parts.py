"""The parts of a record as JSON objects, each field under its name.

What is empty is left out: a part, or a field that is None, False or without items. A field whose value is the
machine's own data is always there, because a machine may tell null from [].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, assert_never

from attrs import frozen

from settled.data import Json
from settled.durable.headers import NO_HEADERS
from settled.durable.messages import Message, Timer, TimerFired, decode, parent_from_json, parent_to_json
from settled.durable.ports import Position
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
    Suspension,
    Watch,
    port_timer,
)
from settled.durable.window import Outcome, Window
from settled.key import Key
from settled.step.effects import Emit, Execute, Log


def parts_to_json(record: Record) -> dict[str, Json]:
    """Return the parts of `record` that end with its instance, except for the snapshot."""
    data: dict[str, Json] = {}
    for name, part in _PARTS.items():
        value = getattr(record, name)
        if value or value == 0:  # `redriving` and `postponed` may be 0 for a while before they are None
            data[name] = part.to_json(value)
    return data


def parts_from_json(key: Key, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts that `parts_to_json` wrote, as arguments for `Record`."""
    return {name: part.from_json(key, data[name]) for name, part in _PARTS.items() if name in data}


def surviving_parts_to_json(record: Record) -> dict[str, Json]:
    """Return the parts of `record` that outlive its instance, except for the lines of the window."""
    data: dict[str, Json] = {}
    window, mark = record.window, record.high_water_mark
    if mark is not None:
        data["high_water_mark"] = {"epoch": mark.epoch, "number": mark.number}
    if window.pinned:
        data["pinned"] = window.pinned
    if window.other_outcomes:
        data["outcomes"] = window.other_outcomes
    if window.reasons:
        data["reasons"] = window.reasons
    if window.senders:
        data["senders"] = {
            sender: {"start_nonce": start_nonce, "version": version, "index": index}
            for sender, (start_nonce, version, index) in window.senders.items()
        }
    return data


def high_water_mark_from_json(data: Mapping[str, Any]) -> Position | None:
    """Return the high-water mark that `surviving_parts_to_json` wrote."""
    mark = data.get("high_water_mark")
    return None if mark is None else Position(mark["epoch"], mark["number"])


def window_from_json(data: Mapping[str, Any], lines: str, size: int) -> Window:
    """Return the window that `surviving_parts_to_json` wrote, with its `lines`."""
    outcomes = {entry: Outcome(outcome) for entry, outcome in data.get("outcomes", {}).items()}
    senders = {
        sender: (last["start_nonce"], last["version"], last["index"])
        for sender, last in data.get("senders", {}).items()
    }
    pinned = {id: tuple(digests) for id, digests in data.get("pinned", {}).items()}
    return Window(size, lines, outcomes, senders, pinned, reasons=data.get("reasons", {}))


def turn_message_from_json(key: Key, data: Mapping[str, Any]) -> Message | None:
    """Return the message of the open turn, if the record has one."""
    return _message_from_json(key, data["turn"]["message"]) if "turn" in data else None


def _given(**fields: Json) -> dict[str, Json]:
    """Return those of `fields` that are not empty."""
    return {name: value for name, value in fields.items() if value is not None and value is not False and value != []}


def _message_to_json(message: Message) -> dict[str, Json]:
    return {"id": message.id, "body": message.body, **_headers_to_json(message.headers)}


def _headers_to_json(headers: Mapping[str, str]) -> dict[str, Json]:
    return {"headers": headers} if headers else {}


def _message_from_json(key: Key, raw: Mapping[str, Any]) -> Message:
    return Message(key, raw["id"], raw["body"], raw.get("headers", NO_HEADERS))


def _timer_to_json(timer: ActiveTimer) -> Json:
    message: Json = timer.message and {"key": timer.message[0], "body": timer.message[1]}
    given = _given(
        event=timer.event, id=timer.id, message=message, scheduled=timer.scheduled, early=timer.early or None
    )
    return {"due": timer.due, **given}


def _timer_from_json(raw: Mapping[str, Any]) -> ActiveTimer:
    message = raw.get("message")
    return ActiveTimer(
        due=raw["due"],
        event=raw.get("event"),
        id=raw.get("id"),
        message=None if message is None else (message["key"], message["body"]),
        scheduled=raw.get("scheduled", False),
        early=raw.get("early", 0),
    )


def _child_to_json(child: ChildInstance) -> Json:
    return {"key": str(child.key), "generation": child.generation, **_given(system_id=child.system_id)}


def _child_from_json(raw: Mapping[str, Any]) -> ChildInstance:
    return ChildInstance(Key.parse(raw["key"]), raw["generation"], raw.get("system_id"))


def _turn_to_json(turn: OpenTurn) -> Json:
    return {
        "message": _message_to_json(turn.message),
        "ordinal": turn.ordinal,
        "index": turn.index,
        "nonce": turn.nonce,
        "lease_until": turn.lease_until,
        "since": turn.since,
        **_given(
            inbox=list(turn.inbox),
            actors=[_actor_to_json(actor) for actor in turn.actors],
            from_dead_letters=turn.from_dead_letters,
            suspension=None if turn.suspension is None else _suspension_to_json(turn.suspension),
        ),
    }


def _turn_from_json(key: Key, raw: Mapping[str, Any]) -> OpenTurn:
    return OpenTurn(
        message=_message_from_json(key, raw["message"]),
        ordinal=raw["ordinal"],
        index=raw["index"],
        nonce=raw["nonce"],
        inbox=tuple(raw.get("inbox", ())),
        actors=tuple(_actor_from_json(actor) for actor in raw.get("actors", ())),
        lease_until=raw["lease_until"],
        from_dead_letters=raw.get("from_dead_letters", False),
        since=raw.get("since", 0.0),
        suspension=_suspension_from_json(raw["suspension"]) if "suspension" in raw else None,
    )


def _suspension_to_json(suspension: Suspension) -> Json:
    return {"token": suspension.token, "due": suspension.due, **_given(early=suspension.early or None)}


def _suspension_from_json(raw: Mapping[str, Any]) -> Suspension:
    return Suspension(raw["token"], raw["due"], raw.get("early", 0))


def _actor_to_json(actor: PendingActor) -> Json:
    return {
        "id": actor.id,
        "src": actor.src,
        "input": actor.input,
        "index": actor.index,
        "attempt": actor.attempt,
        "not_before": actor.not_before,
        **_given(started_by=actor.started_by, losses=actor.losses or None),
    }


def _actor_from_json(raw: Mapping[str, Any]) -> PendingActor:
    return PendingActor(
        id=raw["id"],
        src=raw["src"],
        input=raw["input"],
        index=raw["index"],
        attempt=raw["attempt"],
        not_before=raw["not_before"],
        started_by=raw.get("started_by"),
        losses=raw.get("losses", 0),
    )


def _outbox_entry_to_json(entry: OutboxEntry) -> Json:
    data: dict[str, Json] = {"message_id": entry.message_id}
    match entry.item:
        case Message() as message:
            return {**data, "kind": "send", "key": str(message.key), **_message_to_json(message)}
        case Timer(_, message, due):
            fired, headers = decode(message.body), _headers_to_json(message.headers)
            assert isinstance(fired, TimerFired), "the outbox has no other timers"
            return {**data, "kind": "schedule", "token": fired.token, "due": due, "early": fired.times_early, **headers}
        case CancelTimer(id):
            return {**data, "kind": "cancel", "token": id}
        case PerformAction(effect, idempotency_key, headers):
            data |= {**_action_to_json(effect), "idempotency_key": idempotency_key}
            return {**data, "headers": headers} if headers else data
        case _:
            assert_never(entry.item)


def _action_to_json(effect: Execute | Emit | Log) -> dict[str, Json]:
    match effect:
        case Execute(index, type, params, context, event):
            data: dict[str, Json] = {"type": type, "params": params, "context": context, "event": event}
            return {"kind": "execute", "index": index, **data}
        case Emit(index, event):
            return {"kind": "emit", "index": index, "event": event}
        case Log(index, value, label):
            return {"kind": "log", "index": index, "value": value, **_given(label=label)}
        case _:
            assert_never(effect)


def _outbox_entry_from_json(key: Key, raw: Mapping[str, Any]) -> OutboxEntry:
    return OutboxEntry(raw["message_id"], _outbox_item_from_json(key, raw))


def _outbox_item_from_json(key: Key, raw: Mapping[str, Any]) -> OutboxItem:
    match raw["kind"]:
        case "send":
            return _message_from_json(Key.parse(raw["key"]), raw)
        case "schedule":  # the message is made again of its token, so that the record stays small
            return port_timer(key, raw["token"], raw["due"], raw["early"], raw.get("headers", NO_HEADERS))
        case "cancel":
            return CancelTimer(raw["token"])
        case kind:
            return PerformAction(_ACTIONS[kind](raw), raw["idempotency_key"], raw.get("headers", NO_HEADERS))


_ACTIONS: Mapping[str, Callable[[Mapping[str, Any]], Execute | Emit | Log]] = {
    "execute": lambda raw: Execute(raw["index"], raw["type"], raw["params"], raw["context"], raw["event"]),
    "emit": lambda raw: Emit(raw["index"], raw["event"]),
    "log": lambda raw: Log(raw["index"], raw["value"], raw.get("label")),
}


@frozen
class _Part:
    """The JSON conversion of a part of a record."""

    to_json: Callable[[Any], Json]
    from_json: Callable[[Key, Any], Any]


_PARTS: Mapping[str, _Part] = {
    "parent": _Part(parent_to_json, lambda key, raw: parent_from_json(raw)),
    "timers": _Part(
        lambda timers: {token: _timer_to_json(timer) for token, timer in timers.items()},
        lambda key, raw: {token: _timer_from_json(each) for token, each in raw.items()},
    ),
    "children": _Part(
        lambda children: {id: _child_to_json(child) for id, child in children.items()},
        lambda key, raw: {id: _child_from_json(each) for id, each in raw.items()},
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
        lambda failing: {"id": failing.id, "count": failing.count, "detail": failing.detail},
        lambda key, raw: FailureCount(raw["id"], raw["count"], raw["detail"]),
    ),
    "receives": _Part(
        lambda receives: {"id": receives.id, "count": receives.count},
        lambda key, raw: ReceiveCount(raw["id"], raw["count"]),
    ),
    "watch": _Part(
        lambda watch: {"message": watch.message_id, **_given(actor=watch.actor, alone=watch.is_alone)},
        lambda key, raw: Watch(raw["message"], raw.get("actor"), raw.get("alone", False)),
    ),
    "halted": _Part(str, lambda key, raw: raw),
    "redriving": _Part(int, lambda key, raw: raw),
    "taken_dead_letters": _Part(list, lambda key, raw: tuple(raw)),
    "postponed": _Part(int, lambda key, raw: raw),
}
