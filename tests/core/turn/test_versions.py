"""Machines change while their instances live."""

from __future__ import annotations

from typing import Any

from settled import Machine, Outcome, Policy, setup
from tests.world import LEASE, World


def order(version: str | None, states: dict[str, Any], **logic: Any) -> Machine[Any, Any]:
    config = {"id": "order", "initial": "basket", "context": {"paid": None}, "states": states}
    return setup(**logic).machine({**config, "version": version} if version else config)


def resting(**on: str) -> dict[str, Any]:
    return {"tags": ["settled"], "on": on}


BEFORE = {"basket": resting(PAY="paying"), "paying": resting(PAID="paid"), "paid": resting()}
AFTER = {"basket": resting(PAY="charging"), "charging": resting(PAID="paid"), "paid": resting()}


def paying(machine: Machine[Any, Any]) -> World:
    world = World(machine, policy=Policy(lease=LEASE, max_attempts=2))
    world.start()
    world.send("PAY")
    world.settle()
    assert world.value() == "paying"
    return world


def renamed(snapshot: dict[str, Any]) -> dict[str, Any]:
    return {**snapshot, "value": "charging" if snapshot["value"] == "paying" else snapshot["value"]}


class TestAChangedMachine:
    def test_goes_on_where_every_active_state_still_exists(self) -> None:
        world = paying(order(None, BEFORE))
        world.machine = order(None, {**BEFORE, "extra": resting(), "paid": resting(REFUND="basket")})
        world.send("PAID")
        world.settle()
        assert world.value() == "paid"
        assert world.record().fingerprint == world.machine.fingerprint

    def test_says_which_state_is_missing_and_loses_nothing(self) -> None:
        world = paying(order(None, BEFORE))
        world.machine = order(None, AFTER)
        world.send("PAID", id="paid")
        world.settle()
        (letter,) = world.letters()
        assert 'no state "paying"' in letter.detail
        assert world.outcome("paid") is Outcome.DEAD

    def test_goes_on_after_a_redrive_once_it_can_read_what_was_stored(self) -> None:
        world = paying(order(None, BEFORE))
        world.machine = order(None, AFTER)
        world.send("PAID")
        world.settle()
        world.machine = order(None, {**AFTER, **BEFORE})
        world.redrive()
        world.settle()
        assert world.value() == "paid"
        assert world.letters() == []


class TestAMigration:
    def test_makes_of_an_old_snapshot_a_new_one(self) -> None:
        world = paying(order("1", BEFORE))
        world.machine = order("2", AFTER, migrations={"1": renamed})
        world.send("PAID")
        world.settle()
        assert world.value() == "paid"
        assert world.record().version == "2"

    def test_is_seen_by_whoever_only_looks(self) -> None:
        world = paying(order("1", BEFORE))
        world.machine = order("2", AFTER, migrations={"1": renamed})
        assert world.value() == "charging"
        assert world.record().version == "1"

    def test_is_followed_by_those_of_later_versions(self) -> None:
        def noted(snapshot: dict[str, Any]) -> dict[str, Any]:
            return {**snapshot, "context": {"paid": None, "note": snapshot["value"]}}

        world = paying(order("1", BEFORE))
        world.machine = order("3", AFTER, migrations={"1": renamed, "2": noted})
        assert world.snapshot().context == {"paid": None, "note": "charging"}

    def test_is_not_for_what_is_of_the_present_version(self) -> None:
        world = paying(order("2", BEFORE))
        world.machine = order("2", {**BEFORE, **AFTER}, migrations={"1": renamed})
        assert world.value() == "paying"

    def test_that_raises_fails_the_message_and_keeps_the_old_snapshot_for_a_better_one(self) -> None:
        def broken(snapshot: dict[str, Any]) -> dict[str, Any]:
            raise KeyError("no such thing")

        world = paying(order("1", BEFORE))
        world.machine = order("2", AFTER, migrations={"1": broken})
        world.send("PAID")
        world.settle()
        assert "the migration from version 1 raised KeyError" in world.letters()[0].detail
        assert world.record().version == "1"
        world.machine = order("2", AFTER, migrations={"1": renamed})
        world.redrive()
        world.settle()
        assert world.value() == "paid"
