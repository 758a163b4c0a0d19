"""The timers of the whole host: what its machine cancelled has no effect, and what it set again the new one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from settled import Machine, cancel, raise_, setup
from settled_conformance.checks import proves
from settled_conformance.checks.host import House, event
from settled_conformance.fixture import Bench


@proves("T3")
def a_timer_that_its_machine_cancelled_has_no_effect(bench: Bench) -> None:
    house = House(bench, _bell(bench.lease / 2))
    house.client.start("a")
    house.client.send("a", event("1", "SET"))
    house.work()
    house.client.send("a", event("2", "CANCEL"))
    house.work()
    bench.advance(bench.lease / 2 + bench.harness.tick)
    house.work()
    bench.same(_state(house), "quiet", "the state after a timer that was cancelled")
    bench.mark("cancelled")
    house.close()


@proves("T4")
def a_timer_that_its_machine_set_again_has_its_effect_at_the_new_time(bench: Bench) -> None:
    house, quarter = House(bench, _bell(bench.lease / 2)), bench.lease / 4
    house.client.start("a")
    house.client.send("a", event("1", "SET"))
    house.work()
    bench.advance(quarter)
    house.client.send("a", event("2", "SET"))
    house.work()
    bench.advance(quarter + bench.harness.tick)
    house.work()
    bench.same(_state(house), "quiet", "the state at the old time of a timer")
    bench.mark("replaced")
    bench.advance(quarter)
    house.work()
    bench.same(_state(house), "rung", "the state at the new time of a timer")
    house.close()


def _bell(wait: float) -> Machine[Any, Any]:
    """Rings `wait` seconds after it was set last, unless it was cancelled."""
    return setup(
        actions={"set": raise_({"type": "RING"}, id="bell", delay="a while"), "cancel": cancel("bell")},
        delays={"a while": timedelta(seconds=wait)},
    ).machine(
        {
            "id": "bell",
            "initial": "quiet",
            "states": {
                "quiet": {
                    "tags": ["settled"],
                    "on": {"SET": {"actions": ["cancel", "set"]}, "CANCEL": {"actions": ["cancel"]}, "RING": "rung"},
                },
                "rung": {"tags": ["settled"]},
            },
        }
    )


def _state(house: House) -> Any:
    snapshot = house.client.get("a")
    return None if snapshot is None else snapshot.value
