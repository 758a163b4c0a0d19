"""A worker that caches the record it stored last, which is stale once another worker has committed."""

from __future__ import annotations

from settled import TurnEnd
from settled.durable.commands import Finish
from settled.durable.messages import Event, TimerFired
from settled_runtime.record_cache import RecordCache
from tests.durable.machines import SUBMIT, add, appending, applied, signup
from tests.support.virtual_world import LEASE, World


def started(size: int = 16) -> World:
    world = World(appending(), record_cache=RecordCache(size))
    world.start()
    world.settle()
    world.commands.clear()
    return world


def let_another_worker_take(world: World, n: int) -> None:
    """Let another worker take an event, so that the cached record is stale."""
    record_cache, world.record_cache = world.record_cache, None
    world.send(add(n), id=f"other {n}")
    world.settle()
    world.record_cache = record_cache
    world.commands.clear()


class TestACachedRecord:
    def test_is_not_loaded_again(self) -> None:
        world = started()
        for n in range(3):
            world.send(add(n))
            world.deliver()
        assert [type(command) for command in world.commands] == [Finish] * 3
        assert applied(world) == [0, 1, 2]

    def test_is_detected_as_stale_by_the_commit(self) -> None:
        world = started()
        let_another_worker_take(world, 1)
        world.send(add(2))
        assert world.deliver() is TurnEnd.DONE
        assert applied(world) == [1, 2]

    def test_is_loaded_afresh_before_a_message_is_dropped(self) -> None:
        world = World(signup(), record_cache=RecordCache())
        world.start()
        world.settle()
        record_cache, world.record_cache = world.record_cache, None
        world.send(SUBMIT)
        world.settle(until=2_000)
        world.record_cache = record_cache
        ((token, timer),) = world.record().timers.items()
        world.now = timer.due
        world.take([world.stray(TimerFired(token), token)])
        assert world.value() == "expired"

    def test_does_not_hide_that_a_message_is_known(self) -> None:
        world = started()
        let_another_worker_take(world, 1)
        world.take([world.stray(Event(add(1)), "other 1")])
        assert applied(world) == [1]

    def test_is_evicted_by_newer_ones(self) -> None:
        world = started(size=1)
        world.start("bob")
        world.settle()
        world.commands.clear()
        world.send(add(1))
        world.deliver()
        assert world.record_cache is not None
        assert world.record_cache.pop(world.key("bob"), float) is None

    def test_never_has_an_open_turn(self) -> None:
        world = World(signup(), record_cache=RecordCache())
        world.start()
        world.settle()
        world.send(SUBMIT)
        world.crash_after(Finish)
        world.deliver()
        assert world.record_cache is not None
        assert world.record_cache.pop(world.key(), float) is None
        world.now += LEASE
        world.settle(until=5_000)
        assert world.value() == "waiting"
