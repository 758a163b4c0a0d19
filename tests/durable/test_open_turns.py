"""A turn that was left open: which worker may resume it, when, and what has to wait for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from settled import Call, Machine, TurnEnd, setup
from settled.durable import Event
from settled.durable.commands import Finish, Release, ReleaseReason, RunActors
from tests.durable.machines import SUBMIT, signup, submitted
from tests.support.virtual_world import LEASE, Hanging, World


def left_open() -> World:
    world = submitted(signup())
    world.crash_at(RunActors)
    world.deliver()
    assert world.record().turn is not None
    return world


class TestAnotherMessage:
    def test_is_released_during_the_lease_of_the_turn(self) -> None:
        world = left_open()
        world.now += LEASE - 1
        assert world.take([world.stray(Event({"type": "VERIFY"}), "early")]) is TurnEnd.RELEASED
        (release,) = [command for command in world.commands if isinstance(command, Release)]
        assert (release.delay, release.reason) == (1, ReleaseReason.OTHER_WORKER)
        assert world.record().turn is not None

    def test_finishes_that_turn_first_once_the_lease_is_over(self) -> None:
        world = left_open()
        world.now += LEASE
        assert world.take([world.stray(Event({"type": "VERIFY"}), "early")]) is TurnEnd.DONE
        assert world.value() == "active"
        assert world.record().window.ids[-2:] == ("submit", "early")

    def test_performs_the_outbox_of_that_turn(self) -> None:
        world = submitted(signup())
        world.crash_after(Finish)
        world.deliver()
        world.now += LEASE
        world.take([world.stray(Event({"type": "VERIFY"}), "early")])
        assert [key for key, _ in world.performed("note")] == ["signup/ada/a/1/0"]

    def test_leaves_nothing_to_do_for_the_message_of_the_turn(self) -> None:
        world = left_open()
        world.now += LEASE
        world.take([world.stray(Event({"type": "VERIFY"}), "early")])
        world.settle(until=world.now + LEASE)
        assert world.value() == "active"
        assert world.snapshot().context["email"] == SUBMIT["email"]


def polling(result: list[str]) -> Machine[Any]:
    """Return a machine that asks once a minute until the answer is yes, and is not settled meanwhile."""
    return setup(
        actors={"ask": lambda input, call: result.pop(0)},
        guards={"yes": lambda a: a.event["output"] == "yes"},
        delays={"pause": timedelta(minutes=1)},
    ).machine(
        {
            "id": "poll",
            "initial": "idle",
            "states": {
                "idle": {"tags": ["settled"], "on": {"GO": "asking", "LATER": "late"}},
                "asking": {
                    "invoke": {"src": "ask", "onDone": [{"guard": "yes", "target": "heard"}, {"target": "pausing"}]}
                },
                "pausing": {"after": {"pause": "asking"}},
                "heard": {"tags": ["settled"], "on": {"LATER": "late"}},
                "late": {"type": "final"},
            },
        }
    )


class TestParking:
    """A node that is not settled and waits only for a timer does not occupy a worker."""

    def test_the_message_is_released_until_the_timer_is_due(self) -> None:
        world = World(polling(["no", "yes"]))
        world.start()
        world.settle()
        world.send("GO")
        assert world.deliver() is TurnEnd.RELEASED
        assert [command.delay for command in world.commands if isinstance(command, Release)] == [60.0]
        assert world.value() == "pausing"

    def test_the_key_stays_blocked_until_the_turn_is_over(self) -> None:
        world = World(polling(["no", "no", "yes"]))
        world.start()
        world.settle()
        world.send("GO")
        world.deliver()
        world.send("LATER")
        assert world.deliver() is None
        world.settle()
        assert world.value() == "late"
        assert len(world.performed("ask")) == 3

    def test_a_wake_before_the_timer_is_due_changes_nothing(self) -> None:
        world = World(polling(["no", "yes"]))
        world.start()
        world.settle()
        world.send("GO", id="go")
        world.deliver()
        version = world.version()
        early = world.stray(Event({"type": "GO"}), "go", attempt=50)
        world.now += 20
        assert world.take([early]) is TurnEnd.RELEASED
        assert world.commands[-1] == Release((early,), 40.0, ReleaseReason.WAITING)
        assert world.version() == version

    def test_a_parked_message_may_be_received_more_often_than_a_failing_one(self) -> None:
        world = World(polling(["no"] * 30 + ["yes"]))
        world.start()
        world.send("GO")
        world.settle()
        assert world.value() == "heard"
        assert world.dead_letters() == []

    def test_timers_of_an_open_turn_are_not_scheduled(self) -> None:
        world = World(polling(["no", "yes"]))
        world.start()
        world.settle()
        world.send("GO")
        world.deliver()
        (timer,) = world.record().timers.values()
        assert not timer.scheduled


class TestATimerInsideATurn:
    def test_ends_an_actor_that_hangs(self) -> None:
        def hang(_input: Any, _call: Call) -> None:
            raise Hanging

        machine = setup(actors={"hang": hang}, delays={"limit": timedelta(seconds=5)}).machine(
            {
                "id": "m",
                "initial": "idle",
                "states": {
                    "idle": {"tags": ["settled"], "on": {"GO": "working"}},
                    "working": {"invoke": {"src": "hang", "onDone": "idle"}, "after": {"limit": "gone"}},
                    "gone": {"tags": ["settled"]},
                },
            }
        )
        world = World(machine)
        world.start()
        world.send("GO")
        world.settle()
        assert world.value() == "gone"
        assert world.now == 1_005.0
        assert world.record().timers == {}


class TestAMachineThatCouldNeverSettle:
    def test_fails_the_event_and_names_the_node(self) -> None:
        machine = setup().machine(
            {
                "id": "m",
                "initial": "idle",
                "states": {"idle": {"tags": ["settled"], "on": {"GO": "lost"}}, "lost": {"on": {"BACK": "idle"}}},
            }
        )
        world = World(machine)
        world.start()
        world.send("GO")
        world.settle()
        assert world.value() == "idle"
        assert "not settled and waits for nothing" in world.dead_letters()[0].detail
