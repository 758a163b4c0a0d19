"""Checks of T6, V2 and V3: early timers, hosts of two versions, and delays changed by a deploy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from settled import Machine, assign, setup
from settled.data import parse
from settled.durable.record import port_timer
from settled_conformance.checks import checks
from settled_conformance.checks.host import HostFixture, event, key_of
from settled_conformance.fixture import BackendFixture

DAY = 24 * 3600.0


def _reminder(delay: float, version: str | None = None, **logic: Any) -> Machine[Any]:
    config: Mapping[str, Any] = {
        "id": "reminder",
        "context": {"received": 0, "price": 10},
        "initial": "waiting",
        "states": {
            "waiting": {
                "tags": ["settled"],
                "after": {str(int(delay * 1000)): "reminded"},
                "on": {"E": {"actions": ["hear"]}},
            },
            "reminded": {"tags": ["settled"]},
        },
    }
    received = assign(received=lambda args: args.context["received"] + 1)
    return setup(actions={"hear": received}, **logic).machine({**config, "version": version} if version else config)


def _value(service: HostFixture) -> Any:
    found = service.client.get("a")
    return found and found.value


@checks("T6")
def a_timer_delivered_early_is_rescheduled(fixture: BackendFixture) -> None:
    service = HostFixture(fixture, _reminder(20 * fixture.lease))
    service.client.start("a")
    service.run_until_idle()
    stored = fixture.backend.store.load(key_of(service))
    assert stored is not None
    (token,) = _tokens(stored.body)
    # As a faulty vendor would: deliver the scheduled timer now, and not again later.
    fixture.backend.timers.schedule(port_timer(key_of(service), token, fixture.harness.now()))
    fixture.advance(fixture.harness.tick)
    service.client.send("a", event("1"))
    service.run_until_idle()
    fixture.mark("delivered early")
    fixture.require_equal(_value(service), "waiting", "the state after a timer that was delivered early")
    found = service.client.get("a")
    fixture.require_equal(found and found.context["received"], 1, "events taken after a timer that was delivered early")
    fixture.advance(20 * fixture.lease + 2 * fixture.harness.tick)
    service.run_until_idle()
    fixture.require_equal(_value(service), "reminded", "the state after its time")
    service.close()


def _tokens(body: str) -> list[str]:
    return list(parse(body)["timers"])


@checks("V2")
def an_older_host_leaves_records_migrated_by_a_newer_one(fixture: BackendFixture) -> None:
    def cents(snapshot: dict[str, Any]) -> Mapping[str, Any]:
        return {**snapshot, "context": {**snapshot["context"], "price": 100 * snapshot["context"]["price"]}}

    old = HostFixture(fixture, _reminder(DAY, "1"))
    new = HostFixture(fixture, _reminder(DAY, "2", migrations={"1": cents}))
    old.client.start("a")
    old.run_until_idle()
    for _ in range(3):
        old.client.send("a", event("E"))
        new.run_until_idle()
        old.client.send("a", event("E"))
        old.host.handle(fixture.receive())
        fixture.advance(fixture.lease)
        new.run_until_idle()
    fixture.mark("unknown version")
    found = new.client.get("a")
    fixture.require_equal(
        found and dict(found.context), {"received": 6, "price": 1000}, "the context after both had their turns"
    )
    fixture.require_equal(
        list(fixture.open_handle().store.dead_letters(key_of(new))), [], "dead letters of the older host"
    )
    old.close()
    new.close()


@checks("V3")
def a_delay_changed_by_a_deploy_is_rescheduled(fixture: BackendFixture) -> None:
    old, new = HostFixture(fixture, _reminder(5 * fixture.lease)), HostFixture(fixture, _reminder(9 * fixture.lease))
    old.client.start("a")
    old.run_until_idle()
    fixture.advance(5 * fixture.lease + 2 * fixture.harness.tick)
    new.run_until_idle()
    fixture.require_equal(_value(new), "waiting", "the state when the old delay is over")
    fixture.mark("changed delay")
    fixture.advance(9 * fixture.lease + 2 * fixture.harness.tick)
    new.run_until_idle()
    fixture.require_equal(_value(new), "reminded", "the state when the new delay is over")
    old.close()
    new.close()
