"""Timers on an agenda, until the queue finds them due.

There is no clock of their own to run: whoever asks the queue for messages takes what is due from here.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from settled.durable.messages import Message, Timer
from settled_local.memory.due_queue import DueQueue


class MemoryTimers:
    """The timers of a `MemoryBackend`."""

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self._scheduled: dict[str, Message] = {}
        self._agenda: DueQueue[str] = DueQueue()

    def schedule(self, timer: Timer) -> None:
        with self._changed:
            self._scheduled[timer.id] = timer.message
            self._agenda.put(timer.id, timer.due)
            self._changed.notify_all()

    def cancel(self, timer_id: str) -> None:
        with self._changed:
            self._scheduled.pop(timer_id, None)
            self._agenda.drop(timer_id)

    def pop_due(self, now: float) -> Sequence[Message]:
        """Take out the messages of all timers that are due, in the order in which they are."""
        return [self._scheduled.pop(timer_id) for timer_id in self._agenda.pop_due(now)]

    def next_due(self) -> float:
        """When the next one is due; infinity if there is none."""
        return self._agenda.next_due()
