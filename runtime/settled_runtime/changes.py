"""Waiting for a key to change: told by the backend where it can, or else by looking now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager

from settled import AccessDeniedError, Key, UnavailableError
from settled.durable import Backend, Capability

FIRST_POLL_INTERVAL = 0.005
"""How many seconds to pause after the first look, if the backend does not tell of changes."""

MAX_POLL_INTERVAL = 0.25
"""The maximum number of seconds between two looks then: how late one may learn of a commit."""

LONGEST_TRUST = 5.0
"""The maximum number of seconds between two looks otherwise: a backend that was cut off cannot tell."""


@contextmanager
def watched(backend: Backend, key: Key, changed: Callable[[], object]) -> Generator[bool]:
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


def pauses(timeout: float, *, is_told: bool) -> Iterator[float]:
    """Yield for how many seconds to wait for a change after each look, until `timeout` seconds have passed."""
    end = time.monotonic() + timeout
    pause, longest = (LONGEST_TRUST, LONGEST_TRUST) if is_told else (FIRST_POLL_INTERVAL, MAX_POLL_INTERVAL)
    while (left := end - time.monotonic()) > 0:
        yield min(pause, left)
        pause = min(pause * 1.5, longest)
    yield 0.0  # one last look at the end, so that there is one even with a timeout of 0
