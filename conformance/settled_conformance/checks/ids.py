"""Checks of E3, X11 and X12: idempotency keys and internal ids are unique, and out of the reach of clients."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from typing import Any

from settled import Call, EventError, IdReusedError, Machine, actor, setup
from settled_conformance.checks import checks
from settled_conformance.checks.host import HostFixture, event, key_of, listing
from settled_conformance.fixture import BackendFixture
from settled_runtime import EventOutcomeError


def _shipping(keys: list[str]) -> Machine[Any]:
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


@checks("E3")
def idempotency_keys_are_never_reused(fixture: BackendFixture) -> None:
    keys = list[str]()
    service = HostFixture(fixture, _shipping(keys))
    for lifetime in range(3):
        service.client.start("a", message_id=f"start {lifetime}")
        service.client.send("a", event(f"started {lifetime}", "GO"))
        service.run_until_idle()
        text = service.client.export_snapshot("a")
        service.client.delete("a")
        service.client.import_snapshot("a", text)
        service.client.send("a", event(f"imported {lifetime}", "GO"))
        service.run_until_idle()
        service.client.delete("a")
    fixture.require_equal(len(keys), 12, "effects performed")
    names = Counter(each.partition(" of ")[0] for each in set(keys))
    fixture.require_equal([name for name, count in names.items() if count > 1], [], "keys of more than one effect")
    fixture.require_equal(len(names), 12, "keys")
    fixture.mark("several lifetimes")
    service.close()


@checks("E3")
def an_actor_is_started_again_after_each_import(fixture: BackendFixture) -> None:
    keys = list[str]()
    machine = _shipping(keys)
    service = HostFixture(fixture, machine)
    snapshot, _ = machine.transition(machine.initial_transition()[0], {"type": "GO", "id": "there"})
    for _ in range(2):
        service.client.import_snapshot("a", machine.dump(snapshot))
        service.run_until_idle()
        found = service.client.get("a")
        fixture.require_equal(found and found.value, "open", "the state of an imported instance whose actor has run")
        service.client.delete("a")
    fixture.require_equal(len(set(keys)), 2, "keys of the actor in two imports")
    service.close()


@checks("X11")
def a_start_and_an_event_with_one_id_are_not_confused(fixture: BackendFixture) -> None:
    service = HostFixture(fixture, listing())
    service.client.start("a", message_id="x")
    service.run_until_idle()
    refused = False
    try:
        service.client.send("a", event("1"), message_id="x")
        service.run_until_idle()
        service.client.outcome("a", "x", timeout=timedelta(seconds=0.0))
        service.client.ask("a", event("1"), message_id="x", timeout=timedelta(seconds=0.0))
    except (IdReusedError, EventOutcomeError):
        refused = True
    fixture.require(refused, "an event under the id of the start was answered as if it had been taken")
    fixture.require_equal(service.entries("a"), [], "taken")
    fixture.mark("one id, two bodies")
    service.close()


def _waiting() -> Machine[Any]:
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


@checks("X12")
def a_client_can_neither_use_internal_ids_nor_start_children(fixture: BackendFixture) -> None:
    service = HostFixture(fixture, _waiting())
    service.client.start("a")
    service.client.send("a", {"type": "GO"})
    service.run_until_idle()
    stored = fixture.backend.store.load(key_of(service))
    record: Any = json.loads(stored.body if stored else "{}")
    ids: list[str] = [*record["timers"], *(f"{generation}/ended" for _, generation, *_ in record["children"].values())]
    for id in (*ids, *(f"settled:{each}" for each in ids)):
        try:
            service.client.send("a", {"type": "NOISE"}, message_id=id)
        except EventError:
            fixture.mark("sent under an internal id")
    service.run_until_idle()
    fixture.advance(25.0)
    service.run_until_idle()
    found = service.client.get("a")
    fixture.require_equal(found and found.value, "late", "the state after a timer under whose id outsiders have posted")
    for instance, _, *_ in record["children"].values():
        try:
            service.client.start(str(instance).partition("/")[2])
        except EventError:
            continue
        fixture.require(False, "an outsider could start an instance under the key of a child")
    service.close()
