"""Encode a message as the data of a Pub/Sub message, and decode it.

Pub/Sub knows an ordering key but not its key, so the data carries the key, the id, the body and the headers. It is
readable JSON in UTF-8; lone surrogates, which UTF-8 cannot encode, are escaped. A timer that waits longer than Cloud
Tasks allows is published before it is due; its data then carries the timer's id and due time as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

from settled.data import parse
from settled.durable.headers import NO_HEADERS, check_headers
from settled.durable.malformed import malformed_message
from settled.durable.messages import Message, Timer
from settled.errors import EventError
from settled.key import Key
from settled_gcp.names import key_of_ordering, ordering_key

MAX_TIME = 253_402_300_799.0
"""The end of the year 9999, in seconds since the epoch: the last time that Google's APIs know."""

_UNSENDABLE = re.compile("[\ud800-\udfff]")


def to_text(message: Message) -> bytes:
    """Encode `message`."""
    return _encode(_fields(message))


def timer_to_text(timer: Timer) -> bytes:
    """Encode `timer`, for the receiver to schedule it again."""
    return _encode({**_fields(timer.message), "timer": timer.id, "due": timer.due})


def _fields(message: Message) -> dict[str, Any]:
    headers = {"headers": message.headers} if message.headers else {}
    return {"key": str(message.key), "id": message.id, "body": message.body, **headers}


def from_text(data: bytes) -> Message | Timer:
    """Decode what `to_text` or `timer_to_text` encoded.

    Raises:
        EventError: neither of them wrote this data, or a message may not have these headers.
    """
    try:
        fields = cast("dict[str, Any]", parse(data.decode()))
        # Checked, because the topic accepts messages from other senders.
        headers = check_headers(fields["headers"]) if "headers" in fields else NO_HEADERS
        message = Message(Key.parse(_text(fields, "key")), _text(fields, "id"), _text(fields, "body"), headers)
        return Timer(_text(fields, "timer"), message, _time(fields["due"])) if "due" in fields else message
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise EventError(f"not a message of settled: {data[:80]!r} ({error})") from error


def decode_received(data: bytes, ordering: str, id: str) -> Message | Timer | None:
    """Decode the data of the Pub/Sub message `id` with the ordering key `ordering`.

    One that is not settled's, or is for another key, is returned as the malformed message of the key that the ordering
    key names. Return None if it names none.
    """
    with suppress(EventError):
        decoded = from_text(data)
        message = decoded.message if isinstance(decoded, Timer) else decoded
        # Under another ordering key, the message would run concurrently with its own key's messages.
        if ordering == ordering_key(message.key):
            return decoded
    key = key_of_ordering(ordering)
    return None if key is None else malformed_message(key, f"pubsub/{id}", data)


def _encode(fields: Mapping[str, Any]) -> bytes:
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return _UNSENDABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def _time(value: object) -> float:
    due = float(cast("Any", value))
    if not 0 <= due <= MAX_TIME:
        raise ValueError(f"{due} is no time")
    return due


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text")
    return value
