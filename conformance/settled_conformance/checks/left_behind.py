"""R4, X4, X10, E2: workers that were frozen with what they had received, for longer than any record remembers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from settled import Policy
from settled.durable import Delivery
from settled_conformance.checks import checks
from settled_conformance.checks.host import HostFixture, event, key_of, listing
from settled_conformance.fixture import BackendFixture
from settled_conformance.harness import HarnessFeature

FORGETFUL = Policy(window=3, max_attempts=2)
"""Remembers less than others take while a worker is frozen."""


def _frozen(fixture: BackendFixture, host: HostFixture, *events: str) -> Sequence[Delivery]:
    """`events` are sent, and received by a worker that does nothing with them until its lease is over."""
    for id in events:
        host.client.send("a", event(id), message_id=id)
    held = fixture.receives(*events, limit=len(events))
    fixture.advance(fixture.lease + fixture.harness.tick)
    return held


def _others_take(host: HostFixture, ids: Sequence[str]) -> None:
    for id in ids:
        host.client.send("a", event(id), message_id=id)
        host.work()


def _taken(fixture: BackendFixture, host: HostFixture, expected: Sequence[str]) -> None:
    fixture.mark("zombie commit")
    fixture.same(host.entries("a"), list(expected), "taken")


@checks("R4")
def who_was_frozen_before_the_first_look_takes_nothing_again(fixture: BackendFixture) -> None:
    host, frozen = HostFixture(fixture, listing(), policy=FORGETFUL), HostFixture(fixture, listing(), policy=FORGETFUL)
    host.client.start("a")
    host.work()
    held = _frozen(fixture, host, "1", "2")
    host.work()
    others = [str(number) for number in range(3, 12)]
    _others_take(host, others)
    frozen.host.handle(held)
    host.work()
    _taken(fixture, host, ["1", "2", *others])
    fixture.same(list(fixture.another().store.dead_letters(key_of(host))), [], "set aside by who was frozen")
    host.close()
    frozen.close()


@checks("R4")
def who_was_frozen_takes_nothing_into_the_next_life(fixture: BackendFixture) -> None:
    host, frozen = HostFixture(fixture, listing(), policy=FORGETFUL), HostFixture(fixture, listing(), policy=FORGETFUL)
    host.client.start("a", message_id="one")
    host.work()
    held = _frozen(fixture, host, "1")
    host.work()
    _others_take(host, [str(number) for number in range(2, 8)])
    host.client.delete("a")
    host.client.start("a", message_id="two")
    host.work()
    _others_take(host, ["8"])
    frozen.host.handle(held)
    host.work()
    _taken(fixture, host, ["8"])
    host.close()
    frozen.close()


@checks("R4")
def who_was_frozen_leaves_nothing_at_a_deleted_instance(fixture: BackendFixture) -> None:
    host, frozen = HostFixture(fixture, listing(), policy=FORGETFUL), HostFixture(fixture, listing(), policy=FORGETFUL)
    host.client.start("a")
    host.work()
    held = _frozen(fixture, host, "1")
    host.work()
    _others_take(host, [str(number) for number in range(2, 8)])
    host.client.delete("a")
    before = fixture.another().store.load(key_of(host))
    frozen.host.handle(held)
    host.work()
    fixture.same(fixture.another().store.load(key_of(host)), before, "what is left of a deleted instance")
    fixture.same(list(fixture.another().store.dead_letters(key_of(host))), [], "dead letters of a deleted instance")
    host.close()
    frozen.close()


@checks("R4")
def who_was_frozen_with_what_nobody_took_leaves_it_to_the_next_holder(fixture: BackendFixture) -> None:
    host, frozen = HostFixture(fixture, listing(), policy=FORGETFUL), HostFixture(fixture, listing(), policy=FORGETFUL)
    host.client.start("a")
    host.work()
    held = _frozen(fixture, host, "1")
    again = fixture.receives("1", limit=1)
    frozen.host.handle(held)
    host.host.handle(again)
    host.work()
    _taken(fixture, host, ["1"])
    host.close()
    frozen.close()


@checks("X4", offered=HarnessFeature.FORGETFUL)
def an_event_that_is_sent_again_once_the_queue_has_forgotten_it_is_taken_once(fixture: BackendFixture) -> None:
    fixture.place.remember(0)
    host = HostFixture(fixture, listing())
    host.client.start("a", message_id="start")
    for id in ("1", "2", "1", "2", "3", "1"):
        host.client.send("a", event(id), message_id=id)
        host.work()
    fixture.same(host.entries("a"), ["1", "2", "3"], "taken of what was sent again to a queue that forgets at once")
    host.close()


@checks("E2")
def each_owes_its_own_effects_when_another_worker_goes_on(fixture: BackendFixture) -> None:
    told, lost = list[tuple[str, str]](), set[str]()

    def tell(args: Any) -> None:
        id = args.event["id"]
        told.append((args.call.idempotency_key, id))
        if id not in lost:
            lost.add(id)
            raise RuntimeError("the worker is lost in the middle of its action")

    first, second = (
        HostFixture(fixture, listing(tell=tell)),
        HostFixture(fixture, listing(tell=tell), fixture.another()),
    )
    for instance in "ab":
        first.client.start(instance)
    first.work()
    for number in range(2):
        for instance in "ab":
            first.client.send(instance, event(f"{instance}{number}"), message_id=f"{instance}{number}")
        first.host.handle(fixture.receive(limit=1))
        second.fail_for_good()
    first.fail_for_good()
    keys = {id: {name for name, each in told if each == id} for _, id in told}
    fixture.same(sorted(keys), ["a0", "a1", "b0", "b1"], "the events whose effects were performed")
    for id, names in keys.items():
        fixture.same(len(names), 1, f"the keys under which the effect of {id} was performed")
        fixture.holds(min(names).startswith(f"list/{id[0]}/"), f"the effect of {id} was performed under {min(names)}")
    fixture.same(len({name for names in keys.values() for name in names}), 4, "keys of four effects")
    first.close()
    second.close()


@checks("X10")
def a_redrive_longer_than_the_window_forgets_nothing_that_waits_for_its_acknowledgement(
    fixture: BackendFixture,
) -> None:
    told: list[Any] = []

    def tell(args: Any) -> None:
        told.append(args.call.idempotency_key)
        if len(told) == 1:
            raise RuntimeError("the worker is lost in the middle of its action")

    host = HostFixture(fixture, listing(tell=tell), policy=FORGETFUL)
    letters = [str(number) for number in range(8)]
    for id in letters:
        host.client.send("a", event(id), message_id=id)
    host.work()
    host.client.start("a")
    host.work()
    host.client.send("a", event("paid"), message_id="paid")
    host.work()
    host.client.redrive("a")
    host.fail_for_good()
    fixture.mark("redrive")
    fixture.same(host.entries("a"), ["paid", *letters], "taken")
    fixture.same(len(set(told)), 1 + len(letters), "effects, by their keys")
    fixture.same(list(fixture.another().store.dead_letters(key_of(host))), [], "dead letters")
    host.close()
