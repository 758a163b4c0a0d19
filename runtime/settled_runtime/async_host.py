"""The host for programs that await: the same turns, with their function actors as tasks.

The backend's ports block, so they are called in the loop's pool of threads; an actor written with ``def`` has a thread
of its own. Keys are taken side by side.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, assert_never

from attrs import define, field, frozen

from settled import Call, Key, Machine, Policy, TurnEnd
from settled.durable import Backend, Delivery
from settled.durable.commands import (
    ActionsPerformed,
    ActorCall,
    ActorEnded,
    ActorResult,
    Answer,
    Command,
    Extend,
    Finish,
    Load,
    LoadDeadLetters,
    PerformActions,
    Release,
    RunActors,
)
from settled_runtime.command_loop import CommandLoop
from settled_runtime.events import ActorFinished, Observer, TurnFailed, TurnStarted, log
from settled_runtime.host_context import ERROR_RELEASE_DELAY, HostContext, by_key, error_json
from settled_runtime.leases import HeldDeliveries
from settled_runtime.shutdown import StopSignal


class AsyncHost:
    """Takes messages through the instances of some machines, in an event loop. Its arguments are those of `Host`."""

    def __init__(
        self,
        machines: Iterable[Machine[Any, Any]],
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
        """Take `deliveries` through their turns, all keys side by side; see `Host.handle`."""
        groups = by_key(deliveries)
        turns = (self._run_turn(key, group, stop_signal or StopSignal(), deadline) for key, group in groups.items())
        return dict(zip(groups, await asyncio.gather(*turns), strict=True))

    async def _run_turn(
        self, key: Key, deliveries: Sequence[Delivery], stop_signal: StopSignal, deadline: float | None = None
    ) -> TurnEnd | Exception:
        """Take `deliveries`, all of `key`, through one turn."""
        house, held = self._context, self._context.leases.hold(deliveries)
        house.observe(TurnStarted(key, tuple(delivery.message.id for delivery in deliveries)))
        performer = _CommandPerformer(house, held, _ActorTasks(house, held), stop_signal, deadline)
        try:
            return house.turn_ended(key, await CommandLoop(house.turn(key, deliveries)).run_async(performer.perform))
        except Exception as error:
            house.observe(TurnFailed(key, error))
            await asyncio.to_thread(house.release, held, ERROR_RELEASE_DELAY)
            return error
        finally:
            await performer.tasks.cancel()
            house.leases.stop_renewing(held)

    def close(self) -> None:
        """End the host's own thread. The backend stays open."""
        self._context.leases.close()


@frozen(eq=False)
class _CommandPerformer:
    """Performs the commands of one turn."""

    context: HostContext
    held: HeldDeliveries
    tasks: _ActorTasks
    stop_signal: StopSignal
    deadline: float | None

    async def perform(self, command: Command) -> Answer:
        match command:
            case Load() | LoadDeadLetters() | Finish() | Release() | Extend():
                answer: Answer = await asyncio.to_thread(self.context.perform, command, self.held)
                return answer
            case PerformActions():
                return await self._perform_actions(command)
            case RunActors():
                return await self.tasks.run(command, self.stop_signal, self.deadline)
            case _:
                assert_never(command)

    async def _perform_actions(self, command: PerformActions) -> ActionsPerformed:
        for count, action in enumerate(command.actions):
            error: str | None = None
            try:
                await _awaited(self.context.action_function(command, action, self.held)())
            except Exception as raised:
                error = f"{type(raised).__name__}: {raised}"
            self.context.action_performed(command, action, error)
            if error is not None:
                return ActionsPerformed(count, self.context.clock(), error)
        return ActionsPerformed(len(command.actions), self.context.clock())


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


_Attempt = tuple[str, int]
"""The idempotency key of an invocation, and which attempt it is."""


@define(eq=False)
class _ActorTasks:
    """The function actors of one turn, each a task with its timeout. Those that are named no more are cancelled."""

    context: HostContext
    held: HeldDeliveries
    _tasks: dict[_Attempt, asyncio.Task[ActorResult]] = field(
        factory=dict[_Attempt, "asyncio.Task[ActorResult]"], init=False
    )

    async def run(self, command: RunActors, stop_signal: StopSignal, deadline: float | None) -> ActorEnded:
        named = {(each.idempotency_key, each.attempt): each for each in command.calls}
        await self.cancel(besides=named)
        for attempt, invocation in named.items():
            if attempt not in self._tasks:
                self._tasks[attempt] = asyncio.create_task(self._work(command, invocation))
        interrupted = asyncio.Event()
        loop = asyncio.get_running_loop()

        def interrupt() -> None:
            loop.call_soon_threadsafe(interrupted.set)

        with stop_signal.on_stop(interrupt):
            return await self._wait(command, interrupted, deadline)

    async def _wait(self, command: RunActors, interrupted: asyncio.Event, deadline: float | None) -> ActorEnded:
        interruption = asyncio.create_task(interrupted.wait())
        limits = [limit for limit in (command.until, deadline) if limit is not None]
        patience = max(0.0, min(limits) - self.context.clock()) if limits else None
        try:
            await asyncio.wait(
                (*self._tasks.values(), interruption), timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            interruption.cancel()
        now = self.context.clock()
        result = next((task.result() for task in self._tasks.values() if task.done()), None)
        if result is not None:
            self.context.observe(ActorFinished(command.key, result))
            return ActorEnded(result, now)
        return ActorEnded(None, now, interrupted.is_set() or (deadline is not None and deadline <= now))

    async def _work(self, command: RunActors, invocation: ActorCall) -> ActorResult:
        function, call = self.context.start_actor(command, invocation, self.held)
        try:
            async with asyncio.timeout(None if call.deadline is None else call.deadline - self.context.clock()):
                return ActorResult(invocation.id, True, await _called(function, invocation, call))
        except Exception as error:
            return ActorResult(invocation.id, False, error_json(error))

    async def cancel(self, besides: Iterable[_Attempt] = ()) -> None:
        """Cancel what runs, but for `besides`, and forget it."""
        gone = [self._tasks.pop(attempt) for attempt in set(self._tasks) - set(besides)]
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)


async def _called(function: Callable[..., Any], invocation: ActorCall, call: Call) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(invocation.input, call)
    return await _awaited(await _in_a_thread(lambda: function(invocation.input, call)))


async def _in_a_thread(work: Callable[[], Any]) -> Any:
    """What `work` returns. It has a thread of its own: one that hangs must not take a place in the loop's pool."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def settle(outcome: Callable[[], object]) -> None:
        if not done.done():
            outcome()

    def tell(outcome: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # The loop is closed: nobody waits any more.
            loop.call_soon_threadsafe(settle, outcome)

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            tell(partial(done.set_exception, error))
        else:
            tell(partial(done.set_result, result))

    threading.Thread(target=run, name="settled-actor", daemon=True).start()
    return await done
