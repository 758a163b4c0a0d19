"""A line: what the queue owes to one key, and in which order.

A post is a message that was put into the queue. What is not certain to be there (its answer was lost, or it repeats
one that the queue may know) is `doubtful`, and may be handed out or not.
"""

from __future__ import annotations

from attrs import define, field

from settled import Key
from settled.durable import Delivery, Message, Position


@define(eq=False)
class QueuedMessage:
    """A message in its line. `source` is what put it there: ``send``, ``finish``, or ``timer``."""

    message: Message
    source: str
    indeterminate: bool = False
    receive_count: int = 0
    position: Position | None = None
    during_lease: bool = False


@define(eq=False)
class Lease:
    """A hand-out that holds the line until `until`."""

    deliveries: dict[str, QueuedMessage]
    until: float


@define(eq=False)
class QueueModel:
    """The posts of one key in their order, and who holds them. `last` is the highest position that was handed out."""

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
        """`message` was sent. A known one keeps its first place; where the queue may forget, it may come once more.

        One that only has the id of another is not known.
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
        """Whether somebody's lease runs."""
        return self.lease is not None and now < self.lease.until

    def holder(self, delivery: Delivery, now: float) -> Lease | None:
        """The lease that `delivery` still has."""
        lease = self.lease
        return lease if lease and delivery.receipt in lease.deliveries and now < lease.until else None

    def end_lease(self) -> None:
        """The lease has ended; what it held stands where it stood."""
        self.lease = None
