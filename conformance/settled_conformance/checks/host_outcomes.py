"""Checks of X13, with the real host and client: a sender is told whether the machine has taken its event."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from settled import Outcome
from settled_conformance.checks import checks
from settled_conformance.checks.host import HostFixture
from settled_conformance.fixture import BackendFixture
from settled_conformance.simulator.history import HistoryMachine, with_history
from settled_runtime import EventOutcomeError


def _switch() -> HistoryMachine:
    return with_history(
        {
            "id": "switch",
            "context": {},
            "initial": "off",
            "states": {
                "off": {"tags": ["settled"], "on": {"ON": "on", "WAIT": {"target": "off"}}},
                "on": {"tags": ["resolve"], "on": {"OFF": {"guard": "is6", "target": "off"}, "WAIT": {}}},
            },
        },
        guards={"is6": _is_6},
    )


def _is_6(args: Any) -> bool:
    return bool(args.event["id"] == "6")


EVENTS = ("OFF0", "WAIT1", "ON2", "ON3", "OFF4", "WAIT5", "OFF6")
"""Ids of messages: each is the type of its event, and a digit that distinguishes it from others."""

IGNORED = {"OFF0", "ON3", "OFF4", "WAIT5"}
"""Those for which there is no transition, or one whose guard answers false, or one that forbids them."""


@checks("X13")
def an_event_that_nothing_takes_is_ignored_and_no_other_is(fixture: BackendFixture) -> None:
    service = HostFixture(fixture, _switch())
    service.client.start("a")
    for _ in range(2):  # the second time they are repetitions, and must have the same outcomes
        for id in EVENTS:
            service.client.send("a", {"type": id[:-1], "id": id[-1]}, message_id=id)
        service.run_until_idle()
        fixture.require_equal({id for id in EVENTS if _is_ignored(service, id)}, IGNORED, "ignored")
    fixture.mark("ignored")
    service.close()


def _is_ignored(service: HostFixture, id: str) -> bool:
    try:
        service.client.outcome("a", id, timeout=timedelta(0))
    except EventOutcomeError as error:
        service.fixture.require(bool(error.reason), f"{id} was {error.outcome}, and nothing says why")
        return error.outcome is Outcome.IGNORED
    return False
