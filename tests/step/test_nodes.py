"""The behaviour that is specific to each kind of node; the parity corpora cover the rest."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

import pytest

from settled import LogicError, and_, or_, raise_
from settled.chart.nodes import matches
from settled.step.effects import Schedule
from tests.support.machines import after, effects_of, given, machine, names


class TestParallel:
    CONFIG: ClassVar[Any] = {
        "type": "parallel",
        "states": {
            key: {
                "initial": "a",
                "exit": f"exit {key}",
                "onDone": {"actions": f"do {key}"},
                "states": {"a": {"on": {"E": "z", key.upper(): "z"}}, "z": {"type": "final"}},
            }
            for key in ("l", "r")
        },
    }

    def test_takes_one_transition_in_each_region(self) -> None:
        assert after(machine({**self.CONFIG, "on": {"X": {}}}), "L").value == {"l": "z", "r": "a"}

    def test_is_done_when_all_its_regions_are(self) -> None:
        both = machine(self.CONFIG)
        assert after(both, "L").status == "active"
        assert after(both, "L", "R").status == "done"

    def test_that_is_the_root_exits_everything_once_it_is_done(self) -> None:
        assert names(effects_of(machine(self.CONFIG), "E")) == ["exit r", "exit l"]


class TestHistory:
    @staticmethod
    def config(kind: Any) -> dict[str, Any]:
        inner = {"initial": "p", "states": {"p": {"on": {"IN": "q"}}, "q": {}}}
        return {
            "initial": "off",
            "states": {
                "off": {"on": {"ON": "on.h"}},
                "on": {
                    "initial": "a",
                    "on": {"OFF": "off"},
                    "states": {"h": {"history": kind}, "a": {"on": {"B": "b"}}, "b": inner},
                },
            },
        }

    def test_is_the_default_before_anything_is_recorded(self) -> None:
        assert after(machine(self.config(True)), "ON").value == {"on": "a"}

    @pytest.mark.parametrize(("kind", "value"), [("shallow", {"on": {"b": "p"}}), ("deep", {"on": {"b": "q"}})])
    def test_records_children_or_all_descendants(self, kind: str, value: Any) -> None:
        assert after(machine(self.config(kind)), "ON", "B", "IN", "OFF", "ON").value == value

    def test_of_a_parallel_node_entered_from_inside_leaves_nothing_else_active(self) -> None:
        """XState exits the parallel node, enters only the region, and takes the events raised by the exit."""
        inner: dict[str, Any] = {"b": {"on": {"X": "hd"}}, "hd": {"type": "history", "history": "deep"}}
        states: dict[str, Any] = {
            "e": {"type": "parallel", "exit": "again", "states": inner},
            "b": {"initial": "a", "on": {"X": "e"}, "states": {"a": {}}},
        }
        parallel = machine({"initial": "b", "states": states}, actions={"again": raise_({"type": "X"})})
        snapshot = after(parallel, "X", "X")
        assert snapshot.value == {"e": {"b": {}}}
        assert [node.key for node in snapshot.configuration.nodes] == ["(machine)", "e", "b"]
        assert parallel.load(parallel.dump(snapshot)) == snapshot

    def test_that_would_add_a_second_child_fails_the_step(self) -> None:
        """Its default may be outside its parent, and conflict with another target."""
        regions = {"r": {"initial": "a", "states": {"a": {}, "h": {"type": "history", "target": "#m.out"}}}, "s": {}}
        states: dict[str, Any] = {
            "z": {"on": {"ALONE": "p.r.h", "BOTH": {"target": ["p.r.h", "p.s"]}}},
            "out": {},
            "p": {"type": "parallel", "states": regions},
        }
        strange = machine({"id": "m", "initial": "z", "states": states})
        assert after(strange, "ALONE").value == "out"
        with pytest.raises(LogicError, match=r'"BOTH" would lead to "m.out" beside "m.p.r.a"'):
            after(strange, "BOTH")

    def test_may_be_initial_and_then_its_default_is(self) -> None:
        inner: Any = {"initial": "h", "states": {"h": {"type": "history", "target": "y"}, "x": {}, "y": {}}}
        initial = machine({"id": "m", "initial": "c", "states": {"c": inner}})
        assert after(initial).value == {"c": "y"}
        assert initial.resolve_state("c") == after(initial)


class TestFinal:
    def test_puts_its_output_into_the_done_event_of_its_parent(self) -> None:
        config: Any = {
            "initial": "a",
            "states": {
                "a": {
                    "initial": "x",
                    "states": {"x": {"type": "final", "output": {"k": 1}}},
                    "onDone": {"target": "b", "guard": given(lambda args: args.event["output"] == {"k": 1})},
                },
                "b": {},
            },
        }
        assert after(machine(config)).value == "b"

    def test_ends_the_machine_with_the_root_s_output(self) -> None:
        config: Any = {
            "initial": "a",
            "context": {"n": 3},
            "states": {"a": {"type": "final", "output": given(lambda args: args.context["n"])}},
            "output": given(lambda args: {"was": args.event["output"]}),
        }
        snapshot = after(machine(config))
        assert (snapshot.status, snapshot.output) == ("done", {"was": 3})


class TestAfter:
    CONFIG: ClassVar[Any] = {"id": "m", "initial": "a", "states": {"a": {"after": {"wait": "b", "10": {}}}, "b": {}}}

    def test_is_scheduled_on_entry_numeric_delays_first(self) -> None:
        effects = effects_of(machine(self.CONFIG, delays={"wait": timedelta(milliseconds=500)}))
        assert [(it.id, it.delay.total_seconds()) for it in effects if isinstance(it, Schedule)] == [
            ("xstate.after.10.m.a", 0.01),
            ("xstate.after.wait.m.a", 0.5),
        ]

    def test_is_cancelled_on_exit(self) -> None:
        waiting = machine(self.CONFIG, delays={"wait": timedelta(milliseconds=500)})
        assert names(effects_of(waiting, "xstate.after.wait.m.a")) == ["Cancel", "Cancel"]
        assert after(waiting, "xstate.after.wait.m.a").value == "b"


class TestInvoke:
    CONFIG: ClassVar[Any] = {
        "id": "m",
        "initial": "a",
        "context": {"n": 1},
        "states": {
            "a": {
                "entry": "enter a",
                "invoke": {"src": "worker", "input": given(lambda args: args.context), "onDone": "b", "onError": "c"},
                "exit": "exit a",
            },
            "b": {},
            "c": {},
        },
    }

    def test_starts_after_the_entry_actions_and_stops_after_the_exit_actions(self) -> None:
        assert names(effects_of(machine(self.CONFIG))) == ["enter a", "Invoke"]
        assert names(effects_of(machine(self.CONFIG), "xstate.done.actor.0.m.a")) == ["exit a", "Stop"]

    def test_moves_on_with_its_result(self) -> None:
        assert after(machine(self.CONFIG), "xstate.done.actor.0.m.a").value == "b"
        assert after(machine(self.CONFIG), "xstate.error.actor.0.m.a").value == "c"


class TestTransitions:
    CONFIG: ClassVar[Any] = {
        "initial": "a",
        "exit": "exit root",
        "entry": "enter root",
        "states": {
            "a": {
                "entry": "enter a",
                "exit": "exit a",
                "initial": "x",
                "states": {"x": {"entry": "enter x", "exit": "exit x"}},
                "on": {
                    "SELF": "a",
                    "AGAIN": {"target": "a", "reenter": True},
                    "CHILD": ".x",
                    "STAY": {"actions": "do it"},
                },
            }
        },
        "on": {"ROOT": {"target": ".a", "reenter": True}},
    }

    @pytest.mark.parametrize(
        ("event", "expected"),
        [
            ("SELF", ["exit x", "enter x"]),
            ("AGAIN", ["exit x", "exit a", "enter a", "enter x"]),
            ("CHILD", ["exit x", "enter x"]),
            ("STAY", ["do it"]),
            ("ROOT", ["exit x", "exit a", "exit root", "enter root", "enter a", "enter x"]),
        ],
    )
    def test_exit_no_more_nodes_than_necessary(self, event: str, expected: list[str]) -> None:
        assert names(effects_of(machine(self.CONFIG), event)) == expected


class TestRoute:
    def test_enters_a_node_from_anywhere_by_its_id(self) -> None:
        config: Any = {
            "initial": "a",
            "states": {
                "a": {},
                "b": {"id": "B", "route": {}},
                "c": {"id": "C", "route": {"guard": given(lambda args: False)}},
            },
        }
        routed = machine(config)
        assert after(routed, {"type": "xstate.route", "to": "#B"}).value == "b"
        assert after(routed, {"type": "xstate.route", "to": "#C"}).value == "a"


@pytest.mark.parametrize(
    ("event", "descriptor", "expected"),
    [
        ("a.b", "a.b", True),
        ("a.b", "*", True),
        ("a.b", "a.*", True),
        ("a.b.c", "a.*", True),
        ("a", "a.*", True),
        ("ab", "a.*", False),
        ("foobar", "foo.*", False),
        ("a.b", "a*", False),
        ("a.b.c", "a.*.c", False),
        ("a.b.c.d", "a.*.c.*", False),
        ("a.*.c.d", "a.*.c.*", False),
        ("a.*.c.*", "a.*.c.*", True),
        ("a.b", "*.*", False),
    ],
)
def test_a_descriptor_names_itself_or_what_is_below_it(event: str, descriptor: str, expected: bool) -> None:
    assert matches(event, descriptor) is expected


def test_the_exact_descriptor_comes_first_then_the_longest_wildcard() -> None:
    config: Any = {
        "on": {
            "*": {"actions": "do any"},
            "a.*": {"actions": "do a"},
            "a.b": {"guard": given(lambda args: False), "actions": "do ab"},
            "a.b.*": {"guard": "deep", "actions": "do abx"},
        }
    }
    assert names(effects_of(machine(config, guards={"deep": and_()}), "a.b")) == ["do abx"]
    assert names(effects_of(machine(config, guards={"deep": or_()}), "a.b")) == ["do a"]
    assert names(effects_of(machine(config, guards={"deep": or_()}), "c")) == ["do any"]
