"""Any text of a config ends as a chart or as a list of problems, without a traceback; the slow ones here are quick."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from settled import DefinitionError, check, compile_chart, dot, mermaid, setup
from settled.chart.config_reader import MAX_MAX_ITERATIONS
from settled.chart.config_values import MAX_DEPTH
from tests.chart.test_config import problem_in


def use(text: str) -> None:
    """Do with the config whatever can be done without its implementations."""
    chart = compile_chart(text)
    check(chart)
    dot(chart)
    mermaid(chart)


def action(name: str, **params: Any) -> str:
    return json.dumps({"entry": {"type": f"xstate.{name}", "params": params}})


def guard(name: str, **params: Any) -> str:
    return json.dumps({"on": {"E": {"guard": {"type": f"xstate.{name}", "params": params}}}})


RAISE = {"type": "E"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"meta": 1e999}', "inf is not a JSON number"),
        ('{"after": {"1e999": {}}}', "inf milliseconds are not a delay"),
        ('{"after": {"100000000000000000": {}}}', "are not a delay"),
        ('{"after": {"4000000000000": {}}}', "must not be longer than 36500 days"),
        ('{"options": {"maxIterations": 1000000000000000000}}', f"at most {MAX_MAX_ITERATIONS}"),
        ('{"options": []}', "expected an object"),
        (f'{{"meta": {"1" * 5000}}}', "not JSON"),
        (action("assign", assignment=5), "not 5"),
        (action("assign", assignment=[[1]]), "not [[1]]"),
        (action("raise", event=5), "its event is an object with a type"),
        (action("raise", event=RAISE, id=[5]), "its id is text, not [5]"),
        (action("raise", event=RAISE, delay=True), "must be a timedelta"),
        (action("sendTo", to=5, event=RAISE), "its to is text, not 5"),
        (action("emit", event={}), "its event is an object with a type"),
        (action("spawnChild", src=[5]), "its src is text, not [5]"),
        (action("cancel", sendId=None), "its id is text, not None"),
        (guard("and", guards=5), "its guards are an array, not 5"),
        (guard("or", guards=[None]), "None is not a guard"),
        (guard("not", guard=None), "None is not a guard"),
        (guard("stateIn", stateValue=5), "5 is not a state value"),
        (guard("stateIn", stateValue="#nobody"), 'no state with the id "nobody"'),
    ],
)
def test_a_value_that_would_fail_in_a_step_is_a_problem(text: str, words: str) -> None:
    assert words in problem_in(text).problem
    with pytest.raises(DefinitionError):
        setup().machine(text)


class TestDepth:
    @pytest.mark.parametrize("depth", [MAX_DEPTH, 900, 100_000])
    def test_arrays_that_are_nested_too_deeply(self, depth: int) -> None:
        assert "nested" in problem_in(f'{{"meta": {"[" * depth}{"]" * depth}}}').problem

    def test_states_that_are_nested_as_deeply_as_is_allowed(self) -> None:
        use(states(MAX_DEPTH // 2 - 1))
        assert "nested" in problem_in(states(MAX_DEPTH // 2)).problem

    def test_a_mapping_that_contains_itself(self) -> None:
        endless: dict[str, Any] = {}
        endless["meta"] = endless
        assert "nested" in problem_in(endless).problem

    def test_a_guard_that_is_an_alias_of_itself(self) -> None:
        with pytest.raises(DefinitionError, match=r"on\.E\.guard: refers to itself"):
            setup(guards={"g": "g"}).machine({"on": {"E": {"guard": "g"}}})


def states(depth: int) -> str:
    return '{"initial":"a","states":{"a":' * depth + "{}" + "}}" * depth


class TestTime:
    """Each of these took from half a minute to hours when the time grew with the square of the text."""

    @pytest.mark.parametrize("key", ["1" * 40_000, "1" * 40_000 + "x", " " * 40_000 + "x", "1e" + "1" * 40_000])
    def test_of_a_long_key(self, key: str) -> None:
        assert seconds_to_use(json.dumps({"on": {key: {}}})) < 2
        assert seconds_to_use(json.dumps({"after": {key: {}}})) < 2

    @pytest.mark.parametrize("target", ["s{next}", "t{next}", "s0"], ids=["found", "not found", "unreachable"])
    def test_of_many_states(self, target: str) -> None:
        ring = {f"s{each}": {"on": {"E": target.format(next=(each + 1) % 2000)}} for each in range(2000)}
        assert seconds_to_use(json.dumps({"initial": "s0", "states": ring})) < 10

    @pytest.mark.parametrize("kind", ["always", "all at once", "all later", "resting", "one event", "same actor"])
    def test_of_many_regions(self, kind: str) -> None:
        count = 3000
        leaf: dict[str, Any] = {"always": "b"} if kind == "always" else {"on": {"E": "b"}}
        if kind == "same actor":
            leaf = {"invoke": {"src": "work", "id": "w", "systemId": "w", "onDone": "b"}}
        rests = {} if kind == "one event" else {"tags": ["settled"]}
        region = {"initial": "a", "states": {"a": leaf, "b": rests, "c": {"tags": ["settled"]}}}
        regions: dict[str, Any] = {"type": "parallel", "states": {f"r{each}": region for each in range(count)}}
        if kind == "all at once":
            regions["on"] = {"ALL": {"target": [f".r{each}.b" for each in range(count)]}}
        if kind == "all later":
            start = {"on": {"ALL": {"target": [f"p.r{each}.b" for each in range(count)]}}}
            regions = {"initial": "start", "states": {"start": start, "p": regions}}
        before = time.process_time()
        check(compile_chart(json.dumps(regions)))
        assert time.process_time() - before < 10


def seconds_to_use(text: str) -> float:
    before = time.process_time()
    with suppress(DefinitionError):
        use(text)
    return time.process_time() - before


KEYS = st.sampled_from(
    [
        *("id", "type", "initial", "states", "entry", "exit", "invoke", "on", "always", "after", "onDone", "history"),
        *("target", "route", "output", "tags", "meta", "description", "context", "version", "options", "guard"),
        *("actions", "reenter", "src", "systemId", "input", "onError", "onSnapshot", "params", "maxIterations"),
        *("guards", "event", "delay", "assignment", "to", "stateValue", "sendId", "value", "any"),
        *("anew", "1", "a", "b"),
    ]
)
WORDS = st.sampled_from(
    [
        *("a", "b", ".a", "#a", "#b.a", "", "any", "parallel", "history", "final", "deep", "xstate.done.state.a", "*"),
        *("xstate.raise", "xstate.assign", "xstate.sendTo", "xstate.and", "xstate.not", "xstate.stateIn", "\ud800"),
        "1e9",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=3)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | WORDS, inner, max_size=4), max_leaves=30
)
"""JSON that is likely to get past the first check, because its keys and words are those of configs."""


@settings(deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_json_is_a_chart_or_a_definition_error(config: dict[str, Any]) -> None:
    with suppress(DefinitionError):
        use(json.dumps(config))


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_chart_or_a_definition_error(text: str) -> None:
    with suppress(DefinitionError):
        use(text)
