"""The arguments of `setup`, `actor` and the like are checked at once, by type and value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from settled import Backoff, DefinitionError, Migration, Policy, Retry, Schedule, actor, raise_, setup
from tests.support.machines import after

YEARS = timedelta(days=36_501)


def work(input: Any, call: Any) -> None: ...


@pytest.mark.parametrize(
    ("make", "given", "words"),
    [
        (actor, {"timeout": 1}, "timeout must be a timedelta, such as"),
        (actor, {"timeout": timedelta()}, "timeout must be longer than zero"),
        (actor, {"timeout": YEARS}, "timeout must not be longer than 36500 days"),
        (actor, {"interruption": "never"}, "interruption must be 'rerun' or 'fail', not 'never'"),
        (actor, {"retry": 3}, r"retry must be a Retry, such as Retry\(attempts=3\), not 3"),
        (Retry, {"attempts": 0}, "attempts must be at least 1, not 0"),
        (Retry, {"attempts": 1.5}, "attempts must be a whole number, not 1.5"),
        (Retry, {"attempts": True}, "attempts must be a whole number, not True"),
        (Retry, {"backoff": timedelta(1)}, "backoff must be a Backoff"),
        (Backoff, {"factor": 0.5}, "factor must be at least 1, not 0.5"),
        (Backoff, {"factor": float("nan")}, "factor must be at least 1, not nan"),
        (Backoff, {"factor": "2"}, "factor must be a number, not '2'"),
        (Policy, {"window": -1}, "window must be at least 0, not -1"),
        (Policy, {"max_attempts": 0}, "max_attempts must be at least 1, not 0"),
        (Policy, {"receives_before_watch": "x"}, "receives_before_watch must be a whole number, not 'x'"),
        (Policy, {"backoff": 3}, "backoff must be a Backoff"),
        (Policy, {"accepts": "1.0"}, "accepts must be a set of names"),
        (Migration, {"timers": "x"}, "timers must be 'restart' or 'keep', not 'x'"),
    ],
)
def test_an_invalid_argument_raises_at_once(make: Callable[..., object], given: Mapping[str, Any], words: str) -> None:
    function: list[Any] = [work] if make in (actor, Migration) else []
    with pytest.raises((TypeError, ValueError), match=words):
        make(*function, **given)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"context": 5}, "context: 5 is not an attrs class"),
        ({"create_context": 5}, "create_context: 5 is not a function"),
        ({"create_context": lambda: None}, "create_context: cannot be called with one argument"),
        ({"events": {"A": int}}, "events.A: <class 'int'> is not an attrs class"),
        ({"events": 5}, "events: expected a mapping from names, not 5"),
        ({"guards": {5: bool}}, "guards: the name 5 is not text"),
        ({"guards": {"g": None}}, "guards.g: None is not a guard"),
        ({"actions": {"a": 5}}, "actions.a: 5 is not an action"),
        ({"migrations": {"1": 5}}, "migrations.1: 5 is not a function"),
        ({"delays": {"d": YEARS}}, "delays.d: a delay must not be longer than 36500 days"),
    ],
)
def test_an_invalid_registration_is_a_problem_of_the_machine(given: Mapping[str, Any], problem: str) -> None:
    with pytest.raises(DefinitionError) as raised:
        setup(**given).machine({})
    assert [str(each).startswith(problem) for each in raised.value.problems] == [True]


NOW = datetime(2026, 1, 1)


@pytest.mark.parametrize(
    ("config", "path", "words"),
    [
        ({"context": {"at": NOW}}, "context.at", "datetime is not JSON"),
        ({"context": {"at": float("inf")}}, "context.at", "inf is not a JSON number"),
        ({"context": [1]}, "context", "expected an object"),
        ({"context": {"at": len}}, "context", "not JSON"),
        ({"meta": {"at": {1, 2}}}, "meta.at", "set is not JSON"),
        ({"on": {None: {}}}, "on", "the key None is not text"),
        ({"after": {1: {}, "1": {}}}, "after.1", "given twice"),
        ({"entry": raise_({"type": "A", "at": NOW})}, "entry", "its event is JSON"),
    ],
)
def test_a_value_in_a_config_that_is_not_json_is_a_problem(config: Any, path: str, words: str) -> None:
    with pytest.raises(DefinitionError) as raised:
        setup().machine(config)
    (problem,) = raised.value.problems
    assert problem.path == path
    assert words in problem.problem


@pytest.mark.parametrize("where", [{"after": {"d": {}}}, {"entry": raise_({"type": "X"}, delay="d")}])
def test_a_computed_delay_that_is_negative_fires_at_once(where: Any) -> None:
    machine = setup(delays={"d": lambda args: timedelta(seconds=-5)}).machine(where)
    _, (effect,) = machine.initial_transition()
    assert isinstance(effect, Schedule)
    assert effect.delay == timedelta()


@pytest.mark.parametrize("delay", [5, "soon", YEARS])
def test_a_computed_delay_that_is_none_of_a_duration_is_an_error_that_says_so(delay: Any) -> None:
    machine = setup(delays={"d": lambda args: delay}).machine({"after": {"d": {}}})
    assert "a delay must" in str(after(machine).error)
