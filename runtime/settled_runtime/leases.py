"""Leases: deliveries are renewed while their turn runs, and a turn can know that a renewal failed.

Renewal keeps other workers from doing the same work meanwhile, and no guarantee rests on it. A lost lease does not stop
the turn, and a renewed one does not entitle it to commit: that is decided by the record's version, and by the backend's
fence or, without one, by the turn's own `Extend` command. Code that is about to do something irreversible can ask
`Call.lease_lost` first.

A turn that hangs keeps its key for as long as its process lives. Actors have timeouts for that; actions have none.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence

from attrs import define, field

from settled import ConflictError, Key, SettledError
from settled.durable import Delivery, Queue

RENEW_AFTER_FRACTION = 1 / 3
"""The fraction of a lease after which it is renewed: two renewals may fail before it is lost."""


@define(eq=False)
class HeldDeliveries:
    """The deliveries of one turn that are neither acknowledged nor released. They are renewed together.

    Attributes:
        key: the key of all of them.
        deliveries: replaced as a whole by `drop`, never changed in place: the renewing thread reads it without a lock.
        lost: whether the lease of one of them was lost; never False again.
    """

    key: Key
    deliveries: tuple[Delivery, ...]
    lost: bool = False

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


@define(eq=False)
class LeaseRenewer:
    """Renews the leases of all deliveries held, from a daemon thread that starts with the first of them.

    Attributes:
        queue: the queue that delivered them.
        lease: how long a lease lasts from each renewal on, in seconds.
    """

    queue: Queue
    lease: float
    _held: set[HeldDeliveries] = field(factory=set[HeldDeliveries], init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _closed: threading.Event = field(factory=threading.Event, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def hold(self, deliveries: Sequence[Delivery]) -> HeldDeliveries:
        """Renew `deliveries` until `stop_renewing` is called with the result."""
        held = HeldDeliveries(deliveries[0].message.key, tuple(deliveries))
        with self._lock:
            self._held.add(held)
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="settled-leases", daemon=True)
                self._thread.start()
        return held

    def stop_renewing(self, held: HeldDeliveries) -> None:
        """Stop renewing `held`. A renewal that is under way may still happen."""
        with self._lock:
            self._held.discard(held)

    def close(self) -> None:
        """End the thread, and wait for it. Leases that are held run out."""
        self._closed.set()
        thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while not self._closed.wait(self.lease * RENEW_AFTER_FRACTION):
            with self._lock:
                held = tuple(self._held)
            # Outside the lock: each renewal is a call to the queue, and turns must not wait for it.
            for each in held:
                self._renew(each)

    def _renew(self, held: HeldDeliveries) -> None:
        deliveries = held.deliveries
        if not deliveries:
            return
        try:
            # After a freeze of this process this cannot take a lease back: a queue refuses to extend a lost one.
            self.queue.extend(deliveries, self.lease)
        except ConflictError:
            # A delivery that the turn acknowledged or released during this call conflicts too, but is not lost. If
            # `deliveries` has changed, the next renewal decides.
            held.lost = held.lost or deliveries == held.deliveries
        except SettledError:
            return  # The next round tries again, well within the lease.
