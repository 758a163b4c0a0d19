"""The function actors of one turn, each in a thread of its own.

A machine may invoke several at once, and one that hangs past its timeout must not hold up the turn. A thread cannot be
interrupted, so it is abandoned: it is a daemon, and its result is ignored.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import define, field

from settled import Call
from settled.durable.commands import ActorCall, ActorEnded, ActorResult, RunActors
from settled_runtime.effects import Attempt, attempt_of, doing_of, error_json, start_actor, wait_in_this_thread
from settled_runtime.events import ActorFinished
from settled_runtime.held_deliveries import HeldDeliveries
from settled_runtime.host_context import HostContext
from settled_runtime.shutdown import StopSignal


@define(eq=False)
class ActorThreads:
    """The function actors of one turn.

    Attributes:
        context: the host's machines and observers.
        held: the deliveries of the turn, for `Call.lease_lost`.
        _deadlines: every attempt that was started in this turn, and when it times out.
        _ended: the results so far. Several may have come at once; the turn takes them one at a time.
        _inbox: the results as threads put them, and `None` for the stop signal.
    """

    context: HostContext
    held: HeldDeliveries
    _deadlines: dict[Attempt, float | None] = field(factory=dict[Attempt, "float | None"], init=False)
    _ended: dict[Attempt, ActorResult] = field(factory=dict[Attempt, ActorResult], init=False)
    _inbox: queue.SimpleQueue[tuple[Attempt, ActorResult] | None] = field(
        factory=queue.SimpleQueue["tuple[Attempt, ActorResult] | None"], init=False
    )

    def run(self, command: RunActors, stop_signal: StopSignal, deadline: float | None) -> ActorEnded:
        """Run the actors that `command` names until the first of them has ended, and return its result.

        Return without a result at ``command.until``, or, interrupted, at `deadline` or once `stop_signal` is set.
        """
        for actor_call in command.calls:
            if attempt_of(actor_call) not in self._deadlines:
                self._start(command, actor_call)
        self.held.begin(doing_of(command, self._deadlines))
        with stop_signal.on_stop(lambda: self._inbox.put(None)):
            return self._wait(command, deadline)

    def _start(self, command: RunActors, actor_call: ActorCall) -> None:
        function, call = start_actor(self.context, command, actor_call, self.held)
        self._deadlines[attempt_of(actor_call)] = call.deadline
        run = partial(self._run_actor, actor_call, function, call)
        self.context.actor_threads.call(run, f"settled-{actor_call.src}")

    def _run_actor(self, actor_call: ActorCall, function: Callable[..., Any], call: Call) -> None:
        try:
            result = ActorResult(actor_call.id, True, wait_in_this_thread(function(actor_call.input, call)))
        except BaseException as error:  # nothing else would end the wait for this thread, which is the actor's own
            result = ActorResult(actor_call.id, False, error_json(error))
        self._inbox.put((attempt_of(actor_call), result))

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
                return ActorEnded(None, now, stopping=True)
            try:
                received = self._inbox.get(timeout=self._timeout(command, deadline, now))
            except queue.Empty:
                continue
            if received is None:
                return ActorEnded(None, self.context.clock(), stopping=True)
            # An attempt that has timed out keeps its TimeoutError: the turn has been given that result already.
            self._ended.setdefault(*received)

    def _first_ended(self, command: RunActors) -> ActorResult | None:
        now = self.context.clock()
        for actor_call in command.calls:
            attempt = attempt_of(actor_call)
            deadline = self._deadlines[attempt]
            if attempt in self._ended:
                return self._ended[attempt]
            if deadline is not None and deadline <= now:
                late = TimeoutError(f"{actor_call.src} did not end in time")
                return self._ended.setdefault(attempt, ActorResult(actor_call.id, False, error_json(late)))
        return None

    def _timeout(self, command: RunActors, deadline: float | None, now: float) -> float | None:
        limits = [command.until, deadline, *(self._deadlines[attempt_of(each)] for each in command.calls)]
        waits = [limit - now for limit in limits if limit is not None]
        return max(0.0, min(waits)) if waits else None
