"""One step: its arguments, its results and its errors."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from settled import EventError, LogicError, assign, setup
from settled.step.effects import Execute, Raise, Schedule
from tests.support.machines import after, effects_of, machine, names

LIGHT = {
    "id": "light",
    "initial": "green",
    "states": {"green": {"on": {"NEXT": "red"}, "exit": "exit green"}, "red": {"entry": "enter red", "type": "final"}},
}


class TestAStep:
    def test_gives_a_snapshot_and_effects(self) -> None:
        light = machine(LIGHT)
        snapshot, effects = light.transition(after(light), {"type": "NEXT"})
        assert snapshot.value == "red"
        assert names(effects) == ["exit green", "enter red"]

    def test_that_nothing_takes_returns_the_same_snapshot_object(self) -> None:
        light = machine(LIGHT)
        snapshot = after(light)
        assert light.transition(snapshot, {"type": "WHAT"}) == (snapshot, ())
        assert light.transition(snapshot, {"type": "WHAT"})[0] is snapshot

    def test_of_a_machine_that_is_done_is_dropped(self) -> None:
        light = machine(LIGHT)
        done = after(light, "NEXT")
        assert done.status == "done"
        assert light.transition(done, {"type": "NEXT"})[0] is done

    def test_numbers_its_effects_from_first_index(self) -> None:
        light = machine(LIGHT)
        _, effects = light.transition(after(light), {"type": "NEXT"}, first_index=7)
        assert [effect.index for effect in effects] == [7, 8]

    def test_gives_each_action_the_context_at_its_position(self) -> None:
        config: Any = {"context": {"n": 0}, "on": {"E": {"actions": ["do a", assign(n=1), "do b"]}}}
        effects = effects_of(machine(config), {"type": "E", "x": 1})
        assert [(it.context, it.event) for it in effects if isinstance(it, Execute)] == [
            ({"n": 0}, {"type": "E", "x": 1}),
            ({"n": 1}, {"type": "E", "x": 1}),
        ]

    @pytest.mark.parametrize("event", [{"type": "*"}, {}, {"type": 3}, "E", None])
    def test_rejects_an_invalid_event(self, event: object) -> None:
        light = machine(LIGHT)
        with pytest.raises(EventError):
            light.transition(after(light), event)


class TestStopping:
    def test_stops_the_actors_and_runs_no_exit_actions(self) -> None:
        config: Any = {"invoke": {"src": "worker", "id": "w"}, "exit": "exit root"}
        stopping = machine(config)
        snapshot, effects = stopping.transition(after(stopping), {"type": "xstate.stop"})
        assert (snapshot.status, dict(snapshot.children), names(effects)) == ("stopped", {}, ["Stop"])


class TestAnError:
    def test_leaves_the_old_snapshot_in_force_and_says_where_it_was(self) -> None:
        def breaks(args: Any) -> bool:
            raise ValueError("no good")

        config: Any = {"id": "m", "initial": "a", "states": {"a": {"on": {"E": {"target": "a", "guard": "breaks"}}}}}
        broken = machine(config, guards={"breaks": breaks})
        snapshot = after(broken)
        with pytest.raises(
            LogicError, match=r'm: the guard "breaks" at states\.a\.on\.E\.guard raised ValueError'
        ) as raised:
            broken.transition(snapshot, {"type": "E"})
        assert isinstance(raised.value.__cause__, ValueError)
        assert snapshot == after(broken)

    def test_in_an_action_names_the_action(self) -> None:
        config: Any = {"context": {}, "on": {"E": {"actions": "count"}}}
        broken = machine(config, actions={"count": assign(n=lambda args: args.context["n"] + 1)})
        with pytest.raises(LogicError, match=r'the action "count" at on\.E\.actions raised KeyError'):
            broken.transition(after(broken), {"type": "E"})

    def test_at_the_start_gives_a_snapshot_in_error_and_no_effects(self) -> None:
        config: Any = {"context": {}, "entry": ["do it", assign(n=lambda args: args.context["n"])]}
        snapshot, effects = machine(config).initial_transition()
        assert (snapshot.status, effects) == ("error", ())
        assert "KeyError" in snapshot.error["message"]

    def test_when_creating_the_context_leaves_a_snapshot_that_can_be_stored(self) -> None:
        failing = setup(create_context=lambda input: {"plan": input["plan"]}).machine({})
        snapshot, _ = failing.initial_transition({})
        assert failing.load(failing.dump(snapshot)) == snapshot

    def test_of_an_endless_step_names_the_states_of_the_cycle(self) -> None:
        config: Any = {
            "initial": "a",
            "states": {"a": {"on": {"E": "b"}}, "b": {"always": "c"}, "c": {"always": "b"}},
        }
        endless = machine(config)
        with pytest.raises(LogicError, match=r"1000 microsteps without coming to rest, most recently in: .*\.c, .*\.b"):
            endless.transition(after(endless), {"type": "E"})

    def test_after_max_iterations_of_the_config(self) -> None:
        config: Any = {"options": {"maxIterations": 5}, "context": {"n": 0}, "always": {"actions": assign(n=1)}}
        snapshot, _ = machine(config).initial_transition()
        assert "more than 5 microsteps" in snapshot.error["message"]


class TestErrorsOfActors:
    CONFIG: ClassVar[Any] = {"invoke": {"src": "worker", "id": "w"}, "exit": "exit root"}

    def test_that_nothing_takes_end_the_machine(self) -> None:
        failing = machine(self.CONFIG)
        event = {"type": "xstate.error.actor.w", "error": {"code": 7}, "actorId": "w"}
        snapshot, effects = failing.transition(after(failing), event)
        assert (snapshot.status, snapshot.error, dict(snapshot.children)) == ("error", {"code": 7}, {})
        assert names(effects) == ["Stop"]

    def test_are_handled_by_a_wildcard_too(self) -> None:
        failing = machine({**self.CONFIG, "on": {"*": {"actions": "do it"}}})
        assert after(failing, "xstate.error.actor.w").status == "active"


class TestRaised:
    def test_events_are_taken_in_order_within_the_step(self) -> None:
        raised = [{"type": "xstate.raise", "params": {"event": {"type": name}}} for name in ("ONE", "TWO")]
        config: Any = {"on": {"E": {"actions": raised}, "ONE": {"actions": "do one"}, "TWO": {"actions": "do two"}}}
        effects = effects_of(machine(config), "E")
        assert names(effects) == ["Raise", "Raise", "do one", "do two"]
        assert isinstance(effects[0], Raise)

    def test_with_a_delay_are_scheduled(self) -> None:
        raised = {"type": "xstate.raise", "params": {"event": {"type": "ONE"}, "delay": 0, "id": "one"}}
        (effect,) = effects_of(machine({"on": {"E": {"actions": raised}, "ONE": {"actions": "do one"}}}), "E")
        assert isinstance(effect, Schedule)
        assert (effect.id, effect.delay.total_seconds()) == ("one", 0)

    def test_come_after_eventless_transitions(self) -> None:
        config: Any = {
            "initial": "a",
            "states": {
                "a": {"on": {"E": "b"}},
                "b": {
                    "entry": {"type": "xstate.raise", "params": {"event": {"type": "R"}}},
                    "always": "c",
                    "on": {"R": {"actions": "do b"}},
                },
                "c": {"on": {"R": {"actions": "do c"}}},
            },
        }
        assert names(effects_of(machine(config), "E")) == ["Raise", "do c"]
