"""The fast conversion between a snapshot and its text gives the same results as the slow one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve, frozen
from hypothesis import given

from settled import LogicError, Machine, RecordError, SettledError, setup
from settled.data import write
from tests.parity.runner import machine_of
from tests.support.strategies import cases

CONTEXT_AS_A_STATE: dict[str, Any] = {
    "id": "names",
    "type": "parallel",
    "context": {"text": ',"context":{}', "deep": [{"a": 1.5}, None]},
    "states": {
        "a": {"initial": "x", "states": {"x": {"on": {"GO": "y"}}, "y": {}}},
        "context": {"initial": "x", "states": {"x": {}}},
    },
}


def names() -> Machine[Any]:
    return setup().machine(CONTEXT_AS_A_STATE)


@given(case=cases())
def test_the_text_is_that_of_the_persisted_snapshot_and_is_read_back(case: dict[str, Any]) -> None:
    machine = machine_of(case["config"])
    snapshot, _ = machine.initial_transition()
    for event in [{"type": "E"}, *case["events"]]:
        text = machine.dump(snapshot)
        assert text == write(machine.to_json(snapshot))
        assert machine.load(text) == machine.load(text) == machine.from_json(json.loads(text))
        try:
            snapshot, _ = machine.transition(snapshot, event)
        except SettledError:
            return


CHANGES: list[Callable[[str], str]] = [
    lambda text: text,
    lambda text: text.replace(",", ", ").replace(":", ": "),
    lambda text: json.dumps(dict(reversed(json.loads(text).items()))),
    lambda text: json.dumps({**json.loads(text), "more": 1}),
    lambda text: f" {text}\n",
]


class TestTextsInAnotherForm:
    @pytest.mark.parametrize("change", CHANGES)
    def test_are_read_through_json(self, change: Callable[[str], str]) -> None:
        machine = names()
        snapshot, _ = machine.initial_transition()
        plain = change(write(machine.to_json(snapshot)))
        for _ in range(2):
            assert machine.load(plain).value == snapshot.value
            assert machine.load(machine.dump(snapshot)) == snapshot

    @pytest.mark.parametrize("end", [1, 2, 20, 40])
    def test_raise_if_truncated_or_followed_by_more(self, end: int) -> None:
        machine = names()
        text = machine.dump(machine.initial_transition()[0])
        for broken in (text[:-end], text + text[-end:]):
            with pytest.raises(RecordError):
                machine.load(broken)

    def test_raise_if_they_contain_nan(self) -> None:
        machine = names()
        text = machine.dump(machine.initial_transition()[0])
        with pytest.raises(RecordError, match="NaN"):
            machine.load(text.replace("1.5", "NaN"))


class TestAContextThatIsNotJson:
    @pytest.mark.parametrize(
        ("context", "where"),
        [
            ({"a": {1}}, "a: set is not JSON"),
            ({1: "a"}, "the key 1 is not text"),
            ({"a": {"b": {2: 3}}}, "a.b: the key 2 is not text"),
            ({"a": [float("nan")]}, r"a\[0\]: nan is not a JSON number"),
            ({"a": "{", "b": {None: 1}}, "b: the key None is not text"),
        ],
    )
    def test_raises_with_the_path_of_the_value(self, context: Any, where: str) -> None:
        machine = names()
        snapshot, _ = machine.initial_transition()
        with pytest.raises(LogicError, match=where):
            machine.dump(evolve(snapshot, context=context))


@frozen
class Counter:
    n: int = 0


class TestADeclaredClass:
    def test_the_context_is_read_as_an_instance(self) -> None:
        machine = setup(context=Counter).machine({**CONTEXT_AS_A_STATE, "context": {"n": 1}})
        text = machine.dump(machine.initial_transition()[0])
        assert machine.load(text).context == Counter(1)

    def test_a_context_that_does_not_fit_raises(self) -> None:
        machine = setup(context=Counter).machine({**CONTEXT_AS_A_STATE, "context": {"n": 1}})
        text = machine.dump(machine.initial_transition()[0])
        with pytest.raises(RecordError, match="does not fit"):
            machine.load(text.replace('"n":1', '"n":"one"'))
