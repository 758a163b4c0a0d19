"""Checks of T3 and T4 with the real host: a cancelled timer has no effect, a reset one only at its new time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from settled import Machine, cancel, raise_, setup
from settled_conformance.checks import checks
from settled_conformance.checks.host import HostFixture, event
from settled_conformance.fixture import BackendFixture


@checks("T3")
def a_timer_cancelled_by_its_machine_has_no_effect(fixture: BackendFixture) -> None:
    service = HostFixture(fixture, _bell(fixture.lease / 2))
    service.client.start("a")
    service.client.send("a", event("1", "SET"))
    service.run_until_idle()
    service.client.send("a", event("2", "CANCEL"))
    service.run_until_idle()
    fixture.advance(fixture.lease / 2 + fixture.harness.tick)
    service.run_until_idle()
    fixture.require_equal(_state(service), "waiting", "the state after a timer that was cancelled")
    fixture.mark("cancelled")
    service.close()


@checks("T4")
def a_timer_reset_by_its_machine_takes_effect_at_the_new_time(fixture: BackendFixture) -> None:
    service, quarter = HostFixture(fixture, _bell(fixture.lease / 2)), fixture.lease / 4
    service.client.start("a")
    service.client.send("a", event("1", "SET"))
    service.run_until_idle()
    fixture.advance(quarter)
    service.client.send("a", event("2", "SET"))
    service.run_until_idle()
    fixture.advance(quarter + fixture.harness.tick)
    service.run_until_idle()
    fixture.require_equal(_state(service), "waiting", "the state at the old time of a timer")
    fixture.mark("replaced")
    fixture.advance(quarter)
    service.run_until_idle()
    fixture.require_equal(_state(service), "fired", "the state at the new time of a timer")
    service.close()


def _bell(wait: float) -> Machine[Any]:
    """Return a machine whose timer fires `wait` seconds after the last SET, unless it is cancelled."""
    return setup(
        actions={"set": raise_({"type": "FIRE"}, id="bell", delay="a while"), "cancel": cancel("bell")},
        delays={"a while": timedelta(seconds=wait)},
    ).machine(
        {
            "id": "bell",
            "initial": "waiting",
            "states": {
                "waiting": {
                    "tags": ["settled"],
                    "on": {"SET": {"actions": ["cancel", "set"]}, "CANCEL": {"actions": ["cancel"]}, "FIRE": "fired"},
                },
                "fired": {"tags": ["settled"]},
            },
        }
    )


def _state(service: HostFixture) -> Any:
    snapshot = service.client.get("a")
    return None if snapshot is None else snapshot.value
