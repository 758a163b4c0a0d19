"""Snapshots: value, tags, matching, and their JSON."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from settled import ABSENT, RecordError
from tests.support.machines import after, given, machine

CONFIG = {
    "id": "m",
    "type": "parallel",
    "context": {"n": 0},
    "tags": "root",
    "states": {
        "left": {
            "initial": "a",
            "states": {"a": {"initial": "x", "meta": {"k": 1}, "states": {"x": {"tags": ["deep"]}}}, "b": {}},
            "on": {"B": ".b"},
        },
        "right": {},
    },
}


def test_the_value_is_nested_as_in_xstate() -> None:
    assert after(machine(CONFIG)).value == {"left": {"a": "x"}, "right": {}}
    assert after(machine(CONFIG), "B").value == {"left": "b", "right": {}}
    assert after(machine({})).value == {}


def test_tags_and_meta_are_those_of_the_active_states() -> None:
    snapshot = after(machine(CONFIG))
    assert snapshot.tags == {"root", "deep"}
    assert snapshot.has_tag("deep")
    assert snapshot.meta == {"m.left.a": {"k": 1}}
    assert not after(machine(CONFIG), "B").has_tag("deep")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("left", True),
        ("left.a", True),
        ("left.a.x", True),
        ({"left": "a"}, True),
        ({"left": {"a": "x"}}, True),
        ({"left": {"a": "x"}, "right": {}}, True),
        ("left.b", False),
        ({"left": "b"}, False),
        ("nowhere", False),
        ({}, True),
    ],
)
def test_matches_accepts_paths_and_partial_values(value: Any, expected: bool) -> None:
    assert after(machine(CONFIG)).matches(value) is expected


def test_can_returns_whether_an_event_would_have_an_effect() -> None:
    config: Any = {"on": {"E": {"actions": "do it"}, "F": None, "G": {"guard": "no", "actions": "do it"}}}
    own = machine(config, guards={"no": lambda args: False})
    snapshot = after(own)
    assert [own.can(snapshot, {"type": type}) for type in "EFGH"] == [True, False, False, False]


class TestResolveState:
    def test_completes_a_partial_value_by_default(self) -> None:
        snapshot = machine(CONFIG).resolve_state({"left": "a"}, {"n": 5})
        assert snapshot.value == {"left": {"a": "x"}, "right": {}}
        assert snapshot.context == {"n": 5}

    def test_uses_the_config_s_context_by_default(self) -> None:
        assert machine(CONFIG).resolve_state({}).context == {"n": 0}

    def test_is_done_in_a_final_state(self) -> None:
        config: Any = {"initial": "a", "states": {"a": {}, "b": {"type": "final"}}}
        assert machine(config).resolve_state("b").status == "done"

    @pytest.mark.parametrize("value", ["nowhere", {"left": "nowhere"}, 3])
    def test_raises_for_a_value_the_machine_does_not_have(self, value: Any) -> None:
        with pytest.raises(RecordError):
            machine(CONFIG).resolve_state(value)

    def test_raises_for_two_children_of_one_compound_node(self) -> None:
        two = machine({"id": "m", "initial": "a", "states": {"a": {}, "b": {}}})
        with pytest.raises(RecordError, match=r'"m.a" beside "m.b" is not a state of the machine m'):
            two.resolve_state({"a": {}, "b": {}})


class TestJson:
    CONFIG: ClassVar[Any] = {
        "id": "m",
        "initial": "a",
        "context": {"n": 0},
        "states": {
            "a": {
                "invoke": {"src": "worker", "id": "w", "systemId": "sys", "input": {"k": 1}, "onSnapshot": {}},
                "initial": "x",
                "states": {"h": {"history": True}, "x": {"on": {"E": "y"}}, "y": {}},
                "on": {"LEAVE": "b"},
            },
            "b": {"on": {"BACK": "a.h", "END": "c"}},
            "c": {"type": "final", "output": None},
        },
        "output": given(lambda args: args.event["output"]),
    }

    def test_is_xstate_s_persisted_snapshot(self) -> None:
        assert machine(self.CONFIG).to_json(after(machine(self.CONFIG))) == {
            "status": "active",
            "value": {"a": "x"},
            "context": {"n": 0},
            "children": {
                "w": {
                    "snapshot": {"status": "active", "input": {"k": 1}},
                    "src": "worker",
                    "systemId": "sys",
                    "syncSnapshot": True,
                }
            },
            "historyValue": {},
        }

    def test_contains_the_recorded_history(self) -> None:
        own = machine(self.CONFIG)
        snapshot = own.load(own.dump(after(own, "E", "LEAVE")))
        assert own.to_json(snapshot)["historyValue"] == {"m.a.h": [{"id": "m.a.y"}]}
        assert own.transition(snapshot, {"type": "BACK"})[0].value == {"a": "y"}

    def test_distinguishes_null_from_absent(self) -> None:
        own = machine(self.CONFIG)
        done = own.load(own.dump(after(own, "LEAVE", "END")))
        assert (done.status, done.output) == ("done", None)
        assert after(own).output is ABSENT
        assert "output" not in own.to_json(after(own))

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("{", "not JSON"),
            ("[]", "expected an object"),
            ('{"status": "active"}', "value is missing"),
            ('{"status": "active", "value": "gone"}', 'no state "gone" in "m" of the machine m'),
            ('{"status": "what", "value": "b"}', "'what' is not one of active"),
            ('{"status": "active", "value": "b", "historyValue": {"h": []}}', "no state with the id 'h'"),
            ('{"status": "active", "value": "b", "children": {"w": {}}}', r"children\.w\.src"),
        ],
    )
    def test_an_invalid_one_raises_with_the_path_of_the_problem(self, text: str, words: str) -> None:
        with pytest.raises(RecordError, match=words):
            machine(self.CONFIG).load(text)
