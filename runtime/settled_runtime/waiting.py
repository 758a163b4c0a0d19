"""Waiting for an instance: what to read and for how long to pause, decided once for threads and event loops.

A generator of steps decides. It yields `LOOK`, which is answered with what the store has, `Pause`, which a commit to
the instance ends, and `Found`, which is for the caller. `found_by_thread` performs the steps in a thread, and
`settled_runtime.async_client` in an event loop.

Where the backend tells of commits, there is one look for each. Elsewhere the pauses grow, up to `MAX_POLL_INTERVAL`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from enum import Enum
from typing import Final, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from settled import AccessDeniedError, Key, UnavailableError
from settled.durable import Backend, Capability, Stored
from settled.printable import printable
from settled_runtime.backend_commands import refuse_in_event_loop, retried

T = TypeVar("T")

FIRST_POLL_INTERVAL = 0.005
"""How many seconds to pause after the first look, if the backend does not tell of commits."""

MAX_POLL_INTERVAL = 0.5
"""The maximum number of seconds between two looks then: how late one may learn of a commit."""

PAUSE_PER_LOOK = 10
"""How many times as long as the look before it a pause is at least: reads of a store that is far away cost money."""

LONGEST_TRUST = 5.0
"""The maximum number of seconds between two looks otherwise: a backend that was cut off cannot tell."""


class _Look(Enum):
    LOOK = "look"


LOOK: Final = _Look.LOOK
"""Read the record."""


class Pause(NamedTuple):
    """Wait for a commit to the instance, for `seconds` at most. One since the last look ends the pause at once."""

    seconds: float


class Found(NamedTuple, Generic[T]):
    """Pass `value` on to the caller."""

    value: T


WaitStep: TypeAlias = Literal[_Look.LOOK] | Pause | Found[T]
Steps: TypeAlias = Generator[WaitStep[T], Stored | None, None]


class StepsOf(Protocol[T]):
    """Begins the steps of a wait, given whether the backend tells of commits."""

    def __call__(self, *, is_told: bool) -> Steps[T]: ...


def until_found(find: Callable[[Stored | None], T | None], message: str, timeout: float, *, is_told: bool) -> Steps[T]:
    """Look until `find` returns something for what was read.

    Args:
        find: returns what is waited for, or None if the record does not have it.
        message: the text of the error.
        timeout: how long to wait, in seconds; with 0 there is one look.
        is_told: whether the backend tells of commits.

    Raises:
        TimeoutError: it was not found in time.
    """
    pauses = _Pauses(timeout, is_told)
    while True:
        found = find((yield LOOK))
        if found is not None:
            yield Found(found)
            return
        if pauses.is_over:
            raise TimeoutError(printable(message))
        yield from pauses.pause()


def each_version(
    find: Callable[[Stored], T], is_last: Callable[[Stored | None], bool], timeout: float, *, is_told: bool
) -> Steps[T]:
    """Look until `is_last` is true of what was read, and pass on what `find` returns for each newer version.

    Args:
        find: returns what to pass on.
        is_last: returns whether nothing more is to come.
        timeout: after how many seconds to stop in any case.
        is_told: whether the backend tells of commits.
    """
    pauses, seen = _Pauses(timeout, is_told), 0
    while True:
        stored = yield LOOK
        if stored is not None and stored.version > seen:
            seen = stored.version
            yield Found(find(stored))
        if is_last(stored) or pauses.is_over:
            return
        yield from pauses.pause()


class _Pauses:
    """The pauses between looks, the last of which comes when `timeout` seconds have passed."""

    def __init__(self, timeout: float, is_told: bool) -> None:
        self._is_told = is_told
        self._look_began = time.monotonic()
        self._end = self._look_began + timeout
        self._pause = FIRST_POLL_INTERVAL

    @property
    def is_over(self) -> bool:
        return not time.monotonic() < self._end  # also for NaN

    def pause(self) -> Generator[Pause, Stored | None, None]:
        """Yield the pause after a look, which began when the last pause ended."""
        now = time.monotonic()
        self._pause = min(max(self._pause, PAUSE_PER_LOOK * (now - self._look_began)), MAX_POLL_INTERVAL)
        yield Pause(max(0.0, min(LONGEST_TRUST if self._is_told else self._pause, self._end - now)))
        self._look_began, self._pause = time.monotonic(), self._pause * 1.5


@contextmanager
def told(backend: Backend, key: Key, changed: Callable[[], object]) -> Generator[bool]:
    """Within this block, have `changed` called after each commit to `key`. Yield whether `backend` tells of them."""
    with ExitStack() as watches:
        is_told = Capability.WATCH in backend.capabilities
        try:
            if is_told:
                watches.enter_context(backend.watch(key, changed))
        except (UnavailableError, AccessDeniedError):
            # Looking now and then takes no more than the right to read, and reports what is wrong with the backend.
            is_told = False
        yield is_told


def next_step(steps: Steps[T], stored: Stored | None) -> WaitStep[T] | None:
    """Return the next step, after `stored` was read if the last one was `LOOK`; None if there is no more."""
    try:
        return steps.send(stored)
    except StopIteration:
        return None


def found_by_thread(backend: Backend, key: Key, steps_of: StepsOf[T]) -> Generator[T]:
    """Perform the steps of waiting for `key` in this thread, and yield what they find."""
    refuse_in_event_loop()
    changed = threading.Event()
    with told(backend, key, changed.set) as is_told:
        steps, stored = steps_of(is_told=is_told), None
        while (step := next_step(steps, stored)) is not None:
            stored = None
            if isinstance(step, Found):
                yield step.value
            elif isinstance(step, Pause):
                changed.wait(step.seconds)
                changed.clear()  # before the next look: a commit after that ends the next pause at once
            else:
                stored = retried(backend.store.load, key)


def first_found_by_thread(backend: Backend, key: Key, steps_of: StepsOf[T]) -> T:
    """Perform the steps of waiting for `key` in this thread, and return the first thing that they find."""
    with closing(found_by_thread(backend, key, steps_of)) as found:
        return next(found)
