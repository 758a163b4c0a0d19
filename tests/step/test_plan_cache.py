"""The plan cache changes how long a step takes, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from settled import Machine, SettledError, Snapshot, setup
from settled.step.plan_cache import PlanCache
from tests.parity.compare import Case, difference
from tests.parity.corpora import CORPORA, cases_of
from tests.parity.runner import machine_of, trace
from tests.support.strategies import cases


def outcomes(machine: Machine[Any], events: list[Any]) -> list[Any]:
    """All results of `machine` for `events`: snapshots, effects, microsteps and errors."""
    snapshot, effects = machine.initial_transition()
    seen: list[Any] = [snapshot, effects, machine.initial_microsteps()]
    for event in events:
        try:
            after, effects = machine.transition(snapshot, event, first_index=3)
        except SettledError as error:
            seen.append((type(error), str(error)))
            continue
        seen += [after, effects, after is snapshot, machine.microsteps(snapshot, event), machine.can(snapshot, event)]
        snapshot = after
    return seen


@settings(deadline=None)
@given(case=cases(), limit=st.sampled_from([1, 3, 10_000]))
def test_a_machine_behaves_the_same_with_and_without_plans(case: dict[str, Any], limit: int) -> None:
    machine = machine_of(case["config"])
    planned = evolve(machine, plan_cache=PlanCache(machine.program, limit))
    expected = outcomes(without_plans(machine), case["events"])
    assert outcomes(planned, case["events"]) == expected
    assert outcomes(planned, case["events"]) == expected, "again, from the cached plans"


def without_plans(machine: Machine[Any]) -> Machine[Any]:
    """Return a copy of `machine` that caches no plans."""
    return evolve(machine, plan_cache=PlanCache(machine.program, limit=0))


@pytest.mark.parametrize("name", CORPORA)
def test_without_plans_every_recorded_trace_is_reproduced(name: str) -> None:
    assert {case["id"]: what for case in cases_of(name) if (what := differing(case))} == {}


def differing(case: Case) -> str | None:
    """How the trace of `case` without plans differs from the recorded one, if settled supports its config."""
    if "invalid" in case["expected"]:
        return None
    steps: list[Any] = []
    try:
        steps.extend(trace(without_plans(machine_of(case["config"])), case, is_stored=False))
    except SettledError as error:
        steps.append({"error": {"thrown": True, "$error": type(error).__name__, "message": str(error)}})
    return difference(case["expected"], {"steps": steps})


TWO = {"id": "two", "initial": "a", "states": {"a": {"on": {"GO": "b"}}, "b": {"on": {"GO": "a", "x.*": "a"}}}}


def two() -> Machine[Any]:
    return setup().machine(TWO)


class TestTheLimit:
    def test_a_plan_is_made_once(self) -> None:
        machine = two()
        snapshot: Snapshot[Any] = machine.initial_transition()[0]
        for _ in range(2):
            snapshot, _ = machine.transition(snapshot, {"type": "GO"})
        known = len(machine.plan_cache)
        for _ in range(10):
            snapshot, _ = machine.transition(snapshot, {"type": "GO"})
        assert len(machine.plan_cache) == known

    def test_types_that_no_descriptor_names_share_an_entry(self) -> None:
        machine = two()
        snapshot, _ = machine.transition(machine.initial_transition()[0], {"type": "GO"})
        sizes = set[int]()
        for number in range(20):
            machine.transition(snapshot, {"type": f"junk.{number}"})
            machine.transition(snapshot, {"type": f"x.{number}"})
            sizes.add(len(machine.plan_cache))
        assert len(sizes) == 1

    def test_there_are_never_more_entries_than_the_limit(self) -> None:
        machine = two()
        small = evolve(machine, plan_cache=PlanCache(machine.program, limit=2))
        snapshot, _ = small.initial_transition()
        for _ in range(10):
            snapshot, _ = small.transition(snapshot, {"type": "GO"})
            assert len(small.plan_cache) <= 2

    def test_all_instances_share_the_plans(self) -> None:
        machine = two()
        first, second = machine.initial_transition()[0], machine.initial_transition()[0]
        machine.transition(first, {"type": "GO"})
        known = len(machine.plan_cache)
        machine.transition(second, {"type": "GO"})
        assert len(machine.plan_cache) == known


class TestSpecialTypes:
    """Types that no descriptor names, but that are reserved by XState or have a declared class."""

    @pytest.mark.parametrize("before", ["JUNK", "xstate.junk"])
    def test_a_machine_can_be_stopped_after_an_event_that_nothing_takes(self, before: str) -> None:
        machine = two()
        snapshot, _ = machine.transition(machine.initial_transition()[0], {"type": before})
        assert machine.transition(snapshot, {"type": "xstate.stop"})[0].status == "stopped"

    def test_an_actor_error_that_nothing_takes_ends_the_machine(self) -> None:
        machine = two()
        snapshot, _ = machine.transition(machine.initial_transition()[0], {"type": "JUNK"})
        assert machine.transition(snapshot, {"type": "xstate.error.actor.x", "error": 1})[0].error == 1

    def test_the_wildcard_is_not_an_event(self) -> None:
        machine = two()
        snapshot, _ = machine.transition(machine.initial_transition()[0], {"type": "JUNK"})
        with pytest.raises(SettledError):
            machine.transition(snapshot, {"type": "*"})
