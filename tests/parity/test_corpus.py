"""settled does what the real XState did: traces of XState 5.33.3, recorded by ``oracle.mjs``.

``corpora`` says what they are, and where settled does otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from settled import DefinitionError, SettledError, Snapshot
from tests.parity.compare import Case, difference
from tests.parity.corpora import CORPORA, NEVER_TOGETHER, OTHERWISE, case_of, cases_of, corpus, why_illegal
from tests.parity.runner import first, machine_of, run


@pytest.mark.parametrize("name", CORPORA)
def test_every_recorded_trace_is_reproduced(name: str) -> None:
    assert differing(cases_of(name)) == {}


@pytest.mark.parametrize("name", CORPORA)
def test_a_snapshot_may_be_stored_between_any_two_events(name: str) -> None:
    assert differing(cases_of(name)[::5], is_stored=True) == {}


def differing(cases: list[Case], is_stored: bool = False) -> dict[str, str]:
    found = {case["id"]: difference(case["expected"], run(case, is_stored=is_stored)) for case in cases}
    return {id: what for id, what in found.items() if what}


class TestOtherwise:
    """The cases in which settled differs from XState on purpose."""

    def test_each_case_is_needed(self) -> None:
        cases = [case for name in CORPORA for case in corpus(name) if case["id"] in OTHERWISE]
        assert differing(cases).keys() == OTHERWISE.keys()

    @pytest.mark.parametrize("id", [id for id, why in OTHERWISE.items() if why is NEVER_TOGETHER])
    def test_targets_that_are_never_active_together_are_refused(self, id: str) -> None:
        with pytest.raises(DefinitionError, match="never active together"):
            machine_of(case_of("public", id)["config"])

    def test_of_two_children_the_one_that_was_entered_is_active(self) -> None:
        case = case_of("probes", "g7707-400-from")
        *before, last = run(case)["steps"]
        expected = case["expected"]["steps"]
        assert difference({"steps": expected[:-1]}, {"steps": before}) is None
        assert (expected[-1]["value"], last["value"]) == (
            {"b": {"b": "f", "c": {"a": {}, "b": {}, "c": {}}}},
            {"b": {"c": {"a": {}, "b": {}, "c": {}}}},
        )
        assert difference({"steps": [{**expected[-1], "value": last["value"]}]}, {"steps": [last]}) is None

    def test_a_region_that_has_come_back_keeps_its_place(self) -> None:
        """XState takes B before A, for a's x was entered last; restored from the same snapshot it takes A first."""
        go: Any = {"actions": {"type": "assign", "params": {"key": "go", "value": 1}}}
        is_on: Any = {"type": "ctxEq", "params": {"key": "go", "value": 1}}
        a, b = ({"guard": is_on, "target": "z", "actions": action} for action in "AB")
        there: Any = {"x": {"on": {"OUT": "y"}, "always": a}, "y": {"on": {"BACK": "x"}}, "z": {}}
        regions: Any = {
            "a": {"initial": "x", "states": there},
            "b": {"initial": "x", "on": {"GO": go}, "states": {"x": {"always": b}, "z": {}}},
        }
        config = {"type": "parallel", "context": {"go": 0}, "states": regions}
        steps = run({"config": config, "events": [{"type": type} for type in ("OUT", "BACK", "GO")]})["steps"]
        assert [action["type"] for action in steps[-1]["actions"]] == ["A", "B"]


@pytest.mark.parametrize("name", CORPORA)
def test_every_step_rests_in_a_legal_configuration(name: str) -> None:
    """Also in the cases in which XState does not."""
    wrong = {
        case["id"]: number
        for case in corpus(name)
        if "invalid" not in case["expected"]
        for number, snapshot in enumerate(rests(case))
        if why_illegal(snapshot)
    }
    assert wrong == {}


def rests(case: Case) -> Iterator[Snapshot[Any]]:
    """The snapshots in which `case` rests, but for one that has failed at its start and was never entered."""
    try:
        machine = machine_of(case["config"])
        snapshot, _ = first(machine, case)
        if snapshot.status == "error":
            return
        yield snapshot
        for event in case["events"]:
            snapshot, _ = machine.transition(snapshot, event)
            yield snapshot
    except SettledError:
        return
