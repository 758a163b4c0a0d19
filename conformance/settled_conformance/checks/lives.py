"""E3, X11, X12: names. What a machine calls its own is never somebody else's, and never two things of its own."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from typing import Any

from settled import Call, EventError, IdReused, Machine, actor, setup
from settled_conformance.checks import proves
from settled_conformance.checks.host import House, event, key_of, listing
from settled_conformance.fixture import Bench
from settled_runtime import NotTaken


def _shipping(keys: list[str]) -> Machine[Any, Any]:
    def ship(args: Any) -> None:
        keys.append(f"{args.call.idempotency_key} of {args.event['id']}")

    def pack(input: Any, call: Call) -> None:
        keys.append(f"{call.idempotency_key} of {input}")

    return setup(
        actions={"ship": ship},
        actors={"pack": actor(pack, input=lambda args: args.event["id"])},
    ).machine(
        {
            "id": "parcel",
            "initial": "open",
            "states": {
                "open": {"tags": ["settled"], "on": {"GO": {"target": "packing", "actions": ["ship"]}}},
                "packing": {"invoke": {"src": "pack", "onDone": "open"}},
            },
        }
    )


@proves("E3")
def keys_are_never_used_again(bench: Bench) -> None:
    keys = list[str]()
    house = House(bench, _shipping(keys))
    for life in range(3):
        house.client.start("a", id=f"start {life}")
        house.client.send("a", event(f"started {life}", "GO"))
        house.work()
        text = house.client.export("a")
        house.client.delete("a")
        house.client.adopt("a", text)
        house.client.send("a", event(f"adopted {life}", "GO"))
        house.work()
        house.client.delete("a")
    bench.same(len(keys), 12, "effects performed")
    names = Counter(each.partition(" of ")[0] for each in set(keys))
    bench.same([name for name, count in names.items() if count > 1], [], "keys of more than one effect")
    bench.same(len(names), 12, "keys")
    bench.mark("several lives")
    house.close()


@proves("E3")
def an_actor_is_started_again_in_each_adoption(bench: Bench) -> None:
    keys = list[str]()
    machine = _shipping(keys)
    house = House(bench, machine)
    snapshot, _ = machine.transition(machine.initial_transition()[0], {"type": "GO", "id": "there"})
    for _ in range(2):
        house.client.adopt("a", machine.dump(snapshot))
        house.work()
        found = house.client.get("a")
        bench.same(found and found.value, "open", "the state of an adopted instance whose actor has run")
        house.client.delete("a")
    bench.same(len(set(keys)), 2, "keys of the actor in two adoptions")
    house.close()


@proves("X11")
def a_start_and_an_event_under_one_id_are_not_taken_for_one(bench: Bench) -> None:
    house = House(bench, listing())
    house.client.start("a", id="x")
    house.work()
    refused = False
    try:
        house.client.send("a", event("1"), id="x")
        house.work()
        house.client.outcome("a", "x", timeout=0.0)
        house.client.ask("a", event("1"), id="x", timeout=0.0)
    except (IdReused, NotTaken):
        refused = True
    bench.holds(refused, "an event under the id of the start was answered as if it had been taken")
    bench.same(house.entries("a"), [], "taken")
    bench.mark("one id, two bodies")
    house.close()


def _waiting() -> Machine[Any, Any]:
    child = setup().machine(
        {
            "id": "kid",
            "initial": "in",
            "states": {"in": {"tags": ["settled"], "on": {"END": "out"}}, "out": {"type": "final"}},
        }
    )
    return setup(actors={"kid": child}, delays={"soon": timedelta(seconds=20)}).machine(
        {
            "id": "parent",
            "initial": "idle",
            "states": {
                "idle": {"tags": ["settled"], "on": {"GO": "waiting"}},
                "waiting": {
                    "tags": ["settled"],
                    "invoke": {"id": "kid", "src": "kid", "onDone": "done"},
                    "after": {"soon": "late"},
                },
                "late": {"tags": ["settled"]},
                "done": {"tags": ["settled"]},
            },
        }
    )


@proves("X12")
def an_outsider_can_neither_use_the_ids_of_machines_nor_start_their_children(bench: Bench) -> None:
    house = House(bench, _waiting())
    house.client.start("a")
    house.client.send("a", {"type": "GO"})
    house.work()
    stored = bench.backend.store.load(key_of(house))
    record: Any = json.loads(stored.body if stored else "{}")
    ids: list[str] = [*record["timers"], *(f"{generation}/report" for _, generation, *_ in record["children"].values())]
    for id in (*ids, *(f"settled:{each}" for each in ids)):
        try:
            house.client.send("a", {"type": "NOISE"}, id=id)
        except EventError:
            bench.mark("posted under a machine's id")
    house.work()
    bench.advance(25.0)
    house.work()
    found = house.client.get("a")
    bench.same(found and found.value, "late", "the state after a timer under whose id outsiders have posted")
    for instance, _, *_ in record["children"].values():
        try:
            house.client.start(str(instance).partition("/")[2])
        except EventError:
            continue
        bench.holds(False, "an outsider could start an instance under the key of a child")
    house.close()
