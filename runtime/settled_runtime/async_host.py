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

from settled import Call, End, Key, Machine, Policy
from settled.durable import Backend, Delivery
from settled.durable.commands import (
    Act,
    Acted,
    Answer,
    Command,
    Extend,
    Finish,
    Invocation,
    Letters,
    Load,
    Ran,
    Release,
    Result,
    Run,
)
from settled_runtime.command_loop import Driven
from settled_runtime.events import CallEnded, Observer, TurnBegan, TurnRaised, log
from settled_runtime.host_context import AFTER_AN_ERROR, House, by_key, described
from settled_runtime.leases import Held
from settled_runtime.shutdown import Interruption


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
        self._house = House.of(machines, backend, policy, observers)
        self.backend = backend

    async def handle(
        self, deliveries: Sequence[Delivery], interruption: Interruption | None = None, deadline: float | None = None
    ) -> Mapping[Key, End | Exception]:
        """Take `deliveries` through their turns, all keys side by side; see `Host.handle`."""
        groups = by_key(deliveries)
        turns = (self.take(key, group, interruption or Interruption(), deadline) for key, group in groups.items())
        return dict(zip(groups, await asyncio.gather(*turns), strict=True))

    async def take(
        self, key: Key, deliveries: Sequence[Delivery], interruption: Interruption, deadline: float | None = None
    ) -> End | Exception:
        """Take `deliveries`, all of `key`, through one turn."""
        house, held = self._house, self._house.keeper.hold(deliveries)
        house.observe(TurnBegan(key, tuple(delivery.message.id for delivery in deliveries)))
        performer = _Performer(house, held, _Tasks(house, held), interruption, deadline)
        try:
            return house.ended(key, await Driven(house.course(key, deliveries)).run_async(performer.perform))
        except Exception as error:
            house.observe(TurnRaised(key, error))
            await asyncio.to_thread(house.give_back, held, AFTER_AN_ERROR)
            return error
        finally:
            await performer.tasks.cancel()
            house.keeper.let_go(held)

    def close(self) -> None:
        """End the host's own thread. The backend stays open."""
        self._house.keeper.close()


@frozen(eq=False)
class _Performer:
    """Performs the commands of one turn."""

    house: House
    held: Held
    tasks: _Tasks
    interruption: Interruption
    deadline: float | None

    async def perform(self, command: Command) -> Answer:
        match command:
            case Load() | Letters() | Finish() | Release() | Extend():
                answer: Answer = await asyncio.to_thread(self.house.perform, command, self.held)
                return answer
            case Act():
                return await self._act(command)
            case Run():
                return await self.tasks.run(command, self.interruption, self.deadline)
            case _:
                assert_never(command)

    async def _act(self, command: Act) -> Acted:
        for count, action in enumerate(command.actions):
            error: str | None = None
            try:
                await _awaited(self.house.action(command, action, self.held)())
            except Exception as raised:
                error = f"{type(raised).__name__}: {raised}"
            self.house.performed(command, action, error)
            if error is not None:
                return Acted(count, self.house.clock(), error)
        return Acted(len(command.actions), self.house.clock())


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


_Attempt = tuple[str, int]
"""The idempotency key of an invocation, and which attempt it is."""


@define(eq=False)
class _Tasks:
    """The function actors of one turn, each a task with its timeout. Those that are named no more are cancelled."""

    house: House
    held: Held
    _tasks: dict[_Attempt, asyncio.Task[Result]] = field(factory=dict[_Attempt, "asyncio.Task[Result]"], init=False)

    async def run(self, command: Run, interruption: Interruption, deadline: float | None) -> Ran:
        named = {(each.idempotency_key, each.attempt): each for each in command.invocations}
        await self.cancel(besides=named)
        for attempt, invocation in named.items():
            if attempt not in self._tasks:
                self._tasks[attempt] = asyncio.create_task(self._work(command, invocation))
        interrupted = asyncio.Event()
        loop = asyncio.get_running_loop()

        def interrupt() -> None:
            loop.call_soon_threadsafe(interrupted.set)

        with interruption.calling(interrupt):
            return await self._wait(command, interrupted, deadline)

    async def _wait(self, command: Run, interrupted: asyncio.Event, deadline: float | None) -> Ran:
        interruption = asyncio.create_task(interrupted.wait())
        limits = [limit for limit in (command.until, deadline) if limit is not None]
        patience = max(0.0, min(limits) - self.house.clock()) if limits else None
        try:
            await asyncio.wait(
                (*self._tasks.values(), interruption), timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            interruption.cancel()
        now = self.house.clock()
        result = next((task.result() for task in self._tasks.values() if task.done()), None)
        if result is not None:
            self.house.observe(CallEnded(command.key, result))
            return Ran(result, now)
        return Ran(None, now, interrupted.is_set() or (deadline is not None and deadline <= now))

    async def _work(self, command: Run, invocation: Invocation) -> Result:
        function, call = self.house.begin_call(command, invocation, self.held)
        try:
            async with asyncio.timeout(None if call.deadline is None else call.deadline - self.house.clock()):
                return Result(invocation.id, True, await _called(function, invocation, call))
        except Exception as error:
            return Result(invocation.id, False, described(error))

    async def cancel(self, besides: Iterable[_Attempt] = ()) -> None:
        """Cancel what runs, but for `besides`, and forget it."""
        gone = [self._tasks.pop(attempt) for attempt in set(self._tasks) - set(besides)]
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)


async def _called(function: Callable[..., Any], invocation: Invocation, call: Call) -> Any:
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
