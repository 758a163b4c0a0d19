"""The limits of messages from outside, checked before one is queued, on every backend alike.

What a machine sends itself is limited in its size only, by the step that sends it.

They keep records small: a record remembers the ids of hundreds of messages, and names are in every key. A store or a
queue may have lower limits on sizes. Those of headers are in `settled.durable.headers`, and how deeply JSON may be
nested is in `settled.data`.
"""

from __future__ import annotations

from collections.abc import Mapping

from settled.data import MAX_EVENT_DEPTH, shortened
from settled.durable.headers import NO_HEADERS, check_headers
from settled.durable.messages import CHILD_MARKER, RESERVED_PREFIX, Event, Message, Start, encode
from settled.errors import EventError, TooLargeError
from settled.key import Key

MAX_ID_BYTES = 256
"""How many bytes a message id may have, in UTF-8."""

MAX_NAME_BYTES = 256
"""How many bytes the id of a machine and the name of an instance may have, in UTF-8."""

MAX_CHILD_NAME_BYTES = 2048
"""How many bytes the name of a child machine's instance may have, if an outsider sends it an event.

It contains the names of its parents. A machine itself reaches its children whatever their names.
"""

MAX_MESSAGE_BYTES = 1024 * 1024
"""How many bytes the body of a message may have, in UTF-8, unless the backend or the sender sets another limit."""


MAX_SENDER_BYTES = 4096
"""How many bytes more a message between machines may have: it names its sender, and one from outside does not.

So whatever an instance was sent, it can send on.
"""


def message_from_outside(
    key: Key,
    id: str,
    content: Start | Event,
    headers: Mapping[str, str] = NO_HEADERS,
    largest: int = MAX_MESSAGE_BYTES,
) -> Message:
    """Return the message with which an outsider starts the instance `key` or sends it an event.

    Args:
        key: the instance.
        id: the id of the message.
        content: what it carries.
        headers: its headers.
        largest: how many bytes its body may have.

    Raises:
        EventError: an id, a name or a header is not allowed, or the content is nested more than `MAX_EVENT_DEPTH`
            levels deep.
        TypeError, ValueError: the content is not JSON.
        TooLargeError: the body has more than `largest` bytes.
    """
    if isinstance(content, Start):
        check_start(key)
    _check_key(key)
    check_id(id)
    body = encode(content, MAX_EVENT_DEPTH)
    if is_larger(body, largest):
        raise too_large(f"{key}: the message {id}", body, largest)
    return Message(key, id, body, check_headers(headers) if headers else NO_HEADERS)


def is_larger(text: str, largest: int) -> bool:
    """Return whether `text` has more than `largest` bytes."""
    return len(text) > largest or (not text.isascii() and _bytes(text) > largest)


def too_large(what: str, text: str, largest: int) -> TooLargeError:
    """Return the error for `text`, which is larger than `largest` bytes; it calls the text `what`."""
    sizes = f"{_bytes(text):,} bytes; the limit is {largest:,}"
    return TooLargeError(f"{what} has {sizes}: store large data elsewhere and send its address")


def check_id(id: str) -> None:
    """Check that an outsider may use the message id `id`.

    Raises:
        EventError: it is too long, or has the prefix reserved for messages of machines.
    """
    if id.startswith(RESERVED_PREFIX):
        raise EventError(
            f"the message id {shortened(id)} begins with {RESERVED_PREFIX!r}, which is reserved for machines: "
            "use another one"
        )
    _check_length("the message id", id, MAX_ID_BYTES)


def check_start(key: Key) -> None:
    """Check that an outsider may start the instance `key`.

    Raises:
        EventError: its name is empty or too long, or could be that of a child machine.
    """
    _check_key(key)
    if CHILD_MARKER in key.instance:
        raise EventError(f"{key}: {CHILD_MARKER!r} is allowed in the names of child machines only: use another name")


def _check_key(key: Key) -> None:
    if not key.instance:
        raise EventError("an instance needs a name: the one given is empty")
    _check_length("the machine's id", key.machine, MAX_NAME_BYTES)
    is_child = CHILD_MARKER in key.instance
    _check_length("the instance's name", key.instance, MAX_CHILD_NAME_BYTES if is_child else MAX_NAME_BYTES)


def _check_length(what: str, text: str, limit: int) -> None:
    if len(text) > limit or (not text.isascii() and _bytes(text) > limit):
        sizes = f"{_bytes(text):,} bytes; the limit is {limit:,}"
        raise EventError(f"{what} {shortened(text)} has {sizes}: use a shorter one")


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
