"""A run is told by where it left the plain way, and is the same every time it is told."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from settled_conformance import Session
from settled_conformance.contract.checked_backend import Violation as Broken
from settled_conformance.environment import Environment
from settled_conformance.simulator.choices import Choices, RandomChoices, ReplayedChoices, from_token, to_token
from settled_conformance.simulator.explore import shrink, singles
from settled_conformance.simulator.scenario import ScenarioRun
from settled_conformance.simulator.scenarios import SCENARIOS
from tests.conformance.faulty.harness import PlainHarness
from tests.conformance.faulty.queue_faults import ExpiryToTail

APPEND = next(scenario for scenario in SCENARIOS if scenario.name == "append")


def play(choices: Choices) -> ScenarioRun:
    return APPEND.run(Environment.fresh(PlainHarness()), choices)


@given(st.dictionaries(st.integers(0, 10_000), st.integers(1, 20)))
def test_a_token_says_all_of_a_run(deviations: dict[int, int]) -> None:
    assert from_token(to_token("append", deviations)) == ("append", deviations)


@pytest.mark.parametrize("token", ["", "append", "append:1", "append:1.2,", "append:x.y", "append:1.2;3.4"])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="not a replay token"):
        from_token(token)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1_000_000))
def test_a_run_that_was_drawn_can_be_told_again(seed: int) -> None:
    drawn = RandomChoices(random.Random(seed), 0.1)
    assert play(drawn).timeline == play(ReplayedChoices(drawn.deviations)).timeline


def test_the_plain_run_has_one_single_deviation_for_each_other_way() -> None:
    assert list(singles([1, 3, 2])) == [{1: 1}, {1: 2}, {2: 1}]


def test_shrinking_leaves_only_what_matters() -> None:
    def runner(choices: Choices) -> ScenarioRun:
        left = {position for position in range(20) if choices.choose(2)}
        broken = [Broken("X4", "")] if {3, 11} <= left else []
        return ScenarioRun(broken, (), frozenset())

    assert shrink(runner, dict.fromkeys(range(20), 1), "X4") == {3: 1, 11: 1}


def test_a_finding_is_short_and_can_be_replayed() -> None:
    session = Session(PlainHarness(ExpiryToTail), stop_at="F3")
    session.explore()
    counterexample = session.counterexamples["F3"]
    assert len(from_token(counterexample.token)[1]) <= 2
    assert session.replay(counterexample.token)[: len(counterexample.timeline)] == counterexample.timeline
    assert counterexample.timeline[-1].endswith("<< F3")
