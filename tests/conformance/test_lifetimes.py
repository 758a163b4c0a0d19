"""The oracle of lifetimes: what it accepts and reports over deletions, imports, migrations and restores."""

from __future__ import annotations

import json
from typing import Any

from settled import Key, Outcome, fold
from settled.durable import Event, Message, Record, Start, encode
from settled.durable.messages import Parent
from settled.durable.window import Window
from settled_conformance.environment import Environment
from settled_conformance.harnesses.local import MemoryHarness
from settled_conformance.simulator.choices import ReplayedChoices
from settled_conformance.simulator.effect_keys import EffectKeys
from settled_conformance.simulator.history import HistoryMachine
from settled_conformance.simulator.lifetimes import Lifetimes
from settled_conformance.simulator.machines import FaultSwitch, appender, priced
from settled_conformance.simulator.oracle import CommitTime
from settled_conformance.simulator.scenarios import SCENARIOS
from tests.conformance.faulty.harness import PlainHarness

KEY = Key("appender", "ada")
A, B = ({"type": "APPEND", "id": id} for id in "ab")


class Case:
    """The lifetimes of `KEY`, with helpers to send and commit, and the guarantees reported as broken."""

    def __init__(self, *machines: HistoryMachine) -> None:
        machines = machines or (appender(FaultSwitch()),)
        self.found: list[str] = []
        versions = {machine.version: machine for machine in machines}
        self.machine = machines[0]
        self.lifetimes = Lifetimes(machines[-1], KEY, lambda id, fault: self.found.append(id), versions, CommitTime())

    def sent(self, *bodies: Start | Event) -> Case:
        for body in bodies:
            self.lifetimes.mailbox.arrive(Message(KEY, encode(body), encode(body)))
        return self

    def committed(self, *events: Any, input: str | None = "one", **others: Any) -> Case:
        snapshot = fold(self.machine, events, input)
        self.lifetimes.read(Record(nonce="n", version=self.machine.version, snapshot=snapshot, **others))
        return self


def started(*events: Any) -> Case:
    return Case().sent(Start("one"), *map(Event, events))


def test_a_lifetime_that_is_the_fold_of_its_events_is_accepted() -> None:
    case = started(A, B).committed(A).committed(A, B)
    case.lifetimes.end(set())
    case.sent(Start("two")).committed(input="two")
    case.lifetimes.close(Record(snapshot=fold(case.machine, [], "two")), set())
    assert case.found == []


def test_an_event_that_nothing_takes_must_be_ignored_and_no_other() -> None:
    other = {"type": "OTHER", "id": "o"}
    for event, right, wrong in ((A, Outcome.TAKEN, Outcome.IGNORED), (other, Outcome.IGNORED, Outcome.TAKEN)):
        message = Message(KEY, encode(Event(event)), encode(Event(event)))
        assert started(event).committed(event, window=Window().add(message, right)).found == []
        assert started(event).committed(event, window=Window().add(message, wrong)).found == ["X13"]
        open_turn = started(event).committed(event)
        assert open_turn.committed(event, window=Window().add(message, wrong)).found == ["X13"]


def test_an_event_of_a_former_lifetime_must_not_be_taken_again() -> None:
    case = started(A).committed(A)
    case.lifetimes.end(set())
    assert case.sent(Start("two")).committed(A, input="two").found == ["X4"]


def test_a_start_begins_one_lifetime_only() -> None:
    case = started().committed()
    case.lifetimes.end(set())
    assert case.committed().found == ["X4"]


def test_a_committed_step_must_not_be_undone() -> None:
    assert started(A, B).committed(A, B).committed(A).found == ["R9"]
    assert started(A, B).committed(A).committed(B).found == ["R9"]
    case = started().committed()
    case.lifetimes.read(Record())
    assert case.found == ["R9"]


def test_an_imported_instance_continues_from_its_snapshot() -> None:
    case = Case().sent(Event(B))
    case.lifetimes.start_imported(Record(nonce="n", snapshot=fold(case.machine, [A], "elsewhere")))
    case.committed(A, B, input="elsewhere")
    case.lifetimes.close(Record(snapshot=fold(case.machine, [A, B], "elsewhere")), set())
    assert case.found == []


def test_a_child_must_be_started_by_its_parent_and_not_by_a_client() -> None:
    parent = Parent(Key("mother", "ada"), "kid", "generation", Key("mother", "ada"))
    case = Case().sent(Start(None, parent), Start("stranger")).committed(input="stranger")
    case.lifetimes.close(Record(snapshot=fold(case.machine, [], "stranger")), set())
    assert case.found == ["D1"]


def test_after_a_restore_undone_events_may_be_missing_but_none_is_taken_twice() -> None:
    case = started(A, B).committed(A)
    restore = case.lifetimes.checkpoint()
    case.committed(A, B)
    restore()
    case.lifetimes.close(Record(snapshot=fold(case.machine, [A], "one")), set())
    assert case.committed(A, A).found == ["X4"]


def test_a_newer_version_migrates_once_and_an_older_one_never_comes_back() -> None:
    old, new = priced("1"), priced("2")
    case = Case(old, new).sent(Start("one")).committed()
    migrated = new.from_json(new.migrate(_json(old, "one"), "1"))
    case.lifetimes.read(Record(nonce="n", version="2", snapshot=migrated))
    case.lifetimes.close(Record(version="2", snapshot=migrated), set())
    assert case.found == []
    assert case.committed().found == ["V1"]


def _json(machine: HistoryMachine, input: str) -> Any:
    return json.loads(machine.dump(fold(machine, [], input)))


def test_an_effect_key_must_not_be_reused() -> None:
    found: list[str] = []
    keys = EffectKeys(lambda id, fault: found.append(id))
    keys.use("m/x/1/1/0", "pay a")
    keys.use("m/x/1/1/0", "pay a")
    assert not found
    keys.use("m/x/1/1/0", "pay b")
    assert found == ["E2"]


# The default runs of scenarios

REACHED_BY_DEFAULT = {
    "redrive-past-window": "redrive",
    "restarted": "deleted",
    "restarted-with-cache": "deleted",
    "restarted-with-actors": "deleted",
    "restarted-parent": "deleted",
    "imported-keys": "imported",
    "imported-actor": "imported",
    "imported-timer": "imported",
    "imported-child": "imported",
    "restored": "restored",
    "restored-to-empty": "restored",
}


def test_the_default_run_of_a_scenario_reaches_its_situation() -> None:
    for scenario in SCENARIOS:
        if scenario.name in REACHED_BY_DEFAULT:
            run = scenario.run(Environment.fresh(MemoryHarness()), ReplayedChoices())
            assert REACHED_BY_DEFAULT[scenario.name] in run.marks, (scenario.name, run.timeline)


def test_a_worker_is_frozen_before_its_first_load_while_more_than_a_window_is_taken() -> None:
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == "stale-worker")
    default_run = ReplayedChoices()
    scenario.run(Environment.fresh(MemoryHarness()), default_run)
    runs = (
        scenario.run(Environment.fresh(MemoryHarness()), ReplayedChoices({position: option}))
        for position, options in enumerate(default_run.options)
        for option in range(1, options)
    )
    assert any("more than a window was taken between a receive and its first load" in run.marks for run in runs)


def test_scenarios_that_need_a_missing_feature_are_left_out() -> None:
    left_out = {scenario.name for scenario in SCENARIOS if not scenario.fits(PlainHarness())}
    assert left_out == {"restored", "restored-to-empty"}
    assert all(scenario.fits(MemoryHarness()) for scenario in SCENARIOS)
