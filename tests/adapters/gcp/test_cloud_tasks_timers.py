"""Timers on the tests' Cloud Tasks, by the real client."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import frozen

from settled import Key, UnavailableError
from settled.durable import Timer
from settled_gcp.cloud_tasks_timers import MAX_WAIT_SECONDS, SCOPE, CloudTasksTimers, schedule_time
from settled_gcp.names import TASK_IDS_PER_TIMER, task_ids
from settled_gcp.queue import PubSubQueue
from tests.adapters.gcp.messaging import ACCOUNT, Messaging
from tests.emulators.pubsub import pubsub
from tests.support.builders import ADA, BEN, ids, message, timer

DAY = 24 * 60 * 60


@frozen
class Timed:
    """Timers, the queue that they send to, and the virtual clock."""

    messaging: Messaging
    queue: PubSubQueue
    timers: CloudTasksTimers

    def now(self) -> float:
        return self.messaging.server.now()

    def advance(self, seconds: float) -> None:
        """Advance the clock, and a little more, because tasks are rounded up to a microsecond."""
        self.messaging.server.advance(seconds + 0.001)

    def received(self) -> list[str]:
        held = self.queue.receive(100)
        self.queue.ack(held)
        return ids(held)

    def tasks(self) -> list[Any]:
        """Return the waiting tasks."""
        request = {"parent": self.messaging.task_queue}
        return list(self.messaging.tasks.list_tasks(request=request, retry=None, timeout=5.0))


@pytest.fixture(scope="module")
def frozen_time() -> Iterator[Messaging]:
    with pubsub() as server:
        server.freeze()
        messaging = Messaging.at(server)
        yield messaging
        messaging.close()


@pytest.fixture
def timed(frozen_time: Messaging) -> Timed:
    """Timers with a topic of their own, on a stopped clock."""
    frozen_messaging = frozen_time
    messaging = Messaging(
        frozen_messaging.server, frozen_messaging.publisher, frozen_messaging.subscriber, frozen_messaging.tasks
    )
    messaging.create()

    def reschedule(early: Timer) -> None:
        timers.schedule(early)

    queue = messaging.queue(reschedule=reschedule, min_wait=timedelta(seconds=0.1))
    timers = messaging.timers(queue)
    return Timed(messaging, queue, timers)


class TestFiring:
    def test_a_timer_fires_once_it_is_due_and_never_early(self, timed: Timed) -> None:
        timed.timers.schedule(timer("t", timed.now() + 90.25))
        timed.advance(90.2)
        assert timed.received() == []
        timed.advance(0.1)
        assert timed.received() == ["t"]
        timed.advance(DAY)
        assert timed.received() == []

    def test_a_timer_that_is_due_already_is_sent_at_once(self, timed: Timed) -> None:
        timed.timers.schedule(timer("t", timed.now()))
        assert timed.tasks() == []
        assert timed.received() == ["t"]

    def test_its_message_has_the_ordering_key_of_its_key(self, timed: Timed) -> None:
        sent = Timer("t", message(Key("m", "é/\ud83d"), "id\0", "{}"), timed.now() + 1)
        timed.timers.schedule(sent)
        timed.advance(1)
        (found,) = timed.queue.receive(1)
        assert found.message == sent.message

    def test_a_failed_publish_is_retried(self, timed: Timed) -> None:
        timed.messaging.server.fail("HTTP publish", "UNAVAILABLE", times=2)
        timed.timers.schedule(timer("t", timed.now() + 1))
        for _ in range(3):
            timed.advance(60)
        assert timed.received() == ["t"]

    def test_the_schedule_time_is_rounded_up(self) -> None:
        assert schedule_time(1.0000001) == datetime(1970, 1, 1, 0, 0, 1, 1, UTC)
        assert schedule_time(1792000000.5).timestamp() == 1792000000.5


class TestCancelling:
    def test_a_cancelled_timer_does_not_fire(self, timed: Timed) -> None:
        timed.timers.schedule(timer("t", timed.now() + 60))
        timed.timers.schedule(timer("u", timed.now() + 60, BEN))
        timed.timers.cancel("t")
        timed.advance(60)
        assert timed.received() == ["u"]

    def test_an_unknown_one_is_no_error(self, timed: Timed) -> None:
        timed.timers.cancel("never scheduled")

    def test_one_that_has_fired_is_no_error(self, timed: Timed) -> None:
        timed.timers.schedule(timer("t", timed.now() + 60))
        timed.advance(60)
        timed.timers.cancel("t")

    def test_it_may_be_scheduled_again(self, timed: Timed) -> None:
        timed.timers.schedule(timer("t", timed.now() + 60))
        timed.timers.cancel("t")
        timed.timers.schedule(timer("t", timed.now() + 120))
        timed.advance(60)
        assert timed.received() == []
        timed.advance(60)
        assert timed.received() == ["t"]


class TestReplacing:
    @pytest.mark.parametrize(("first", "second"), [(60, 120), (120, 60)])
    def test_it_fires_at_its_new_time_only(self, timed: Timed, first: int, second: int) -> None:
        now = timed.now()
        timed.timers.schedule(timer("t", now + first))
        timed.timers.schedule(timer("t", now + second))
        timed.advance(59)
        assert timed.received() == []
        for _ in range(second // 60):
            timed.advance(60)
        assert timed.received() == ["t"]
        timed.advance(300)
        assert timed.received() == []

    def test_a_replaced_one_can_be_cancelled(self, timed: Timed) -> None:
        timed.timers.schedule(timer("t", timed.now() + 60))
        timed.timers.schedule(timer("t", timed.now() + 120))
        timed.timers.cancel("t")
        timed.advance(300)
        assert timed.received() == []

    def test_the_same_again_is_one_timer(self, timed: Timed) -> None:
        again = timer("t", timed.now() + 60)
        timed.timers.schedule(again)
        timed.timers.schedule(again)
        assert len(timed.tasks()) == 1

    def test_when_all_ids_are_used_up_it_still_fires(self, timed: Timed) -> None:
        for number in range(TASK_IDS_PER_TIMER + 2):
            timed.timers.schedule(timer("t", timed.now() + 60))
            timed.advance(60)
            assert timed.received() == ["t"], number

    def test_the_ids_are_free_again_after_a_day(self, timed: Timed) -> None:
        for _ in range(2):
            timed.timers.schedule(timer("t", timed.now() + 60))
            (task,) = timed.tasks()
            assert task.name.rpartition("/")[2] == task_ids("t")[0]
            timed.timers.cancel("t")
            timed.advance(DAY)


class TestLongWaits:
    """Cloud Tasks schedules at most 30 days ahead: `Task.schedule_time`."""

    @pytest.mark.parametrize("days", [29, 31, 100])
    def test_it_fires_when_it_is_due_and_not_at_the_limit(self, timed: Timed, days: int) -> None:
        timed.timers.schedule(timer("t", timed.now() + days * DAY))
        for _ in range(days // 10):
            timed.advance(10 * DAY - 1)
            assert timed.received() == []
        timed.advance(days % 10 * DAY + days // 10)
        assert timed.received() == ["t"]

    def test_it_waits_in_several_tasks_and_is_not_lost_between_them(self, timed: Timed) -> None:
        due = timed.now() + 2 * MAX_WAIT_SECONDS
        timed.timers.schedule(timer("t", due))
        timed.advance(MAX_WAIT_SECONDS)
        assert timed.tasks() == []
        timed.messaging.server.fail("CreateTask", "UNAVAILABLE")
        assert timed.received() == []
        assert timed.tasks() == []
        timed.advance(10)
        assert timed.received() == []
        (task,) = timed.tasks()
        assert task.schedule_time.timestamp() == pytest.approx(due)

    def test_it_can_be_cancelled_during_any_task(self, timed: Timed) -> None:
        timed.timers.schedule(timer("t", timed.now() + 2 * MAX_WAIT_SECONDS))
        timed.advance(MAX_WAIT_SECONDS)
        assert timed.received() == []
        timed.timers.cancel("t")
        timed.advance(MAX_WAIT_SECONDS)
        assert timed.received() == []


class TestTheTask:
    def test_it_publishes_as_its_service_account_with_a_token_for_pubsub_only(self, timed: Timed) -> None:
        timed.timers.schedule(timer("t", timed.now() + 60))
        (task,) = timed.tasks()
        request = task.http_request
        assert request.url == timed.messaging.server.publish_url(timed.messaging.topic)
        assert (request.oauth_token.service_account_email, request.oauth_token.scope) == (ACCOUNT, SCOPE)
        (published,) = json.loads(request.body)["messages"]
        assert published["orderingKey"] == str(ADA)
        assert json.loads(base64.b64decode(published["data"]))["id"] == "t"

    def test_its_ids_are_hashes_and_deterministic(self) -> None:
        assert task_ids("signup/ada/1/1/0") == task_ids("signup/ada/1/1/0")
        assert len({id.partition("-")[0] for id in task_ids("t")}) == 1
        assert all(character in "0123456789abcdef-" for id in task_ids("signup/ada/\ud83d") for character in id)


class TestRequests:
    def test_a_timer_that_fires_takes_one_request_and_a_cancelled_one_two(self, timed: Timed) -> None:
        before = timed.messaging.server.requests()
        timed.timers.schedule(timer("t", timed.now() + 60))
        timed.timers.schedule(timer("u", timed.now() + 60))
        timed.timers.cancel("u")
        after = timed.messaging.server.requests()
        assert after["CreateTask"] - before.get("CreateTask", 0) == 2
        assert after["DeleteTask"] - before.get("DeleteTask", 0) == 1

    def test_a_timer_whose_task_could_not_be_created_is_not_scheduled(self, timed: Timed) -> None:
        timed.messaging.server.fail("CreateTask", "RESOURCE_EXHAUSTED")
        with pytest.raises(UnavailableError, match="scheduling the timer t"):
            timed.timers.schedule(timer("t", timed.now() + 60))
        assert timed.tasks() == []
