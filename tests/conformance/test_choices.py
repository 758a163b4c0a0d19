"""A run is determined by its deviations: it can be recorded, replayed and shrunk."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from settled_conformance import Session
from settled_conformance.contract.checked_backend import Violation
from settled_conformance.environment import Environment
from settled_conformance.simulator.choices import Choices, RandomChoices, ReplayedChoices, from_token, to_token
from settled_conformance.simulator.explore import shrink, singles
from settled_conformance.simulator.scenario import ScenarioRun
from settled_conformance.simulator.scenarios import SCENARIOS
from tests.conformance.faulty.harness import PlainHarness
from tests.conformance.faulty.queue_faults import ExpiryToTail

APPEND = next(scenario for scenario in SCENARIOS if scenario.name == "append")


def run_append(choices: Choices) -> ScenarioRun:
    return APPEND.run(Environment.fresh(PlainHarness()), choices)


@given(st.dictionaries(st.integers(0, 10_000), st.integers(1, 20)))
def test_a_token_round_trips(deviations: dict[int, int]) -> None:
    assert from_token(to_token("append", deviations)) == ("append", deviations)


@pytest.mark.parametrize("token", ["", "append", "append:1", "append:1.2,", "append:x.y", "append:1.2;3.4"])
def test_a_malformed_token_is_rejected_with_an_error(token: str) -> None:
    with pytest.raises(ValueError, match="not a replay token"):
        from_token(token)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1_000_000))
def test_a_random_run_can_be_replayed(seed: int) -> None:
    random_run = RandomChoices(random.Random(seed), 0.1)
    assert run_append(random_run).timeline == run_append(ReplayedChoices(random_run.deviations)).timeline


def test_singles_yields_every_option_but_the_default() -> None:
    assert list(singles([1, 3, 2])) == [{1: 1}, {1: 2}, {2: 1}]


def test_shrinking_leaves_only_the_deviations_that_matter() -> None:
    def runner(choices: Choices) -> ScenarioRun:
        left = {position for position in range(20) if choices.choose(2)}
        with_fault = [Violation("X4", "")] if {3, 11} <= left else []
        return ScenarioRun(with_fault, (), frozenset())

    assert shrink(runner, dict.fromkeys(range(20), 1), "X4") == {3: 1, 11: 1}


def test_a_counterexample_is_short_and_can_be_replayed() -> None:
    session = Session(PlainHarness(ExpiryToTail), stop_at="F3")
    session.explore()
    counterexample = session.counterexamples["F3"]
    assert len(from_token(counterexample.token)[1]) <= 2
    assert session.replay(counterexample.token)[: len(counterexample.timeline)] == counterexample.timeline
    assert counterexample.timeline[-1].endswith("<< F3")
