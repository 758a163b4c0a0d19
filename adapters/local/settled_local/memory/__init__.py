"""A backend in this process: it keeps every guarantee of the ports, and its data ends with the process.

One lock guards everything, so each call is atomic, `MemoryBackend.finish` included. Nothing here sleeps until a lease,
a pause or a timer ends: each call compares the times in a `DueQueue` with the backend's clock, which may be virtual.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence

from settled.durable.ports import Capability, FinishResult, Write
from settled.errors import LeaseLostError, SettledError
from settled.key import Key
from settled_local.memory.queue import MemoryQueue
from settled_local.memory.store import MemoryStore
from settled_local.memory.timers import MemoryTimers

__all__ = ["MemoryBackend"]

CAPABILITIES = frozenset(
    {
        Capability.ATOMIC_FINISH,
        Capability.JOINT_FINISH,
        Capability.FENCED_FINISH,
        Capability.POSITIONS,
        Capability.SELECTIVE_RECEIVE,
        Capability.BACKLOG,
        Capability.SCAN,
        Capability.DEDUPLICATION,
        Capability.NO_DELIVERY_AFTER_ACK,
        Capability.NO_DELIVERY_AFTER_CANCEL,
    }
)


class MemoryBackend:
    """A store, a queue and timers that live as long as this object.

    Args:
        lease: how long a new lease lasts, in seconds.
        remember: how many ids of acknowledged messages the queue deduplicates by, for each key. A message that is
            repeated after more than that many others counts as a new one.
        clock: returns seconds since the epoch.
    """

    def __init__(self, lease: float = 30.0, remember: int = 1000, clock: Callable[[], float] = time.time) -> None:
        # A condition's lock is re-entrant: `finish` holds it while it calls the ports one after the other.
        changed = threading.Condition()
        self._changed = changed
        self._clock = clock
        self._lease = lease
        self._store = MemoryStore(changed)
        self._timers = MemoryTimers(changed)
        self._queue = MemoryQueue(changed, clock, lease, remember, self._timers)

    @property
    def store(self) -> MemoryStore:
        return self._store

    @property
    def queue(self) -> MemoryQueue:
        return self._queue

    @property
    def timers(self) -> MemoryTimers:
        return self._timers

    @property
    def capabilities(self) -> frozenset[Capability]:
        return CAPABILITIES

    @property
    def lease(self) -> float:
        return self._lease

    @property
    def resolution(self) -> float:
        return 0.0

    def now(self) -> float:
        return self._clock()

    def next_due(self) -> float:
        """Return when the next timer is due or the next lease or pause ends; infinity if there is none."""
        with self._changed:
            return min(self._timers.next_due(), self._queue.next_due())

    def finish(self, write: Write) -> None:
        with self._changed:
            # Everything that can fail comes first: there is no rollback, and `finish` is all or nothing.
            for message in write.sends:
                self._queue.check(message)
            if write.stored is not None:
                # The version is checked before the lease: to a caller, a conflict says more than a lost lease.
                self._store.expect(write.key, write.expected)
                if write.holder is not None and not self._queue.holds(write.holder):
                    raise LeaseLostError(f"{write.key}: its lease was lost")
                self._store.commit(
                    write.key, write.stored, write.expected, write.add_dead_letters, write.remove_dead_letters
                )
            self._queue.send(write.sends)
            for timer in write.timers:
                self._timers.schedule(timer)
            # After `timers`, in the order of the write's fields: a timer that is set and cancelled is cancelled.
            for timer_id in write.cancels:
                self._timers.cancel(timer_id)
            self._queue.ack(write.acks)

    def finish_all(
        self, writes: Sequence[Write], receive: int = 0, machines: Collection[str] | None = None
    ) -> FinishResult:
        refused: dict[Key, SettledError] = {}
        with self._changed:
            for write in writes:
                try:
                    self.finish(write)
                except SettledError as error:
                    refused[write.key] = error
            return FinishResult(refused, tuple(self._queue.receive(receive, machines=machines)))

    def close(self) -> None:
        """Do nothing: there is nothing to release, and the records can still be read."""
