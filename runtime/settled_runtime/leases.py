"""Leases: what a turn holds is extended while it runs, and it can know when that failed.

A lost lease does not stop a turn. Whether its commit still counts is for the record's version to say; but whoever
drives something that cannot be undone may want to look first.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from attrs import define, field

from settled import ConflictError, SettledError
from settled.durable import Delivery, Queue

RENEW_AFTER_FRACTION = 1 / 3
"""After which part of a lease it is extended: two extensions may fail before it is lost."""


@define(eq=False)
class HeldDeliveries:
    """Deliveries that are held together. `lost`: the lease of one of them has gone to somebody else."""

    deliveries: tuple[Delivery, ...]
    lost: bool = False

    def drop(self, gone: Iterable[Delivery]) -> None:
        """Hold these no longer: they were acknowledged or given back."""
        receipts = {delivery.receipt for delivery in gone}
        self.deliveries = tuple(delivery for delivery in self.deliveries if delivery.receipt not in receipts)


@define(eq=False)
class LeaseRenewer:
    """Extends the leases of all that is held, from a thread of its own that runs while there is something to hold."""

    queue: Queue
    lease: float
    _held: set[HeldDeliveries] = field(factory=set[HeldDeliveries], init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _closed: threading.Event = field(factory=threading.Event, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def hold(self, deliveries: Sequence[Delivery]) -> HeldDeliveries:
        """Keep `deliveries` until `let_go`."""
        held = HeldDeliveries(tuple(deliveries))
        with self._lock:
            self._held.add(held)
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="settled-leases", daemon=True)
                self._thread.start()
        return held

    def stop_renewing(self, held: HeldDeliveries) -> None:
        """Extend these no more."""
        with self._lock:
            self._held.discard(held)

    def close(self) -> None:
        """End the thread, and wait for it."""
        self._closed.set()
        thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while not self._closed.wait(self.lease * RENEW_AFTER_FRACTION):
            with self._lock:
                held = tuple(self._held)
            for each in held:
                self._extend(each)

    def _extend(self, held: HeldDeliveries) -> None:
        deliveries = held.deliveries
        if not deliveries:
            return
        try:
            self.queue.extend(deliveries, self.lease)
        except ConflictError:
            held.lost = held.lost or deliveries == held.deliveries
        except SettledError:
            return  # The next round tries again, well within the lease.
