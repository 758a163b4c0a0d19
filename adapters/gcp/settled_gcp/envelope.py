"""A message as the data of one Pub/Sub message, and back.

Pub/Sub knows an ordering key but no key, so the data says everything. It is JSON that a person can read, in UTF-8;
half a surrogate pair, which UTF-8 cannot say, is escaped. A timer that waits longer than Cloud Tasks can is sent before
it is due, and then its data says when that is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

from settled.durable.messages import Message, Timer
from settled.errors import EventError
from settled.key import Key
from settled_gcp.names import ordering_key

_UNSENDABLE = re.compile("[\ud800-\udfff]")


def to_text(message: Message) -> bytes:
    """The data that carries `message`."""
    return _written({"key": str(message.key), "id": message.id, "body": message.body})


def timer_to_text(timer: Timer) -> bytes:
    """The data that carries `timer` to whoever schedules it again."""
    message = timer.message
    fields = {"key": str(message.key), "id": message.id, "body": message.body}
    return _written({**fields, "timer": timer.id, "due": timer.due})


def from_text(data: bytes) -> Message | Timer:
    """What `sealed` or `sealed_timer` wrote.

    Raises:
        EventError: the data is nothing that they write.
    """
    try:
        fields = cast("dict[str, Any]", json.loads(data))
        message = Message(Key.parse(_text(fields, "key")), _text(fields, "id"), _text(fields, "body"))
        return Timer(_text(fields, "timer"), message, float(fields["due"])) if "due" in fields else message
    except (ValueError, KeyError, TypeError) as error:
        raise EventError(f"not a message of settled: {data[:80]!r} ({error})") from error


def arrived(data: bytes, ordering: str) -> Message | Timer | None:
    """What came in with this ordering key; None if it is not settled's, or stands in the order of another key."""
    try:
        found = from_text(data)
    except EventError:
        return None
    message = found.message if isinstance(found, Timer) else found
    return found if ordering == ordering_key(message.key) else None


def _written(fields: Mapping[str, Any]) -> bytes:
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return _UNSENDABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text")
    return value
