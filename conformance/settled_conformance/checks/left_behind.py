"""R4, X4, X10, E2: workers that were frozen with what they had received, for longer than any record remembers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from settled import Policy
from settled.durable import Delivery
from settled_conformance.checks import proves
from settled_conformance.checks.host import House, event, key_of, listing
from settled_conformance.fixture import Bench
from settled_conformance.harness import Offer

FORGETFUL = Policy(window=3, max_attempts=2)
"""Remembers less than others take while a worker is frozen."""


def _frozen(bench: Bench, house: House, *events: str) -> Sequence[Delivery]:
    """`events` are sent, and received by a worker that does nothing with them until its lease is over."""
    for id in events:
        house.client.send("a", event(id), id=id)
    held = bench.receives(*events, limit=len(events))
    bench.advance(bench.lease + bench.harness.tick)
    return held


def _others_take(house: House, ids: Sequence[str]) -> None:
    for id in ids:
        house.client.send("a", event(id), id=id)
        house.work()


def _taken(bench: Bench, house: House, expected: Sequence[str]) -> None:
    bench.mark("zombie commit")
    bench.same(house.entries("a"), list(expected), "taken")


@proves("R4")
def who_was_frozen_before_the_first_look_takes_nothing_again(bench: Bench) -> None:
    house, frozen = House(bench, listing(), policy=FORGETFUL), House(bench, listing(), policy=FORGETFUL)
    house.client.start("a")
    house.work()
    held = _frozen(bench, house, "1", "2")
    house.work()
    others = [str(number) for number in range(3, 12)]
    _others_take(house, others)
    frozen.host.handle(held)
    house.work()
    _taken(bench, house, ["1", "2", *others])
    bench.same(list(bench.another().store.dead_letters(key_of(house))), [], "set aside by who was frozen")
    house.close()
    frozen.close()


@proves("R4")
def who_was_frozen_takes_nothing_into_the_next_life(bench: Bench) -> None:
    house, frozen = House(bench, listing(), policy=FORGETFUL), House(bench, listing(), policy=FORGETFUL)
    house.client.start("a", id="one")
    house.work()
    held = _frozen(bench, house, "1")
    house.work()
    _others_take(house, [str(number) for number in range(2, 8)])
    house.client.delete("a")
    house.client.start("a", id="two")
    house.work()
    _others_take(house, ["8"])
    frozen.host.handle(held)
    house.work()
    _taken(bench, house, ["8"])
    house.close()
    frozen.close()


@proves("R4")
def who_was_frozen_leaves_nothing_at_a_deleted_instance(bench: Bench) -> None:
    house, frozen = House(bench, listing(), policy=FORGETFUL), House(bench, listing(), policy=FORGETFUL)
    house.client.start("a")
    house.work()
    held = _frozen(bench, house, "1")
    house.work()
    _others_take(house, [str(number) for number in range(2, 8)])
    house.client.delete("a")
    before = bench.another().store.load(key_of(house))
    frozen.host.handle(held)
    house.work()
    bench.same(bench.another().store.load(key_of(house)), before, "what is left of a deleted instance")
    bench.same(list(bench.another().store.dead_letters(key_of(house))), [], "dead letters of a deleted instance")
    house.close()
    frozen.close()


@proves("R4")
def who_was_frozen_with_what_nobody_took_leaves_it_to_the_next_holder(bench: Bench) -> None:
    house, frozen = House(bench, listing(), policy=FORGETFUL), House(bench, listing(), policy=FORGETFUL)
    house.client.start("a")
    house.work()
    held = _frozen(bench, house, "1")
    again = bench.receives("1", limit=1)
    frozen.host.handle(held)
    house.host.handle(again)
    house.work()
    _taken(bench, house, ["1"])
    house.close()
    frozen.close()


@proves("X4", offered=Offer.FORGETFUL)
def an_event_that_is_sent_again_once_the_queue_has_forgotten_it_is_taken_once(bench: Bench) -> None:
    bench.place.remember(0)
    house = House(bench, listing())
    house.client.start("a", id="start")
    for id in ("1", "2", "1", "2", "3", "1"):
        house.client.send("a", event(id), id=id)
        house.work()
    bench.same(house.entries("a"), ["1", "2", "3"], "taken of what was sent again to a queue that forgets at once")
    house.close()


@proves("E2")
def each_owes_its_own_effects_when_another_worker_goes_on(bench: Bench) -> None:
    told, lost = list[tuple[str, str]](), set[str]()

    def tell(args: Any) -> None:
        id = args.event["id"]
        told.append((args.call.idempotency_key, id))
        if id not in lost:
            lost.add(id)
            raise RuntimeError("the worker is lost in the middle of its action")

    first, second = House(bench, listing(tell=tell)), House(bench, listing(tell=tell), bench.another())
    for instance in "ab":
        first.client.start(instance)
    first.work()
    for number in range(2):
        for instance in "ab":
            first.client.send(instance, event(f"{instance}{number}"), id=f"{instance}{number}")
        first.host.handle(bench.receive(limit=1))
        second.fail_for_good()
    first.fail_for_good()
    keys = {id: {name for name, each in told if each == id} for _, id in told}
    bench.same(sorted(keys), ["a0", "a1", "b0", "b1"], "the events whose effects were performed")
    for id, names in keys.items():
        bench.same(len(names), 1, f"the keys under which the effect of {id} was performed")
        bench.holds(min(names).startswith(f"list/{id[0]}/"), f"the effect of {id} was performed under {min(names)}")
    bench.same(len({name for names in keys.values() for name in names}), 4, "keys of four effects")
    first.close()
    second.close()


@proves("X10")
def a_redrive_longer_than_the_window_forgets_nothing_that_waits_for_its_acknowledgement(bench: Bench) -> None:
    told: list[Any] = []

    def tell(args: Any) -> None:
        told.append(args.call.idempotency_key)
        if len(told) == 1:
            raise RuntimeError("the worker is lost in the middle of its action")

    house = House(bench, listing(tell=tell), policy=FORGETFUL)
    letters = [str(number) for number in range(8)]
    for id in letters:
        house.client.send("a", event(id), id=id)
    house.work()
    house.client.start("a")
    house.work()
    house.client.send("a", event("paid"), id="paid")
    house.work()
    house.client.redrive("a")
    house.fail_for_good()
    bench.mark("redrive")
    bench.same(house.entries("a"), ["paid", *letters], "taken")
    bench.same(len(set(told)), 1 + len(letters), "effects, by their keys")
    bench.same(list(bench.another().store.dead_letters(key_of(house))), [], "dead letters")
    house.close()
