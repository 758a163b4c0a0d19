"""Many messages at once: some hundred go to the queue in one call, and each is refused or taken by itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from settled import IdReusedError, SettledError, TooLargeError
from settled.durable import Message
from settled.durable.headers import NO_HEADERS
from settled_runtime.backend_commands import retried

MAX_MESSAGES = 500
"""How many messages go to the queue in one call."""

MAX_CHARACTERS = 4_000_000
"""How many characters the bodies of several messages of one call may have together."""


class Outgoing(NamedTuple):
    """An event to send to an instance, or the input with which to start it.

    Attributes:
        instance: the name of the instance.
        content: the event, for `Client.send_many`; the input, for `Client.start_many`.
        message_id: idempotency key: a second message with the same id and content has no effect.
        headers: as for `Client.send`.
    """

    instance: str
    content: Any = None
    message_id: str | None = None
    headers: Mapping[str, str] = NO_HEADERS


class Sent(NamedTuple):
    """The result of sending an `Outgoing`.

    Attributes:
        instance: the name of the instance.
        message_id: the id of the message; None if it was refused before it got one.
        error: why it was not sent; None if it was. After an UnavailableError or an OutcomeUnknownError, send it again
            under the same `message_id`, and it takes effect once.
    """

    instance: str
    message_id: str | None
    error: Exception | None


def send_each(send: Callable[[Sequence[Message]], None], messages: Sequence[Message]) -> Sequence[SettledError | None]:
    """Send `messages` in this order, and return for each why it was not sent, or None.

    If the queue refuses some, the others are sent. If it cannot be reached, nothing more is sent: what comes later must
    not overtake what was not sent.
    """
    errors: list[SettledError | None] = [None] * len(messages)
    parts = deque(_parts(messages))
    while parts:
        start, end = parts.popleft()
        try:
            retried(send, messages[start:end])
        except (TooLargeError, IdReusedError) as error:  # none of them was sent, because of one or several
            if end - start == 1:
                errors[start] = error
            else:
                middle = (start + end) // 2
                parts.extendleft([(middle, end), (start, middle)])
        except SettledError as error:
            errors[start:] = [error] * (len(messages) - start)
            break
    return errors


def _parts(messages: Sequence[Message]) -> Iterator[tuple[int, int]]:
    """Yield where each part begins and ends."""
    start, characters = 0, 0
    for number, message in enumerate(messages):
        characters += len(message.body)
        if number > start and (number - start == MAX_MESSAGES or characters > MAX_CHARACTERS):
            yield start, number
            start, characters = number, len(message.body)
    if messages:
        yield start, len(messages)
