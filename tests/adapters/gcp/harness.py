"""The harnesses of the adapter over the emulators: Firestore, which has no time, and a Pub/Sub by a clock of ours.

Pub/Sub counts in whole seconds, so a lease is a minute, of which all that is tried is a whole part; it costs no time. A
pull that finds nothing answers at once, because while time stands still nothing will come. What is known to be broken
is Pub/Sub's own and documented; it is said with the rule, and ``docs/gcp.md`` says it to users.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

from attrs import evolve, frozen

from settled.durable import Backend, Capability
from settled_conformance import BackendKind, Harness, Opener, Point
from settled_gcp import open_gcp
from settled_gcp.url import GcpUrl
from tests.adapters.gcp.fixtures import Cloud, backend, create
from tests.emulators.firestore import firestore
from tests.emulators.pubsub import pubsub
from tests.support.builders import fresh_name

MINUTE = 60

AT_LEAST_ONCE: Mapping[str, str] = {
    "R2": "without exactly-once delivery an extension that comes too late is not refused (see R5)",
    "R4": "without exactly-once delivery a worker that stood still is not told that it has lost its messages (see R5), "
    "and takes them again if more than the record's window was taken in between",
    "R5": "without exactly-once delivery Pub/Sub does not say that a lease was lost: it documents that what becomes of "
    "an acknowledgement, or of a deadline that is put off, is told only with it",
    "X5": "without exactly-once delivery a hand-out of ten minutes ago is extended and not refused (see R5); "
    "the record knows its message all the same, as long as its window has it",
}


class GcpHarness(Harness):
    """A collection, a topic and a subscription for each reset, in `standing`, whose time stands still.

    `living` is where the real time counts: processes of their own go there. `exactly_once` is whether the subscription
    delivers exactly once; `options` are those of the URL.
    """

    kind = BackendKind.EMULATOR
    capabilities = frozenset({Capability.SCAN})
    tick = 1.0

    def __init__(self, standing: Cloud, living: Cloud, exactly_once: bool = True, **options: str) -> None:
        self.known_failures = {} if exactly_once else AT_LEAST_ONCE
        self._subscription = {"enable_exactly_once_delivery": exactly_once}
        self._cloud, self._living, self._options = standing, living, options
        self._point: Point | None = None
        self._watched = evolve(standing, subscriber=_Hurried(standing.subscriber)).watched(self._trip)
        self._time = standing.server.freeze()
        self.reset()

    @property
    def owns_time(self) -> bool:
        return True

    def open(self) -> Backend:
        return backend(self._watched, self._place, self.now)

    def reset(self) -> None:
        self._place: GcpUrl = self._cloud.place(fresh_name("c"), lease=f"{MINUTE}", **self._options)
        create(self._cloud, self._place, **self._subscription)
        self._place_of_processes: str | None = None

    def instrument(self, point: Point | None) -> None:
        self._point = point

    def now(self) -> float:
        return self._time

    def advance(self, seconds: float) -> None:
        self._time = self._cloud.server.advance(max(0.0, seconds))

    def repeat_acked(self) -> None:
        """From now on what was acknowledged behind a message that comes again comes again, too."""
        for cloud in (self._cloud, self._living):
            cloud.server.repeat_acked(True)
        self.reset()

    def opener(self) -> Opener | None:
        if self._place_of_processes is None:
            where = self._living.place(fresh_name("c"), **self._options)
            create(self._living, where, **self._subscription)
            self._place_of_processes = self._living.url(where.collection, **self._options)
        return partial(open_emulated, self._place_of_processes, self._living.environment)

    def _trip(self, name: str) -> None:
        if self._point is not None:
            self._point(name)


@frozen
class _Hurried:
    """A subscriber whose pulls wait for nothing, and are never broken off."""

    subscriber: Any

    def pull(self, request: Any, retry: None, timeout: float) -> Any:
        return self.subscriber.pull(request={**request, "return_immediately": True}, retry=retry, timeout=60.0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.subscriber, name)


def open_emulated(url: str, environment: Mapping[str, str]) -> Backend:
    """The backend at `url`, in a process of its own, by the real clock."""
    os.environ.update(environment)
    return open_gcp(url)


_opened = ExitStack()


def _harness(**options: Any) -> GcpHarness:
    """A harness over emulators of its own, which end with the process."""
    address = _opened.enter_context(firestore())
    standing, living = (Cloud.at(_opened.enter_context(pubsub()), address) for _ in range(2))
    return GcpHarness(standing, living, **options)


def emulated() -> GcpHarness:
    """What ``settled conformance tests.adapters.gcp.harness:emulated`` tests: exactly-once delivery and Cloud Tasks."""
    return _harness()


def at_least_once() -> GcpHarness:
    """A subscription without exactly-once delivery, which repeats what was acknowledged behind what comes again."""
    harness = _harness(exactly_once=False)
    harness.repeat_acked()
    return harness


def swept() -> GcpHarness:
    """Timers that are swept."""
    return _harness(timers="sweep", sweep_every="0.5")
