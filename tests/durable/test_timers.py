"""Timers outlive their turns, and fire only for the entry of the node that started them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from settled import Machine, assign, cancel, raise_, send_to, setup
from settled.durable.commands import Finish
from settled.durable.messages import TimerFired
from tests.durable.machines import signup, submitted
from tests.support.virtual_world import Hanging, World

DAY = 86_400.0


def hang(_input: Any, _call: Any) -> None:
    raise Hanging


def waiting() -> World:
    world = submitted(signup())
    world.settle(until=2_000)
    return world


def reminder() -> Machine[Any]:
    return setup(
        actions={
            "remind": raise_({"type": "REMIND"}, id="reminder", delay=timedelta(seconds=60)),
            "forget": cancel("reminder"),
        }
    ).machine(
        {
            "id": "kettle",
            "initial": "on",
            "states": {
                "on": {
                    "tags": ["settled"],
                    "on": {
                        "ARM": {"actions": "remind"},
                        "DISARM": {"actions": "forget"},
                        "AGAIN": {"target": "on", "reenter": True},
                        "REMIND": "reminded",
                    },
                    "after": {"100000": "boiled"},
                },
                "reminded": {"type": "final"},
                "boiled": {"type": "final"},
            },
        }
    )


def started() -> World:
    world = World(reminder())
    world.start()
    world.settle(until=world.now)
    return world


class TestATimer:
    def test_fires_when_it_is_due_and_not_before(self) -> None:
        world = waiting()
        world.settle(until=1_000 + DAY - 0.001)
        assert world.value() == "waiting"
        world.settle(until=1_000 + DAY)
        assert world.value() == "expired"

    def test_has_the_idempotency_key_of_the_effect_that_scheduled_it(self) -> None:
        world = waiting()
        ((_, key, _),) = [each for each in world.effects if each[0] == "send_email"]
        assert list(world.record().timers) == [f"{key.removesuffix('/1')}/3"]

    def test_is_scheduled_again_after_a_crash_under_the_same_id(self) -> None:
        world = started()
        world.send("ARM")
        world.crash_at(Finish)
        world.deliver()
        world.settle(until=1_080)
        assert world.value() == "on"
        world.settle(until=1_095)
        assert world.value() == "reminded"

    def test_that_is_delivered_twice_is_taken_once(self) -> None:
        world = started()
        world.send("ARM")
        world.settle(until=world.now)
        token = next(token for token, timer in world.record().timers.items() if timer.id == "reminder")
        world.settle(until=1_060)
        assert world.value() == "reminded"
        version = world.version()

        world.take([world.stray(TimerFired(token), token)])
        assert world.version() == version


class TestACancelledTimer:
    def test_does_not_fire(self) -> None:
        world = started()
        world.send("ARM")
        world.settle(until=1_010)
        world.send("DISARM")
        world.settle(until=1_099)
        assert world.value() == "on"

    def test_does_not_fire_if_it_was_started_in_the_same_batch(self) -> None:
        world = started()
        world.send("ARM")
        world.send("DISARM")
        world.settle(until=1_099)
        assert world.value() == "on"
        assert [timer.id for timer in world.record().timers.values() if timer.id == "reminder"] == []

    def test_does_not_fire_for_a_later_entry_of_its_node(self) -> None:
        world = started()
        old = set(world.record().timers)
        world.now += 50
        world.send("AGAIN")
        world.settle(until=world.now)
        new = set(world.record().timers)
        assert old.isdisjoint(new)
        world.settle(until=1_149)
        assert world.value() == "on"
        world.settle(until=1_150)
        assert world.value() == "boiled"

    def test_is_removed_when_its_machine_ends(self) -> None:
        world = started()
        world.send("REMIND")
        world.settle(until=world.now)
        assert world.record().timers == {}
        assert world.backend.next_due() == float("inf")

    def test_is_removed_when_its_machine_fails(self) -> None:
        def fail(_input: Any, _call: Any) -> None:
            raise RuntimeError("no")

        machine = setup(actors={"fail": fail}).machine(
            {
                "id": "m",
                "initial": "a",
                "states": {
                    "a": {
                        "tags": ["settled"],
                        "after": {"5000": "b"},
                        "on": {"GO": ".failing"},
                        "states": {"failing": {"invoke": {"src": "fail"}}, "idle": {}},
                        "initial": "idle",
                    },
                    "b": {},
                },
            }
        )
        world = World(machine)
        world.start()
        world.settle(until=world.now)
        assert len(world.record().timers) == 1
        world.send("GO")
        world.settle(until=world.now)
        assert world.snapshot().status == "error"
        assert world.record().timers == {}
        assert world.backend.next_due() == float("inf")

    def test_does_not_overtake_the_report_that_cancels_it(self) -> None:
        raising = [True]

        def picky(_a: Any) -> bool:
            if raising:
                raise ValueError(raising.pop())
            return True

        machine = setup(
            actors={"work": lambda input, call: None},
            guards={"picky": picky},
            actions={
                "worry": raise_({"type": "LATE"}, id="worry", delay=timedelta(milliseconds=500)),
                "relax": cancel("worry"),
            },
        ).machine(
            {
                "id": "m",
                "initial": "a",
                "states": {
                    "a": {"tags": ["settled"], "on": {"GO": "b"}},
                    "b": {
                        "invoke": {"src": "work", "onDone": {"guard": "picky", "target": "reported"}},
                        "entry": "worry",
                        "exit": "relax",
                        "on": {"LATE": "late"},
                    },
                    "reported": {"tags": ["settled"], "on": {"LATE": "late"}},
                    "late": {"tags": ["settled"]},
                },
            }
        )
        world = World(machine)
        world.start()
        world.send("GO")
        world.settle()
        assert world.now > 1_000.5
        assert world.value() == "reported"


class TestTimersUnderOneId:
    """As in XState, all of them fire. The id refers to the last one, until one of them has fired or was cancelled."""

    def machine(self) -> Machine[Any]:
        return setup(
            actions={
                "first": raise_({"type": "RING", "n": 1}, id="bell", delay=timedelta(seconds=10)),
                "second": raise_({"type": "RING", "n": 2}, id="bell", delay=timedelta(seconds=20)),
                "forget": cancel("bell"),
                "hear": assign(heard=lambda a: [*a.context["heard"], a.event["n"]]),
            }
        ).machine(
            {
                "id": "m",
                "context": {"heard": []},
                "entry": ["first", "second"],
                "on": {"RING": {"actions": "hear"}, "FORGET": {"actions": "forget"}},
            }
        )

    def world(self) -> World:
        world = World(self.machine())
        world.start()
        world.settle(until=world.now)
        return world

    def test_fire_each_at_its_own_time(self) -> None:
        world = self.world()
        world.settle()
        assert world.snapshot().context["heard"] == [1, 2]

    def test_are_not_all_cancelled_by_their_id(self) -> None:
        world = self.world()
        world.send("FORGET")
        world.send("FORGET")
        world.settle()
        assert world.snapshot().context["heard"] == [1]

    def test_cannot_be_cancelled_once_one_has_fired(self) -> None:
        world = self.world()
        world.settle(until=1_015)
        world.send("FORGET")
        world.settle()
        assert world.snapshot().context["heard"] == [1, 2]


class TestTimersThatAreDueAtTheSameTime:
    COUNT = 12

    def machine(self, **states: Any) -> Machine[Any]:
        bells = [
            {"type": "xstate.raise", "params": {"event": {"type": "RING", "n": n}, "delay": 1_000}}
            for n in range(self.COUNT)
        ]
        return setup(
            actors={"wait": hang}, actions={"hear": assign(heard=lambda a: [*a.context["heard"], a.event["n"]])}
        ).machine(
            {
                "id": "m",
                "context": {"heard": []},
                "on": {"RING": {"actions": "hear"}, "GO": ".ringing"},
                "initial": "idle",
                "states": {"idle": {"tags": ["settled"]}, "ringing": {"entry": bells, **states}},
            }
        )

    def test_fire_in_the_order_of_their_start_in_an_open_turn(self) -> None:
        world = World(self.machine(invoke={"src": "wait", "onDone": "idle"}, after={"2000": "#m.idle"}))
        world.start()
        world.send("GO")
        world.settle()
        assert world.value() == "idle"
        assert world.snapshot().context["heard"] == list(range(self.COUNT))

    def test_fire_in_that_order_after_the_turn_in_whatever_order_they_are_delivered(self) -> None:
        world = World(self.machine(tags=["settled"]))
        world.start()
        world.send("GO")
        world.settle(until=world.now)
        tokens = list(world.record().timers)
        world.now += 1
        for token in reversed(tokens):
            world.take([world.stray(TimerFired(token), f"due {token}")])
        assert world.snapshot().context["heard"] == list(range(self.COUNT))
        world.settle()
        assert world.snapshot().context["heard"] == list(range(self.COUNT))


class TestADelayedSendToAnother:
    def machine(self) -> Machine[Any]:
        return setup(
            actions={
                "ping": send_to("pinger/bob", {"type": "PING"}, id="ping", delay=timedelta(seconds=10)),
                "forget": cancel("ping"),
            }
        ).machine(
            {
                "id": "pinger",
                "initial": "a",
                "states": {
                    "a": {
                        "tags": ["settled"],
                        "on": {"GO": {"actions": "ping"}, "NO": {"actions": "forget"}, "PING": "pinged"},
                    },
                    "pinged": {"tags": ["settled"]},
                },
            }
        )

    def test_arrives_once_when_it_is_due(self) -> None:
        world = World(self.machine())
        world.start("ada")
        world.start("bob")
        world.send("GO", "ada")
        world.settle(until=1_009)
        assert world.value("bob") == "a"
        world.settle(until=1_010)
        assert world.value("bob") == "pinged"
        assert [id for id in world.record("bob").window.ids if id.startswith("settled:pinger/ada/")]

    def test_can_be_cancelled_until_it_is_due(self) -> None:
        world = World(self.machine())
        world.start("ada")
        world.start("bob")
        world.send("GO", "ada")
        world.settle(until=1_009)
        world.send("NO", "ada")
        world.settle()
        assert world.value("bob") == "a"
