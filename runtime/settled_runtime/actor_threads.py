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
from settled.durable.commands import ActorCall, ActorEnded, ActorResult, RunActors
from settled_runtime.events import ActorFinished
from settled_runtime.host_context import HostContext, error_json
from settled_runtime.leases import HeldDeliveries
from settled_runtime.shutdown import StopSignal


def awaited(value: Any) -> Any:
    """`value`, or what it comes to if it is a coroutine. No event loop runs in the threads of this host."""
    if not inspect.iscoroutine(value):
        return value
    from asyncio import run  # noqa: PLC0415 (half of what importing this package would cost)

    return run(value)


_Attempt = tuple[str, int]
"""The idempotency key of an invocation, and which attempt it is."""


@define(eq=False)
class ActorThreads:
    """The function actors of one turn. `None` in the inbox says that somebody wants to be heard."""

    context: HostContext
    held: HeldDeliveries
    _deadlines: dict[_Attempt, float | None] = field(factory=dict[_Attempt, "float | None"], init=False)
    _ended: dict[_Attempt, ActorResult] = field(factory=dict[_Attempt, ActorResult], init=False)
    _inbox: queue.SimpleQueue[tuple[_Attempt, ActorResult] | None] = field(
        factory=queue.SimpleQueue["tuple[_Attempt, ActorResult] | None"], init=False
    )

    def run(self, command: RunActors, stop_signal: StopSignal, deadline: float | None) -> ActorEnded:
        for invocation in command.calls:
            if _attempt(invocation) not in self._deadlines:
                self._start(command, invocation)
        with stop_signal.on_stop(lambda: self._inbox.put(None)):
            return self._wait(command, deadline)

    def _start(self, command: RunActors, invocation: ActorCall) -> None:
        function, call = self.context.start_actor(command, invocation, self.held)
        self._deadlines[_attempt(invocation)] = call.deadline
        arguments = (invocation, function, call)
        threading.Thread(target=self._work, args=arguments, name=f"settled-{invocation.src}", daemon=True).start()

    def _work(self, invocation: ActorCall, function: Callable[..., Any], call: Call) -> None:
        try:
            result = ActorResult(invocation.id, True, awaited(function(invocation.input, call)))
        except Exception as error:
            result = ActorResult(invocation.id, False, error_json(error))
        self._inbox.put((_attempt(invocation), result))

    def _wait(self, command: RunActors, deadline: float | None) -> ActorEnded:
        while True:
            result = self._first_ended(command)
            now = self.context.clock()
            if result is not None:
                self.context.observe(ActorFinished(command.key, result))
                return ActorEnded(result, now)
            if command.until is not None and command.until <= now:
                return ActorEnded(None, now)
            if deadline is not None and deadline <= now:
                return ActorEnded(None, now, interrupted=True)
            try:
                heard = self._inbox.get(timeout=self._patience(command, deadline, now))
            except queue.Empty:
                continue
            if heard is None:
                return ActorEnded(None, self.context.clock(), interrupted=True)
            self._ended.setdefault(*heard)

    def _first_ended(self, command: RunActors) -> ActorResult | None:
        now = self.context.clock()
        for invocation in command.calls:
            attempt = _attempt(invocation)
            deadline = self._deadlines[attempt]
            if attempt in self._ended:
                return self._ended[attempt]
            if deadline is not None and deadline <= now:
                late = TimeoutError(f"{invocation.src} did not end in time")
                return self._ended.setdefault(attempt, ActorResult(invocation.id, False, error_json(late)))
        return None

    def _patience(self, command: RunActors, deadline: float | None, now: float) -> float | None:
        limits = [command.until, deadline, *(self._deadlines[_attempt(each)] for each in command.calls)]
        waits = [limit - now for limit in limits if limit is not None]
        return max(0.0, min(waits)) if waits else None


def _attempt(invocation: ActorCall) -> _Attempt:
    return (invocation.idempotency_key, invocation.attempt)
