"""Interruption: a worker must stop, and says so to the turns that wait for something."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from attrs import define, field


@define(eq=False)
class StopSignal:
    """Set once. Whoever waits asks to be called then; who asks too late is called at once."""

    _is_set: bool = field(default=False, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _waiting: list[Callable[[], None]] = field(factory=list[Callable[[], None]], init=False)

    def set(self) -> None:
        """Interrupt all that waits now or later."""
        with self._lock:
            self._is_set = True
            waiting = tuple(self._waiting)
        for call in waiting:
            call()

    @contextmanager
    def on_stop(self, call: Callable[[], None]) -> Generator[None]:
        """Within this block, `call` is called when the interruption is set, from the thread that sets it."""
        with self._lock:
            self._waiting.append(call)
            is_set = self._is_set
        if is_set:
            call()
        try:
            yield
        finally:
            with self._lock:
                self._waiting.remove(call)
