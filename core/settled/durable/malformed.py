"""Turn what a queue delivers, although settled has not written it, into a message that becomes a dead letter.

Whoever may write to a vendor's queue can send anything. As long as it is there, nothing that was sent to the same group
later is delivered. So an adapter delivers it to the instance whose group it is in. The turn cannot decode it, and makes
it a dead letter like every other message that is invalid: an operator sees it, and the instance goes on.
"""

from __future__ import annotations

from base64 import b64encode

from settled.data import write
from settled.durable.messages import Message, decode, internal_id
from settled.errors import EventError
from settled.key import Key

_KIND = "malformed"
"""No `Content` has this kind, so no such message can be decoded."""

_ID_PREFIX = internal_id("malformed/")
_BEGINNING = write({"kind": _KIND})[:-1]


def malformed_message(key: Key, id: str, received: str | bytes) -> Message:
    """Return the message that makes `received` a dead letter of `key`.

    Args:
        key: the instance that the group names.
        id: the vendor's id of what was received, the same in each delivery.
        received: what was received; it is kept as a text, or in base64 if it is not UTF-8.
    """
    return Message(key, f"{_ID_PREFIX}{id}", write({"kind": _KIND, **_as_json(received)}))


def _as_json(received: str | bytes) -> dict[str, str]:
    if isinstance(received, str):
        return {"text": received}
    try:
        return {"text": received.decode()}
    except UnicodeDecodeError:
        return {"base64": b64encode(received).decode()}


def is_malformed(message: Message) -> bool:
    """Return whether `malformed_message` may have made `message`; if it has not, nothing can be applied of it either.

    A codec leaves it as it is: no sender has encoded it.
    """
    if not (message.id.startswith(_ID_PREFIX) and message.body.startswith(_BEGINNING)):
        return False
    # A second `kind` in it would count, and would make it a message that no codec has checked.
    try:
        decode(message.body)
    except EventError:
        return True
    return False
