"""A turn takes the time from its driver, and the due time of a timer from the record."""

from __future__ import annotations

from datetime import timedelta

import pytest
from attrs import evolve

from settled.durable import Timer, Traits, Write
from settled.durable.commands import Finish, Release
from settled.durable.messages import TimerFired
from settled.durable.record import port_timer
from settled_local.memory import MemoryBackend
from tests.durable.machines import SUBMIT, signup
from tests.support.virtual_world import LEASE, Crash, World

DAY = 24 * 3600.0


def waiting(traits: Traits | None = None) -> World:
    world = World(signup(), traits=traits or Traits())
    world.start()
    world.send(SUBMIT)
    world.settle(until=world.now + 100)
    assert world.value() == "waiting"
    return world


def token_of(world: World) -> str:
    (token,) = world.record().timers
    return token


class NonAtomicBackend(MemoryBackend):
    """A backend with store and timers of different vendors, whose worker can die right after the commit."""

    dies_after_commit = False

    def finish(self, write: Write) -> None:
        if not self.dies_after_commit:
            return super().finish(write)
        self.dies_after_commit = False
        assert write.stored is not None
        self.store.commit(write.key, write.stored, write.expected, write.add_dead_letters, write.remove_dead_letters)
        raise Crash


class TestATimerThatIsEarly:
    def test_changes_nothing_and_is_scheduled_again(self) -> None:
        world = waiting()
        world.take([world.stray(TimerFired(token_of(world)), "an hour early")])
        assert world.value() == "waiting"
        (finish,) = [each for each in world.commands[-2:] if isinstance(each, Finish)]
        assert [timer.due for timer in finish.write.timers] == [timer.due for timer in world.record().timers.values()]
        assert not [each for each in world.commands if isinstance(each, Release)]

    def test_has_a_new_id_and_a_new_message_id_each_time(self) -> None:
        world = waiting()
        token = token_of(world)
        for early in (0, 1):
            world.take([world.stray(TimerFired(token, early), f"early {early}")])
        timers = [timer for each in world.commands for timer in _timers(each)]
        assert [timer.id for timer in timers] == [token, f"{token}@1", f"{token}@2"]
        assert len({timer.message.id for timer in timers}) == 3

    def test_is_not_replaced_by_a_worker_that_was_frozen_before_it_scheduled_the_first(self) -> None:
        world = waiting()
        (first,) = [timer for each in world.commands for timer in _timers(each)]
        world.backend.timers.cancel(first.id)
        world.backend.queue.send([first.message])
        world.deliver()
        world.backend.timers.schedule(first)  # the worker goes on
        world.settle(until=1_000 + DAY)
        assert world.value() == "expired"

    def test_that_comes_twice_is_scheduled_again_once(self) -> None:
        world = waiting()
        token = token_of(world)
        world.take([world.stray(TimerFired(token), "early")])
        world.take([world.stray(TimerFired(token), "early again")])
        timers = [timer for each in world.commands for timer in _timers(each)]
        assert [timer.id for timer in timers] == [token, f"{token}@1"]

    def test_is_cancelled_under_the_id_that_it_has_now(self) -> None:
        world = waiting()
        token = token_of(world)
        world.take([world.stray(TimerFired(token), "early")])
        world.send({"type": "VERIFY"})
        world.deliver()
        cancels = [id for each in world.commands if isinstance(each, Finish) for id in each.write.cancels]
        assert cancels == [f"{token}@1"]

    def test_fires_even_if_the_worker_died_between_commit_and_schedule(self) -> None:
        world = World(signup())
        world.backend = backend = NonAtomicBackend(lease=timedelta(seconds=LEASE), clock=lambda: world.now)
        world.start()
        world.send(SUBMIT)
        world.settle(until=world.now + 100)
        token = token_of(world)
        backend.timers.cancel(token)
        backend.queue.send([port_timer(world.key(), token, 0.0).message])
        backend.dies_after_commit = True
        world.deliver()
        assert not backend.dies_after_commit
        world.now += LEASE
        world.settle(until=1_000 + DAY)
        assert world.value() == "expired"

    def test_fires_when_it_is_due(self) -> None:
        world = waiting()
        world.take([world.stray(TimerFired(token_of(world)), "early")])
        world.settle(until=1_000 + DAY - 1)
        assert world.value() == "waiting"
        world.settle(until=1_000 + DAY)
        assert world.value() == "expired"

    def test_is_redelivered_only_a_few_times_if_the_clock_of_the_port_is_ahead(self) -> None:
        world = waiting()
        behind = 3_000.0
        world.now += DAY
        token, rounds = token_of(world), 0
        port, message_id, early = world.now, "first", 0
        while world.value() == "waiting" and rounds < 10:
            world.now = port - behind
            world.take([world.stray(TimerFired(token, early), message_id)])
            scheduled = [timer for each in world.commands for timer in _timers(each)][-1]
            early, message_id, rounds = early + 1, scheduled.message.id, rounds + 1
            port = max(port, scheduled.due)
        assert world.value() == "expired"
        assert rounds <= 4
        assert port - behind < 1_000 + 2 * DAY


def _timers(command: object) -> list[Timer]:
    return list(command.write.timers) if isinstance(command, Finish) else []


class TestAClockThatIsCoarse:
    @pytest.mark.parametrize("resolution", [0.0, 1.0])
    def test_delays_timers_by_as_much_as_it_may_be_behind(self, resolution: float) -> None:
        world = waiting(Traits(resolution=resolution))
        (timer,) = world.record().timers.values()
        assert timer.due == 1_000 + DAY + resolution


class TestAClockThatWasSetBack:
    def test_delays_a_timer_and_loses_nothing(self) -> None:
        world = waiting()
        world.now += DAY
        deliveries = world.backend.queue.receive(10)
        world.now -= 3_600
        world.take([evolve(each, lease_until=world.now + 30) for each in deliveries])
        assert world.value() == "waiting"
        world.settle(until=1_000 + DAY)
        assert world.value() == "expired"
