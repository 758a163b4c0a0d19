"""Timers over the tests' Cloud Tasks, by the real client."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import frozen

from settled import Key, UnavailableError
from settled.durable import Timer
from settled_gcp.cloud_tasks_timers import LONGEST_WAIT, SCOPE, CloudTasksTimers, at
from settled_gcp.names import NAMES_OF_A_TIMER, task_ids
from settled_gcp.queue import PubSubQueue
from tests.adapters.gcp.messaging import ACCOUNT, Messaging
from tests.emulators.pubsub import pubsub
from tests.support.builders import ADA, BEN, ids, message, timer

DAY = 24 * 60 * 60


@frozen
class Wakes:
    """Timers, the queue that they put their messages into, and the time."""

    messaging: Messaging
    queue: PubSubQueue
    timers: CloudTasksTimers

    def now(self) -> float:
        return self.messaging.server.now()

    def advance(self, seconds: float) -> None:
        """Let time pass, and a little more: a task is rounded up to a microsecond."""
        self.messaging.server.advance(seconds + 0.001)

    def heard(self) -> list[str]:
        held = self.queue.receive(100)
        self.queue.ack(held)
        return ids(held)

    def tasks(self) -> list[Any]:
        """The tasks that wait."""
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
def wakes(frozen_time: Messaging) -> Wakes:
    """Timers over a topic of their own, in a time that stands still."""
    place = frozen_time
    messaging = Messaging(place.server, place.publisher, place.subscriber, place.tasks)
    messaging.create()

    def rearm(early: Timer) -> None:
        timers.schedule(early)

    queue = messaging.queue(rearm=rearm, shortest_wait=0.1)
    timers = messaging.timers(queue)
    return Wakes(messaging, queue, timers)


class TestFiring:
    def test_a_timer_is_never_early_and_comes_once_it_is_due(self, wakes: Wakes) -> None:
        wakes.timers.schedule(timer("t", wakes.now() + 90.25))
        wakes.advance(90.2)
        assert wakes.heard() == []
        wakes.advance(0.1)
        assert wakes.heard() == ["t"]
        wakes.advance(DAY)
        assert wakes.heard() == []

    def test_what_is_due_already_is_sent_at_once(self, wakes: Wakes) -> None:
        wakes.timers.schedule(timer("t", wakes.now()))
        assert wakes.tasks() == []
        assert wakes.heard() == ["t"]

    def test_its_message_stands_in_the_order_of_its_key(self, wakes: Wakes) -> None:
        sent = Timer("t", message(Key("m", "é/\ud83d"), "id\0", "{}"), wakes.now() + 1)
        wakes.timers.schedule(sent)
        wakes.advance(1)
        (found,) = wakes.queue.receive(1)
        assert found.message == sent.message

    def test_what_pubsub_does_not_take_at_once_is_tried_again(self, wakes: Wakes) -> None:
        wakes.messaging.server.fail("HTTP publish", "UNAVAILABLE", times=2)
        wakes.timers.schedule(timer("t", wakes.now() + 1))
        for _ in range(3):
            wakes.advance(60)
        assert wakes.heard() == ["t"]

    def test_a_moment_is_rounded_up(self) -> None:
        assert at(1.0000001) == datetime(1970, 1, 1, 0, 0, 1, 1, UTC)
        assert at(1792000000.5).timestamp() == 1792000000.5


class TestCancelling:
    def test_what_was_cancelled_does_not_come(self, wakes: Wakes) -> None:
        wakes.timers.schedule(timer("t", wakes.now() + 60))
        wakes.timers.schedule(timer("u", wakes.now() + 60, BEN))
        wakes.timers.cancel("t")
        wakes.advance(60)
        assert wakes.heard() == ["u"]

    def test_an_unknown_one_is_no_error(self, wakes: Wakes) -> None:
        wakes.timers.cancel("never scheduled")

    def test_one_that_has_fired_is_no_error(self, wakes: Wakes) -> None:
        wakes.timers.schedule(timer("t", wakes.now() + 60))
        wakes.advance(60)
        wakes.timers.cancel("t")

    def test_it_may_be_scheduled_again(self, wakes: Wakes) -> None:
        wakes.timers.schedule(timer("t", wakes.now() + 60))
        wakes.timers.cancel("t")
        wakes.timers.schedule(timer("t", wakes.now() + 120))
        wakes.advance(60)
        assert wakes.heard() == []
        wakes.advance(60)
        assert wakes.heard() == ["t"]


class TestReplacing:
    @pytest.mark.parametrize(("first", "second"), [(60, 120), (120, 60)])
    def test_it_comes_at_its_new_time_only(self, wakes: Wakes, first: int, second: int) -> None:
        now = wakes.now()
        wakes.timers.schedule(timer("t", now + first))
        wakes.timers.schedule(timer("t", now + second))
        wakes.advance(59)
        assert wakes.heard() == []
        for _ in range(second // 60):
            wakes.advance(60)
        assert wakes.heard() == ["t"]
        wakes.advance(300)
        assert wakes.heard() == []

    def test_a_replaced_one_can_be_cancelled(self, wakes: Wakes) -> None:
        wakes.timers.schedule(timer("t", wakes.now() + 60))
        wakes.timers.schedule(timer("t", wakes.now() + 120))
        wakes.timers.cancel("t")
        wakes.advance(300)
        assert wakes.heard() == []

    def test_the_same_again_is_one_timer(self, wakes: Wakes) -> None:
        again = timer("t", wakes.now() + 60)
        wakes.timers.schedule(again)
        wakes.timers.schedule(again)
        assert len(wakes.tasks()) == 1

    def test_when_all_names_are_used_up_it_still_comes(self, wakes: Wakes) -> None:
        for number in range(NAMES_OF_A_TIMER + 2):
            wakes.timers.schedule(timer("t", wakes.now() + 60))
            wakes.advance(60)
            assert wakes.heard() == ["t"], number

    def test_the_names_are_free_again_after_a_day(self, wakes: Wakes) -> None:
        for _ in range(2):
            wakes.timers.schedule(timer("t", wakes.now() + 60))
            (task,) = wakes.tasks()
            assert task.name.rpartition("/")[2] == task_ids("t")[0]
            wakes.timers.cancel("t")
            wakes.advance(DAY)


class TestLongWaits:
    """Cloud Tasks waits for 30 days: `Task.schedule_time`."""

    @pytest.mark.parametrize("days", [29, 31, 100])
    def test_it_comes_when_it_is_due_and_no_day_earlier(self, wakes: Wakes, days: int) -> None:
        wakes.timers.schedule(timer("t", wakes.now() + days * DAY))
        for _ in range(days // 10):
            wakes.advance(10 * DAY - 1)
            assert wakes.heard() == []
        wakes.advance(days % 10 * DAY + days // 10)
        assert wakes.heard() == ["t"]

    def test_it_waits_in_parts_and_is_not_lost_between_them(self, wakes: Wakes) -> None:
        due = wakes.now() + 2 * LONGEST_WAIT
        wakes.timers.schedule(timer("t", due))
        wakes.advance(LONGEST_WAIT)
        assert wakes.tasks() == []
        wakes.messaging.server.fail("CreateTask", "UNAVAILABLE")
        assert wakes.heard() == []
        assert wakes.tasks() == []
        wakes.advance(10)
        assert wakes.heard() == []
        (task,) = wakes.tasks()
        assert task.schedule_time.timestamp() == pytest.approx(due)

    def test_it_can_be_cancelled_in_any_part(self, wakes: Wakes) -> None:
        wakes.timers.schedule(timer("t", wakes.now() + 2 * LONGEST_WAIT))
        wakes.advance(LONGEST_WAIT)
        assert wakes.heard() == []
        wakes.timers.cancel("t")
        wakes.advance(LONGEST_WAIT)
        assert wakes.heard() == []


class TestTheTask:
    def test_it_publishes_as_its_service_account_with_a_token_for_nothing_else(self, wakes: Wakes) -> None:
        wakes.timers.schedule(timer("t", wakes.now() + 60))
        (task,) = wakes.tasks()
        request = task.http_request
        assert request.url == wakes.messaging.server.publish_url(wakes.messaging.topic)
        assert (request.oauth_token.service_account_email, request.oauth_token.scope) == (ACCOUNT, SCOPE)
        (published,) = json.loads(request.body)["messages"]
        assert published["orderingKey"] == str(ADA)
        assert json.loads(base64.b64decode(published["data"]))["id"] == "t"

    def test_its_names_are_hashes_and_always_the_same(self) -> None:
        assert task_ids("signup/ada/1/1/0") == task_ids("signup/ada/1/1/0")
        assert len({id.partition("-")[0] for id in task_ids("t")}) == 1
        assert all(character in "0123456789abcdef-" for id in task_ids("signup/ada/\ud83d") for character in id)


class TestRequests:
    def test_a_timer_that_fires_is_one_and_one_that_is_cancelled_two(self, wakes: Wakes) -> None:
        before = wakes.messaging.server.requests()
        wakes.timers.schedule(timer("t", wakes.now() + 60))
        wakes.timers.schedule(timer("u", wakes.now() + 60))
        wakes.timers.cancel("u")
        after = wakes.messaging.server.requests()
        assert after["CreateTask"] - before.get("CreateTask", 0) == 2
        assert after["DeleteTask"] - before.get("DeleteTask", 0) == 1

    def test_one_that_could_not_be_made_did_not_happen(self, wakes: Wakes) -> None:
        wakes.messaging.server.fail("CreateTask", "RESOURCE_EXHAUSTED")
        with pytest.raises(UnavailableError, match="scheduling the timer t"):
            wakes.timers.schedule(timer("t", wakes.now() + 60))
        assert wakes.tasks() == []
