"""The delay of an active state is always running, whatever a deploy changes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from settled import Machine, Migration, Policy, assign, raise_, setup
from settled.durable.commands import Finish
from tests.support.virtual_world import LEASE, World


def order(after: dict[str, str], node: str = "basket", version: str | None = None, **logic: Any) -> Machine[Any]:
    config: dict[str, Any] = {
        "id": "order",
        "initial": node,
        "states": {node: {"tags": ["settled"], "after": after}, "expired": {"tags": ["settled"]}},
    }
    delays = {"patience": timedelta(seconds=8), "short": timedelta(seconds=2), **logic.pop("delays", {})}
    return setup(delays=delays, **logic).machine({**config, "version": version} if version else config)


def started(machine: Machine[Any]) -> World:
    world = World(machine)
    world.start()
    world.settle(until=world.now)
    return world


def notes(world: World) -> list[str]:
    return [note for each in world.commands if isinstance(each, Finish) for note in each.notes]


class TestADelayThatWasChanged:
    def test_runs_in_full_once_the_old_one_is_over(self) -> None:
        world = started(order({"8000": "expired"}))
        world.machine = order({"60000": "expired"})
        world.settle(until=1_008)
        assert world.value() == "basket"
        assert [timer.due for timer in world.record().timers.values()] == [1_068]
        world.settle(until=1_067.9)
        assert world.value() == "basket"
        world.settle(until=1_068)
        assert world.value() == "expired"

    def test_starts_with_the_next_message(self) -> None:
        world = started(order({"60000": "expired"}))
        world.machine = order({"8000": "expired"})
        world.now += 5
        world.send("NOISE")
        world.settle(until=1_012.9)
        assert world.value() == "basket"
        world.settle(until=1_013)
        assert world.value() == "expired"

    def test_is_described_in_the_notes(self) -> None:
        world = started(order({"8000": "expired"}))
        world.machine = order({"60000": "expired"})
        world.settle(until=1_008)
        assert notes(world) == [
            "its timer xstate.after.8000.order.basket belongs to no active state any more, and was cancelled",
            "its timer xstate.after.60000.order.basket was not running, and is due in 60.000 s",
        ]

    def test_that_was_added_starts(self) -> None:
        world = started(order({}))
        world.machine = order({"8000": "expired"})
        world.send("NOISE")
        world.settle(until=1_008)
        assert world.value() == "expired"

    def test_that_was_removed_ends(self) -> None:
        world = started(order({"8000": "expired"}))
        world.machine = order({})
        world.settle(until=2_000)
        assert world.record().timers == {}
        assert len(notes(world)) == 1

    def test_of_the_same_name_keeps_its_time(self) -> None:
        world = started(order({"patience": "expired"}))
        world.machine = order({"patience": "expired", "60000": "expired"})
        world.now += 5
        world.send("NOISE")
        world.settle(until=1_008)
        assert world.value() == "expired"

    def test_needs_no_commit_if_no_timer_changes(self) -> None:
        world = started(order({"patience": "expired"}))
        version = world.version()
        world.machine = _described()
        world.send("NOISE")
        world.settle(until=1_001)
        assert world.version() == version + 1
        assert notes(world) == []

    def test_of_an_open_turn_starts_too(self) -> None:
        world = started(_parking("8000"))
        world.machine = _parking("60000")
        world.settle(until=1_059)
        assert world.value() == "resting"
        world.settle(until=1_200)
        assert world.value() == "over"


def _described() -> Machine[Any]:
    """Return a machine with the same delays and another fingerprint."""
    config = {
        "id": "order",
        "description": "changed",
        "initial": "basket",
        "states": {
            "basket": {"tags": ["settled"], "after": {"patience": "expired"}},
            "expired": {"tags": ["settled"]},
        },
    }
    return setup(delays={"patience": timedelta(seconds=8)}).machine(config)


def _parking(delay: str) -> Machine[Any]:
    """Return a machine that waits in a node that is not settled, so that its turn stays open."""
    return setup().machine(
        {
            "id": "order",
            "initial": "resting",
            "states": {"resting": {"after": {delay: "over"}}, "over": {"tags": ["settled"]}},
        }
    )


def renamed(snapshot: dict[str, Any]) -> dict[str, Any]:
    return {**snapshot, "value": "cart"}


class TestAMigrationThatRenamesAState:
    @pytest.mark.parametrize(
        ("migration", "due"),
        [(renamed, 1_013), (Migration(renamed), 1_013), (Migration(renamed, timers="keep"), 1_008)],
        ids=["a function", "restart", "keep"],
    )
    def test_decides_whether_the_delay_starts_again(self, migration: Any, due: float) -> None:
        world = started(order({"patience": "expired"}, version="1"))
        world.machine = order({"patience": "expired"}, "cart", "2", migrations={"1": migration})
        world.now += 5
        world.send("NOISE")
        world.settle(until=due - 0.1)
        assert world.value() == "cart"
        world.settle(until=due)
        assert world.value() == "expired"

    def test_may_keep_the_due_time_for_the_new_delay_of_a_node(self) -> None:
        world = started(order({"patience": "expired"}, version="1"))
        same = Migration(lambda snapshot: snapshot, timers="keep")
        world.machine = order({"60000": "expired"}, "basket", "2", migrations={"1": same})
        world.send("NOISE")
        world.settle(until=1_008)
        assert world.value() == "expired"


class TestADeployThatFailsAtFirst:
    @pytest.mark.parametrize("failures", [1, 3])
    def test_starts_the_delay_once_it_can_be_computed(self, failures: int) -> None:
        left = [failures]

        def short(_a: Any) -> timedelta:
            if left[0]:
                left[0] -= 1
                raise ValueError("the config service")
            return timedelta(seconds=2)

        world = started(order({"patience": "expired"}))
        world.machine = order({"other": "expired"}, delays={"other": short})
        world.send("NOISE")
        world.settle()
        assert world.value() == "expired"

    def test_starts_the_delay_of_an_instance_that_was_halted(self) -> None:
        broken = [True]

        def count(_a: Any) -> int:
            if broken[0]:
                raise ValueError("a bug")
            return 1

        def counting(ms: str) -> Machine[Any]:
            return setup(actions={"count": assign(n=count)}).machine(
                {
                    "id": "order",
                    "initial": "basket",
                    "context": {"n": 0},
                    "states": {
                        "basket": {
                            "tags": ["settled"],
                            "after": {ms: "expired"},
                            "on": {"COUNT": {"actions": "count"}},
                        },
                        "expired": {"tags": ["settled"]},
                    },
                }
            )

        world = World(counting("600000"), policy=Policy(lease=timedelta(seconds=LEASE), max_attempts=1))
        world.start()
        world.send("COUNT")
        world.settle(until=1_100)
        assert world.record().halted
        broken[0] = False
        world.machine = counting("500000")
        assert world.redrive() == 1
        world.settle()
        assert world.value() == "expired"
        assert world.snapshot().context == {"n": 1}


class TestADelayedRaise:
    def test_is_not_mistaken_for_the_delay_of_a_state(self) -> None:
        def raising(more: dict[str, Any]) -> Machine[Any]:
            late = raise_({"type": "LATE"}, delay=timedelta(hours=1), id="xstate.after.mine")
            return setup().machine(
                {
                    "id": "order",
                    "initial": "basket",
                    "states": {
                        "basket": {"tags": ["settled"], "entry": [late], "on": {"LATE": "expired", **more}},
                        "expired": {"tags": ["settled"]},
                    },
                }
            )

        world = started(raising({}))
        world.machine = raising({"MORE": "expired"})
        world.send("NOISE")
        world.settle()
        assert world.value() == "expired"
