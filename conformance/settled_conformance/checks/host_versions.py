"""Check of V1 with the real host: a deploy that removes the state of an instance."""

from __future__ import annotations

from settled_conformance.checks import checks
from settled_conformance.checks.host import HostFixture, event, key_of
from settled_conformance.fixture import BackendFixture
from settled_conformance.simulator.history import HistoryMachine, with_history


@checks("V1")
def an_instance_whose_state_was_removed_waits_until_it_returns(fixture: BackendFixture) -> None:
    before, without = HostFixture(fixture, _deployed("old", "kept")), HostFixture(fixture, _deployed("kept"))
    before.client.start("a")
    before.client.send("a", event("1", "GO"), message_id="1")
    before.run_until_idle()
    without.client.send("a", event("2"), message_id="2")
    without.client.send("a", event("3"), message_id="3")
    without.run_until_dead_lettered()
    record = fixture.backend.store.load(key_of(before))
    fixture.require(record is not None and record.index.status == "halted", f"the instance is not halted: {record}")
    fixture.mark("unreadable")
    after = HostFixture(fixture, _deployed("kept", "old"))
    fixture.require_equal(after.client.redrive("a"), 2, "dead letters")
    after.client.send("a", event("4"), message_id="4")
    after.run_until_idle()
    fixture.require_equal(after.entries("a"), ["1", "2", "3", "4"], "taken")
    for service in (before, without, after):
        service.close()


def _deployed(*states: str) -> HistoryMachine:
    return with_history(
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
