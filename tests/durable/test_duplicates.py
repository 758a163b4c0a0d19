"""Messages that arrive twice, are stale, or are invalid."""

from __future__ import annotations

from typing import Any

from settled import Key, Machine, Outcome, Policy, setup
from settled.durable import Start, encode
from settled.durable.commands import PerformActions, RunActors
from settled.durable.messages import ChildEnded, Event, SenderPosition, StopChildInstance, TimerFired, Wake
from tests.durable.machines import SUBMIT, add, appending, applied, nothing, signup, submitted
from tests.support.virtual_world import LEASE, World


def started(policy: Policy | None = None) -> World:
    world = World(appending(), policy=policy or Policy())
    world.start()
    world.settle()
    return world


class TestAMessageThatIsKnown:
    def test_is_acknowledged_and_changes_nothing(self) -> None:
        world = started()
        world.send(add(1), id="one")
        world.settle()
        version = world.version()
        world.take([world.stray(Event(add(1)), "one")])
        assert applied(world) == [1]
        assert world.version() == version

    def test_is_known_until_the_window_is_full_of_newer_messages(self) -> None:
        world = started(Policy(window=3))
        for n in range(5):
            world.send(add(n), id=f"m{n}x")
            world.settle()
        assert world.record().window.ids == ("m1x", "m2x", "m3x", "m4x")
        world.take([world.stray(Event(add(1)), "m1x")])
        assert applied(world) == [0, 1, 2, 3, 4]
        world.take([world.stray(Event(add(0)), "m0x")])
        assert applied(world) == [0, 1, 2, 3, 4, 0]

    def test_of_another_instance_is_known_by_its_position_for_ever(self) -> None:
        world = started(Policy(window=2))
        sender = Key("other", "bob")
        world.post("ada", encode(Event(add(1), SenderPosition(sender, "nonce", 4, 0))), id="from bob")
        world.settle()
        for n in (2, 3, 4):
            world.send(add(n))
            world.settle()
        assert "from bob" not in world.record().window.ids
        world.take([world.stray(Event(add(1), SenderPosition(sender, "nonce", 4, 0)), "from bob")])
        assert applied(world) == [1, 2, 3, 4]
        world.take([world.stray(Event(add(5), SenderPosition(sender, "nonce", 4, 1)), "from bob too")])
        assert applied(world) == [1, 2, 3, 4, 5]

    def test_equal_events_under_different_ids_are_different_events(self) -> None:
        world = started()
        world.send(add(7), id="a")
        world.send(add(7), id="b")
        world.settle()
        assert applied(world) == [7, 7]


class TestAMessageThatIsRedeliveredOnce:
    """A queue may redeliver an acknowledged message ahead of unacknowledged ones, and do so only once."""

    def test_does_not_confirm_the_outbox_of_another_turn(self) -> None:
        world = World(_bell())
        world.start(id="start")
        world.settle()
        world.send("GO")
        world.crash_at(RunActors)
        world.deliver()
        world.now += LEASE
        world.crash_at(PerformActions)
        world.take([world.stray(Start(), "start"), *world.backend.queue.receive(1)])
        world.settle()
        assert world.value() == "over"
        assert len(world.performed("ring")) == 1


def _bell() -> Machine[Any]:
    """Return a machine that performs an action in the step that ends its turn."""
    return setup(actions={"ring": lambda a: None}, actors={"work": nothing}).machine(
        {
            "id": "bell",
            "initial": "idle",
            "states": {
                "idle": {"tags": ["settled"], "on": {"GO": "working"}},
                "working": {"invoke": {"src": "work", "onDone": "over"}},
                "over": {"tags": ["settled"], "entry": "ring"},
            },
        }
    )


class TestASecondStart:
    def test_leaves_the_instance_as_it_is(self) -> None:
        world = started()
        world.send(add(1))
        world.start(id="again")
        world.settle()
        assert applied(world) == [1]
        assert world.outcome("again") is Outcome.IGNORED


class TestAStaleMessage:
    def test_a_timer_that_was_cancelled_changes_nothing(self) -> None:
        world = submitted(signup())
        world.settle(until=2_000)
        (token,) = world.record().timers
        world.send("VERIFY")
        world.settle(until=2_000)
        version = world.version()
        world.take([world.stray(TimerFired(token), token)])
        assert world.value() == "active"
        assert world.version() == version

    def test_a_report_of_another_generation_changes_nothing(self) -> None:
        world = submitted(signup())
        world.take([world.stray(ChildEnded("mail", "another", True), "r")])
        assert world.value() == "form"

    def test_a_stop_of_another_generation_changes_nothing(self) -> None:
        world = submitted(signup())
        world.take([world.stray(StopChildInstance("another"), "s")])
        assert world.snapshot().status == "active"

    def test_a_wake_changes_nothing(self) -> None:
        world = submitted(signup())
        version = world.version()
        world.take([world.stray(Wake(), "n")])
        assert (world.value(), world.version()) == ("form", version)


class TestAnInvalidMessage:
    """It becomes a dead letter, and the instance continues."""

    def test_is_an_event_with_a_reserved_type(self) -> None:
        world = submitted(signup())
        world.settle(until=2_000)
        forged = world.send({"type": "xstate.after.patience.signup.waiting"})
        world.settle(until=2_000)
        assert world.value() == "waiting"
        assert world.outcome(forged) is Outcome.INVALID
        assert [dead_letter.message.id for dead_letter in world.dead_letters()] == [forged]
        assert "xstate." in world.dead_letters()[0].reason

    def test_is_a_body_that_settled_did_not_write(self) -> None:
        world = started()
        world.post("ada", "{", id="bad")
        world.send(add(1))
        world.settle()
        assert applied(world) == [1]
        assert world.outcome("bad") is Outcome.INVALID
        assert world.dead_letters()[0].message.body == "{"

    def test_is_an_event_for_an_instance_that_was_never_started(self) -> None:
        world = World(appending())
        early = world.send(add(1), instance="bob")
        world.settle()
        assert world.record("bob").snapshot is None
        assert world.outcome(early, "bob") is Outcome.INVALID
        assert "never started" in world.dead_letters("bob")[0].reason

    def test_can_be_redriven_once_the_instance_is_started(self) -> None:
        world = World(appending())
        world.send(add(1))
        world.settle()
        world.start()
        world.settle()
        assert world.redrive() == 1
        world.settle()
        assert applied(world) == [1]
        assert world.dead_letters() == []


class TestAMachineThatHasEnded:
    def test_ignores_events_as_xstate_drops_them(self) -> None:
        world = started()
        world.send("CLOSE")
        late = world.send(add(1))
        world.settle()
        assert world.snapshot().status == "done"
        assert applied(world) == []
        assert world.outcome(late) is Outcome.IGNORED


class TestADeletedInstance:
    def test_is_another_instance_when_it_is_started_again(self) -> None:
        world = submitted(signup())
        world.settle(until=2_000)
        birth = world.record().start_nonce
        world.delete()
        world.start(id="again")
        world.send(SUBMIT, id="again-submit")
        world.settle(until=2_000)
        keys = [key for key, _ in world.performed("send_email")]
        assert len(set(keys)) == 2
        assert world.record().start_nonce != birth

    def test_makes_its_timers_stale(self) -> None:
        world = submitted(signup())
        world.settle(until=2_000)
        world.delete()
        world.start(id="again")
        world.settle(until=200_000)
        assert world.value() == "form"
