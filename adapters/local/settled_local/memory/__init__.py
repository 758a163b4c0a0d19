"""A backend in this process: it keeps every guarantee of the ports, and its data ends with the process.

One lock guards everything, so each call is atomic, `MemoryBackend.finish` included. Nothing here sleeps until a lease,
a pause or a timer ends: each call compares the times in a `DueQueue` with the backend's clock, which may be virtual.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta

from settled.durable.limits import MAX_MESSAGE_BYTES
from settled.durable.ports import Capability, ClosedOnExit, FinishResult, Write
from settled.durations import in_seconds
from settled.errors import LeaseLostError, SettledError
from settled.key import Key
from settled_local.memory.queue import MemoryQueue
from settled_local.memory.store import MemoryStore
from settled_local.memory.timers import MemoryTimers
from settled_runtime.watchers import Watchers

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
        Capability.WATCH,
        Capability.DEDUPLICATION,
        Capability.NO_DELIVERY_AFTER_ACK,
        Capability.NO_DELIVERY_AFTER_CANCEL,
    }
)


class MemoryBackend(ClosedOnExit):
    """A store, a queue and timers that live as long as this object.

    Args:
        lease: how long a new lease lasts.
        remember: how many ids of acknowledged messages the queue deduplicates by, for each key. A message that is
            repeated after more than that many others counts as a new one.
        clock: returns seconds since the epoch.
        largest_message: how many bytes the body of a message may have.
    """

    def __init__(
        self,
        lease: timedelta = timedelta(seconds=30),
        remember: int = 1000,
        clock: Callable[[], float] = time.time,
        largest_message: int = MAX_MESSAGE_BYTES,
    ) -> None:
        # A condition's lock is re-entrant: `finish` holds it while it calls the ports one after the other.
        self._changed = changed = threading.Condition()
        self.lease = lease
        self.resolution = timedelta()
        self.largest_message = largest_message
        self.retention: timedelta | None = None
        self.now = clock
        self._watchers = Watchers()
        self.store = MemoryStore(changed, self._watchers)
        self.timers = MemoryTimers(changed)
        self.queue = MemoryQueue(changed, clock, in_seconds(lease, "lease"), remember, self.timers)

    @property
    def capabilities(self) -> frozenset[Capability]:
        return CAPABILITIES

    def next_due(self) -> float:
        """Return when the next timer is due or the next lease or pause ends; infinity if there is none."""
        with self._changed:
            return min(self.timers.due.next_due, self.queue.leases.next_due)

    def finish(self, write: Write) -> None:
        with self._changed:
            # Everything that can fail comes first: there is no rollback, and `finish` is all or nothing.
            for message in write.sends:
                self.queue.check(message)
            if write.stored is not None:
                is_held = write.holder is None or self.queue.leased(write.holder)[1] > 0
                # First, if both are wrong: to a caller, a conflict says more than a lost lease.
                self.store.expect(write.key, write.expected)
                if not is_held:
                    raise LeaseLostError(f"{write.key}: its lease was lost")
                self.store.put(write.key, write.stored, write.add_dead_letters, write.remove_dead_letters)
            if write.sends:
                self.queue.send(write.sends)
            for timer in write.timers:
                self.timers.schedule(timer)
            # After `timers`, in the order of the write's fields: a timer that is set and cancelled is cancelled.
            for timer_id in write.cancels:
                self.timers.cancel(timer_id)
            if write.acks:
                self.queue.ack(write.acks)

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
            return FinishResult(refused, tuple(self.queue.receive(receive, machines=machines)))

    def watch(self, key: Key, changed: Callable[[], object]) -> AbstractContextManager[None]:
        return self._watchers.added(key, changed)

    def close(self) -> None:
        """Do nothing: there is nothing to release, and the records can still be read."""
