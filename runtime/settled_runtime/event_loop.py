"""Event loops that are blocked: the thread that renews leases can tell, and which turn it is that blocks one.

Nothing that shares the loop goes on while code of one turn blocks it. The messages of the others must go to other
hosts, and those of the turn itself must not: it would block the next host, too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from attrs import define, field

from settled import Key


@define(eq=False)
class EventLoop:
    """An event loop as another thread sees it, and whose code the loop's tasks run.

    Attributes:
        call_soon: calls a function in the loop, called from any thread.
        current_task: returns the task that the loop runs now, called from any thread.
        unanswered: how many looks the loop has not answered yet; 1 just after a look.
    """

    call_soon: Callable[[Callable[[], object]], object]
    current_task: Callable[[], Any]
    unanswered: int = field(default=0, init=False)
    _keys: WeakKeyDictionary[Any, Key] = field(factory=WeakKeyDictionary[Any, Key], init=False)

    def enter(self, key: Key) -> None:
        """Note that the task that calls this runs code of `key`."""
        self._keys[self.current_task()] = key

    def look(self) -> None:
        """Ask the loop to answer until the next look."""
        self.unanswered += 1
        with suppress(RuntimeError):  # it was closed
            self.call_soon(self._answer)

    def _answer(self) -> None:
        self.unanswered = 0

    def runs_code_of(self, key: Key) -> bool:
        """Return whether the loop runs code of `key` at this moment."""
        task = self.current_task()
        return task is not None and self._keys.get(task) == key
