"""Reading a config: shorthands, the order of keys, and the messages for invalid ones."""

from __future__ import annotations

from typing import Any

import pytest

from settled import DefinitionError, DefinitionProblem, LogicError, compile_chart, setup
from settled.chart.config_reader import config_from


def problems_in(config: Any) -> list[DefinitionProblem]:
    with pytest.raises(DefinitionError) as raised:
        compile_chart(config)
    return list(raised.value.problems)


def problem_in(config: Any) -> DefinitionProblem:
    (problem,) = problems_in(config)
    return problem


class TestShorthands:
    def test_json_text_and_a_mapping_give_the_same_config(self) -> None:
        text = '{"id": "m", "initial": "a", "states": {"a": {}}}'
        mapping: Any = {"id": "m", "initial": "a", "states": {"a": {}}}
        assert config_from(text) == config_from(mapping)

    def test_a_transition_may_be_a_target_an_object_or_an_array(self) -> None:
        config: Any = {"initial": "a", "states": {"a": {"on": {"E": "b", "F": {"target": "b"}, "G": ["b"]}}, "b": {}}}
        chart = compile_chart(config)
        a, b = chart.ids["(machine).a"], chart.ids["(machine).b"]
        assert {event: [it.targets for it in found] for event, found in a.on.items()} == {
            "E": [(b,)],
            "F": [(b,)],
            "G": [(b,)],
        }

    def test_null_forbids_an_event_but_an_empty_array_does_not(self) -> None:
        chart = compile_chart({"on": {"E": None, "F": {}, "G": []}})
        assert [len(chart.root.on[event]) for event in "EFG"] == [1, 1, 0]
        assert all(transition.is_forbidding for event in "EF" for transition in chart.root.on[event])

    def test_null_for_any_other_key_is_the_same_as_leaving_it_out(self) -> None:
        keys = ("initial", "states", "entry", "exit", "invoke", "on", "always", "after", "onDone", "tags", "target")
        assert config_from(dict.fromkeys(keys)).root == config_from({}).root

    def test_an_empty_initial_is_the_same_as_none(self) -> None:
        assert compile_chart({"type": "parallel", "initial": "", "states": {"a": {}}}).root.initial is None
        assert problem_in({"initial": "", "states": {"a": {}}}).remedy == 'Add "initial": "a".'

    def test_keys_are_ordered_as_in_javascript(self) -> None:
        config: Any = {"initial": "b", "states": {"b": {}, "10": {}, "a": {}, "2": {}, "01": {}}}
        assert list(compile_chart(config).root.children) == ["2", "10", "b", "a", "01"]


