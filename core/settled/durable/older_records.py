"""Records of older formats, as the JSON of the current one.

Each format that is still read has one function, which turns its parts into those of the next. Whatever format a record
has, it is then read as the current one, and the next commit writes it as that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

LAST_WITHOUT_CHECKSUM = 3
"""The last format whose text has no checksum."""


def migrate(data: Mapping[str, Any], format: int) -> Mapping[str, Any]:
    """Return the parts `data` of a record of `format` as the current format has them.

    Raises:
        KeyError, ValueError, TypeError, AttributeError: settled has not written them.
    """
    while format in _STEPS:
        data, format = _STEPS[format](data), format + 1
    return data


def _from_3(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the parts that format 3 wrote as arrays the names of their fields."""
    return {name: _NAMED_IN_4.get(name, _unchanged)(part) for name, part in data.items()}


def _unchanged(part: Any) -> Any:
    return part


def _named(*names: str) -> Callable[[Any], dict[str, Any]]:
    """Return a function that makes an object of an array, whose last items may be absent."""

    def convert(items: Any) -> dict[str, Any]:
        if len(items) > len(names):
            raise ValueError(f"{len(items)} items instead of {', '.join(names)}")
        return dict(zip(names, items, strict=False))

    return convert


def _timer(items: Any) -> dict[str, Any]:
    timer = _named("due", "event", "id", "message", "scheduled")(items)
    return {**timer, "message": timer["message"] and _named("key", "body")(timer["message"])}


def _turn(turn: Any) -> dict[str, Any]:
    actor = _named("id", "src", "input", "index", "attempt", "not_before", "started_by")
    return {
        **turn,
        "message": _named("id", "body")(turn["message"]),
        "actors": [actor(each) for each in turn["actors"]],
    }


def _outbox_entry(items: Any) -> dict[str, Any]:
    message_id, kind, *rest = items
    return {"message_id": message_id, "kind": kind, **_OUTBOX_ITEMS[kind](rest)}


_OUTBOX_ITEMS: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "send": _named("key", "id", "body"),
    "schedule": _named("token", "due", "early"),
    "cancel": _named("token"),
    "execute": _named("idempotency_key", "index", "type", "params", "context", "event"),
    "emit": _named("idempotency_key", "index", "event"),
    "log": _named("idempotency_key", "index", "value", "label"),
}

_NAMED_IN_4: Mapping[str, Callable[[Any], Any]] = {
    "parent": _named("key", "child_id", "generation", "root", "sync"),
    "timers": lambda timers: {token: _timer(each) for token, each in timers.items()},
    "children": lambda children: {id: _named("key", "generation", "system_id")(each) for id, each in children.items()},
    "turn": _turn,
    "high_water_mark": _named("epoch", "number"),
    "armed": _named("fingerprint", "version"),
    "senders": lambda senders: {key: _named("start_nonce", "version", "index")(each) for key, each in senders.items()},
    "outbox": lambda outbox: [_outbox_entry(each) for each in outbox],
    "failing": _named("id", "count", "detail"),
    "receives": _named("id", "count"),
}

_STEPS: Mapping[int, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {3: _from_3}

OLDEST_FORMAT = min(_STEPS)
"""The oldest format that is still read."""
