"""The conformance harnesses over the emulators: Firestore, which has no clock, and Pub/Sub on a virtual clock.

The subscriptions have a dead-letter policy, which the example has not: without one Pub/Sub does not count attempts,
which the suite checks. Pub/Sub counts whole seconds, so the lease is a minute: every fraction of it that the checks use
is whole, and virtual time costs nothing. A pull that finds nothing responds at once, because nothing arrives while the
clock is stopped. The known failures are Pub/Sub's own and documented, here and in ``docs/gcp.md``.
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
    "R2": "without exactly-once delivery an extension that comes too late does not fail (see R5)",
    "R4": "without exactly-once delivery a suspended worker does not learn that it has lost its messages (see R5), "
    "and handles them again if the record's window has moved past them",
    "R5": "without exactly-once delivery Pub/Sub does not report a lost lease: it documents that only with it are the "
    "results of acknowledgements and deadline extensions known",
    "X4": "without exactly-once delivery a suspended worker takes messages a second time (see R4)",
    "X5": "without exactly-once delivery an extension of a ten minutes old delivery does not fail (see R5); "
    "the record still detects the duplicate, within its window",
}


class GcpHarness(Harness):
    """Creates a collection, a topic and a subscription at each reset, in `standing`, whose clock is stopped.

    Processes are given resources in `living`, on the real clock. `exactly_once` is the setting of the subscription;
    `options` are those of the URL.
    """

    kind = BackendKind.EMULATOR
    capabilities = frozenset({Capability.SCAN})
    tick = 1.0

    def __init__(self, standing: Cloud, living: Cloud, exactly_once: bool = True, **options: str) -> None:
        self.known_failures = {} if exactly_once else AT_LEAST_ONCE
        self._subscription = {"enable_exactly_once_delivery": exactly_once}
        self._cloud, self._living, self._options = standing, living, options
        self._point: Point | None = None
        self._watched = evolve(standing, subscriber=_Impatient(standing.subscriber)).watched(self._on_request)
        self._time = standing.server.freeze()
        self.reset()

    @property
    def owns_time(self) -> bool:
        return True

    def open(self) -> Backend:
        return backend(self._watched, self._url, self.now)

    def reset(self) -> None:
        self._url: GcpUrl = self._cloud.gcp_url(fresh_name("c"), lease=f"{MINUTE}", **self._options)
        self._create(self._cloud, self._url)
        self._process_url: str | None = None

    def _create(self, cloud: Cloud, url: GcpUrl) -> None:
        dead_letters = f"{url.topic_name}-dead"
        cloud.publisher.create_topic(request={"name": dead_letters})
        policy = {"dead_letter_topic": dead_letters, "max_delivery_attempts": 100}
        create(cloud, url, dead_letter_policy=policy, **self._subscription)

    def instrument(self, point: Point | None) -> None:
        self._point = point

    def now(self) -> float:
        return self._time

    def advance(self, seconds: float) -> None:
        self._time = self._cloud.server.advance(max(0.0, seconds))

    def repeat_acked(self) -> None:
        """Let redelivery of a message repeat later messages of its key, even acknowledged ones, from now on."""
        for cloud in (self._cloud, self._living):
            cloud.server.repeat_acked(True)
        self.reset()

    def opener(self) -> Opener | None:
        if self._process_url is None:
            url = self._living.gcp_url(fresh_name("c"), **self._options)
            self._create(self._living, url)
            self._process_url = self._living.url(url.collection, **self._options)
        return partial(open_emulated, self._process_url, self._living.environment)

    def _on_request(self, name: str) -> None:
        if self._point is not None:
            self._point(name)


@frozen
class _Impatient:
    """A subscriber whose pulls respond at once and never time out."""

    subscriber: Any

    def pull(self, request: Any, retry: None, timeout: float) -> Any:
        return self.subscriber.pull(request={**request, "return_immediately": True}, retry=retry, timeout=60.0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.subscriber, name)


def open_emulated(url: str, environment: Mapping[str, str]) -> Backend:
    """Open the backend at `url` in another process, on the real clock."""
    os.environ.update(environment)
    return open_gcp(url)


_emulators = ExitStack()


def _harness(**options: Any) -> GcpHarness:
    """Return a harness over its own emulators, which end with the process."""
    address = _emulators.enter_context(firestore())
    standing, living = (Cloud.at(_emulators.enter_context(pubsub()), address) for _ in range(2))
    return GcpHarness(standing, living, **options)


def emulated() -> GcpHarness:
    """Return the harness with exactly-once delivery and Cloud Tasks."""
    return _harness()


def at_least_once() -> GcpHarness:
    """Return the harness without exactly-once delivery, whose redeliveries repeat acknowledged messages."""
    harness = _harness(exactly_once=False)
    harness.repeat_acked()
    return harness


def swept() -> GcpHarness:
    """Return the harness with timers in Firestore."""
    return _harness(timers="sweep", sweep_every="0.5")
