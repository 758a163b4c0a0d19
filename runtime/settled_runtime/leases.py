"""Leases: deliveries are renewed while their turn runs, and a turn can know that a renewal failed.

Renewal keeps other workers from doing the same work meanwhile, and no guarantee rests on it. A lost lease does not stop
the turn, and a renewed one does not entitle it to commit: that is decided by the record's version, and by the backend's
fence or, without one, by the turn's own `Extend` command. Code that is about to do something irreversible can ask
`Call.lease_lost` first.

Only turns that run are renewed. What waits behind a turn that hangs is delivered to another worker when its lease has
run out. The turn that hangs keeps its key for as long as its process lives: given to another worker, it would hang
there too. Actors have timeouts for that; actions and guards have none, and are reported. Code that blocks an event loop
keeps all turns of that loop from going on, and after a lease only its own turn is renewed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from attrs import define, field

from settled import ConflictError, SettledError
from settled.durable import Queue
from settled_runtime.events import Observer
from settled_runtime.held_deliveries import HeldDeliveries
from settled_runtime.watchdog import Watchdog, hang_of, waits_for_loop

RENEW_AFTER_FRACTION = 1 / 3
"""The fraction of a lease after which it is renewed: two renewals may fail before it is lost."""


@define(eq=False)
class Batch:
    """Turns that one thread runs in turn: only the current one is renewed, as the others wait for it.

    A lock and a set for each of them would be a large part of the cost of a turn without effects.
    """

    thread: int
    current: HeldDeliveries | None = None


@define(eq=False)
class LeaseRenewer:
    """Renews the leases of all turns that run, from a daemon thread that starts with the first of them.

    Attributes:
        queue: the queue that delivered them.
        lease: how long a lease lasts from each renewal on, in seconds.
        observe: gets a `TurnHangs` for each turn that hangs.
    """

    queue: Queue
    lease: float
    observe: Observer
    _held: set[HeldDeliveries] = field(factory=set[HeldDeliveries], init=False)
    _batches: set[Batch] = field(factory=set[Batch], init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _closed: threading.Event = field(factory=threading.Event, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def renew(self, held: HeldDeliveries) -> None:
        """Renew `held`, whose turn begins or goes on in this thread, until `stop_renewing` is called."""
        held.thread = threading.get_ident()
        with self._lock:
            self._held.add(held)
            if self._thread is None:
                self._start()

    def begin_batch(self) -> Batch:
        """Renew whatever turn is the current one of the returned batch, until `end_batch` is called."""
        batch = Batch(threading.get_ident())
        with self._lock:
            self._batches.add(batch)
            if self._thread is None:
                self._start()
        return batch

    def end_batch(self, batch: Batch) -> None:
        """Stop renewing the current turn of `batch`."""
        with self._lock:
            self._batches.discard(batch)

    def stop_renewing(self, held: HeldDeliveries) -> None:
        """Stop renewing `held`. A renewal that is under way may still happen."""
        with self._lock:
            self._held.discard(held)

    def running(self) -> Sequence[HeldDeliveries]:
        """Return the deliveries of the turns that run now."""
        with self._lock:
            current = [(batch.thread, batch.current) for batch in self._batches]
            held = list(self._held)
        for thread, each in current:
            if each is not None:
                each.thread = thread
                held.append(each)
        return held

    def report_running(self) -> None:
        """Observe a `TurnHangs` for each turn that runs now."""
        for held in self.running():
            self.observe(hang_of(held, 0.0))

    def close(self) -> None:
        """End the thread, and wait for it. Leases that are held run out."""
        self._closed.set()
        thread = self._thread
        if thread is not None:
            thread.join()

    def _start(self) -> None:
        if not self._closed.is_set():
            self._thread = threading.Thread(target=self._run, name="settled-leases", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        interval = self.lease * RENEW_AFTER_FRACTION
        watchdog = Watchdog(self.observe, interval)
        while not self._closed.wait(interval):
            running = self.running()
            # Outside the lock: each renewal is a call to the queue, and turns must not wait for it.
            for loop in {each.loop for each in running if each.loop is not None}:
                loop.look()
            for each in running:
                if not waits_for_loop(each):
                    self._renew(each)
            watchdog.look(running)

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
