"""`Harness`: what the author of an adapter implements so that the suite can open, reset, time and interrupt a backend.

A harness also declares the adapter's capabilities. A declared capability is tested; an undeclared one must fail with
UnsupportedError when it is used.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol, TypeAlias

from settled import Key, UnsupportedError
from settled.durable import Backend, Capability

Point: TypeAlias = Callable[[str], None]
"""Called with a name before each round trip to the vendor. If it raises, the round trip must not be made."""

Opener: TypeAlias = Callable[[], Backend]


class BackendKind(StrEnum):
    """The kind of backend that is tested; every report states it."""

    MEMORY = "memory"
    """Loses everything when this process ends."""

    EMULATOR = "emulator"
    """An emulator of the vendor's service."""

    REAL = "real"
    """The real service or storage."""


class HarnessFeature(StrEnum):
    """Optional abilities of a harness, each of which allows further tests."""

    DEDUPLICATION_LIMIT = "forgetful"
    """`Harness.limit_deduplication`: the number of acknowledged ids that the queue remembers can be set."""

    BACKUP = "backup"
    """`Harness.backup`: the store can be restored to an earlier state."""

    FAST_FORWARD = "ahead"
    """`Harness.fast_forward`: the counters of an instance can be set to large values."""

    DATA_LOSS = "loses"
    """`Harness.lose_data`: all data can be taken away from open handles, and the adapter can notice it."""


class Harness(Protocol):
    """The storage and queue under test, and how to open them, empty them, and let their time pass.

    The default implementations suit a remote backend with its own clock. If the adapter accepts a clock, set `tick`,
    `now` and `advance`: the suite then tests far more in the same time. If its time is controlled but counted in larger
    steps, such as whole seconds, override `owns_time`, and use leases of many steps.
    """

    kind: BackendKind

    capabilities: frozenset[Capability]
    """The capabilities that the backend declares; equal to its own `capabilities`."""

    tick: float = 0.2
    """The resolution of the backend's time in seconds. Below 0.01, the harness is taken to control time."""

    @property
    def owns_time(self) -> bool:
        """Whether time passes in `advance` only."""
        return self.tick < 0.01

    @property
    def is_quick(self) -> bool:
        """Whether a thousand calls take at most about a second, so that tests with large counts can be run."""
        return self.tick < 0.01

    known_failures: Mapping[str, str] = MappingProxyType({})
    """Guarantees known to be broken, by id, each with the reason. One that is kept after all counts as a failure."""

    features: frozenset[HarnessFeature] = frozenset()
    """The optional abilities that this harness implements."""

    def open(self) -> Backend:
        """Open a new handle, as another process would. The suite closes it."""
        ...

    def reset(self) -> None:
        """Delete everything. Handles opened before are not used any more."""
        ...

    def instrument(self, point: Point | None) -> None:
        """Call `point` before each round trip to the vendor from now on, in every handle; None ends that.

        Not needed if every port call is a single round trip.
        """
        return

    def now(self) -> float:
        """Return the backend's time in seconds since the epoch."""
        return time.time()

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass by the backend's clock."""
        time.sleep(seconds)

    def limit_deduplication(self, count: int) -> None:
        """Let the queue remember only the last `count` acknowledged ids of each key, until the next `reset`.

        Handles opened before are not used any more.
        """
        raise UnsupportedError("this harness cannot limit the deduplication of its queue")

    def backup(self) -> Callable[[], None]:
        """Save the content of the store; return a function that restores it. The queue and timers are not affected."""
        raise UnsupportedError("this harness cannot restore an earlier state of its store")

    def fast_forward(self, key: Key, number: int) -> None:
        """Put `key`, which has a record and an empty queue, into the state after `number` commits and messages.

        Its version becomes `number`, as if `number` messages had been sent, delivered once each, and acknowledged; no
        later message has one of their ids. Open handles stay in use.
        """
        raise UnsupportedError("this harness cannot set the counters of an instance")

    def lose_data(self) -> None:
        """Delete everything under open handles, as if a file was deleted, or a server came back without its data."""
        raise UnsupportedError("this harness cannot lose its data")

    def opener(self) -> Opener | None:
        """Return a picklable function that opens the same storage in another process, by the real clock.

        None means that another process cannot reach it, which is allowed for the kind ``memory`` only.
        """
        return None
