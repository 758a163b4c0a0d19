"""XState's built-in actions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

import pytest

from settled import (
    LogicError,
    assign,
    cancel,
    emit,
    enqueue_actions,
    forward_to,
    log,
    raise_,
    send_parent,
    send_to,
    spawn_child,
    stop_child,
)
from settled.machine_setup import ActionImpl
from settled.step.effects import Cancel, Emit, Execute, Invoke, Log, Raise, Schedule, Send, Stop
from tests.support.machines import after, effects_of, given, machine, names, nothing


def on_e(*actions: Any, **config: Any) -> Any:
    """A machine that runs `actions` on E."""
    return machine({"context": {"n": 1}, "on": {"E": {"actions": list(actions)}}, **config})


class TestAssign:
    def test_takes_literals_and_functions(self) -> None:
        assigning = on_e(assign(n=lambda args: args.context["n"] + 1, last=lambda args: args.event["type"], k=None))
        assert after(assigning, "E").context == {"n": 2, "last": "E", "k": None}

    def test_takes_a_function_of_everything(self) -> None:
        assert after(on_e(assign(lambda args: {"n": args.context["n"] * 5})), "E").context == {"n": 5}

    def test_takes_params_if_it_is_registered(self) -> None:
        config: Any = {"context": {"n": 1}, "on": {"E": {"actions": {"type": "add", "params": {"by": 3}}}}}
        adding = machine(config, actions={"add": assign(n=lambda a: a.context["n"] + a.params["by"])})
        assert after(adding, "E").context == {"n": 4}

    def test_does_not_modify_the_old_context(self) -> None:
        assigning = on_e(assign(n=2))
        before = after(assigning)
        assigning.transition(before, {"type": "E"})
        assert before.context == {"n": 1}


class TestSending:
    INVOKING: ClassVar[Any] = {"invoke": {"src": "worker", "id": "w", "systemId": "everywhere"}}

    def test_to_a_child(self) -> None:
        (effect,) = effects_of(on_e(send_to("w", {"type": "HI"}), **self.INVOKING), "E")
        assert effect == Send(0, "w", {"type": "HI"})

    @pytest.mark.parametrize(("to", "found"), [("everywhere", "w"), ("#_w", "w"), ("#_internal", "#_internal")])
    def test_by_other_names(self, to: str, found: str) -> None:
        (effect,) = effects_of(on_e(send_to(to, {"type": "HI"}), **self.INVOKING), "E")
        assert isinstance(effect, Send)
        assert effect.to == found

    def test_to_an_instance_anywhere_by_its_key(self) -> None:
        (effect,) = effects_of(on_e(send_to("signup/ada", {"type": "HI"})), "E")
        assert effect == Send(0, "signup/ada", {"type": "HI"})

    def test_to_an_unknown_actor_raises(self) -> None:
        sending = on_e(send_to("nobody", {"type": "HI"}))
        with pytest.raises(LogicError, match='no actor "nobody"'):
            sending.transition(after(sending), {"type": "E"})

    def test_to_the_parent(self) -> None:
        (effect,) = effects_of(on_e(send_parent({"type": "HI"})), "E")
        assert effect == Send(0, "#_parent", {"type": "HI"})

    def test_forwards_the_event_as_it_came(self) -> None:
        event: Any = {"type": "E", "data": [1]}
        assert effects_of(on_e(forward_to("w"), **self.INVOKING), event) == (Send(0, "w", event),)

    def test_later_by_a_name_or_a_duration(self) -> None:
        actions = (
            send_to("#_internal", {"type": "A"}, id="a", delay="soon"),
            send_to("#_internal", {"type": "A"}, delay=timedelta(hours=1)),
            send_to("#_internal", {"type": "A"}, delay=lambda a: timedelta(milliseconds=a.context["n"])),
        )
        config: Any = {"context": {"n": 7}, "on": {"E": {"actions": list(actions)}}}
        effects = effects_of(machine(config, delays={"soon": timedelta(milliseconds=5)}), "E")
        delays = [effect.delay for effect in effects if isinstance(effect, Send)]
        assert delays == [timedelta(milliseconds=5), timedelta(hours=1), timedelta(milliseconds=7)]

    def test_later_raises_if_a_function_computes_a_number(self) -> None:
        sending = on_e(send_to("#_internal", {"type": "A"}, delay=given(lambda a: 5)))
        with pytest.raises(LogicError, match="a delay must be a timedelta"):
            sending.transition(after(sending), {"type": "E"})

    def test_later_in_a_config_by_milliseconds(self) -> None:
        sending = {"to": "#_internal", "event": {"type": "A"}, "delay": 1500}
        (effect,) = effects_of(on_e({"type": "xstate.sendTo", "params": sending}), "E")
        assert isinstance(effect, Send)
        assert effect.delay == timedelta(seconds=1.5)

    def test_to_an_actor_that_its_own_node_is_about_to_invoke(self) -> None:
        config: Any = {"invoke": {"src": "worker", "id": "w"}, "entry": send_to("w", {"type": "HI"})}
        assert names(effects_of(machine(config))) == ["Send", "Invoke"]


class TestOtherActions:
    def test_raise_is_reported_and_taken(self) -> None:
        config: Any = {"on": {"E": {"actions": raise_({"type": "F"}, id="f")}, "F": {"actions": "do f"}}}
        effects = effects_of(machine(config), "E")
        assert effects[0] == Raise(0, {"type": "F"}, "f")
        assert names(effects) == ["Raise", "do f"]

    def test_raise_with_a_delay_is_scheduled(self) -> None:
        (effect,) = effects_of(on_e(raise_({"type": "F"}, delay=timedelta(seconds=1))), "E")
        assert effect == Schedule(0, {"type": "F"}, timedelta(seconds=1))

    def test_emit_log_and_cancel_become_effects(self) -> None:
        actions = (emit(lambda args: {"type": "out", "n": args.context["n"]}), log("here", "L"), cancel("f"))
        assert effects_of(on_e(*actions), "E") == (
            Emit(0, {"type": "out", "n": 1}),
            Log(1, "here", "L"),
            Cancel(2, "f"),
        )

    def test_spawn_and_stop_change_the_children_at_once(self) -> None:
        actions = (spawn_child("worker", id="s", input=lambda args: args.context), stop_child("s"), stop_child("s"))
        spawning = on_e(*actions)
        assert effects_of(spawning, "E") == (Invoke(0, "s", "worker", {"n": 1}), Stop(1, "s"), Stop(2, None))
        assert dict(after(spawning, "E").children) == {}

    def test_an_event_that_is_not_json_raises(self) -> None:
        raising = on_e(raise_(lambda args: {"type": "F", "when": timedelta(1)}))
        with pytest.raises(LogicError, match="when: timedelta is not JSON"):
            raising.transition(after(raising), {"type": "E"})


class TestEnqueueActions:
    def test_runs_the_actions_it_enqueues_in_its_own_position(self) -> None:
        def choose(args: Any) -> None:
            if args.check("is_one"):
                args.enqueue(assign(n=2))
                args.enqueue("do it")
            if not args.check("is_one"):
                args.enqueue("do other")

        config: Any = {"context": {"n": 1}, "on": {"E": {"actions": ["do first", enqueue_actions(choose), "do last"]}}}
        registered: dict[str, ActionImpl[Any]] = {"do it": nothing, "do other": nothing}
        choosing = machine(config, guards={"is_one": lambda args: args.context["n"] == 1}, actions=registered)
        effects = effects_of(choosing, "E")
        assert names(effects) == ["do first", "do it", "do last"]
        assert [effect.context for effect in effects if isinstance(effect, Execute)] == [{"n": 1}, {"n": 2}, {"n": 2}]

    def test_of_an_unknown_name_raises(self) -> None:
        choosing = on_e(enqueue_actions(lambda args: args.enqueue("nothing")))
        with pytest.raises(LogicError, match='no action is registered as "nothing"'):
            choosing.transition(after(choosing), {"type": "E"})
