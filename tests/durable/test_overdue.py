"""What was due to an instance and is lost outside its record is found there, and sent again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from settled import Backoff, Key, Machine, Retry, assign, setup
from settled.durable import Stored
from settled.durable.commands import RunActors
from settled_local.memory import MemoryBackend
from settled_runtime import wake_overdue
from tests.durable.machines import add, appending, signup, sound, submitted, tell
from tests.durable.test_dead_letters import PATIENT, Switch, poisoned, started
from tests.support.virtual_world import LEASE, World

HOUR, DAY = 3_600.0, 86_400.0


def lose_all_but_the_store(world: World) -> None:
    """Leave the records and dead letters of `world` as they are; its queue and its timers are empty, and new."""
    before = world.backend
    world.backend = MemoryBackend(timedelta(seconds=LEASE), clock=lambda: world.now)
    for key, listed in before.store.scan():
        stored = before.store.load(key)
        assert stored is not None
        for version in range(1, listed.version):
            world.backend.store.commit(key, Stored(version, stored.body, stored.index), version - 1)
        world.backend.store.commit(key, stored, stored.version - 1, before.store.dead_letters(key))


def woken(world: World, older_than: float = HOUR) -> list[str]:
    return [each.what for each in wake_overdue(world.backend, timedelta(seconds=older_than)).overdue]


def counting() -> Machine[Any]:
    """Counts the ends of a delay of a day, and begins it anew."""
    logic = setup(
        guards={"sound": sound},
        actions={"count": assign(days=lambda a: a.context["days"] + 1)},
        delays={"day": timedelta(days=1)},
    )
    day = {"tags": ["settled"], "after": {"day": {"target": "day", "reenter": True, "actions": "count"}}}
    day["on"] = {"ADD": {"guard": "sound", "actions": "count"}}
    return logic.machine({"id": "calendar", "context": {"days": 0}, "initial": "day", "states": {"day": day}})


def calendar() -> World:
    world = World(counting())
    world.start()
    world.settle(until=world.now)
    return world


class TestATimer:
    def test_that_was_lost_fires(self) -> None:
        world = calendar()
        lose_all_but_the_store(world)
        world.now += 2 * DAY
        world.settle()
        assert world.snapshot().context == {"days": 0}
        assert woken(world) == ["the timer xstate.after.day.calendar.day"]
        world.settle(until=world.now)
        assert world.snapshot().context == {"days": 1}

    def test_that_was_not_lost_fires_once(self) -> None:
        world = calendar()
        world.now += DAY + HOUR + 1
        assert (woken(world), woken(world)) == (["the timer xstate.after.day.calendar.day"],) * 2
        world.settle(until=world.now)
        assert world.snapshot().context == {"days": 1}

    def test_that_is_not_overdue_is_left_to_the_backend(self) -> None:
        world = calendar()
        world.now += DAY + HOUR
        assert woken(world) == []
        assert woken(world, older_than=HOUR - 1) == ["the timer xstate.after.day.calendar.day"]

    def test_whose_message_the_queue_remembers_fires_in_a_store_that_was_restored(self) -> None:
        world = calendar()
        restored = world.backend.store.load(world.key())
        assert restored is not None
        world.settle(until=world.now + DAY)
        current = world.backend.store.load(world.key())
        assert current is not None
        again = Stored(current.version + 1, restored.body, restored.index)
        world.backend.store.commit(world.key(), again, current.version)
        world.now += HOUR + 1
        assert world.snapshot().context == {"days": 0}
        woken(world)
        world.settle(until=world.now)
        assert world.snapshot().context == {"days": 1}

    def test_of_a_halted_instance_waits_for_its_redrive(self) -> None:
        world = World(counting(), policy=PATIENT)
        world.start()
        world.send(add(1, boom=True))
        world.settle(until=world.now + 10)
        assert world.record().halted is not None
        world.now += 10 * DAY
        assert woken(world) == []

    def test_that_was_delivered_early_and_then_lost_fires(self) -> None:
        world = calendar()
        ((token, timer),) = world.record().timers.items()
        before, world.now = world.now, timer.due
        early = world.backend.queue.receive(1)
        world.now = before
        world.take(early)
        assert world.record().timers[token].early == 1
        lose_all_but_the_store(world)
        world.now += 2 * DAY
        woken(world)
        world.settle(until=world.now)
        assert world.snapshot().context == {"days": 1}


class TestAnOpenTurn:
    def test_whose_message_is_lost_is_resumed(self) -> None:
        world = submitted(signup())
        world.crash_at(RunActors)
        world.deliver()
        lose_all_but_the_store(world)
        world.now += LEASE + HOUR + 1
        assert woken(world) == ["the open turn of submit"]
        world.settle(until=world.now)
        assert world.snapshot().matches("waiting")
        assert world.outcome("submit") == "taken"

    def test_of_a_worker_that_has_its_lease_is_left_to_it(self) -> None:
        world = submitted(signup())
        world.crash_at(RunActors)
        world.deliver()
        world.now += LEASE - 1
        assert woken(world, older_than=0.0) == []

    def test_that_waits_for_the_next_attempt_of_an_actor_is_not_overdue(self) -> None:
        def fail(_input: Any, _call: Any) -> None:
            raise ConnectionError

        world = submitted(
            signup(fail, retry=Retry(attempts=2, backoff=Backoff(first=timedelta(days=1), max_wait=timedelta(days=1))))
        )
        world.deliver()
        world.now += DAY - 1
        assert woken(world) == []
        world.now += HOUR + 2
        assert woken(world) == ["the open turn of submit"]


class TestARedrive:
    def test_whose_message_is_lost_goes_on(self) -> None:
        world = poisoned()
        world.redrive()
        lose_all_but_the_store(world)
        world.now += HOUR + 1
        assert woken(world) == ["the redrive of its dead letters"]
        world.settle(until=world.now + DAY)
        assert "failed 3 times" in str(world.record().halted)  # it was taken again, and is still poison


def test_effects_that_were_performed_are_not_performed_again() -> None:
    """The record keeps them until the next commit."""
    switch = Switch()
    switch.on = True
    world = started(appending(switch))
    world.send(tell(1))
    world.settle()
    assert world.record().outbox != ()
    world.now += 10 * DAY
    assert woken(world) == []


def test_a_record_that_cannot_be_read_is_named_and_keeps_nobody_else_waiting() -> None:
    world = calendar()
    lose_all_but_the_store(world)
    damaged = Key("calendar", "aaa")
    world.backend.store.commit(damaged, Stored(1, "{}", next(iter(world.backend.store.scan()))[1].index), 0)
    world.now += 2 * DAY
    report = wake_overdue(world.backend)
    assert report.examined == 2
    assert [*report.unreadable] == [damaged]
    assert [each.message.key.instance for each in report.overdue] == ["ada"]
