"""The conformance harness over the emulators: DynamoDB Local, which has no clock, and ministack on a virtual clock.

SQS counts whole seconds, so the lease is a minute: every fraction of it that the checks use is whole, and virtual time
costs nothing. The known failures are ministack's; ``test_errors.py`` tests what AWS documents instead.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import timedelta
from functools import partial

from settled.durable import Backend, Capability
from settled_aws import Addresses, open_aws
from settled_conformance import BackendKind, Harness, Opener, Point
from tests.adapters.aws.fixtures import LEASE, REGION, Cloud, aws_url, backend, cloud_at, create
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
    """Creates a table and queues at each reset, in `cloud`, whose ministack runs on `clock`."""

    kind = BackendKind.EMULATOR
    capabilities: frozenset[Capability] = frozenset({Capability.POSITIONS, Capability.UNORDERED_SCAN})
    tick = 1.0
    known_failures = KNOWN

    def __init__(self, cloud: Cloud, clock: Clock) -> None:
        self.cloud, self._clock = cloud, clock
        self._point: Point | None = None
        self._watched = cloud.watched(self._on_request)
        self.reset()

    @property
    def owns_time(self) -> bool:
        return True

    def open(self) -> Backend:
        return backend(self._watched, self.url, self.addresses, self.now)

    def reset(self) -> None:
        self._set_time(EPOCH)
        self.url = aws_url(fresh_name("c"), lease=timedelta(seconds=MINUTE))
        self.addresses: Addresses = create(self.cloud, self.url)

    def fresh(self) -> Backend:
        """Reset, and open a backend on the new, empty resources."""
        self.reset()
        return self.open()

    def instrument(self, point: Point | None) -> None:
        self._point = point

    def now(self) -> float:
        return self._time

    def advance(self, seconds: float) -> None:
        self._set_time(self._time + max(0.0, seconds))

    def opener(self) -> Opener:
        self._clock.run()
        return partial(open_emulated, f"aws://{REGION}/{self.url.table}?lease={LEASE}", self.environment)

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables by which a process finds the emulators."""
        return self.cloud.environment

    def _set_time(self, at: float) -> None:
        self._time = at
        self._clock.stop_at(at)

    def _on_request(self, name: str) -> None:
        if self._point is not None:
            self._point(name)


def open_emulated(url: str, environment: Mapping[str, str]) -> Backend:
    """Open the backend at `url` in another process, on the real clock."""
    os.environ.update(environment)
    return open_aws(url)


def emulated() -> AwsHarness:
    """Return the harness of ``settled conformance tests.adapters.aws.harness:emulated``, with its own emulators."""
    emulators = ExitStack()
    atexit.register(emulators.close)
    dynamodb = emulators.enter_context(dynamodb_local())
    endpoint, clock = emulators.enter_context(ministack_and_its_clock())
    return AwsHarness(cloud_at(endpoint, dynamodb), clock)
