"""The conformance suite over the emulators: every guarantee but one, with few schedules.

`settled conformance tests.adapters.gcp.harness:emulated` checks all of them, and explores more; G1 alone sends ten
thousand events through the emulators, which takes half a minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from settled_conformance import GUARANTEES, Session, VerdictStatus
from tests.adapters.gcp.fixtures import Cloud
from tests.adapters.gcp.harness import AT_LEAST_ONCE, GcpHarness
from tests.emulators.pubsub import pubsub

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated")
"""It is deprecated for production; here the clock is stopped, so waiting is pointless."""

SLOW = {"G1"}
CAPABILITIES = GcpHarness.capabilities
QUICK = [id for id, each in GUARANTEES.items() if id not in SLOW and (each.needs is None or each.needs in CAPABILITIES)]
ABOUT_REDELIVERY = ("F2", "F3", "F4", "F5", "R4", "R5", "D3", "D4", "D5", "X3", "X4", "X6", "X7", "E1", "E2")
ABOUT_TIMERS = ("D4", "T1", "T2", "T3", "T4", "T5", "E1", "C1")


@pytest.fixture(scope="module")
def standing(cloud: Cloud) -> Iterator[Cloud]:
    """A project whose clock is stopped."""
    with pubsub() as server:
        standing = Cloud.at(server, cloud.firestore_address)
        yield standing
        standing.close()


def session(standing: Cloud, living: Cloud, schedules: int, **options: Any) -> Session:
    return Session(GcpHarness(standing, living, **options), schedules=schedules)


@pytest.fixture(scope="module")
def exactly_once(standing: Cloud, cloud: Cloud) -> Session:
    return session(standing, cloud, 20)


@pytest.fixture(scope="module")
def at_least_once(standing: Cloud, cloud: Cloud) -> Iterator[Session]:
    standing.server.repeat_acked(True)
    yield session(standing, cloud, 10, exactly_once=False)
    standing.server.repeat_acked(False)


@pytest.fixture(scope="module")
def swept(standing: Cloud, cloud: Cloud) -> Session:
    return session(standing, cloud, 20, timers="sweep", sweep_every="0.5")


@pytest.mark.parametrize("guarantee", QUICK)
def test_with_exactly_once_delivery_and_cloud_tasks(exactly_once: Session, guarantee: str) -> None:
    verdict = exactly_once.verdict(guarantee)
    assert verdict.status is VerdictStatus.PASS, verdict.detail


@pytest.mark.parametrize("guarantee", ABOUT_REDELIVERY)
def test_without_exactly_once_delivery(at_least_once: Session, guarantee: str) -> None:
    """Redelivery of a message repeats all later ones of its key, acknowledged or not, as Pub/Sub documents."""
    verdict = at_least_once.verdict(guarantee)
    assert verdict.status is (VerdictStatus.XFAIL if guarantee in AT_LEAST_ONCE else VerdictStatus.PASS), verdict.detail


@pytest.mark.parametrize("guarantee", ABOUT_TIMERS)
def test_with_swept_timers(swept: Session, guarantee: str) -> None:
    verdict = swept.verdict(guarantee)
    assert verdict.status is VerdictStatus.PASS, verdict.detail
