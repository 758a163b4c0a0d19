"""The turns that run in a process, and those that must run alone, because they may end it (`Isolate`).

Its law: while a turn waits to run alone, or does, no other turn begins. A turn may keep the others out for as long as
its command says, and not much longer, whatever it does; so a suspect costs its neighbours about a lease.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager

from attrs import define, field, frozen

from settled_runtime.shutdown import StopSignal

PATIENCE = 1.25
"""How much longer than its time a turn may keep the others out: it ends its isolation by itself, unless it hangs."""


@frozen(order=True)
class _Place:
    """The place of a turn among those that wait to run alone: the least suspicious come first."""

    losses: int
    number: int


@define(eq=False)
class TurnGate:
    """Lets turns begin, and lets one at a time run alone. Threads share it."""

    _changed: threading.Condition = field(factory=threading.Condition, init=False)
    _running: set[object] = field(factory=set[object], init=False)
    _waiting: dict[object, _Place] = field(factory=dict[object, _Place], init=False)
    _alone: object | None = field(default=None, init=False)
    _closed_until: float = field(default=0.0, init=False)
    _asked: int = field(default=0, init=False)

    def admit(self, turns: Iterable[object]) -> bool:
        """Let `turns` begin, unless there is a turn that keeps them out; return whether they may."""
        with self._changed:
            if self._is_closed():
                return False
            self._running.update(turns)
            return True

    def wait_until_open(self, timeout: float, stop_signal: StopSignal | None = None) -> bool:
        """Wait up to `timeout` seconds, or until `stop_signal`, until turns may begin; return whether they may."""
        return not self._is_closed() or self._wait_until_open(timeout, stop_signal or StopSignal())

    def ask(self, turn: object, losses: int, seconds: float) -> None:
        """Close the gate for `turn`, which has to run alone, and was lost `losses` times alone before."""
        with self._changed:
            self._asked += 1
            self._waiting[turn] = _Place(losses, self._asked)
            self._closed_until = max(self._closed_until, time.monotonic() + PATIENCE * seconds)
            self._changed.notify_all()

    def isolate(self, turn: object, seconds: float, stop_signal: StopSignal) -> tuple[bool, bool]:
        """Wait up to half of `seconds` until `turn`, which has asked for them, is the only one that runs.

        Return whether it is, and whether `stop_signal` has ended the wait.
        """
        with self._stopping(stop_signal) as stopping, self._changed:
            self._changed.wait_for(lambda: stopping.is_set() or self._is_next(turn), seconds / 2)
            is_alone = not stopping.is_set() and self._is_next(turn)
            self._waiting.pop(turn, None)
            if is_alone:
                self._alone = turn
            self._changed.notify_all()
        return is_alone, stopping.is_set()

    def end_isolation(self, turn: object) -> None:
        """Let other turns begin beside `turn` again."""
        with self._changed:
            if self._alone is turn:
                self._alone = None
            self._changed.notify_all()

    def end(self, turn: object) -> None:
        """Note that `turn` has ended. Ending twice is not an error."""
        self._running.discard(turn)
        if self._waiting or self._alone is not None:
            with self._changed:
                self._waiting.pop(turn, None)
            self.end_isolation(turn)

    def _is_closed(self) -> bool:
        return bool(self._waiting or self._alone) and time.monotonic() < self._closed_until

    def _is_next(self, turn: object) -> bool:
        # Those that wait do not run. Among them are turns of one batch whose thread has not come to wait yet.
        place = self._waiting.get(turn)  # None if it was given up meanwhile
        is_first = place is not None and min(self._waiting.values()) == place
        return is_first and len(self._running) == len(self._waiting)

    def _wait_until_open(self, timeout: float, stop_signal: StopSignal) -> bool:
        end = time.monotonic() + timeout
        with self._stopping(stop_signal) as stopping, self._changed:
            while self._is_closed():
                left = min(end, self._closed_until) - time.monotonic()
                if end <= time.monotonic() or stopping.is_set():
                    return False
                self._changed.wait(max(0.0, left))
        return True

    @contextmanager
    def _stopping(self, stop_signal: StopSignal) -> Generator[threading.Event]:
        """Yield an event that `stop_signal` sets; it also wakes those who wait here."""
        stopping = threading.Event()

        def stop() -> None:
            with self._changed:
                stopping.set()
                self._changed.notify_all()

        with stop_signal.on_stop(stop):
            yield stopping
