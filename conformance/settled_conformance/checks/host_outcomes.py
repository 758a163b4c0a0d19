"""Checks of X13 and X14, with the real host and client: what becomes of an event, and what its sender is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from settled import Outcome, Policy
from settled_conformance.checks import checks
from settled_conformance.checks.host import HostFixture, event, key_of, listing
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


SKIPPING = Policy(max_attempts=2, failed_events="skip")


@checks("X14")
def an_event_that_keeps_failing_is_skipped_and_kept(fixture: BackendFixture) -> None:
    broken = {"BAD"}
    service = HostFixture(fixture, listing(broken), policy=SKIPPING)
    service.client.start("a")
    for id, type in (("1", "E"), ("2", "BAD"), ("3", "E")):
        service.client.send("a", event(id, type), message_id=id)
    service.run_until_dead_lettered()
    fixture.require_equal(service.entries("a"), ["1", "3"], "the events taken")
    service.client.send("a", event("2", "BAD"), message_id="2")
    service.run_until_idle()
    fixture.require_equal(_dead_letters(service), ["2"], "the dead letters, after a repetition")
    fixture.mark("skipped")
    service.client.redrive("a")
    service.run_until_dead_lettered()
    fixture.require_equal(_dead_letters(service), ["2"], "the dead letters, after a redrive that failed")
    broken.clear()
    service.client.redrive("a")
    service.run_until_idle()
    fixture.require_equal(service.entries("a"), ["1", "3", "2"], "the events taken, after a redrive")
    fixture.require_equal(_dead_letters(service), [], "the dead letters, after a redrive")
    service.close()


@checks("X14")
def an_event_that_was_taken_is_not_skipped(fixture: BackendFixture) -> None:
    def fail(_a: Any) -> None:
        raise RuntimeError("the action is broken")

    service = HostFixture(fixture, listing(tell=fail), policy=SKIPPING)
    service.client.start("a")
    service.client.send("a", event("1"), message_id="1")
    service.run_until_dead_lettered()
    stored = fixture.backend.store.load(key_of(service))
    fixture.require(stored is not None and stored.index.status == "halted", "it goes on without its action")
    service.close()


def _dead_letters(service: HostFixture) -> list[str]:
    return [dead_letter.message.id for dead_letter in service.client.dead_letters("a")]
