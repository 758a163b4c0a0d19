"""Turns that wait for longer than Pub/Sub keeps messages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.adapters.gcp.fixtures import Cloud
from tests.adapters.gcp.harness import GcpHarness
from tests.emulators.pubsub import pubsub
from tests.support.long_waits import check_that_a_long_wait_leaves_the_queue

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated")
"""It is deprecated for production; here the clock is stopped, so waiting is pointless."""


@pytest.fixture
def harness(cloud: Cloud) -> Iterator[GcpHarness]:
    with pubsub() as server:
        standing = Cloud.at(server, cloud.firestore_address)
        yield GcpHarness(standing, cloud)
        standing.close()


def test_a_long_wait_leaves_the_queue(harness: GcpHarness) -> None:
    with harness.open() as backend:
        assert backend.retention == timedelta(days=31)
        check_that_a_long_wait_leaves_the_queue(backend, harness.advance)
