"""Guards: named, with params, combined, and on the state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from settled import Args, and_, not_, or_, state_in
from settled.machine_setup import GuardImpl
from tests.support.machines import after, given, machine

YES, NO = "yes", "no"


def equals(a: Args[Any]) -> bool:
    return bool(a.context["n"] == a.params)


GUARDS: Mapping[str, GuardImpl[Any]] = {"yes": lambda args: True, "no": lambda args: False, "is": equals}


def is_taken(guard: Any, **registered: Any) -> bool:
    config: Any = {
        "context": {"n": 1},
        "initial": "a",
        "states": {"a": {"on": {"E": {"target": "b", "guard": guard}}}, "b": {}},
    }
    return after(machine(config, guards={**GUARDS, **registered}), "E").matches("b")


@pytest.mark.parametrize(
    ("guard", "expected"),
    [
        (YES, True),
        (NO, False),
        ({"type": "is", "params": 1}, True),
        ({"type": "is", "params": 2}, False),
        ({"type": "is", "params": given(lambda args: args.context["n"])}, True),
        (given(lambda args: args.event["type"] == "E"), True),
        (and_(YES, YES), True),
        (and_(YES, NO), False),
        (or_(NO, YES), True),
        (or_(NO, NO), False),
        (not_(NO), True),
        (not_(and_(YES, or_(NO, {"type": "is", "params": 1}))), False),
        (state_in("a"), True),
        (state_in({"b": "c"}), False),
        (state_in("#(machine).a"), True),
        ({"type": "xstate.stateIn", "params": {"stateValue": "a"}}, True),
        ({"type": "xstate.and", "params": {"guards": [YES, {"type": "xstate.not", "params": {"guard": NO}}]}}, True),
    ],
)
def test_a_guard_decides_whether_a_transition_is_taken(guard: Any, expected: bool) -> None:
    assert is_taken(guard) is expected


def test_a_name_may_stand_for_a_combined_guard() -> None:
    assert is_taken("both", both=and_("yes", not_("no")))


def test_combined_guards_are_evaluated_from_left_to_right_and_no_further_than_needed() -> None:
    asked: list[str] = []

    def asks(name: str, answer: bool) -> Any:
        def guard(args: Any) -> bool:
            asked.append(name)
            return answer

        return guard

    is_taken(and_(asks("a", True), or_(asks("b", True), asks("c", True)), asks("d", False), asks("e", True)))
    assert asked == ["a", "b", "d"]


def without_params(a: Args[Any]) -> bool:
    return a.params is None


def test_the_params_of_a_guard_are_none_without_params_in_the_config() -> None:
    assert is_taken("bare", bare=without_params)
    assert is_taken(and_({"type": "is", "params": 1}, "bare"), bare=without_params)


def test_a_second_argument_with_a_default_is_left_to_it() -> None:
    def is_wanted(args: Args[Any], wanted: str = "E") -> bool:
        return bool(args.event["type"] == wanted)

    assert is_taken(is_wanted)
