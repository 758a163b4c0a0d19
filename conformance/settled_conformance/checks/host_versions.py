"""A deploy under the whole host: an instance whose state is gone waits for it."""

from __future__ import annotations

from settled_conformance.checks import proves
from settled_conformance.checks.host import House, event, key_of
from settled_conformance.fixture import Bench
from settled_conformance.simulator.history import DiaryMachine, with_diary


@proves("V1")
def an_instance_whose_state_is_gone_waits_for_its_state(bench: Bench) -> None:
    before, without = House(bench, _deployed("old", "kept")), House(bench, _deployed("kept"))
    before.client.start("a")
    before.client.send("a", event("1", "GO"), id="1")
    before.work()
    without.client.send("a", event("2"), id="2")
    without.client.send("a", event("3"), id="3")
    without.fail_for_good()
    record = bench.backend.store.load(key_of(before))
    bench.holds(record is not None and record.index.status == "halted", f"no operator could see it: {record}")
    bench.mark("unreadable")
    after = House(bench, _deployed("kept", "old"))
    bench.same(after.client.redrive("a"), 2, "dead letters")
    after.client.send("a", event("4"), id="4")
    after.work()
    bench.same(after.entries("a"), ["1", "2", "3", "4"], "taken")
    for house in (before, without, after):
        house.close()


def _deployed(*states: str) -> DiaryMachine:
    return with_diary(
        {
            "id": "list",
            "context": {},
            "initial": "start",
            "states": {
                "start": {"tags": ["settled"], "on": {"GO": states[0]}},
                **{state: {"tags": ["settled"], "on": {"E": {}}} for state in states},
            },
        }
    )
