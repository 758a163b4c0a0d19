"""Queued messages of a key share one load and one commit, as far as they settle without running an actor."""

from __future__ import annotations

from settled import TurnEnd
from settled.durable.commands import Finish, Load, PerformActions, RunActors
from tests.durable.machines import SUBMIT, add, appending, applied, signup, tell
from tests.support.virtual_world import World


def started() -> World:
    world = World(appending())
    world.start()
    world.settle()
    world.commands.clear()
    return world


def kinds(world: World) -> list[type]:
    return [type(command) for command in world.commands]


class TestQueuedMessages:
    def test_are_applied_with_one_load_and_one_write(self) -> None:
        world = started()
        for n in range(10):
            world.send(add(n))
        world.deliver()
        assert applied(world) == list(range(10))
        assert kinds(world) == [Load, Finish]

    def test_have_an_ordinal_each(self) -> None:
        world = started()
        for n in range(3):
            world.send(tell(n))
        world.deliver()
        assert [key for key, _ in world.performed("report")] == [f"list/ada/a/{n}/0" for n in (1, 2, 3)]
        assert world.record().ordinal == 4

    def test_may_follow_the_start_in_the_same_batch(self) -> None:
        world = World(appending())
        world.start()
        world.send(add(1))
        world.deliver()
        assert kinds(world) == [Load, Finish]
        assert applied(world) == [1]

    def test_are_acknowledged_in_order_and_never_before_an_earlier_action(self) -> None:
        world = started()
        for event in (add(1), tell(2), add(3)):
            world.send(event)
        world.deliver()
        assert kinds(world) == [Load, Finish, PerformActions, Finish]
        acks = [[ack.message.id for ack in each.write.acks] for each in world.commands if isinstance(each, Finish)]
        assert acks == [["m2"], ["m3", "m4"]]

    def test_end_their_batch_with_one_that_runs_an_actor(self) -> None:
        world = World(signup())
        world.start()
        world.send(SUBMIT)
        world.send("VERIFY")
        world.deliver()
        assert world.value() == "active"
        assert kinds(world) == [Load, Finish, PerformActions, RunActors, Finish, Finish, PerformActions, Finish]


class TestAQueuedMessageThatRaises:
    def test_ends_the_batch_and_is_handled_alone(self) -> None:
        world = started()
        for event in (add(1), add(2), add(3, boom=True), add(4)):
            world.send(event)
        assert world.deliver() is TurnEnd.RELEASED
        assert applied(world) == [1, 2]
        assert world.record().failing is not None
        assert kinds(world)[:2] == [Load, Finish]

    def test_keeps_later_messages_waiting(self) -> None:
        world = started()
        world.send(add(1, boom=True))
        world.send(add(2))
        world.deliver()
        assert world.deliver() is None
        assert applied(world) == []
