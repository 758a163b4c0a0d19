"""Encode a message as the body of an SQS message, and decode it.

SQS knows a message group but not its key, and EventBridge Scheduler sends nothing but a text, so the text carries the
key, the id, the body and the headers. It is readable JSON; characters that XML, and therefore SQS, does not allow are
escaped. So the text may have twice the bytes of the body, and then some for the rest: see `largest_text`.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any, cast

from settled.data import parse
from settled.durable.headers import NO_HEADERS, check_headers
from settled.durable.malformed import malformed_message
from settled.durable.messages import Message
from settled.errors import EventError
from settled.key import Key
from settled_aws.names import group_id, key_of_group

_UNSENDABLE = re.compile("[\ud800-\udfff\ufffe\uffff]")
"""Characters to escape here; `json` itself escapes those below the space."""

OVERHEAD_BYTES = 64 * 1024
"""How many bytes a text has at most besides its body: for the key, the id and the headers, all escaped."""


def to_text(message: Message) -> str:
    """Encode `message`."""
    fields: dict[str, Any] = {"key": str(message.key), "id": message.id, "body": message.body}
    if message.headers:
        fields["headers"] = message.headers
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return _UNSENDABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def from_text(text: str) -> Message:
    """Decode a message that `to_text` encoded.

    Raises:
        EventError: `to_text` did not write this text, or a message may not have these headers.
    """
    try:
        fields = cast("dict[str, Any]", parse(text))
        key, id, body = fields["key"], fields["id"], fields["body"]
        if not (isinstance(key, str) and isinstance(id, str) and isinstance(body, str)):
            raise TypeError("key, id and body must be texts")
        # Checked, because the queue accepts messages from other senders.
        headers = check_headers(fields["headers"]) if "headers" in fields else NO_HEADERS
        return Message(Key.parse(key), id, body, headers)
    except (ValueError, KeyError, TypeError) as error:
        raise EventError(f"not a message of settled: {text[:80]!r} ({error})") from error


def decode_received(text: str, group: str, id: str) -> Message | None:
    """Decode the text of the SQS message `id` in the message group `group`.

    One that is not settled's, or is for another key, is returned as the malformed message of the key that the group
    names. Return None if the group names none.
    """
    with suppress(EventError):
        message = from_text(text)
        # In another group than its key's, it would run concurrently with the key's own messages.
        if group == group_id(message.key):
            return message
    key = key_of_group(group)
    return None if key is None else malformed_message(key, f"sqs/{id}", text)


def size(text: str) -> int:
    """Return the size of `text` as SQS counts it, in bytes."""
    return len(text.encode("utf-8"))


def largest_text(largest_message: int) -> int:
    """Return how many bytes the text of a message may have whose body has up to `largest_message`.

    The body is JSON, and of what JSON contains nothing takes more than twice its bytes here.
    """
    return 2 * largest_message + OVERHEAD_BYTES
