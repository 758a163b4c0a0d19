"""The threads in which a worker runs turns that have actions or actors, and how much may be received for them.

Its law: no message is received that could not run. A message that waits here for a thread could be taken by another
worker, and behind code that hangs it would wait for ever. So threads are reserved before a receive, and its limit
follows from how many messages brought one such turn in the batch before.
"""

from __future__ import annotations

import math
import threading

from attrs import define, field

GATHERING_WAIT = 0.001
"""For how many seconds a batch waits for all the threads that it needs, once one is free."""


@define(eq=False)
class TurnThreads:
    """Counts the free threads, and reserves them for batches of messages.

    Attributes:
        concurrency: how many threads there are.
        max_batch: the largest batch.
    """

    concurrency: int
    max_batch: int
    _free: int = field(init=False)
    _changed: threading.Condition = field(factory=threading.Condition, init=False)
    _messages_per_thread: float = field(default=1.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._free = self.concurrency

    def reserve(self, timeout: float) -> BatchThreads:
        """Wait up to `timeout` seconds for a free thread, and reserve as many as a batch is likely to need.

        With a timeout of 0, reserve all of them or none: a small batch now would keep a larger one from coming soon.
        """
        with self._changed:
            wanted = min(self.concurrency, math.ceil(self.max_batch / self._messages_per_thread))
            if timeout and self._changed.wait_for(lambda: self._free > 0, timeout):
                # Turns that are quick end together, and what begins together shares a commit.
                self._changed.wait_for(lambda: self._free >= wanted, GATHERING_WAIT)
            count = min(self._free, wanted) if timeout or self._free >= wanted else 0
            self._free -= count
        return BatchThreads(self, count, min(self.max_batch, int(count * self._messages_per_thread)))

    def take_one(self) -> bool:
        """Take a thread if one is free, and return whether one was."""
        with self._changed:
            free = self._free > 0
            self._free -= free
            return free

    def give_back(self, count: int = 1) -> None:
        """Return `count` threads."""
        with self._changed:
            self._free += count
            self._changed.notify_all()

    def learn(self, messages: int, turns: int) -> None:
        """Expect what the last batch has shown: of its `messages`, `turns` turns needed a thread."""
        # Twice as much after none, so that a backlog of turns without effects soon fills whole batches.
        per_thread = messages / turns if turns else 2 * self._messages_per_thread
        self._messages_per_thread = min(max(1.0, per_thread), float(self.max_batch))


@define(eq=False)
class BatchThreads:
    """The threads that are reserved for one batch.

    Attributes:
        reserved: how many of them no turn has taken.
        limit: how many messages to receive for them; 0 if none was free.
    """

    _threads: TurnThreads
    reserved: int
    limit: int
    _taken: int = field(default=0, init=False)

    def take_one(self) -> bool:
        """Take a thread for a turn, beyond the reserved ones if one is free, and return whether there was one."""
        if self.reserved:
            self.reserved -= 1
        elif not self._threads.take_one():
            return False
        self._taken += 1
        return True

    def give_back_rest(self) -> None:
        """Return the threads that no turn has taken."""
        self._threads.give_back(self.reserved)
        self.reserved = 0

    def close(self, messages: int = 0, turns: int = 0) -> None:
        """Return the threads but those of `turns`, which return theirs themselves; `messages` were in the batch."""
        self._threads.give_back(self.reserved + self._taken - turns)
        if messages:
            self._threads.learn(messages, turns)
