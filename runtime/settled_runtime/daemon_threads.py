"""Threads for code that may hang: none of them waits for another, and none keeps the process from ending.

A new thread takes thirty times as long to start as one that is idle takes to wake.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from queue import Empty, SimpleQueue
from typing import TypeAlias

from attrs import define, field

IDLE_TIME = 10.0
"""For how many seconds an idle thread waits for a function to call, before it ends."""

_Inbox: TypeAlias = "SimpleQueue[tuple[str, Callable[[], object]]]"


@define(eq=False)
class DaemonThreads:
    """Calls functions, each at once in a daemon thread that no other one uses meanwhile. Threads may share it."""

    _idle: deque[_Inbox] = field(factory=deque[_Inbox], init=False)

    def call(self, function: Callable[[], object], name: str) -> None:
        """Call `function`, which must not raise, in a thread that is named `name` meanwhile."""
        try:
            inbox = self._idle.pop()  # the one that was busy last, so that the others may end
        except IndexError:
            inbox = SimpleQueue[tuple[str, Callable[[], object]]]()
            threading.Thread(target=self._work, args=(inbox,), daemon=True).start()
        inbox.put((name, function))

    def _work(self, inbox: _Inbox) -> None:
        while True:
            try:
                name, function = inbox.get(timeout=IDLE_TIME)
            except Empty:
                try:
                    self._idle.remove(inbox)
                except ValueError:
                    continue  # it was taken just now, and its function is about to come
                return
            threading.current_thread().name = name
            Context().run(function)  # as in a new thread: it does not see the variables of the one before
            del function  # while the thread is idle, nothing that it has used is kept
            self._idle.append(inbox)
