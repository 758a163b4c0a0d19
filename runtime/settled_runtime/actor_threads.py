"""Calls: the function actors of one turn, each in a thread of its own.

A machine may invoke several at once, and one that hangs past its timeout must not hold up the turn: it is left behind,
and what it still returns is not listened to.
"""

from __future__ import annotations

import inspect
import queue
import threading
from collections.abc import Callable
from typing import Any

from attrs import define, field

from settled import Call
from settled.durable.commands import Invocation, Ran, Result, Run
from settled_runtime.events import CallEnded
from settled_runtime.host_context import House, described
from settled_runtime.leases import Held
from settled_runtime.shutdown import Interruption


def awaited(value: Any) -> Any:
    """`value`, or what it comes to if it is a coroutine. No event loop runs in the threads of this host."""
    if not inspect.iscoroutine(value):
        return value
    from asyncio import run  # noqa: PLC0415 (half of what importing this package would cost)

    return run(value)


_Attempt = tuple[str, int]
"""The idempotency key of an invocation, and which attempt it is."""


@define(eq=False)
class Calls:
    """The function actors of one turn. `None` in the inbox says that somebody wants to be heard."""

    house: House
    held: Held
    _deadlines: dict[_Attempt, float | None] = field(factory=dict[_Attempt, "float | None"], init=False)
    _ended: dict[_Attempt, Result] = field(factory=dict[_Attempt, Result], init=False)
    _inbox: queue.SimpleQueue[tuple[_Attempt, Result] | None] = field(
        factory=queue.SimpleQueue["tuple[_Attempt, Result] | None"], init=False
    )

    def run(self, command: Run, interruption: Interruption, deadline: float | None) -> Ran:
        for invocation in command.invocations:
            if _attempt(invocation) not in self._deadlines:
                self._start(command, invocation)
        with interruption.calling(lambda: self._inbox.put(None)):
            return self._wait(command, deadline)

    def _start(self, command: Run, invocation: Invocation) -> None:
        function, call = self.house.begin_call(command, invocation, self.held)
        self._deadlines[_attempt(invocation)] = call.deadline
        arguments = (invocation, function, call)
        threading.Thread(target=self._work, args=arguments, name=f"settled-{invocation.src}", daemon=True).start()

    def _work(self, invocation: Invocation, function: Callable[..., Any], call: Call) -> None:
        try:
            result = Result(invocation.id, True, awaited(function(invocation.input, call)))
        except Exception as error:
            result = Result(invocation.id, False, described(error))
        self._inbox.put((_attempt(invocation), result))

    def _wait(self, command: Run, deadline: float | None) -> Ran:
        while True:
            result = self._first_ended(command)
            now = self.house.clock()
            if result is not None:
                self.house.observe(CallEnded(command.key, result))
                return Ran(result, now)
            if command.until is not None and command.until <= now:
                return Ran(None, now)
            if deadline is not None and deadline <= now:
                return Ran(None, now, interrupted=True)
            try:
                heard = self._inbox.get(timeout=self._patience(command, deadline, now))
            except queue.Empty:
                continue
            if heard is None:
                return Ran(None, self.house.clock(), interrupted=True)
            self._ended.setdefault(*heard)

    def _first_ended(self, command: Run) -> Result | None:
        now = self.house.clock()
        for invocation in command.invocations:
            attempt = _attempt(invocation)
            deadline = self._deadlines[attempt]
            if attempt in self._ended:
                return self._ended[attempt]
            if deadline is not None and deadline <= now:
                late = TimeoutError(f"{invocation.src} did not end in time")
                return self._ended.setdefault(attempt, Result(invocation.id, False, described(late)))
        return None

    def _patience(self, command: Run, deadline: float | None, now: float) -> float | None:
        limits = [command.until, deadline, *(self._deadlines[_attempt(each)] for each in command.invocations)]
        waits = [limit - now for limit in limits if limit is not None]
        return max(0.0, min(waits)) if waits else None


def _attempt(invocation: Invocation) -> _Attempt:
    return (invocation.idempotency_key, invocation.attempt)
