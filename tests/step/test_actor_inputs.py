"""The input of an actor: from the config, computed by the actor, or both."""

from __future__ import annotations

from typing import Any

import pytest

from settled import Call, LogicError, actor, setup, spawn_child
from settled.step.effects import Invoke


def mail(input: Any, call: Call) -> None:
    """Never called: a step only requests it."""


def started_with(mail_actor: Any, **invoke: Any) -> Any:
    config = {"context": {"to": "ada"}, "initial": "on", "states": {"on": {"invoke": {"src": "mail", **invoke}}}}
    _, effects = setup(actors={"mail": mail_actor}).machine(config).initial_transition()
    (effect,) = effects
    assert isinstance(effect, Invoke)
    return effect.input


class TestTheInputOfAnActor:
    def test_is_computed_when_the_actor_is_invoked(self) -> None:
        assert started_with(actor(mail, input=lambda a: {"to": a.context["to"]})) == {"to": "ada"}

    def test_is_given_the_input_in_the_config(self) -> None:
        greeting = actor(mail, input=lambda a: {"to": a.context["to"], **a.params})
        assert started_with(greeting, input={"subject": "Hello"}) == {"to": "ada", "subject": "Hello"}

    def test_is_given_none_without_input_in_the_config(self) -> None:
        assert started_with(actor(mail, input=lambda a: [a.params])) == [None]

    def test_is_computed_for_a_spawned_actor_too(self) -> None:
        logic = setup(
            actors={"mail": actor(mail, input=lambda a: a.context["to"])}, actions={"spawn": spawn_child("mail")}
        )
        _, effects = logic.machine({"context": {"to": "ada"}, "entry": "spawn"}).initial_transition()
        assert [effect.input for effect in effects if isinstance(effect, Invoke)] == ["ada"]

    def test_that_raises_fails_the_step(self) -> None:
        logic = setup(actors={"mail": actor(mail, input=lambda a: a.context["nobody"])})
        machine = logic.machine({"initial": "off", "states": {"off": {"on": {"GO": "on"}}, "on": {"invoke": "mail"}}})
        with pytest.raises(LogicError, match="nobody"):
            machine.transition(machine.initial_transition()[0], {"type": "GO"})


def test_the_input_in_the_config_is_used_if_the_actor_computes_none() -> None:
    assert started_with(mail, input={"to": "bob"}) == {"to": "bob"}