class TestProblems:
    def test_text_that_is_not_json(self) -> None:
        assert "not JSON" in problem_in("{").problem
        assert "NaN is not JSON" in problem_in('{"context": {"n": NaN}}').problem

    def test_a_key_that_is_there_twice_is_not_taken_silently(self) -> None:
        problem = problem_in('{"initial": "a", "states": {"a": {"on": {"GO": "a"}, "on": {}}}}')
        assert problem.problem == 'not JSON: an object has the key "on" twice'

    def test_an_empty_id_is_a_mistake(self) -> None:
        assert problem_in('{"id": ""}').problem == "the machine's id is empty"

    def test_all_problems_are_reported_at_once_each_with_its_path(self) -> None:
        config: Any = {
            "initial": 3,
            "states": {
                "a": {
                    "type": "paralel",
                    "invoke": [{"src": "x", "onDone": {"target": ["a", 4]}}],
                    "after": {"1000": {"tagret": "a"}},
                    "entry": [{"type": 1}],
                }
            },
        }
        assert {problem.path for problem in problems_in(config)} == {
            "initial",
            "states.a.type",
            "states.a.invoke[0].onDone.target[1]",
            "states.a.after.1000.tagret",
            "states.a.entry[0].type",
        }

    def test_the_remedy_for_an_unknown_key_suggests_the_nearest_one(self) -> None:
        problem = problem_in({"on": {"E": {"tagret": "a"}}})
        assert str(problem) == 'on.E.tagret: no such key\n  Did you mean "target"?'

    @pytest.mark.parametrize(
        ("config", "remedy"),
        [
            ({"on": {"E": {"cond": "g"}}}, '"guard"'),
            ({"on": {"E": {"in": "#a"}}}, "xstate.stateIn"),
            ({"on": {"E": {"internal": True}}}, '"reenter"'),
            ({"invoke": {"src": "a", "data": {}}}, '"input"'),
            ({"invoke": {"src": "a", "autoForward": True}}, "xstate.forwardTo"),
            ({"activities": ["a"]}, '"invoke"'),
            ({"onEntry": "a"}, '"entry"'),
            ({"services": {}}, "actors"),
        ],
    )
    def test_the_remedy_for_a_v4_config_names_the_v5_equivalent(self, config: Any, remedy: str) -> None:
        problem = problem_in(config)
        assert "XState v4" in problem.remedy
        assert remedy in problem.remedy

    def test_the_remedy_for_an_unknown_target_lists_the_siblings(self) -> None:
        config: Any = {
            "initial": "sending",
            "states": {
                "form": {},
                "sending": {"invoke": [{"src": "x", "onDone": {"target": "waitng"}}]},
                "waiting": {},
            },
        }
        problem = problem_in(config)
        assert problem.path == "states.sending.invoke[0].onDone.target"
        assert 'Did you mean "waiting"?' in problem.remedy
        assert "form, sending, waiting" in problem.remedy

    @pytest.mark.parametrize(
        ("config", "path", "words"),
        [
            ({"initial": "b", "states": {"a": {}}}, "initial", 'no state "b"'),
            ({"states": {"a": {}}}, "initial", "no initial state"),
            ({"initial": "a", "on": {"E": "a"}, "states": {"a": {}}}, "on.E.target", "no sibling"),
            ({"on": {"E": "#nobody"}}, "on.E.target", 'no state with the id "nobody"'),
            ({"on": {"": {}}}, "on.", "cannot be empty"),
            ({"initial": "a", "states": {"a": {"id": "x"}, "b": {"id": "x"}}}, "states.b.id", "taken by states.a"),
            (
                {"initial": "a", "on": {"E": {"target": [".a", ".b"]}}, "states": {"a": {}, "b": {}}},
                "on.E.target",
                "never active together",
            ),
            (
                {
                    "initial": "c",
                    "states": {
                        "c": {
                            "initial": "a",
                            "on": {"E": ".h"},
                            "states": {"a": {}, "b": {}, "h": {"type": "history", "target": ["a", "b"]}},
                        }
                    },
                },
                "states.c.states.h.target",
                "never active together",
            ),
            ({"initial": "h", "states": {"a": {}, "h": {"history": True}}}, "states.h", "leads back to itself"),
            ({"version": 1}, "version", "expected text"),
            ({"options": {"maxIterations": 0}}, "options.maxIterations", "above zero"),
        ],
    )
    def test_each_kind_of_invalid_config_is_reported(self, config: Any, path: str, words: str) -> None:
        problem = problem_in(config)
        assert problem.path == path
        assert words in problem.problem

    def test_exclusive_targets_of_an_unreachable_transition_are_no_problem(self) -> None:
        """The step raises if the machine is resumed there."""
        lost: Any = {"on": {"E": {"target": ["a", "b"]}}}
        lonely = setup().machine({"id": "m", "initial": "a", "states": {"a": {}, "b": {}, "lost": lost}})
        with pytest.raises(LogicError, match=r'"E" would lead to "m.a" beside "m.b", which is no legal configuration'):
            lonely.transition(lonely.resolve_state("lost"), {"type": "E"})


class TestFingerprint:
    def test_depends_on_the_config_and_the_order_of_its_keys(self) -> None:
        one: Any = {"initial": "a", "states": {"a": {}, "b": {}}}
        other: Any = {"initial": "a", "states": {"b": {}, "a": {}}}
        assert config_from(one).fingerprint == config_from(dict(one)).fingerprint
        assert config_from(one).fingerprint != config_from(other).fingerprint

    def test_is_64_hex_digits_and_the_same_in_every_process(self) -> None:
        assert config_from({}).fingerprint == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
