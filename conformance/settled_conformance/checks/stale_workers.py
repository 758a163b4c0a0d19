"""Checks of R4, X4, X10 and E2: workers frozen after a receive for longer than any record remembers their messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from settled import Policy
from settled.durable import Delivery
from settled_conformance.checks import checks
from settled_conformance.checks.host import HostFixture, event, key_of, listing
from settled_conformance.fixture import BackendFixture
from settled_conformance.harness import HarnessFeature

SMALL_WINDOW = Policy(window=3, max_attempts=2)
"""A policy whose window is smaller than the number of events taken while a worker is frozen."""


def _receive_and_freeze(fixture: BackendFixture, service: HostFixture, *events: str) -> Sequence[Delivery]:
    """Send `events`, receive them, and let the lease expire; return the deliveries."""
    for id in events:
        service.client.send("a", event(id), message_id=id)
    held = fixture.receives(*events, limit=len(events))
    fixture.advance(fixture.lease + fixture.harness.tick)
    return held


def _take_more(service: HostFixture, ids: Sequence[str]) -> None:
    for id in ids:
        service.client.send("a", event(id), message_id=id)
        service.run_until_idle()


def _require_taken(fixture: BackendFixture, service: HostFixture, expected: Sequence[str]) -> None:
    fixture.mark("stale commit")
    fixture.require_equal(service.entries("a"), list(expected), "taken")


@checks("R4")
def a_worker_frozen_before_its_first_load_takes_nothing_again(fixture: BackendFixture) -> None:
    service, frozen = (
        HostFixture(fixture, listing(), policy=SMALL_WINDOW),
        HostFixture(fixture, listing(), policy=SMALL_WINDOW),
    )
    service.client.start("a")
    service.run_until_idle()
    held = _receive_and_freeze(fixture, service, "1", "2")
    service.run_until_idle()
    others = [str(number) for number in range(3, 12)]
    _take_more(service, others)
    frozen.host.handle(held)
    service.run_until_idle()
    _require_taken(fixture, service, ["1", "2", *others])
    fixture.require_equal(
        list(fixture.open_handle().store.dead_letters(key_of(service))),
        [],
        "dead letters after the frozen worker resumed",
    )
    service.close()
    frozen.close()


@checks("R4")
def a_frozen_worker_takes_nothing_into_the_restarted_instance(fixture: BackendFixture) -> None:
    service, frozen = (
        HostFixture(fixture, listing(), policy=SMALL_WINDOW),
        HostFixture(fixture, listing(), policy=SMALL_WINDOW),
    )
    service.client.start("a", message_id="one")
    service.run_until_idle()
    held = _receive_and_freeze(fixture, service, "1")
    service.run_until_idle()
    _take_more(service, [str(number) for number in range(2, 8)])
    service.client.delete("a")
    service.client.start("a", message_id="two")
    service.run_until_idle()
    _take_more(service, ["8"])
    frozen.host.handle(held)
    service.run_until_idle()
    _require_taken(fixture, service, ["8"])
    service.close()
    frozen.close()


@checks("R4")
def a_frozen_worker_writes_nothing_to_a_deleted_instance(fixture: BackendFixture) -> None:
    service, frozen = (
        HostFixture(fixture, listing(), policy=SMALL_WINDOW),
        HostFixture(fixture, listing(), policy=SMALL_WINDOW),
    )
    service.client.start("a")
    service.run_until_idle()
    held = _receive_and_freeze(fixture, service, "1")
    service.run_until_idle()
    _take_more(service, [str(number) for number in range(2, 8)])
    service.client.delete("a")
    before = fixture.open_handle().store.load(key_of(service))
    frozen.host.handle(held)
    service.run_until_idle()
    fixture.require_equal(
        fixture.open_handle().store.load(key_of(service)), before, "what is left of a deleted instance"
    )
    fixture.require_equal(
        list(fixture.open_handle().store.dead_letters(key_of(service))), [], "dead letters of a deleted instance"
    )
    service.close()
    frozen.close()


@checks("R4")
def a_frozen_worker_leaves_an_untaken_message_to_the_next_holder(fixture: BackendFixture) -> None:
    service, frozen = (
        HostFixture(fixture, listing(), policy=SMALL_WINDOW),
        HostFixture(fixture, listing(), policy=SMALL_WINDOW),
    )
    service.client.start("a")
    service.run_until_idle()
    held = _receive_and_freeze(fixture, service, "1")
    again = fixture.receives("1", limit=1)
    frozen.host.handle(held)
    service.host.handle(again)
    service.run_until_idle()
    _require_taken(fixture, service, ["1"])
    service.close()
    frozen.close()


@checks("X4", feature=HarnessFeature.DEDUPLICATION_LIMIT)
def an_event_sent_again_to_a_queue_that_forgot_it_is_taken_once(fixture: BackendFixture) -> None:
    fixture.environment.limit_deduplication(0)
    service = HostFixture(fixture, listing())
    service.client.start("a", message_id="start")
    for id in ("1", "2", "1", "2", "3", "1"):
        service.client.send("a", event(id), message_id=id)
        service.run_until_idle()
    fixture.require_equal(
        service.entries("a"), ["1", "2", "3"], "taken of what was sent again to a queue that forgets at once"
    )
    service.close()


@checks("E2")
def each_instance_performs_its_own_effects_when_another_worker_continues(fixture: BackendFixture) -> None:
    performed, lost = list[tuple[str, str]](), set[str]()

    def tell(args: Any) -> None:
        id = args.event["id"]
        performed.append((args.call.idempotency_key, id))
        if id not in lost:
            lost.add(id)
            raise RuntimeError("the worker is lost in the middle of its action")

    first, second = (
        HostFixture(fixture, listing(tell=tell)),
        HostFixture(fixture, listing(tell=tell), fixture.open_handle()),
    )
    for instance in "ab":
        first.client.start(instance)
    first.run_until_idle()
    for number in range(2):
        for instance in "ab":
            first.client.send(instance, event(f"{instance}{number}"), message_id=f"{instance}{number}")
        first.host.handle(fixture.receive(limit=1))
        second.run_until_dead_lettered()
    first.run_until_dead_lettered()
    keys = {id: {name for name, each in performed if each == id} for _, id in performed}
    fixture.require_equal(sorted(keys), ["a0", "a1", "b0", "b1"], "the events whose effects were performed")
    for id, names in keys.items():
        fixture.require_equal(len(names), 1, f"the keys under which the effect of {id} was performed")
        fixture.require(min(names).startswith(f"list/{id[0]}/"), f"the effect of {id} was performed under {min(names)}")
    fixture.require_equal(len({name for names in keys.values() for name in names}), 4, "keys of four effects")
    first.close()
    second.close()


@checks("X10")
def a_redrive_longer_than_the_window_keeps_the_ids_of_unacknowledged_messages(
    fixture: BackendFixture,
) -> None:
    performed: list[Any] = []

    def tell(args: Any) -> None:
        performed.append(args.call.idempotency_key)
        if len(performed) == 1:
            raise RuntimeError("the worker is lost in the middle of its action")

    service = HostFixture(fixture, listing(tell=tell), policy=SMALL_WINDOW)
    dead_letters = [str(number) for number in range(8)]
    for id in dead_letters:
        service.client.send("a", event(id), message_id=id)
    service.run_until_idle()
    service.client.start("a")
    service.run_until_idle()
    service.client.send("a", event("paid"), message_id="paid")
    service.run_until_idle()
    service.client.redrive("a")
    service.run_until_dead_lettered()
    fixture.mark("redrive")
    fixture.require_equal(service.entries("a"), ["paid", *dead_letters], "taken")
    fixture.require_equal(len(set(performed)), 1 + len(dead_letters), "effects, by their keys")
    fixture.require_equal(list(fixture.open_handle().store.dead_letters(key_of(service))), [], "dead letters")
    service.close()
