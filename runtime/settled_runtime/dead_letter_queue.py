"""The dead-letter queue of a vendor: where a queue or a scheduler puts what it has given up.

It is not where settled keeps its dead letters: those are in the store, with their instance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import frozen

from settled.durable import Message


@frozen
class DroppedMessage:
    """A message in a dead-letter queue.

    Attributes:
        message: the message; None if it is not settled's.
        id: the vendor's id of it.
        receipt: what `DeadLetterQueue.delete` needs to delete it.
        at: when the queue gave it up or, if it does not say so, when it was sent; in seconds since the epoch.
        text: its beginning, for people.
    """

    message: Message | None
    id: str
    receipt: str
    at: float
    text: str


class DeadLetterQueue(Protocol):
    """The dead-letter queue of a queue or of timers."""

    @property
    def name(self) -> str:
        """Its name, for people."""
        ...

    @property
    def has_timers_only(self) -> bool:
        """Whether it has messages of timers only, whose order is that of their due times, which the record has."""
        ...

    def receive(self) -> Sequence[DroppedMessage]:
        """Return some of the messages, those of a key in their order and beginning with the first; none at the end.

        What was returned is hidden for a minute at least, unless it is deleted.
        """
        ...

    def delete(self, messages: Sequence[DroppedMessage]) -> None:
        """Delete `messages`."""
        ...
