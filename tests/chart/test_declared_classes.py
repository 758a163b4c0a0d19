"""Declared classes of contexts and events: instances for the author's functions, JSON everywhere else."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import frozen

from settled import ActionArgs, Call, DefinitionError, EventError, Key, LogicError, RecordError, assign, raise_, setup
from settled.step.effects import Execute
from tests.support.machines import after


@frozen
class Signup:
    plan: str
    tries: int = 0


@frozen
class Verify:
    code: str


calls: list[Any] = []


def say(a: ActionArgs[Signup, Verify]) -> None:
    calls.append((a.context, a.event, a.params, a.call.attempt))


signup = setup(
    context=Signup,
    create_context=lambda input: Signup(plan=input["plan"]),
    events={"VERIFY": Verify},
    guards={"is_right": lambda args: args.event.code == "42"},
    actions={"count": assign(tries=lambda args: args.context.tries + 1), "say": say},
).machine(
    {
        "id": "signup",
        "initial": "waiting",
        "states": {
            "waiting": {
                "on": {
                    "VERIFY": [
                        {"guard": "is_right", "target": "in", "actions": {"type": "say", "params": {"loud": True}}},
                        {"actions": "count"},
                    ],
                    "AGAIN": {"actions": raise_(Verify("42"))},
                    "BAD": {"actions": raise_({"type": "VERIFY"})},
                }
            },
            "in": {},
        },
    }
)
ADA = after(signup, input={"plan": "free"})
CALL = Call(Key("signup", "ada"), "signup/ada/1/0/0", 1, None, 3, lambda: False)


def test_functions_get_instances() -> None:
    assert ADA.context == Signup("free")
    assert signup.transition(ADA, {"type": "VERIFY", "code": "41"})[0].context == Signup("free", tries=1)


def test_an_event_may_be_an_instance() -> None:
    assert signup.transition(ADA, Verify("42"))[0].matches("in")
    assert signup.transition(ADA, {"type": "AGAIN"})[0].matches("in")


def test_effects_contain_json() -> None:
    _, (effect,) = signup.transition(ADA, Verify("42"))
    context: Any = {"plan": "free", "tries": 0}
    assert effect == Execute(0, "say", {"loud": True}, context, {"type": "VERIFY", "code": "42"})


def test_a_bound_action_gets_instances() -> None:
    calls.clear()
    snapshot, (effect,) = signup.transition(ADA, Verify("42"))
    assert isinstance(effect, Execute)
    signup.bind(effect, snapshot, CALL)()
    assert calls == [(Signup("free"), Verify("42"), {"loud": True}, 1)]


def test_a_snapshot_is_stored_as_json_and_read_as_instances() -> None:
    assert signup.to_json(ADA)["context"] == {"plan": "free", "tries": 0}
    assert signup.load(signup.dump(ADA)) == ADA
    with pytest.raises(RecordError, match="tries"):
        signup.load(signup.dump(ADA).replace('"tries":0', '"tries":"many"'))


def test_a_raised_event_that_does_not_fit_raises_logic_error() -> None:
    with pytest.raises(LogicError, match="VERIFY"):
        signup.transition(ADA, {"type": "BAD"})


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"type": "VERIFY"}, "code"),
        ({"type": "VERIFY", "code": 42}, "code"),
        ({"type": "xstate.stop"}, "cannot have the type"),
        ({"type": "*"}, "cannot have the type"),
        ({"kind": "VERIFY"}, "an object with a type"),
        ("VERIFY", "an object with a type"),
        ({"type": "OTHER", "at": {1, 2}}, "at: set is not JSON"),
        ({"type": "OTHER", "n": float("nan")}, "n: nan is not a JSON number"),
    ],
)
def test_an_invalid_external_event_raises_before_anything_changes(event: object, words: str) -> None:
    with pytest.raises(EventError, match=words):
        signup.check_event(event)


def test_a_valid_external_event_is_admitted_as_json() -> None:
    assert signup.check_event({"type": "VERIFY", "code": "42"}) == {"type": "VERIFY", "code": "42"}
    assert signup.check_event(Verify("42")) == {"type": "VERIFY", "code": "42"}
    assert signup.check_event({"type": "OTHER", "n": [1, None]}) == {"type": "OTHER", "n": [1, None]}


def test_a_context_that_does_not_fit_raises_definition_error() -> None:
    with pytest.raises(DefinitionError, match="plan"):
        setup(context=Signup).machine({"context": {}})


def test_a_context_that_is_not_json_raises_with_the_path_of_the_value() -> None:
    own = setup(create_context=lambda input: {"a": {"b": [1, {2}]}}).machine({})
    with pytest.raises(LogicError, match=r"a\.b\[1\]: set is not JSON"):
        own.dump(after(own))
