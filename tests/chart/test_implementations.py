"""Backoff, actors, and binding custom actions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from settled import Actor, Backoff, Call, Key, LogicError, Retry, actor, setup
from settled.step.effects import Execute
from tests.support.machines import after, effects_of, given, machine, never

CALL = Call(Key("m", "1"), "m/1/1/0/0", 2, None, 3, lambda: False)


class TestBackoff:
    def test_grows_by_the_factor_up_to_the_longest_wait(self) -> None:
        backoff = Backoff(first=timedelta(seconds=2), factor=3, max_wait=timedelta(seconds=50))
        assert [backoff.wait(attempt).total_seconds() for attempt in range(1, 7)] == [0, 2, 6, 18, 50, 50]

    def test_never_overflows(self) -> None:
        assert Backoff().wait(10**6) == timedelta(minutes=5)

    @pytest.mark.parametrize(
        "make",
        [
            lambda: Retry(attempts=0),
            lambda: Backoff(factor=0.9),
            lambda: Backoff(first=timedelta(seconds=-1)),
            lambda: Backoff(max_wait=timedelta(seconds=-1)),
            lambda: actor(never, timeout=timedelta(seconds=-1)),
        ],
    )
    def test_values_that_make_no_sense_are_errors(self, make: Callable[[], object]) -> None:
        with pytest.raises(ValueError, match=r"attempts|factor|first|max_wait|timeout"):
            make()

    def test_a_number_is_not_a_duration(self) -> None:
        seconds: Any = 5
        for make in (lambda: Backoff(first=seconds), lambda: actor(never, timeout=seconds)):
            with pytest.raises(TypeError, match=r"must be a timedelta, such as timedelta\(seconds=5\), not 5"):
                make()


class TestActors:
    def test_are_found_by_name_also_if_registered_as_a_bare_function(self) -> None:
        whole = actor(never, retry=Retry(attempts=3), timeout=timedelta(seconds=1), interruption="fail")
        own = setup(actors={"bare": never, "whole": whole}).machine({})
        assert own.actor("bare") == Actor(never)
        assert own.actor("whole") is whole
        with pytest.raises(LogicError, match='no actor is registered as "nobody"'):
            own.actor("nobody")

    def test_may_be_machines(self) -> None:
        child = setup().machine({"id": "child"})
        assert setup(actors={"child": child}).machine({}).actor("child") is child

    def test_may_be_functions_in_the_config_itself(self) -> None:
        own = setup().machine({"id": "m", "invoke": {"src": never}})
        (invoked,) = after(own).children.values()
        assert own.actor(invoked.src) == Actor(never)


class TestBind:
    def test_returns_a_function_without_arguments(self) -> None:
        def report(a: Any) -> Any:
            return a.context, a.event, a.state.value, a.call, a.params

        config: Any = {
            "context": {"n": 1},
            "initial": "a",
            "states": {"a": {"on": {"E": {"target": "b", "actions": {"type": "report", "params": [1]}}}}, "b": {}},
        }
        reporting = machine(config, actions={"report": report})
        snapshot, (effect,) = reporting.transition(after(reporting), {"type": "E"})
        assert isinstance(effect, Execute)
        assert reporting.bind(effect, snapshot, CALL)() == ({"n": 1}, {"type": "E"}, "b", CALL, [1])

    def test_finds_an_inline_function_by_its_path_in_the_config(self) -> None:
        own = machine({"on": {"E": {"actions": [given(lambda args: "here")]}}})
        (effect,) = effects_of(own, "E")
        assert isinstance(effect, Execute)
        assert effect.type == "on.E.actions[0]"
        assert own.bind(effect, after(own), CALL)() == "here"

    def test_raises_for_an_action_that_no_longer_exists(self) -> None:
        with pytest.raises(LogicError, match='no action is registered as "gone"'):
            machine({}).bind(Execute(0, "gone", None, {}, {"type": "E"}), after(machine({})), CALL)
