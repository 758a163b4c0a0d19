"""A message as the text of one SQS message, and back.

SQS knows a group but no key, and EventBridge Scheduler can send nothing but a text, so the text says everything. It is
JSON that a person can read; what XML, and with it SQS, has no character for is escaped.
"""

from __future__ import annotations

import json
import re
from typing import Any, cast

from settled.durable.messages import Message
from settled.errors import EventError
from settled.key import Key

_UNSENDABLE = re.compile("[\ud800-\udfff\ufffe\uffff\x7f]")
"""JSON escapes what stands before the space by itself."""


def to_text(message: Message) -> str:
    """The text that carries `message`."""
    fields = {"key": str(message.key), "id": message.id, "body": message.body}
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return _UNSENDABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def from_text(text: str) -> Message:
    """The message that `sealed` wrote.

    Raises:
        EventError: the text is nothing that `sealed` writes.
    """
    try:
        fields = cast("dict[str, Any]", json.loads(text))
        key, id, body = fields["key"], fields["id"], fields["body"]
        if not (isinstance(key, str) and isinstance(id, str) and isinstance(body, str)):
            raise TypeError("key, id and body must be texts")
        return Message(Key.parse(key), id, body)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise EventError(f"not a message of settled: {text[:80]!r} ({error})") from error


def size(text: str) -> int:
    """How large `text` is to SQS, in bytes."""
    return len(text.encode("utf-8"))
