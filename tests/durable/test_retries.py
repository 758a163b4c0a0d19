"""Actors that fail: their retries, and the event that the machine receives in the end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from settled import Backoff, Call, Retry, TurnEnd, setup
from settled.durable.commands import Release, ReleaseReason, RunActors
from tests.durable.machines import signup, submitted
from tests.support.virtual_world import World

MAIL = "signup/ada/a/1/1"


class Flaky:
    """An actor that fails `failures` times and then succeeds."""

    def __init__(self, failures: int) -> None:
        self.failures, self.calls = failures, list[Call]()

    def __call__(self, _input: Any, call: Call) -> str:
        self.calls.append(call)
        if len(self.calls) <= self.failures:
            raise ConnectionError("no mail today")
        return "sent"


class TestAnActorThatFails:
    def test_is_retried_under_the_same_key(self) -> None:
        flaky = Flaky(2)
        world = submitted(signup(flaky))
        world.settle(until=5_000)
        assert world.value() == "waiting"
        assert world.performed("send_email") == [(MAIL, 1), (MAIL, 2), (MAIL, 3)]

    def test_is_retried_with_backoff_and_occupies_no_worker_meanwhile(self) -> None:
        flaky = Flaky(2)
        retry = Retry(attempts=3, backoff=Backoff(timedelta(seconds=10), factor=3))
        world = submitted(signup(flaky, retry=retry))
        assert world.deliver() is TurnEnd.RELEASED
        world.settle(until=5_000)
        releases = [command for command in world.commands if isinstance(command, Release)]
        assert [(each.delay, each.reason) for each in releases] == [
            (10.0, ReleaseReason.WAITING),
            (30.0, ReleaseReason.WAITING),
        ]
        assert world.now == 1_040.0

    def test_reports_its_error_after_the_last_attempt(self) -> None:
        world = submitted(signup(Flaky(99)))
        world.settle(until=5_000)
        assert world.value() == "failed"
        assert len(world.performed("send_email")) == 3
        assert world.dead_letters() == []

    def test_whose_error_is_not_handled_leaves_the_machine_in_error(self) -> None:
        machine = setup(actors={"fail": Flaky(99)}).machine(
            {"id": "m", "initial": "a", "states": {"a": {"invoke": {"src": "fail", "onDone": "b"}}, "b": {}}}
        )
        world = World(machine)
        world.start()
        world.settle()
        assert world.snapshot().status == "error"
        assert world.snapshot().error == {"name": "ConnectionError", "message": "no mail today"}

    def test_keeps_counting_when_a_worker_dies_in_between(self) -> None:
        flaky = Flaky(99)
        world = submitted(signup(flaky))
        world.deliver()
        world.crash_at(RunActors)
        world.now += 1
        world.deliver()
        world.settle(until=5_000)
        assert [call.attempt for call in flaky.calls] == [1, 3]


class TestACall:
    def test_has_a_fence_that_increases_with_each_attempt(self) -> None:
        flaky = Flaky(1)
        world = submitted(signup(flaky))
        world.settle(until=5_000)
        first, second = flaky.calls
        assert first.fence < second.fence
        assert first.idempotency_key == second.idempotency_key


class TestAnInterruptionThatMeansFailure:
    """Whether the actor took effect is unknown, so it is not started again."""

    def test_the_machine_receives_an_error(self) -> None:
        world = submitted(signup(Flaky(0), interruption="fail"))
        world.crash_after(RunActors)
        world.settle(until=5_000)
        assert world.value() == "failed"
        assert world.performed("send_email") == [(MAIL, 1)]

    def test_it_is_claimed_before_it_is_started(self) -> None:
        world = submitted(signup(Flaky(0), interruption="fail"))
        world.crash_at(RunActors)
        world.settle(until=5_000)
        assert world.value() == "failed"
        assert world.performed("send_email") == []

    def test_an_attempt_that_is_known_to_have_failed_is_retried(self) -> None:
        world = submitted(signup(Flaky(2), interruption="fail"))
        world.settle(until=5_000)
        assert world.value() == "waiting"
