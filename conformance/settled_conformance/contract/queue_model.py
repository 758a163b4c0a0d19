"""`QueueModel`: the messages that the queue must deliver for one key, in their order, and their lease.

A message is `indeterminate` if it may or may not be in the queue: the answer of its send was lost, or it repeats a
message whose id the queue may still know. It may be delivered, and need not be.
"""

from __future__ import annotations

from attrs import define, field

from settled import Key
from settled.durable import Delivery, Message, Position


@define(eq=False)
class QueuedMessage:
    """A message of the queue. `source` is ``send``, ``finish`` or ``timer``; `receive_count` counts its deliveries."""

    message: Message
    source: str
    indeterminate: bool = False
    receive_count: int = 0
    position: Position | None = None
    during_lease: bool = False


@define(eq=False)
class Lease:
    """The lease of a key: its unacknowledged messages by receipt, and when it ends (seconds since the epoch)."""

    deliveries: dict[str, QueuedMessage]
    until: float


@define(eq=False)
class QueueModel:
    """The messages of `key` that wait, in order, and their lease. `last` is the highest position that was delivered.

    `known` are all messages ever sent, by id. `refused` are the ids of messages whose write failed. The flags record
    what has happened, so that a violation can be reported under the guarantee that it breaks.
    """

    key: Key
    waiting: list[QueuedMessage] = field(factory=list[QueuedMessage])
    known: dict[str, QueuedMessage] = field(factory=dict[str, QueuedMessage])
    acked: set[str] = field(factory=set[str])
    sent_while_waiting: set[str] = field(factory=set[str])
    sent_after_ack: set[str] = field(factory=set[str])
    refused: set[str] = field(factory=set[str])
    lease: Lease | None = None
    last: Position | None = None
    parked_until: float = 0.0
    was_partly_acked: bool = False
    had_stale_ack: bool = False
    had_stale_release: bool = False
    had_dead_letter: bool = False

    def add(self, message: Message, source: str, *, indeterminate: bool, deduplicates: bool, now: float) -> None:
        """Add `message`, unless it repeats a known one; a queue that does not deduplicate may deliver a repetition too.

        A message with a known id and another body is a new message.
        """
        known = self.known.get(message.id)
        if known is None or known.message.body != message.body:
            leased = self.lease is not None and now < self.lease.until
            self.known[message.id] = queued = QueuedMessage(message, source, indeterminate, during_lease=leased)
            self.waiting.append(queued)
            return
        known.indeterminate = known.indeterminate and indeterminate
        if message.id in self.acked:
            self.sent_after_ack.add(message.id)
        else:
            self.sent_while_waiting.add(message.id)
        if not deduplicates:
            self.waiting.append(QueuedMessage(message, source, indeterminate=True))

    def is_held(self, now: float) -> bool:
        """Return whether a lease is current."""
        return self.lease is not None and now < self.lease.until

    def holder(self, delivery: Delivery, now: float) -> Lease | None:
        """Return the current lease if `delivery` is part of it, else None."""
        lease = self.lease
        return lease if lease and delivery.receipt in lease.deliveries and now < lease.until else None

    def end_lease(self) -> None:
        """End the lease. Its messages were never removed from `waiting`, so they keep their order."""
        self.lease = None
