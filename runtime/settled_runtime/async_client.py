"""The client for an event loop: what `Client` does, awaited.

The ports of a backend block, so each call is made in a thread of the loop's default pool. Waiting takes no thread: a
thousand tasks may wait for a thousand instances.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import ExitStack, aclosing, suppress
from datetime import timedelta
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from settled import Key, Machine, Snapshot
from settled.durable import Backend
from settled.durable.headers import NO_HEADERS
from settled.durations import check_duration
from settled_runtime.backend_commands import retried
from settled_runtime.client import Client, new_message_id
from settled_runtime.instance_reader import InstanceReader, InstanceUpdate
from settled_runtime.waiting import Found, Pause, StepsOf, next_step, told

C = TypeVar("C")
T = TypeVar("T")
P = ParamSpec("P")


def _in_thread(
    method: Callable[Concatenate[Client[C], P], T],
) -> Callable[Concatenate[AsyncClient[C], P], Coroutine[Any, Any, T]]:
    """Return a coroutine function that calls `method` of the client's `Client` in a thread."""

    @wraps(method)
    async def call(self: AsyncClient[C], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(method, self.blocking, *args, **kwargs)

    return call


class AsyncClient(Generic[C]):
    """Starts, messages and reads the instances of one machine in one backend, from an event loop.

    Its methods are those of `Client`, with the same arguments, results and errors; `watch` is an asynchronous iterator.
    A task that is cancelled takes nothing back: what was sent stays sent, and a call that a thread has begun goes on.

    Attributes:
        blocking: the `Client` whose methods are called in threads.
    """

    def __init__(self, machine: Machine[C], backend: Backend, *, largest_message: int | None = None) -> None:
        self.blocking = Client(machine, backend, largest_message=largest_message)
        self._backend = backend
        self._reader = InstanceReader(machine)

    start = _in_thread(Client[C].start)
    send = _in_thread(Client[C].send)
    start_many = _in_thread(Client[C].start_many)
    send_many = _in_thread(Client[C].send_many)
    get = _in_thread(Client[C].get)
    dead_letters = _in_thread(Client[C].dead_letters)
    redrive = _in_thread(Client[C].redrive)
    import_snapshot = _in_thread(Client[C].import_snapshot)
    export_snapshot = _in_thread(Client[C].export_snapshot)
    delete = _in_thread(Client[C].delete)
    list = _in_thread(Client[C].list)

    async def ask(
        self,
        instance: str,
        event: Any,
        *,
        message_id: str | None = None,
        timeout: timedelta = timedelta(seconds=30),
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Snapshot[C]:
        """Do `Client.ask`. If the task is cancelled, a note at the CancelledError says under which id it was sent."""
        check_duration(timeout, "timeout")
        message_id = message_id or new_message_id()
        try:
            message = await asyncio.to_thread(self.blocking.send_message, instance, event, message_id, headers)
            return await self._first(instance, self._reader.outcome(instance, message_id, message.digest, timeout))
        except asyncio.CancelledError as error:
            error.add_note(f"{self._reader.key(instance)}: if the event was sent, it stays sent, as {message_id}")
            raise

    async def outcome(
        self, instance: str, message_id: str, *, timeout: timedelta = timedelta(seconds=30)
    ) -> Snapshot[C]:
        """Do `Client.outcome`."""
        return await self._first(instance, self._reader.outcome(instance, message_id, None, timeout))

    async def wait_for(
        self,
        instance: str,
        *,
        tag: str | None = None,
        value: Any = None,
        done: bool = False,
        timeout: timedelta = timedelta(seconds=30),
    ) -> Snapshot[C]:
        """Do `Client.wait_for`."""
        return await self._first(instance, self._reader.meeting(instance, tag, value, timeout, done=done))

    def watch(
        self, instance: str, *, timeout: timedelta | None = None, must_exist: bool = False
    ) -> AsyncGenerator[InstanceUpdate[C]]:
        """Do `Client.watch`, for ``async for``."""
        steps_of = self._reader.updates(instance, timeout, must_exist=must_exist)
        return _found_by_task(self._backend, self._reader.key(instance), steps_of)

    async def _first(self, instance: str, steps_of: StepsOf[T]) -> T:
        async with aclosing(_found_by_task(self._backend, self._reader.key(instance), steps_of)) as found:
            return await anext(found)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


async def _found_by_task(backend: Backend, key: Key, steps_of: StepsOf[T]) -> AsyncGenerator[T]:
    """Perform the steps of waiting for `key` in this task, and yield what they find."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        with suppress(RuntimeError):  # the loop was closed in the meantime
            loop.call_soon_threadsafe(changed.set)

    with ExitStack() as watches:
        entering = asyncio.ensure_future(asyncio.to_thread(watches.enter_context, told(backend, key, tell)))
        try:
            is_told = await asyncio.shield(entering)
        except asyncio.CancelledError:
            await asyncio.wait([entering])  # a thread that goes on would begin a watch that nobody ends
            raise
        steps, stored = steps_of(is_told=is_told), None
        while (step := next_step(steps, stored)) is not None:
            stored = None
            if isinstance(step, Found):
                yield step.value
            elif isinstance(step, Pause):
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), step.seconds)
                changed.clear()  # before the next look: a commit after that ends the next pause at once
            else:
                stored = await asyncio.to_thread(retried, backend.store.load, key)
