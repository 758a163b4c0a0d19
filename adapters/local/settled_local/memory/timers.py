"""Timers in memory, until the queue finds them due.

No thread waits for a timer: each `receive` takes the due ones from here.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from settled.durable.messages import Message, Timer
from settled_local.memory.due_queue import DueQueue


class MemoryTimers:
    """The timers of a `MemoryBackend`.

    Attributes:
        due: the ids of the timers, by when they are due.
    """

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self._scheduled: dict[str, Message] = {}
        self.due: DueQueue[str] = DueQueue()

    def schedule(self, timer: Timer) -> None:
        with self._changed:
            self._scheduled[timer.id] = timer.message
            self.due.put(timer.id, timer.due)
            self._changed.notify_all()

    def cancel(self, timer_id: str) -> None:
        with self._changed:
            self._scheduled.pop(timer_id, None)
            self.due.remove(timer_id)

    def pop_due(self, now: float) -> Sequence[Message]:
        """Remove the timers that are due and return their messages, earliest first."""
        return [self._scheduled.pop(timer_id) for timer_id in self.due.pop_due(now)]
