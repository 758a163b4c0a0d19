"""The harness: how the suite gets hold of a backend, of its time, and of the places where it can be interrupted.

Whoever writes an adapter writes one of these beside it. It declares what the adapter promises beyond the contract, in
a frozen set; what is promised is tested, and what is not promised must say so when it is asked for.
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
"""Called with a name before each round trip to the vendor. It may raise: then that trip must not happen any more."""

Opener: TypeAlias = Callable[[], Backend]


class BackendKind(StrEnum):
    """What is being tested; a report always says it."""

    MEMORY = "memory"
    """Lives and dies with this process."""

    EMULATOR = "emulator"
    """Something that behaves as the vendor's service does."""

    REAL = "real"
    """The thing itself."""


class HarnessFeature(StrEnum):
    """What a harness may offer beyond what it must, so that more can be tried."""

    DEDUPLICATION_LIMIT = "forgetful"
    """`Harness.remember`: how many acknowledged ids the queue knows again can be set."""

    BACKUP = "backup"
    """`Harness.backup`: the store can be brought back to an earlier state."""

    FAST_FORWARD = "ahead"
    """`Harness.ahead`: an instance can have come far without having gone the way."""


class Harness(Protocol):
    """One place to store and queue things, and how to open it, empty it, and let its time pass.

    What has a body here is right for a backend that lives elsewhere and has its own clock. A backend whose clock can be
    given sets `tick`, `now` and `advance`, and is tested far more thoroughly in the same time. If it counts in larger
    steps all the same, it says so by `owns_time`, and has leases of many such steps.
    """

    kind: BackendKind

    capabilities: frozenset[Capability]
    """What the backend declares beyond the contract; the same set that it names itself."""

    tick: float = 0.2
    """The smallest difference in time that the backend can be held to, in seconds. Below 0.01, its time is ours."""

    @property
    def owns_time(self) -> bool:
        """Whether time passes in `advance` only."""
        return self.tick < 0.01

    @property
    def is_quick(self) -> bool:
        """Whether a thousand calls cost a second at most: what shows only past a number is looked for there."""
        return self.tick < 0.01

    known_failures: Mapping[str, str] = MappingProxyType({})
    """Guarantees that are known to be broken, each with its reason. One that holds is an error."""

    features: frozenset[HarnessFeature] = frozenset()
    """What of `remember`, `backup` and `ahead` it has."""

    def open(self) -> Backend:
        """A handle of its own on the place, as another process would have one. The suite closes it."""
        ...

    def reset(self) -> None:
        """Make the place empty. No handle that was opened before is used any more."""
        ...

    def instrument(self, point: Point | None) -> None:
        """From now on call `point` before each round trip to the vendor, in every handle; None: call nothing.

        Leave it out if every call of a port is one round trip: then the suite can interrupt it well enough itself.
        """
        return

    def now(self) -> float:
        """The backend's time, in seconds since the epoch."""
        return time.time()

    def advance(self, seconds: float) -> None:
        """Let the backend's time pass."""
        time.sleep(seconds)

    def limit_deduplication(self, count: int) -> None:
        """From now on, until the next `reset`, let the queue know only `count` acknowledged ids of a key again.

        No handle that was opened before is used any more.
        """
        raise UnsupportedError("this harness does not offer to set what its queue remembers")

    def backup(self) -> Callable[[], None]:
        """Note what the store holds. Who calls what is returned brings it back; the queue and the timers go on."""
        raise UnsupportedError("this harness does not offer to bring back an earlier state of its store")

    def fast_forward(self, key: Key, number: int) -> None:
        """Let `key`, which has a record and an empty queue, stand as after `number` commits and as many messages.

        Its version is `number`; as many messages were sent, each was handed out once, and all were acknowledged. Their
        ids are nobody's. Handles that are open go on.
        """
        raise UnsupportedError("this harness does not offer to let an instance have come far")

    def opener(self) -> Opener | None:
        """What opens the place in another process, by the real clock; it must be possible to pickle it.

        None: nothing of it can be reached from another process. Only what is of kind ``memory`` may say so.
        """
        return None
