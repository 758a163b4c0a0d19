"""The asynchronous host: runs the turns of deliveries in an event loop, all keys concurrently.

The backend's ports block, so they are called in the loop's default thread pool. Function actors run as tasks; one that
is written with ``def`` gets a thread of its own. The turns themselves are those of `Host`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, cast

from attrs import define, field

from settled import Call, Key, Machine, Policy, TurnEnd
from settled.durable import Backend, ClosedOnExit, Delivery
from settled.durable.commands import (
    ActorCall,
    ActorEnded,
    ActorResult,
    Answer,
    Command,
    EndIsolation,
    Isolate,
    PerformActions,
    RunActors,
)
from settled_runtime.cancellation import result_in_time
from settled_runtime.daemon_threads import DaemonThreads
from settled_runtime.effects import Attempt, attempt_of, doing_of, error_json, is_failure, perform_actions, start_actor
from settled_runtime.event_loop import EventLoop
from settled_runtime.events import ActorAbandoned, ActorFinished, Observer, log
from settled_runtime.held_deliveries import HeldDeliveries
from settled_runtime.host_context import HostContext
from settled_runtime.shutdown import StopSignal
from settled_runtime.turn_runner import TurnRunner, time_at_the_gate, turns_for

CANCELLATION_GRACE = 5.0
"""For how many seconds an actor that was cancelled, or has timed out, may clean up before it is abandoned."""


class AsyncHost(ClosedOnExit):
    """Runs the turns of some machines' instances in an event loop. The arguments are those of `Host`.

    Observers, custom actions and ``async`` actors are called in the event loop and must not block it; an action may be
    ``async def``. While code of one instance blocks the loop, the messages of the others go to other hosts when their
    leases have run out.
    """

    def __init__(
        self,
        machines: Iterable[Machine[Any]],
        backend: Backend,
        *,
        policy: Policy | None = None,
        observers: Iterable[Observer] = (log,),
    ) -> None:
        self._context = HostContext.of(machines, backend, policy, observers)
        self.backend = backend

    async def handle(
        self, deliveries: Sequence[Delivery], stop_signal: StopSignal | None = None, deadline: float | None = None
    ) -> Mapping[Key, TurnEnd | Exception]:
        """Run the turns of `deliveries`, all keys concurrently. Arguments and result are those of `Host.handle`.

        If this coroutine is cancelled, running actors are cancelled, and the deliveries come back when their leases
        run out. An actor that has not ended `CANCELLATION_GRACE` seconds later is abandoned.
        """
        stop_signal = stop_signal or StopSignal()
        turns, gate = turns_for(self._context, deliveries, stop_signal, deadline), self._context.gate
        if not gate.admit(turns) and not await self._admit_later(turns, stop_signal, deadline):
            return {turn.key: TurnEnd.RELEASED for turn in turns}
        loop = asyncio.get_running_loop()
        watched = EventLoop(loop.call_soon_threadsafe, partial(asyncio.current_task, loop))
        for turn in turns:
            turn.held.loop = watched
        try:
            ends = await asyncio.gather(*(self._run(turn, stop_signal, deadline) for turn in turns))
        finally:
            # Also if this task was cancelled, before or while a turn began: renewed for ever, the deliveries would
            # never come back.
            for turn in turns:
                self._context.leases.stop_renewing(turn.held)
                gate.end(turn)
        return dict(zip((turn.key for turn in turns), ends, strict=True))

    async def _admit_later(self, turns: Sequence[TurnRunner], stop_signal: StopSignal, deadline: float | None) -> bool:
        """Wait for a turn that must run alone; put `turns` back if that takes too long."""
        gate, seconds = self._context.gate, time_at_the_gate(self._context, deadline)
        # Admitted here and not in the thread, which goes on if this task is cancelled.
        if await self._at_the_gate(lambda: gate.wait_until_open(seconds, stop_signal)) and gate.admit(turns):
            return True
        for turn in turns:
            await asyncio.to_thread(turn.put_back)
        return False

    async def _at_the_gate(self, wait: Callable[[], object]) -> object:
        # Not in a thread of the loop's pool, which the turns need that it waits for.
        return await _in_own_thread(self._context.actor_threads, wait, "settled-gate")

    async def _run(self, turn: TurnRunner, stop_signal: StopSignal, deadline: float | None) -> TurnEnd | Exception:
        tasks = _ActorTasks(self._context, turn.held)

        async def perform(command: Command) -> Answer:
            if isinstance(command, PerformActions):
                return await perform_actions(self._context, command, turn.held, _wait_for)
            if isinstance(command, RunActors):
                return await tasks.run(command, stop_signal, deadline)
            if isinstance(command, Isolate):
                return cast("Answer", await self._at_the_gate(lambda: turn.isolate(command)))
            if isinstance(command, EndIsolation):
                return turn.end_isolation()
            return await asyncio.to_thread(self._context.backend_commands.perform, command)

        _enter(turn.held)
        self._context.leases.renew(turn.held)
        try:
            turn.advance()
            while turn.command is not None:
                outcome: Answer | Exception
                try:
                    outcome = await perform(turn.command)
                except Exception as error:
                    outcome = error
                turn.advance(outcome)
            await asyncio.to_thread(turn.clean_up)
            assert turn.end is not None, "a turn without a command has ended"
            return turn.end
        finally:
            await tasks.cancel()

    def close(self) -> None:
        """Stop renewing leases and end the thread that does. The backend stays open."""
        self._context.leases.close()


def _enter(held: HeldDeliveries) -> None:
    """Note that this task runs code of the turn of `held`."""
    if held.loop is not None:
        held.loop.enter(held.key)


async def _wait_for(result: Awaitable[object]) -> object:
    return await result


@define(eq=False)
class _ActorTasks:
    """The function actors of one turn, each a task with its timeout.

    Those that the newest command does not name any more are cancelled: the machine has left their state.
    """

    context: HostContext
    held: HeldDeliveries
    _deadlines: dict[Attempt, float | None] = field(factory=dict[Attempt, "float | None"], init=False)
    _tasks: dict[Attempt, asyncio.Task[ActorResult]] = field(
        factory=dict[Attempt, "asyncio.Task[ActorResult]"], init=False
    )

    async def run(self, command: RunActors, stop_signal: StopSignal, deadline: float | None) -> ActorEnded:
        """Run the actors that `command` names until the first of them has ended, and return its result.

        Return without a result at ``command.until``, or, interrupted, at `deadline` or once `stop_signal` is set.
        """
        calls = {attempt_of(each): each for each in command.calls}
        await self.cancel(except_for=calls)
        for attempt, actor_call in calls.items():
            if attempt not in self._tasks:
                function, call = start_actor(self.context, command, actor_call, self.held)
                self._deadlines[attempt] = call.deadline
                self._tasks[attempt] = asyncio.create_task(self._result_in_time(function, actor_call, call))
        self.held.begin(doing_of(command, self._deadlines))
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()

        def stop() -> None:
            loop.call_soon_threadsafe(stopped.set)  # the signal is set from another thread

        with stop_signal.on_stop(stop):
            return await self._wait(command, stopped, deadline)

    async def _wait(self, command: RunActors, stopped: asyncio.Event, deadline: float | None) -> ActorEnded:
        stop = asyncio.create_task(stopped.wait())
        limits = [limit for limit in (command.until, deadline) if limit is not None]
        timeout = max(0.0, min(limits) - self.context.clock()) if limits else None
        try:
            await asyncio.wait((*self._tasks.values(), stop), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        now = self.context.clock()
        # A result goes before a stop: it would be lost, and its actor would run again. The task stays in `_tasks`
        # until the turn has committed its result and stops naming it.
        result = next((task.result() for task in self._tasks.values() if task.done()), None)
        if result is not None:
            self.context.observe(ActorFinished(command.key, result))
            return ActorEnded(result, now)
        return ActorEnded(None, now, stopped.is_set() or (deadline is not None and deadline <= now))

    async def _result_in_time(self, function: Callable[..., Any], actor_call: ActorCall, call: Call) -> ActorResult:
        """Run the actor, and return its result or its failure even if it cannot be cancelled."""
        src, limit = actor_call.src, None if call.deadline is None else max(0.0, call.deadline - self.context.clock())
        abandoned = ActorAbandoned(call.key, src, call.idempotency_key, call.attempt)
        running = self._run_actor(function, actor_call, call)
        try:
            return await result_in_time(running, limit, CANCELLATION_GRACE, lambda: self.context.observe(abandoned))
        except TimeoutError:
            return ActorResult(actor_call.id, False, error_json(TimeoutError(f"{src} did not end in time")))
        except asyncio.CancelledError as error:
            if not is_failure(error):
                raise
            return ActorResult(actor_call.id, False, error_json(error))

    async def _run_actor(self, function: Callable[..., Any], actor_call: ActorCall, call: Call) -> ActorResult:
        _enter(self.held)
        try:
            async with asyncio.timeout(None if call.deadline is None else call.deadline - self.context.clock()):
                return ActorResult(actor_call.id, True, await self._output_of(function, actor_call, call))
        except _RaisedInThreadError as raised:
            return ActorResult(actor_call.id, False, error_json(raised.error))
        except BaseException as error:
            if not is_failure(error):
                raise
            return ActorResult(actor_call.id, False, error_json(error))

    async def _output_of(self, function: Callable[..., Any], actor_call: ActorCall, call: Call) -> Any:
        if inspect.iscoroutinefunction(function):
            return await function(actor_call.input, call)
        threads, name = self.context.actor_threads, f"settled-{actor_call.src}"
        result = await _in_own_thread(threads, lambda: function(actor_call.input, call), name)
        return await result if inspect.isawaitable(result) else result

    async def cancel(self, except_for: Iterable[Attempt] = ()) -> None:
        """Cancel all tasks but those of `except_for`, and wait until they have ended."""
        gone = [self._tasks.pop(attempt) for attempt in set(self._tasks) - set(except_for)]
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)


class _RaisedInThreadError(Exception):
    """Carries an error of a thread to the event loop, where StopIteration cannot, and SystemExit would end the loop."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


async def _in_own_thread(threads: DaemonThreads, work: Callable[[], Any], name: str) -> Any:
    """Return the result of `work`, called in one of `threads`: if it hangs, it must not block one of the loop's pool.

    Raises:
        _RaisedInThreadError: `work` has raised.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def complete(result: Any, error: _RaisedInThreadError | None = None) -> None:
        if done.done():  # after a timeout the future is cancelled, and the result comes too late
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def complete_soon(*outcome: Any) -> None:
        with suppress(RuntimeError):  # the loop was closed in the meantime: the result comes too late
            loop.call_soon_threadsafe(complete, *outcome)

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            complete_soon(None, _RaisedInThreadError(error))
        else:
            complete_soon(result)

    threads.call(run, name)
    return await done
