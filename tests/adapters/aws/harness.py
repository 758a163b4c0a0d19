"""The harness of the adapter over the emulators, whose time is the real one: they can only be waited for.

What is known to fail is the emulators', or is SQS's own and written down in ``docs/aws.md``; ``test_errors.py`` checks
what AWS documents instead.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial

from settled import Backend, Capability
from settled_aws import Addresses, open_aws
from settled_conformance import Harness, Kind, Opener, Point
from tests.adapters.aws.place import LEASE, REGION, Cloud, backend, client, create, fresh_name, place
from tests.emulators.dynamodb import dynamodb_local
from tests.emulators.ministack import ministack

KNOWN: Mapping[str, str] = {
    "F6": "ministack hands out the oldest message that it may, even if it has just failed; a host pauses first",
    "R11": "by the real clock the host of an effect that only seems frozen goes on extending its lease",
    "T3": "a wait of less than 15 minutes is a delayed SQS message, which cannot be taken back; the record drops it",
    "T4": "a wait of less than 15 minutes is a delayed SQS message, which cannot be taken back; the record drops it",
}


class AwsHarness(Harness):
    """A table and queues for each reset, in `cloud`."""

    kind = Kind.EMULATOR
    capabilities: frozenset[Capability] = frozenset()
    tick = 1.0  # SQS counts in whole seconds
    known_failures = KNOWN

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._point: Point | None = None
        self.reset()

    def open(self) -> Backend:
        return backend(self._watched, self._place, self._found)

    def reset(self) -> None:
        self._place = place(fresh_name("c"))
        self._found: Addresses = create(self._cloud, self._place)
        self._watched = self._cloud.watched(self._trip)

    def instrument(self, point: Point | None) -> None:
        self._point = point

    def advance(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))

    def opener(self) -> Opener | None:
        url = f"aws://{REGION}/{self._place.table}?lease={LEASE}"
        return partial(open_emulated, url, self._cloud.environment)

    def _trip(self, name: str) -> None:
        if self._point is not None:
            self._point(name)


def open_emulated(url: str, environment: Mapping[str, str]) -> Backend:
    """The backend at `url`, in a process of its own."""
    os.environ.update(environment)
    return open_aws(url)


_opened = ExitStack()


def emulated() -> AwsHarness:
    """What ``settled conformance tests.adapters.aws.harness:emulated`` tests. The emulators end with the process."""
    endpoint, dynamodb = (_opened.enter_context(server()) for server in (ministack, dynamodb_local))
    return AwsHarness(
        Cloud(
            dynamodb=client("dynamodb", dynamodb),
            sqs=client("sqs", endpoint),
            scheduler=client("scheduler", endpoint),
            endpoint=endpoint,
            dynamodb_endpoint=dynamodb,
        )
    )
