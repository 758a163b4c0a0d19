"""Resolving names to implementations, and the problems of unknown names."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast

import pytest

from settled import (
    DefinitionError,
    Machine,
    actor,
    and_,
    assign,
    compile_chart,
    enqueue_actions,
    raise_,
    setup,
    spawn_child,
    state_in,
)
from settled.chart.chart import Chart
from tests.support.machines import never


def test_all_unknown_names_are_reported_at_once() -> None:
    config: Any = {
        "initial": "a",
        "states": {
            "a": {
                "entry": ["nothing", {"type": "xstate.raise", "params": {"event": {"type": "E"}, "delay": "soon"}}],
                "on": {"E": {"target": "c", "guard": "maybe"}},
                "after": {"later": "a"},
                "invoke": {"src": "nobody"},
            }
        },
    }
    with pytest.raises(DefinitionError) as raised:
        setup(guards={"maybee": lambda args: True}).machine(config)
    problems = {problem.path: problem for problem in raised.value.problems}
    assert problems.keys() == {
        "states.a.entry[0]",
        "states.a.entry[1]",
        "states.a.on.E.target",
        "states.a.on.E.guard",
        "states.a.after.later",
        "states.a.invoke.src",
    }
    assert problems["states.a.on.E.guard"].remedy.startswith('Did you mean "maybee"?')


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"entry": raise_({"type": "E"}, delay="soon")}, 'no delay is registered as "soon"'),
        ({"entry": spawn_child("nobody")}, 'no actor is registered as "nobody"'),
        ({"on": {"E": {"guard": and_("maybe")}}}, 'no guard is registered as "maybe"'),
        ({"on": {"E": {"guard": state_in("#nobody")}}}, 'no state with the id "nobody"'),
        ({"entry": {"type": "xstate.raise", "params": {"evnt": 1}}}, "cannot be made from"),
    ],
)
def test_names_inside_built_in_actions_and_guards_are_resolved_too(config: Any, words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        setup().machine(config)


def callback(input: Any, call: Any) -> Iterator[int]:
    yield 1


async def async_guard(args: Any) -> bool:
    return True


def test_a_function_with_the_wrong_shape_is_a_problem() -> None:
    child = setup().machine({})
    actors: Any = {"stream": callback, "short": lambda: 1, "none": 3, "machine": child, "good": never}
    with pytest.raises(DefinitionError) as raised:
        setup(actors=actors, guards={"asks": async_guard}).machine({})
    problems = {problem.path: str(problem) for problem in raised.value.problems}
    assert problems.keys() == {"actors.stream", "actors.short", "actors.none", "guards.asks"}
    assert "callbacks and observables" in problems["actors.stream"]
    assert "two arguments" in problems["actors.short"]
    assert "never waits" in problems["guards.asks"]


def two(a: Any, params: Any) -> Any:
    """Take the params as a second argument, which settled never passes."""


def assign_one(function: Any) -> Any:
    return assign(n=function)


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"entry": raise_({"type": "E"}, delay=cast("Any", 1000))}, "entry"),
        ({"entry": raise_({"type": "E"}, delay=timedelta(seconds=-1))}, "entry"),
        ({"entry": {"type": "xstate.raise", "params": {"event": {"type": "E"}, "delay": -1}}}, "entry"),
        ({"entry": {"type": "xstate.raise", "params": {"event": {"type": "E"}, "delay": 1e300}}}, "entry"),
        ({"entry": {"type": "xstate.raise", "params": {"event": {"type": "E"}, "delay": True}}}, "entry"),
        ({"initial": "a", "states": {"a": {"after": {"1e300": {}}}}}, "states.a.after.1e300"),
    ],
)
def test_a_delay_that_is_no_duration_is_a_problem(config: Any, path: str) -> None:
    with pytest.raises(DefinitionError, match="delay") as raised:
        setup().machine(config)
    assert [problem.path for problem in raised.value.problems] == [path]


def test_a_registered_number_is_a_problem_of_the_delay_and_names_the_remedy() -> None:
    delays: Any = {"wait": 1000, "good": timedelta(seconds=1), "late": timedelta(seconds=-1)}
    with pytest.raises(DefinitionError) as raised:
        setup(delays=delays).machine({"initial": "a", "states": {"a": {"after": {"wait": {}}}}})
    assert [(problem.path, problem.problem) for problem in raised.value.problems] == [
        ("delays.wait", "a delay must be a timedelta, such as timedelta(seconds=5), not 1000"),
        ("delays.late", "a delay must not be negative, as datetime.timedelta(days=-1, seconds=86399) is"),
    ]


class TestAFunctionThatCannotBeCalledWithOneArgument:
    def test_is_a_problem_where_it_is_registered(self) -> None:
        wrong: Any = {"two": two}
        with pytest.raises(DefinitionError) as raised:
            setup(guards=wrong, actions=wrong, delays=wrong, actors={"two": actor(never, input=wrong["two"])}).machine(
                {"entry": "two", "on": {"E": {"guard": "two"}}, "after": {"two": {}}, "invoke": {"src": "two"}}
            )
        problems = {problem.path: problem for problem in raised.value.problems}
        assert problems.keys() == {"guards.two", "actions.two", "delays.two", "actors.two.input"}
        assert {problem.remedy for problem in problems.values()} == {"Take one argument a, and read a.params."}

    @pytest.mark.parametrize(
        ("config", "path"),
        [
            ({"on": {"E": {"guard": two}}}, "on.E.guard"),
            ({"on": {"E": {"guard": and_(cast("Any", two))}}}, "on.E.guard"),
            ({"on": {"E": {"guard": {"type": "is", "params": two}}}}, "on.E.guard"),
            ({"entry": two}, "entry"),
            ({"entry": ["act", two]}, "entry[1]"),
            ({"entry": {"type": "act", "params": two}}, "entry"),
            ({"entry": {"type": "xstate.log", "params": {"value": two}}}, "entry"),
            ({"entry": raise_({"type": "E"}, delay=cast("Any", two))}, "entry"),
            ({"invoke": {"src": "work", "input": two}}, "invoke.src"),
            ({"type": "final", "output": two}, ""),
        ],
    )
    def test_is_a_problem_where_it_is_in_the_config(self, config: Any, path: str) -> None:
        logic = setup(guards={"is": lambda a: True}, actions={"act": lambda a: None}, actors={"work": never})
        with pytest.raises(DefinitionError) as raised:
            logic.machine(config)
        assert [(problem.path, problem.problem) for problem in raised.value.problems] == [
            (path, "cannot be called with one argument")
        ]

    @pytest.mark.parametrize("make", [assign, assign_one, raise_, enqueue_actions])
    def test_is_a_problem_of_the_action_that_is_made_of_it(self, make: Any) -> None:
        with pytest.raises(DefinitionError, match="two: cannot be called with one argument"):
            make(two)


def test_a_chart_can_be_compiled_without_implementations() -> None:
    chart = compile_chart({"initial": "a", "states": {"a": {"entry": "unknown", "on": {"E": {"guard": "unknown"}}}}})
    assert isinstance(chart, Chart)
    assert [node.id for node in chart.nodes] == ["(machine)", "(machine).a"]


def test_built_in_actions_and_guards_need_no_registration() -> None:
    config: Any = {
        "context": {"n": 1},
        "entry": [
            {"type": "xstate.assign", "params": {"assignment": {"n": 2}}},
            {"type": "xstate.log", "params": {"value": "here", "label": "L"}},
        ],
        "on": {"E": {"guard": {"type": "xstate.not", "params": {"guard": "never"}}, "actions": []}},
    }
    machine: Machine[Any] = setup(guards={"never": lambda args: False}).machine(config)
    snapshot, effects = machine.initial_transition()
    assert snapshot.context == {"n": 2}
    assert [type(effect).__name__ for effect in effects] == ["Log"]
