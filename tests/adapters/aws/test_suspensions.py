"""Turns that wait for longer than SQS keeps messages."""

from __future__ import annotations

from datetime import timedelta

from tests.adapters.aws.harness import AwsHarness
from tests.support.long_waits import check_that_a_long_wait_leaves_the_queue


def test_the_queue_keeps_messages_for_14_days(harness: AwsHarness) -> None:
    assert harness.fresh().retention == timedelta(days=14)


def test_a_long_wait_leaves_the_queue(harness: AwsHarness) -> None:
    check_that_a_long_wait_leaves_the_queue(harness.fresh(), harness.advance)
