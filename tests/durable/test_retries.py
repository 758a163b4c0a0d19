"""Actors that fail: how often they are tried, and what the machine hears in the end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from settled import Call, Retry, TurnEnd, setup
from settled.durable.commands import Release, RunActors
from tests.durable.machines import signup, submitted
from tests.support.virtual_world import World

MAIL = "signup/ada/a/1/1"


class Flaky:
    """Fails as often as it is told to, then works."""

    def __init__(self, failures: int) -> None:
        self.failures, self.calls = failures, list[Call]()

    def __call__(self, _input: Any, call: Call) -> str:
        self.calls.append(call)
        if len(self.calls) <= self.failures:
            raise ConnectionError("no mail today")
        return "sent"


class TestAnActorThatFails:
    def test_is_tried_again_under_the_same_key(self) -> None:
        flaky = Flaky(2)
        world = submitted(signup(flaky))
        world.settle(until=5_000)
        assert world.value() == "waiting"
        assert world.performed("send_email") == [(MAIL, 1), (MAIL, 2), (MAIL, 3)]

    def test_waits_longer_each_time_and_keeps_no_worker_meanwhile(self) -> None:
        flaky = Flaky(2)
        retry = Retry(attempts=3, first=timedelta(seconds=10), factor=3.0)
        world = submitted(signup(flaky, retry=retry))
        assert world.deliver() is TurnEnd.RELEASED
        world.settle(until=5_000)
        assert [command.delay for command in world.commands if isinstance(command, Release)] == [10.0, 30.0]
        assert world.now == 1_040.0

    def test_tells_the_machine_when_it_has_failed_for_good(self) -> None:
        world = submitted(signup(Flaky(99)))
        world.settle(until=5_000)
        assert world.value() == "failed"
        assert len(world.performed("send_email")) == 3
        assert world.letters() == []

    def test_whose_end_nobody_handles_leaves_the_machine_in_error(self) -> None:
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


class TestWhatACallIsTold:
    def test_the_fence_is_the_version_that_claimed_it_and_only_grows(self) -> None:
        flaky = Flaky(1)
        world = submitted(signup(flaky))
        world.settle(until=5_000)
        first, second = flaky.calls
        assert first.fence < second.fence
        assert first.idempotency_key == second.idempotency_key


class TestAnInterruptionThatMeansFailure:
    """The actor may have happened, or still happen: nobody else starts it."""

    def test_the_machine_is_told_that_it_is_unknown(self) -> None:
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

    def test_a_failure_that_was_seen_is_still_tried_again(self) -> None:
        world = submitted(signup(Flaky(2), interruption="fail"))
        world.settle(until=5_000)
        assert world.value() == "waiting"
