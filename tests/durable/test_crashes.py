"""A worker dies at any command of a turn: the next delivery finishes it."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from settled import Outcome
from settled.durable.commands import Finish, Load, PerformActions, RunActors
from settled_runtime.record_cache import RecordCache
from tests.durable.machines import appending, signup, submitted, tell
from tests.support.virtual_world import LEASE, World

MAIL = "signup/ada/a/1/1"
NOTE = "signup/ada/a/1/0"


class TestBeforeTheClaim:
    """The record is unchanged."""

    @pytest.mark.parametrize("command", [Load, Finish])
    def test_the_message_is_taken_as_if_new(self, command: type[Any]) -> None:
        world = submitted(signup())
        world.crash_at(command)
        assert world.deliver() is None
        assert world.value() == "form"
        world.settle(until=5_000)
        assert world.value() == "waiting"
        assert world.performed("send_email") == [(MAIL, 1)]


class TestAfterTheClaim:
    """The record holds the open turn; its effects are pending."""

    def test_actions_and_actors_that_were_never_started_are_performed(self) -> None:
        world = submitted(signup())
        world.crash_after(Finish)
        assert world.deliver() is None
        assert world.record().turn is not None
        assert world.effects == []
        world.settle(until=5_000)
        assert world.value() == "waiting"
        assert {key for key, _ in world.performed("send_email")} == {MAIL}
        assert {key for key, _ in world.performed("note")} == {NOTE}

    def test_pending_effects_run_again_under_the_same_key(self) -> None:
        world = submitted(signup())
        world.crash_after(RunActors)
        world.settle(until=5_000)
        assert world.performed("send_email") == [(MAIL, 1), (MAIL, 2)]
        assert world.value() == "waiting"

    def test_no_other_worker_continues_before_the_lease_is_over(self) -> None:
        world = submitted(signup())
        world.crash_at(RunActors)
        world.deliver()
        world.now += LEASE - 0.001
        assert world.deliver() is None
        world.now += 0.001
        assert world.deliver() is not None
        assert world.value() == "waiting"


class TestAfterAnEffect:
    """The effect was performed, but its result was not committed."""

    def test_it_is_performed_again_under_the_same_key(self) -> None:
        world = submitted(signup())
        world.crash_at(Finish, nth=2)
        world.settle(until=5_000)
        assert world.performed("send_email") == [(MAIL, 1), (MAIL, 2)]
        assert world.value() == "waiting"


class TestAfterTheLastCommit:
    """The message is in the window, and its effects are in the outbox."""

    def test_the_outbox_is_performed_again_and_nothing_is_applied_twice(self) -> None:
        world = World(appending())
        world.start()
        world.settle()
        world.send(tell(1))
        world.crash_at(PerformActions)
        assert world.deliver() is None
        version = world.version()
        world.settle()
        assert world.snapshot().context["applied"] == [1]
        assert world.performed("report") == [("list/ada/a/1/0", 1)]
        assert world.version() == version

    def test_after_the_outbox_actions_run_again_under_the_same_key(self) -> None:
        world = World(appending())
        world.start()
        world.settle()
        world.send(tell(1))
        world.crash_after(PerformActions)
        world.settle()
        assert world.snapshot().context["applied"] == [1]
        assert world.performed("report") == [("list/ada/a/1/0", 1)] * 2

    def test_a_message_is_not_acknowledged_before_its_actions(self) -> None:
        world = World(appending())
        world.start()
        world.settle()
        world.send(tell(1))
        world.crash_at(PerformActions)
        world.deliver()
        world.now += LEASE
        assert [delivery.attempt for delivery in world.backend.queue.receive(10)] == [2]


@pytest.mark.parametrize(
    ("command", "nth", "after"),
    [*product([Load, Finish, PerformActions, RunActors], range(1, 5), [False, True])],
    ids=str,
)
@pytest.mark.parametrize("record_cache", [None, RecordCache()], ids=["no cache", "cache"])
def test_the_signup_completes_wherever_a_worker_dies(
    command: type[Any], nth: int, after: bool, record_cache: RecordCache | None
) -> None:
    world = World(signup(), record_cache=record_cache and RecordCache())
    world.start()
    world.send({"type": "SUBMIT", "email": "ada@example.org"}, id="submit")
    (world.crash_after if after else world.crash_at)(command, nth=nth)
    world.settle(until=5_000)
    assert world.value() == "waiting"
    assert world.snapshot().context == {"email": "ada@example.org"}
    assert {key for key, _ in world.performed("send_email")} == {MAIL}
    assert {key for key, _ in world.performed("note")} == {NOTE}
    assert world.outcome("submit") is Outcome.TAKEN
    world.settle(until=100_000)
    assert world.value() == "expired"
