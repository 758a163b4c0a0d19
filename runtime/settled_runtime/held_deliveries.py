"""The deliveries that a turn holds, and what the turn is doing: read by the thread that renews and watches them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from attrs import define

from settled import Key
from settled.durable import Delivery
from settled_runtime.event_loop import EventLoop


@define(eq=False)
class HeldDeliveries:
    """The deliveries of one turn that are neither acknowledged nor released. They are renewed together.

    Attributes:
        key: the key of all of them.
        deliveries: replaced as a whole by `drop`, never changed in place: the renewing thread reads it without a lock.
        lost: whether the lease of one of them was lost; never False again.
        doing: what the turn waits for without a limit, such as ``the action notify``; None if nothing can hang.
        steps: how often that has changed.
        thread: the thread that runs the turn.
        loop: the event loop in which the turn runs; None if it has its thread for itself.
    """

    key: Key
    deliveries: tuple[Delivery, ...]
    lost: bool = False
    doing: str | None = None
    steps: int = 0
    thread: int = 0
    loop: EventLoop | None = None

    @classmethod
    def of(cls, deliveries: Sequence[Delivery]) -> HeldDeliveries:
        """Return `deliveries`, which are of one key, as held."""
        return cls(deliveries[0].message.key, tuple(deliveries))

    def begin(self, doing: str | None) -> None:
        """Note what the turn does from now on."""
        self.doing = doing
        self.steps += 1

    def drop(self, gone: Collection[Delivery]) -> None:
        """Stop renewing `gone`: they were acknowledged or released."""
        if len(gone) == len(self.deliveries):  # the usual case
            self.deliveries = ()
            return
        receipts = {delivery.receipt for delivery in gone}
        self.deliveries = tuple(delivery for delivery in self.deliveries if delivery.receipt not in receipts)

    def is_lost(self) -> bool:
        """Return `lost`; a worker's `Call.lease_lost`."""
        return self.lost
