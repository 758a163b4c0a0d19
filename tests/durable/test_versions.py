"""Machines that change while they have instances."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from settled import Backoff, Machine, Outcome, Policy, Retry, TurnEnd, actor, setup
from settled.durable.commands import Release, ReleaseReason
from tests.support.virtual_world import LEASE, World


def order(version: str | None, states: dict[str, Any], **logic: Any) -> Machine[Any]:
    config = {"id": "order", "initial": "basket", "context": {"paid": None}, "states": states}
    return setup(**logic).machine({**config, "version": version} if version else config)


def settled_node(**on: str) -> dict[str, Any]:
    return {"tags": ["settled"], "on": on}


BEFORE = {"basket": settled_node(PAY="paying"), "paying": settled_node(PAID="paid"), "paid": settled_node()}
AFTER = {"basket": settled_node(PAY="charging"), "charging": settled_node(PAID="paid"), "paid": settled_node()}


def paying(machine: Machine[Any]) -> World:
    world = World(machine, policy=Policy(lease=timedelta(seconds=LEASE), max_attempts=2))
    world.start()
    world.send("PAY")
    world.settle()
    assert world.value() == "paying"
    return world


def renamed(snapshot: dict[str, Any]) -> dict[str, Any]:
    return {**snapshot, "value": "charging" if snapshot["value"] == "paying" else snapshot["value"]}


class TestAChangedMachine:
    def test_continues_if_every_active_state_still_exists(self) -> None:
        world = paying(order(None, BEFORE))
        world.machine = order(None, {**BEFORE, "extra": settled_node(), "paid": settled_node(REFUND="basket")})
        world.send("PAID")
        world.settle()
        assert world.value() == "paid"
        assert world.record().fingerprint == world.machine.fingerprint

    def test_names_the_missing_state_and_loses_nothing(self) -> None:
        world = paying(order(None, BEFORE))
        world.machine = order(None, AFTER)
        world.send("PAID", id="paid")
        world.settle()
        (dead_letter,) = world.dead_letters()
        assert 'no state "paying"' in dead_letter.detail
        assert world.outcome("paid") is Outcome.DEAD_LETTERED

    def test_continues_after_a_redrive_once_it_can_read_the_snapshot(self) -> None:
        world = paying(order(None, BEFORE))
        world.machine = order(None, AFTER)
        world.send("PAID")
        world.settle()
        world.machine = order(None, {**AFTER, **BEFORE})
        world.redrive()
        world.settle()
        assert world.value() == "paid"
        assert world.dead_letters() == []


class TestAMigration:
    def test_converts_an_old_snapshot(self) -> None:
        world = paying(order("1", BEFORE))
        world.machine = order("2", AFTER, migrations={"1": renamed})
        world.send("PAID")
        world.settle()
        assert world.value() == "paid"
        assert world.record().version == "2"

    def test_is_applied_on_reading_without_a_commit(self) -> None:
        world = paying(order("1", BEFORE))
        world.machine = order("2", AFTER, migrations={"1": renamed})
        assert world.value() == "charging"
        assert world.record().version == "1"

    def test_is_followed_by_those_of_later_versions(self) -> None:
        def annotated(snapshot: dict[str, Any]) -> dict[str, Any]:
            return {**snapshot, "context": {"paid": None, "note": snapshot["value"]}}

        world = paying(order("1", BEFORE))
        world.machine = order("3", AFTER, migrations={"1": renamed, "2": annotated})
        assert world.snapshot().context == {"paid": None, "note": "charging"}

    def test_is_not_applied_to_the_current_version(self) -> None:
        world = paying(order("2", BEFORE))
        world.machine = order("2", {**BEFORE, **AFTER}, migrations={"1": renamed})
        assert world.value() == "paying"

    def test_that_raises_fails_the_message_and_keeps_the_old_snapshot(self) -> None:
        def broken(snapshot: dict[str, Any]) -> dict[str, Any]:
            raise KeyError("no such thing")

        world = paying(order("1", BEFORE))
        world.machine = order("2", AFTER, migrations={"1": broken})
        world.send("PAID")
        world.settle()
        assert "the migration from version 1 raised KeyError" in world.dead_letters()[0].detail
        assert world.record().version == "1"
        world.machine = order("2", AFTER, migrations={"1": renamed})
        world.redrive()
        world.settle()
        assert world.value() == "paid"


def released(world: World) -> list[Release]:
    return [each for each in world.commands if isinstance(each, Release)]


class TestAnUnknownVersion:
    """Two versions are deployed side by side, and the older one leaves records of the newer one alone."""

    def test_is_left_to_a_host_that_knows_it(self) -> None:
        world = paying(order("2", AFTER | BEFORE))
        before = world.version()
        world.machine = order("1", BEFORE)
        world.send("PAID")
        assert world.deliver() is TurnEnd.RELEASED
        assert world.version() == before
        assert "written by version '2' of 'order', which here is version '1'" in released(world)[0].detail
        assert released(world)[0].reason is ReleaseReason.OTHER_VERSION
        world.machine = order("2", AFTER | BEFORE)
        world.settle()
        assert world.value() == "paid"

    def test_counts_no_failure_however_often(self) -> None:
        world = paying(order("2", BEFORE))
        world.machine = order("1", BEFORE)
        world.send("PAID")
        for _ in range(30):
            world.deliver()
            world.now += LEASE
        world.machine = order("2", BEFORE)
        world.settle()
        assert world.value() == "paid"
        assert world.dead_letters() == []

    def test_is_retried_soon_and_then_later_each_time(self) -> None:
        world = paying(order("2", BEFORE))
        world.machine = order("1", BEFORE)
        world.send("PAID")
        for _ in range(8):
            world.deliver()
            world.now += LEASE
        delays = [each.delay for each in released(world)]
        assert delays == pytest.approx([1.1**count for count in range(8)])

    def test_is_retried_soon_even_if_its_message_was_received_often_while_the_machine_waited(self) -> None:
        def charge(_input: Any, _call: Any) -> None:
            raise ConnectionError

        hourly = Retry(20, Backoff(first=timedelta(hours=1), factor=1, max_wait=timedelta(hours=1)))
        charging = {"invoke": {"src": "charge", "onDone": "paid"}}
        machine = order("2", {**BEFORE, "paying": charging}, actors={"charge": actor(charge, retry=hourly)})
        world = World(machine, policy=Policy(lease=timedelta(seconds=LEASE)))
        world.start()
        world.send("PAY")
        for _ in range(10):
            world.deliver()
            world.now += 3600
        before = len(released(world))
        world.machine = order("1", BEFORE)
        world.deliver()
        (release,) = released(world)[before:]
        assert (release.reason, release.deliveries[0].attempt) == (ReleaseReason.OTHER_VERSION, 11)
        assert release.delay < 1.2

    def test_is_migrated_once_by_a_host_that_has_the_migration(self) -> None:
        def cents(snapshot: dict[str, Any]) -> dict[str, Any]:
            return {**snapshot, "context": {"paid": 100 * (snapshot["context"]["paid"] or 10)}}

        old, new = order("1", BEFORE), order("2", BEFORE, migrations={"1": cents})
        world = paying(old)
        for _ in range(3):
            for machine in (new, old):
                world.machine = machine
                world.send("NOISE")
                world.deliver()
                world.now += LEASE
        world.machine = new
        world.settle()
        assert world.snapshot().context == {"paid": 1000}

    def test_is_used_as_it_is_if_the_policy_accepts_it(self) -> None:
        world = paying(order("2", BEFORE))
        world.machine = order("1", BEFORE)
        world.policy = Policy(lease=timedelta(seconds=LEASE), accepts={"2"})
        world.send("PAID")
        world.settle()
        assert world.value() == "paid"
        assert world.record().version == "1"

    @pytest.mark.parametrize("version", [None, "1"])
    def test_is_not_that_of_a_record_without_a_version(self, version: str | None) -> None:
        world = paying(order(None, BEFORE))
        world.machine = order(version, BEFORE)
        world.send("PAID")
        world.settle()
        assert world.value() == "paid"

    def test_is_any_version_for_a_machine_without_one(self) -> None:
        world = paying(order("1", BEFORE))
        world.machine = order(None, BEFORE)
        world.send("PAID")
        assert world.deliver() is TurnEnd.RELEASED
