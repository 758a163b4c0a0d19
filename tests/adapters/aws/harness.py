"""The harness of the adapter over the emulators: DynamoDB Local, which has no time, and ministack by a clock of ours.

SQS counts in whole seconds, so a lease is a minute, of which all that is tried is a whole part; it costs no time. What
is known to fail is ministack's; ``test_errors.py`` holds the adapter to what AWS documents instead.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial

from settled.durable import Backend, Capability
from settled_aws import Addresses, open_aws
from settled_conformance import BackendKind, Harness, Opener, Point
from tests.adapters.aws.fixtures import LEASE, REGION, Cloud, backend, cloud_at, create, place
from tests.emulators.dynamodb import dynamodb_local
from tests.emulators.ministack import Clock, ministack_and_its_clock
from tests.support.builders import fresh_name

EPOCH = 1_800_000_000.0
MINUTE = 60

KNOWN: Mapping[str, str] = {
    "F6": "AWS does not say which group is handed out next; ministack hands out the oldest message, however often it "
    "was given back at once (a host waits before it is) and however many of its group there are",
}


class AwsHarness(Harness):
    """A table and queues for each reset, in `cloud`, whose ministack goes by `clock`."""

    kind = BackendKind.EMULATOR
    capabilities: frozenset[Capability] = frozenset({Capability.POSITIONS})
    tick = 1.0
    known_failures = KNOWN

    def __init__(self, cloud: Cloud, clock: Clock) -> None:
        self.cloud, self._clock = cloud, clock
        self._point: Point | None = None
        self._watched = cloud.watched(self._trip)
        self.reset()

    @property
    def owns_time(self) -> bool:
        return True

    def open(self) -> Backend:
        return backend(self._watched, self.place, self._found, self.now)

    def reset(self) -> None:
        self._stand(EPOCH)
        self.place = place(fresh_name("c"), lease=MINUTE)
        self._found: Addresses = create(self.cloud, self.place)

    def fresh(self) -> Backend:
        """A handle on an empty place."""
        self.reset()
        return self.open()

    def instrument(self, point: Point | None) -> None:
        self._point = point

    def now(self) -> float:
        return self._time

    def advance(self, seconds: float) -> None:
        self._stand(self._time + max(0.0, seconds))

    def opener(self) -> Opener:
        self._clock.run()
        return partial(open_emulated, f"aws://{REGION}/{self.place.table}?lease={LEASE}", self.environment)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process finds the emulators by."""
        return self.cloud.environment

    def _stand(self, at: float) -> None:
        self._time = at
        self._clock.stand(at)

    def _trip(self, name: str) -> None:
        if self._point is not None:
            self._point(name)


def open_emulated(url: str, environment: Mapping[str, str]) -> Backend:
    """The backend at `url`, in a process of its own, by the real clock."""
    os.environ.update(environment)
    return open_aws(url)


def emulated() -> AwsHarness:
    """What ``settled conformance tests.adapters.aws.harness:emulated`` tests. The emulators end with the process."""
    opened = ExitStack()
    atexit.register(opened.close)
    dynamodb = opened.enter_context(dynamodb_local())
    endpoint, clock = opened.enter_context(ministack_and_its_clock())
    return AwsHarness(cloud_at(endpoint, dynamodb), clock)
