"""One backend made of a store, a queue and timers that know nothing of each other.

Its law: a write is not atomic here, so only the order of its parts keeps the guarantees: commit, then messages
and timers, then acknowledgements. After a crash between two of them the outbox is still in the record and the
message still in the queue, so the next delivery repeats what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import TypeAlias

from attrs import field, frozen
from attrs.validators import optional

from settled import Key, UnsupportedError
from settled.durable import MAX_MESSAGE_BYTES, Capability, ClosedOnExit, FinishResult, Queue, Store, Timers, Write
from settled.durations import is_duration
from settled_runtime.dead_letter_queue import DeadLetterQueue

Watching: TypeAlias = Callable[[Key, Callable[[], object]], AbstractContextManager[None]]


@frozen
class CompositeBackend(ClosedOnExit):
    """A `Backend` made of three ports, of the same vendor or of several.

    Attributes:
        store: the records.
        queue: the messages.
        timers: the timers, which put their messages into `queue`.
        lease: how long a lease of the queue lasts.
        capabilities: what the ports declare. `Capability.ATOMIC_FINISH`, ``JOINT_FINISH`` and ``FENCED_FINISH`` need
            one transaction for all three and cannot be among them.
        closing: called by `close`, in order, to close what the ports hold open.
        clock: the clock of the timers, in seconds since the epoch: due times are compared with it.
        resolution: by how much `clock` may be behind.
        largest_message: how many bytes the body of a message may have.
        watching: does `Backend.watch`, if the store can tell of commits.
        dead_letter_queues: finds the dead-letter queues of `queue` and `timers`, with requests; None if those give up
            no message. Used by `recover_dropped`.
        retention: for how long `queue` keeps a message that is not acknowledged; None if for ever.
    """

    store: Store
    queue: Queue
    timers: Timers
    lease: timedelta = field(default=timedelta(seconds=30), validator=is_duration)
    capabilities: frozenset[Capability] = frozenset()
    closing: tuple[Callable[[], None], ...] = ()
    clock: Callable[[], float] = time.time
    resolution: timedelta = field(default=timedelta(), validator=is_duration)
    largest_message: int = MAX_MESSAGE_BYTES
    watching: Watching | None = None
    dead_letter_queues: Callable[[], Sequence[DeadLetterQueue]] | None = None
    retention: timedelta | None = field(default=None, validator=optional(is_duration))

    def now(self) -> float:
        """Return the time by `clock`, in seconds since the epoch."""
        return self.clock()

    def finish(self, write: Write) -> None:
        """Commit; then send, schedule and cancel; then acknowledge.

        Raises:
            ConflictError: the version was not ``write.expected``; nothing was done.
            SettledError: as the port that failed raised it. The parts before it were done; all are safe to repeat.
        """
        # The commit is first: a message sent before a commit that is then refused would be an event of a step that
        # never happened.
        if write.stored is not None:
            self.store.commit(
                write.key, write.stored, write.expected, write.add_dead_letters, write.remove_dead_letters
            )
        if write.sends:
            self.queue.send(write.sends)
        for timer in write.timers:
            self.timers.schedule(timer)
        for token in write.cancels:
            self.timers.cancel(token)
        # The acknowledgement is last: acknowledged any earlier, the message would not come back after a crash, and what
        # is missing above would never be done.
        if write.acks:
            self.queue.ack(write.acks)

    def finish_all(
        self, writes: Sequence[Write], receive: int = 0, machines: Collection[str] | None = None
    ) -> FinishResult:
        """Raise UnsupportedError: separate ports cannot finish several writes in one round trip."""
        raise UnsupportedError(f"a backend of separate parts does not declare {Capability.JOINT_FINISH}")

    def watch(self, key: Key, changed: Callable[[], object]) -> AbstractContextManager[None]:
        if self.watching is None:
            raise UnsupportedError(f"this store does not tell of commits: {Capability.WATCH} is not declared")
        return self.watching(key, changed)

    def close(self) -> None:
        """Call each function of `closing`."""
        for close in self.closing:
            close()
