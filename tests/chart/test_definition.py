"""Resolving names to implementations, and the problems of unknown names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from settled import DefinitionError, Machine, and_, compile_chart, raise_, setup, spawn_child, state_in
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
    with pytest.raises(DefinitionError) as raised:
        setup(
            actors={"stream": callback, "short": lambda input: 1, "none": 3, "machine": child, "good": never},  # type: ignore[dict-item,misc]
            guards={"asks": async_guard},
        ).machine({})
    problems = {problem.path: str(problem) for problem in raised.value.problems}
    assert problems.keys() == {"actors.stream", "actors.short", "actors.none", "guards.asks"}
    assert "callbacks and observables" in problems["actors.stream"]
    assert "two arguments" in problems["actors.short"]
    assert "never waits" in problems["guards.asks"]


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
    machine: Machine[Any, Any] = setup(guards={"never": lambda args: False}).machine(config)
    snapshot, effects = machine.initial_transition()
    assert snapshot.context == {"n": 2}
    assert [type(effect).__name__ for effect in effects] == ["Log"]
