"""Timers on ministack, whose Scheduler is exact to its clock; AWS's may be a minute late."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from settled import Key, UnavailableError
from settled.durable import Message
from settled_aws import Addresses, AwsUrl
from settled_aws.delay_queue import FORWARD_VISIBILITY_TIMEOUT, DelayQueue
from settled_aws.names import schedule_name
from settled_aws.timers import at_expression
from settled_runtime import CompositeBackend
from tests.adapters.aws.fixtures import Cloud, add_dead_letter_queue, texts_in
from tests.adapters.aws.harness import EPOCH, AwsHarness
from tests.support.builders import ADA, BEN, ids, message, timer

HOUR = 60 * 60.0


def schedules(cloud: Cloud, url: AwsUrl) -> list[Any]:
    return list(cloud.scheduler.list_schedules(GroupName=url.schedules)["Schedules"])


def waited_for(aws: CompositeBackend, seconds: float) -> list[str]:
    """Return the ids of the first deliveries within `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if held := aws.queue.receive(10, 1.0):
            return ids(held)
    return []


class TestShortWaits:
    def test_a_timer_comes_when_it_is_due_and_not_before(self, aws: CompositeBackend) -> None:
        due = time.time() + 1.5
        aws.timers.schedule(timer("t", due))
        assert waited_for(aws, 10.0) == ["t"]
        assert time.time() >= due

    def test_a_timer_that_is_due_already_is_sent_at_once(self, aws: CompositeBackend) -> None:
        aws.timers.schedule(timer("t", time.time() - 5.0))
        assert ids(aws.queue.receive(1)) == ["t"]

    def test_a_timer_that_was_forwarded_is_deleted(
        self, cloud: Cloud, aws: CompositeBackend, addresses: Addresses
    ) -> None:
        aws.timers.schedule(timer("t", time.time() + 0.1))
        assert waited_for(aws, 10.0) == ["t"]
        attributes = cloud.sqs.get_queue_attributes(QueueUrl=addresses.delays, AttributeNames=["All"])["Attributes"]
        assert attributes["ApproximateNumberOfMessages"] == attributes["ApproximateNumberOfMessagesNotVisible"] == "0"

    def test_a_timer_queues_behind_the_messages_of_its_key(self, aws: CompositeBackend) -> None:
        aws.queue.send([message(ADA, "1")])
        aws.timers.schedule(timer("t", time.time() + 0.1))
        time.sleep(3.2)  # a second more for the clocks, and each is rounded up
        assert ids(aws.queue.receive(10, 1.0)) == ["1", "t"]

    def test_one_that_cannot_be_forwarded_comes_back_soon_at_first_and_later_each_time(
        self, cloud: Cloud, addresses: Addresses
    ) -> None:
        def fail(messages: Sequence[Message]) -> None:
            raise UnavailableError("not now")

        delays, sent = DelayQueue(cloud.sqs, addresses.delays), list[Message]()
        delays.put(message(ADA, "1"), 0)
        with pytest.raises(UnavailableError):
            delays.forward(fail)
        time.sleep(1.5)
        for _ in range(30):
            assert cloud.sqs.receive_message(QueueUrl=addresses.delays, VisibilityTimeout=0)["Messages"]
        with pytest.raises(UnavailableError):
            delays.forward(fail)
        time.sleep(FORWARD_VISIBILITY_TIMEOUT + 0.5)
        delays.forward(sent.extend)
        assert sent == []

    @pytest.mark.parametrize("has_dead_letter_queue", [True, False])
    def test_a_message_that_is_not_settleds_is_moved_to_the_dead_letter_queue_if_there_is_one(
        self, cloud: Cloud, aws: CompositeBackend, addresses: Addresses, has_dead_letter_queue: bool
    ) -> None:
        dead = add_dead_letter_queue(cloud, addresses.delays) if has_dead_letter_queue else None
        cloud.sqs.send_message(QueueUrl=addresses.delays, MessageBody="hello")
        aws.timers.schedule(timer("t", time.time() + 0.1))
        assert waited_for(aws, 10.0) == ["t"]
        if dead is not None:
            assert texts_in(cloud, dead) == [("", "hello")]


class TestLongWaits:
    def test_a_wait_of_more_than_15_minutes_is_a_schedule(
        self, cloud: Cloud, url: AwsUrl, aws: CompositeBackend
    ) -> None:
        aws.timers.schedule(timer("a", time.time() + HOUR))
        aws.timers.schedule(timer("b", time.time() + 14 * 60))
        assert [each["Name"] for each in schedules(cloud, url)] == [schedule_name("a")]

    def test_a_schedule_targets_the_fifo_queue_and_deletes_itself(
        self, cloud: Cloud, url: AwsUrl, aws: CompositeBackend, addresses: Addresses
    ) -> None:
        aws.timers.schedule(timer("t", 4_102_444_800.2, BEN))
        schedule = cloud.scheduler.get_schedule(Name=schedule_name("t"), GroupName=url.schedules)
        target = schedule["Target"]
        assert schedule["ScheduleExpression"] == "at(2100-01-01T00:00:02)"  # and a second for the clocks
        assert (schedule["ActionAfterCompletion"], schedule["FlexibleTimeWindow"]["Mode"]) == ("DELETE", "OFF")
        assert (target["Arn"], target["RoleArn"]) == (addresses.queue_arn, addresses.role_arn)
        assert target["SqsParameters"] == {"MessageGroupId": "signup/ben"}
        assert target["DeadLetterConfig"] == {"Arn": addresses.schedules_dead_arn}
        assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 86_400, "MaximumRetryAttempts": 185}

    def test_the_same_timer_again_replaces_it(self, cloud: Cloud, url: AwsUrl, aws: CompositeBackend) -> None:
        aws.timers.schedule(timer("t", 4_102_444_800.0))
        aws.timers.schedule(timer("t", 4_102_448_400.0))
        (existing,) = schedules(cloud, url)
        schedule = cloud.scheduler.get_schedule(Name=existing["Name"], GroupName=url.schedules)
        assert schedule["ScheduleExpression"] == "at(2100-01-01T01:00:01)"

    def test_cancelling_deletes_the_schedule_and_ignores_unknown_timers(
        self, cloud: Cloud, url: AwsUrl, aws: CompositeBackend
    ) -> None:
        aws.timers.schedule(timer("t", time.time() + HOUR))
        aws.timers.cancel("t")
        aws.timers.cancel("t")
        aws.timers.cancel("never scheduled")
        assert schedules(cloud, url) == []


class TestLongWaitsOnAVirtualClock:
    """Unlike a message in the delay queue, a schedule can be replaced and cancelled."""

    def test_a_schedule_fires_when_it_is_due_and_is_gone(self, harness: AwsHarness) -> None:
        aws = harness.fresh()
        aws.timers.schedule(timer("t", harness.now() + HOUR, BEN))
        harness.advance(HOUR - 1)
        assert aws.queue.receive(10) == []
        harness.advance(1)
        (delivery,) = aws.queue.receive(10)
        assert delivery.message == message(BEN, "t")
        assert schedules(harness.cloud, harness.url) == []

    def test_a_cancelled_schedule_does_not_fire(self, harness: AwsHarness) -> None:
        aws = harness.fresh()
        aws.timers.schedule(timer("t", harness.now() + HOUR))
        aws.timers.cancel("t")
        harness.advance(2 * HOUR)
        assert aws.queue.receive(10) == []

    @pytest.mark.parametrize(("first", "then"), [(HOUR, 3 * HOUR), (3 * HOUR, HOUR)])
    def test_a_replaced_schedule_fires_at_its_new_time_only(
        self, harness: AwsHarness, first: float, then: float
    ) -> None:
        aws, received = harness.fresh(), dict[float, list[str]]()
        for wait in (first, then):
            aws.timers.schedule(timer("t", harness.now() + wait))
        for passed in (HOUR, 3 * HOUR):
            harness.advance(passed - (harness.now() - EPOCH))
            held = aws.queue.receive(10)
            aws.queue.ack(held)
            received[passed] = ids(held)
        assert received == {then: ["t"], first: []}

    def test_however_many_are_due_at_once_all_are_forwarded(self, harness: AwsHarness) -> None:
        aws, due = harness.fresh(), list[str]()
        for number in range(25):
            aws.timers.schedule(timer(f"{number}", harness.now() + 10, Key("m", f"{number}")))
        harness.advance(10)
        while held := aws.queue.receive(10):
            aws.queue.ack(held)
            due += ids(held)
        assert sorted(map(int, due)) == list(range(25))


@pytest.mark.parametrize(("due", "expected"), [(0.0, "at(1970-01-01T00:00:00)"), (0.001, "at(1970-01-01T00:00:01)")])
def test_a_schedule_is_rounded_up_to_a_second(due: float, expected: str) -> None:
    assert at_expression(due) == expected


def test_the_name_of_a_schedule_is_one_that_scheduler_takes() -> None:
    name = schedule_name("signup/ada é/1/2/3")
    assert len(name) == 64
    assert name.isalnum()
    assert name == schedule_name("signup/ada é/1/2/3") != schedule_name("signup/ada é/1/2/4")
