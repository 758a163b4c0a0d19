"""Actors in an event loop that cannot be cancelled: after a grace time they are abandoned.

A task that catches its ``CancelledError`` runs on, and whoever waits for it waits for ever. So an actor's coroutine is
resumed by a loop of our own, which can stop doing that, whatever the coroutine catches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any, Generic, TypeVar

from attrs import define, field

T = TypeVar("T")


@define(eq=False)
class Abandonable(Generic[T]):
    """Awaits `coroutine` like ``await``, until it is abandoned."""

    coroutine: Coroutine[Any, Any, T]
    _is_abandoned: bool = field(default=False, init=False)

    def abandon(self) -> None:
        """Let the next exception that is thrown in, such as a cancellation, end the wait and the coroutine."""
        self._is_abandoned = True

    def __await__(self) -> Generator[Any, None, T]:
        thrown: BaseException | None = None
        while True:
            try:
                waits_for = self.coroutine.send(None) if thrown is None else self.coroutine.throw(thrown)
            except StopIteration as end:
                value: T = end.value
                return value
            try:
                yield waits_for
                thrown = None
            except BaseException as error:
                if self._is_abandoned or isinstance(error, GeneratorExit):
                    with suppress(RuntimeError):  # it ignores GeneratorExit, too, and is left where it is
                        self.coroutine.close()
                    raise
                thrown = error


async def result_in_time(
    coroutine: Coroutine[Any, Any, T], limit: float | None, grace: float, abandoned: Callable[[], object]
) -> T:
    """Run `coroutine` in a task of its own and return its result.

    It is expected to end by itself after `limit` seconds, if that is not None, and is cancelled if this task is. If it
    has not ended `grace` seconds later, it is abandoned: `abandoned` is called, and it is not resumed any more.

    Raises:
        TimeoutError: the coroutine was abandoned after `limit`.
        CancelledError: this task or the coroutine's own was cancelled.
    """
    actor = Abandonable(coroutine)

    async def run() -> T:
        return await actor

    task = asyncio.create_task(run())
    try:
        await asyncio.wait((task,), timeout=None if limit is None else limit + grace)
        if task.done():
            return task.result()
        raise TimeoutError
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait((task,), timeout=grace)
        raise
    finally:
        if not task.done():
            actor.abandon()
            task.cancel()
            abandoned()
