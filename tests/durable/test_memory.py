"""A worker that remembers what it stored last, and is wrong about it as soon as another one has gone on."""

from __future__ import annotations

from settled import TurnEnd
from settled.durable.commands import Finish, Load
from settled.durable.messages import Event, TimerFired
from settled_runtime.record_cache import RecordCache
from tests.durable.machines import SUBMIT, add, appending, applied, signup
from tests.support.virtual_world import LEASE, World


def started(size: int = 16) -> World:
    world = World(appending(), memory=RecordCache(size))
    world.start()
    world.settle()
    world.commands.clear()
    return world


def behind_its_back(world: World, n: int) -> None:
    """Another worker takes an event; this one does not hear of it."""
    memory, world.memory = world.memory, None
    world.send(add(n), id=f"other {n}")
    world.settle()
    world.memory = memory
    world.commands.clear()


class TestWhatIsRemembered:
    def test_need_not_be_loaded(self) -> None:
        world = started()
        for n in range(3):
            world.send(add(n))
            world.deliver()
        assert [type(command) for command in world.commands] == [Load, Finish] * 3
        assert [command.fresh for command in world.commands if isinstance(command, Load)] == [False] * 3
        assert applied(world) == [0, 1, 2]

    def test_is_found_to_be_old_by_the_commit(self) -> None:
        world = started()
        behind_its_back(world, 1)
        world.send(add(2))
        assert world.deliver() is TurnEnd.DONE
        assert applied(world) == [1, 2]

    def test_is_not_believed_when_it_would_drop_a_message(self) -> None:
        world = World(signup(), memory=RecordCache())
        world.start()
        world.settle()
        memory, world.memory = world.memory, None
        world.send(SUBMIT)
        world.settle(until=2_000)
        world.memory = memory
        ((token, timer),) = world.record().timers.items()
        world.now = timer.due
        world.take([world.stray(TimerFired(token), token)])
        assert world.value() == "expired"

    def test_does_not_hide_that_a_message_is_known(self) -> None:
        world = started()
        behind_its_back(world, 1)
        world.take([world.stray(Event(add(1)), "other 1")])
        assert applied(world) == [1]

    def test_is_forgotten_as_others_come(self) -> None:
        world = started(size=1)
        world.start("bob")
        world.settle()
        world.commands.clear()
        world.send(add(1))
        world.deliver()
        assert world.memory is not None
        assert world.memory.pop(world.key("bob")) is None

    def test_is_not_an_open_turn(self) -> None:
        world = World(signup(), memory=RecordCache())
        world.start()
        world.settle()
        world.send(SUBMIT)
        world.crash_after(Finish)
        world.deliver()
        assert world.memory is not None
        assert world.memory.pop(world.key()) is None
        world.now += LEASE
        world.settle(until=5_000)
        assert world.value() == "waiting"
