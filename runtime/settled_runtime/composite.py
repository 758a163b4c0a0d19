"""`Separate`: one backend out of a store, a queue and timers of different vendors.

Nothing is atomic here, so the order is everything: what is owed follows the commit, and the acknowledgement comes
last. A crash between two parts leaves the outbox in the record and the message in the queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from attrs import frozen

from settled import UnsupportedError
from settled.durable import Capability, Finished, Queue, Store, Timers, Write


@frozen
class CompositeBackend:
    """A `Backend` of parts. `lease` is that of the queue; `capabilities` are those of the parts, in their own words.

    `closing` is called by `close`, for what the parts keep open. `clock` and `resolution` are those of the timers'
    part: what is scheduled is compared with its clock.
    """

    store: Store
    queue: Queue
    timers: Timers
    lease: float = 30.0
    capabilities: frozenset[Capability] = frozenset()
    closing: tuple[Callable[[], None], ...] = ()
    clock: Callable[[], float] = time.time
    resolution: float = 0.0

    def now(self) -> float:
        """The time, in seconds since the epoch."""
        return self.clock()

    def finish(self, write: Write) -> None:
        """Commit; then send, schedule and cancel; then acknowledge."""
        if write.stored is not None:
            self.store.commit(write.key, write.stored, write.expected, write.bury, write.unbury)
        if write.sends:
            self.queue.send(write.sends)
        for timer in write.timers:
            self.timers.schedule(timer)
        for token in write.cancels:
            self.timers.cancel(token)
        if write.acks:
            self.queue.ack(write.acks)

    def finish_all(self, writes: Sequence[Write], receive: int = 0) -> Finished:
        """Not in one round trip: the parts know nothing of each other."""
        raise UnsupportedError(f"a backend of separate parts does not declare {Capability.JOINT_FINISH}")

    def close(self) -> None:
        """Close the parts."""
        for close in self.closing:
            close()
