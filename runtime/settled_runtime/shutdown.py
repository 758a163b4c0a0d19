"""The stop signal: tells running turns that their host must stop, so that they abandon the actors they wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from attrs import define, field


@define(eq=False)
class StopSignal:
    """A flag that is set once and then calls the callbacks registered with it. Threads may share it."""

    _is_set: bool = field(default=False, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _callbacks: list[Callable[[], None]] = field(factory=list[Callable[[], None]], init=False)

    def set(self) -> None:
        """Set the signal, and call all registered callbacks in this thread."""
        with self._lock:
            self._is_set = True
            callbacks = tuple(self._callbacks)
        for callback in callbacks:
            callback()

    @contextmanager
    def on_stop(self, callback: Callable[[], None]) -> Generator[None]:
        """Within this block, call `callback` when the signal is set, in the thread that sets it.

        If the signal is set already, call it at once. A call may still come just after the block has ended.
        """
        with self._lock:
            self._callbacks.append(callback)
            is_set = self._is_set
        if is_set:
            callback()
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.remove(callback)
