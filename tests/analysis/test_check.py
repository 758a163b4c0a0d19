"""Each check: which machines it finds fault with, at which path, and which it does not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

import pytest

from settled import (
    Args,
    Finding,
    Machine,
    and_,
    assign,
    check,
    compile_chart,
    enqueue_actions,
    log,
    raise_,
    send_to,
    setup,
    spawn_child,
)
from settled.analysis.finding import Code
from tests.support.purity import watch
from tests.support.virtual_world import World

Config = dict[str, Any]


def work(input: Any, call: Any) -> None:
    """An actor."""


def nothing(args: Any) -> None:
    """A custom action."""


def found(config: Config, code: Code, **logic: Any) -> list[Finding]:
    """The findings with `code`: of a machine if there is `logic`, otherwise of the bare config."""
    findings = setup(**logic).machine(config).check() if logic else check(compile_chart(config))
    return [finding for finding in findings if finding.code == code]


def reported(config: Config, **logic: Any) -> list[tuple[str, str, str]]:
    findings = setup(**logic).machine(config).check() if logic else check(compile_chart(config))
    return [(finding.code, finding.severity, finding.path) for finding in findings]


def of(**states: Config) -> Config:
    """A machine of these states, the first one initial."""
    return {"id": "m", "initial": next(iter(states)), "states": states}


WAITING: Config = {"tags": "settled"}


class TestHangs:
    def test_a_node_that_waits_without_a_tag(self) -> None:
        config = of(form={"on": {"SUBMIT": "sent"}}, sent=WAITING)
        (finding,) = found(config, "hangs")
        assert (finding.severity, finding.path) == ("error", "states.form")
        assert "nothing inside it moves it on" in finding.problem
        assert 'tag it "settled"' in finding.remedy

    def test_the_turn_really_fails(self) -> None:
        machine = setup().machine(
            of(form={"tags": "settled", "on": {"SUBMIT": "sent"}}, sent={"on": {"SUBMIT": "form"}})
        )
        assert [(finding.code, finding.path) for finding in machine.check()] == [("hangs", "states.sent")]
        world = World(machine)
        world.start()
        world.deliver()
        world.send("SUBMIT")
        world.deliver()
        failing = world.record().failing
        assert failing is not None
        assert "is not settled and waits for nothing" in failing.detail

    def test_a_machine_without_tags_rests_anywhere(self) -> None:
        assert reported(of(form={"on": {"SUBMIT": "sent"}}, sent={})) == []

    def test_an_ancestor_may_carry_the_tag(self) -> None:
        inner: Config = {"tags": ["resolve"], "initial": "b", "states": {"b": {}}}
        assert reported(of(a=inner)) == []

    @pytest.mark.parametrize(
        "mover",
        [
            {"always": {"target": "b", "guard": "ready"}},
            {"after": {"100": "b"}},
            {"invoke": {"src": "work", "onDone": "b", "onError": "b"}},
            {"entry": {"type": "xstate.raise", "params": {"event": {"type": "GO"}}}, "on": {"GO": "b"}},
            {
                "entry": {"type": "xstate.sendTo", "params": {"to": "#_internal", "event": {"type": "GO"}}},
                "on": {"*": "b"},
            },
        ],
    )
    def test_whatever_moves_it_on_is_enough(self, mover: Config) -> None:
        assert reported(of(a=mover, b=WAITING)) == []
        assert reported(of(a={"initial": "inner", "states": {"inner": {}}, **mover}, b=WAITING)) == []

    def test_another_region_may_move_it_on(self) -> None:
        waits = {"initial": "x", "states": {"x": {"on": {"READY": "y"}}, "y": WAITING}}
        works = {"initial": "x", "states": {"x": {"after": {"10": "y"}}, "y": WAITING}}
        assert reported({"id": "m", "type": "parallel", "states": {"waits": waits, "works": works}}) == []
        resting = {"initial": "x", "states": {"x": WAITING}}
        assert reported({"id": "m", "type": "parallel", "states": {"waits": waits, "rests": resting}}) == [
            ("hangs", "error", "states.waits.states.x")
        ]

    def test_the_implementation_of_a_name_decides(self) -> None:
        config = of(a={"on": {"GO": "b"}}, b={"entry": "tell", "on": {"BACK": "a"}}, c=WAITING)
        config["states"]["a"]["tags"] = "settled"
        config["states"]["b"]["on"]["ON"] = "c"
        (finding,) = found(config, "hangs")
        assert finding.severity == "warning"
        assert 'unless the action "tell" sends an event' in finding.problem
        assert [it.severity for it in found(config, "hangs", actions={"tell": assign(n=1)})] == ["error"]
        assert [it.severity for it in found(config, "hangs", actions={"tell": nothing})] == ["error"]
        assert found(config, "hangs", actions={"tell": raise_({"type": "ON"})}) == []
        assert found(config, "hangs", actions={"tell": send_to("#_internal", {"type": "ON"})}) == []
        assert [it.severity for it in found(config, "hangs", actions={"tell": raise_({"type": "OFF"})})] == ["error"]
        assert [it.severity for it in found(config, "hangs", actions={"tell": send_to("x", {"type": "ON"})})] == [
            "error"
        ]

    @pytest.mark.parametrize(
        "action", [raise_(lambda args: {"type": "ON"}), enqueue_actions(nothing), spawn_child("work")]
    )
    def test_an_action_with_unknown_events_makes_it_a_warning(self, action: Any) -> None:
        config = of(a={"entry": "tell", "on": {"ON": "b"}}, b=WAITING)
        assert [it.severity for it in found(config, "hangs", actions={"tell": action}, actors={"work": work})] == [
            "warning"
        ]

    def test_an_error_if_no_event_would_be_taken(self) -> None:
        config = of(a={"entry": "tell"}, b=WAITING)
        assert [it.severity for it in found(config, "hangs")] == ["error"]

    def test_an_error_if_only_the_start_leads_there_and_does_nothing(self) -> None:
        config = of(form={"on": {"SUBMIT": {"target": "sent", "actions": "remember"}}}, sent=WAITING)
        assert [it.severity for it in found(config, "hangs")] == ["error"]

    def test_a_final_node_ends_and_does_not_hang(self) -> None:
        assert reported(of(a={"tags": "settled", "on": {"GO": "b"}}, b={"type": "final"})) == []

    def test_an_event_that_moves_nothing_is_no_way_out(self) -> None:
        entry = {"type": "xstate.raise", "params": {"event": {"type": "GO"}}}
        config = of(a={"entry": entry, "on": {"GO": {"actions": "note"}}}, b=WAITING)
        assert [it.severity for it in found(config, "hangs", actions={"note": log("here")})] == ["error"]


class TestResultLeadsNowhere:
    CONFIG = of(sending={"invoke": {"id": "mail", "src": "send", "onError": "failed"}}, failed=WAITING)

    def test_a_node_that_stays_when_its_actor_is_done(self) -> None:
        (finding,) = found(self.CONFIG, "result-leads-nowhere", actors={"send": work})
        assert (finding.severity, finding.path) == ("error", "states.sending.invoke")
        assert 'once "mail" is done, nothing moves "m.sending" on' in finding.problem

    def test_without_implementations_it_may_be_a_machine_that_never_ends(self) -> None:
        assert [it.severity for it in found(self.CONFIG, "result-leads-nowhere")] == ["warning"]
        endless = setup().machine(of(only={}))
        assert found(self.CONFIG, "result-leads-nowhere", actors={"send": endless}) == []

    def test_an_on_done_without_a_target_leads_nowhere_either(self) -> None:
        invoke = {"src": "send", "onDone": {"actions": "note"}, "onError": "failed"}
        config = of(sending={"invoke": invoke}, failed=WAITING)
        logic: Any = {"actors": {"send": work}, "actions": {"note": log("done")}}
        assert [it.severity for it in found(config, "result-leads-nowhere", **logic)] == ["error"]

    def test_a_machine_without_tags_may_stay(self) -> None:
        assert reported(of(on={"invoke": {"src": "send", "onError": "off"}}, off={})) == []


class TestInvokesWhileSettled:
    def test_a_function_contradicts_the_tag(self) -> None:
        config = of(a={"tags": "settled", "invoke": {"src": "work", "onDone": "b", "onError": "b"}}, b=WAITING)
        assert reported(config, actors={"work": work}) == [("invokes-while-settled", "error", "states.a.invoke")]
        assert reported(config) == [("invokes-while-settled", "warning", "states.a.invoke")]

    def test_a_machine_may_be_invoked(self) -> None:
        config = of(a={"tags": "settled", "invoke": [{"src": "child", "onDone": "b", "onError": "b"}]}, b=WAITING)
        assert reported(config, actors={"child": setup().machine(of(x={"type": "final"}))}) == []

    def test_under_a_tagged_ancestor_it_is_a_warning(self) -> None:
        inner = {"invoke": {"src": "work", "onDone": "#m.b", "onError": "#m.b"}}
        config = of(a={"tags": "settled", "initial": "x", "states": {"x": inner}}, b=WAITING)
        assert reported(config, actors={"work": work}) == [
            ("invokes-while-settled", "warning", "states.a.states.x.invoke")
        ]

    def test_a_tag_on_the_root_is_no_contradiction(self) -> None:
        config = of(a={"invoke": {"src": "work", "onDone": "b", "onError": "b"}}, b={})
        assert reported({**config, "tags": "settled"}, actors={"work": work}) == []


class TestErrorNotTaken:
    CONFIG = of(a={"invoke": {"id": "i", "src": "work", "onDone": "b"}}, b={})

    def test_an_actor_without_an_on_error(self) -> None:
        (finding,) = found(self.CONFIG, "error-not-taken")
        assert (finding.severity, finding.path) == ("advice", "states.a.invoke")
        assert "nothing takes xstate.error.actor.i" in finding.problem

    @pytest.mark.parametrize("descriptor", ["xstate.error.actor.i", "xstate.error.*", "*"])
    def test_an_ancestor_may_take_it(self, descriptor: str) -> None:
        assert reported({**self.CONFIG, "on": {descriptor: ".b"}}) == []

    def test_another_region_may_take_it(self) -> None:
        other = {"on": {"xstate.error.*": {"actions": "note"}}}
        assert (
            reported({"id": "m", "type": "parallel", "states": {"work": self.CONFIG | {"id": "w"}, "other": other}})
            == []
        )


class TestActorIdTaken:
    def test_by_another_invoke_of_the_same_node(self) -> None:
        invoke = {"id": "i", "src": "work", "onDone": "b", "onError": "b"}
        assert reported(of(a={"invoke": [invoke, {**invoke, "src": "play"}]}, b={})) == [
            ("actor-id-taken", "warning", "states.a.invoke[1]")
        ]

    def test_by_another_region(self) -> None:
        region: Config = {"invoke": {"id": "i", "src": "work", "onError": {}}}
        assert reported({"id": "m", "type": "parallel", "states": {"a": region, "b": region}}) == [
            ("actor-id-taken", "warning", "states.b.invoke")
        ]

    def test_not_by_one_that_ends_before(self) -> None:
        invoke: Config = {"id": "i", "src": "work", "onError": {}}
        assert reported(of(a={"invoke": {**invoke, "onDone": "b"}}, b={"invoke": invoke})) == []


class TestSystemIdTaken:
    INVOKE: ClassVar[Config] = {"src": "work", "systemId": "s", "onDone": "b", "onError": "b"}

    def test_by_another_actor_of_the_same_node_for_certain(self) -> None:
        config = of(a={"invoke": [self.INVOKE, {**self.INVOKE, "src": "play"}]}, b={})
        assert reported(config) == [("system-id-taken", "error", "states.a.invoke[1]")]
        spawn = {"type": "xstate.spawnChild", "params": {"src": "play", "systemId": "s"}}
        assert reported(of(a={"entry": spawn, "invoke": self.INVOKE}, b={})) == [
            ("system-id-taken", "error", "states.a.invoke")
        ]

    def test_by_one_of_an_ancestor_or_of_another_region_perhaps(self) -> None:
        invoke: Config = {"src": "work", "systemId": "s", "onError": {}}
        region: Config = {"invoke": invoke}
        assert reported({"id": "m", "type": "parallel", "states": {"a": region, "b": region}}) == [
            ("system-id-taken", "warning", "states.b.invoke")
        ]
        assert reported({"id": "m", "invoke": invoke, "initial": "a", "states": {"a": region}}) == [
            ("system-id-taken", "warning", "states.a.invoke")
        ]

    def test_not_by_one_that_has_been_stopped(self) -> None:
        stop = {"type": "xstate.stopChild", "params": {"id": "play"}}
        spawn = {"type": "xstate.spawnChild", "params": {"src": "play", "systemId": "s"}}
        assert reported(of(a={"invoke": self.INVOKE}, b={"invoke": {**self.INVOKE, "onDone": "a"}})) == []
        assert reported(of(a={"entry": [spawn, stop], "invoke": self.INVOKE}, b={})) == []


class TestSnapshotsOfAnActor:
    CONFIG = of(a={"invoke": {"id": "i", "src": "work", "onDone": "b", "onError": "b", "onSnapshot": "b"}}, b={})

    def test_may_be_waited_for(self) -> None:
        """A machine reports each of its snapshots, and a function that it runs."""
        child = setup().machine(
            {"id": "child", "initial": "a", "states": {"a": {"on": {"GO": "b"}}, "b": {"type": "final"}}}
        )
        assert reported(self.CONFIG, actors={"work": child}) == []
        assert reported(self.CONFIG, actors={"work": work}) == []


class TestLoops:
    def test_eventless_transitions_that_come_back(self) -> None:
        config = of(a={"always": "b"}, b={"always": {"target": "a"}})
        (finding,) = found(config, "loops")
        assert (finding.severity, finding.path) == ("error", "states.a.always")
        assert '"m.a" -> "m.b" -> "m.a"' in finding.problem
        assert setup().machine(config).initial_transition()[0].status == "error"

    def test_a_guard_may_end_it(self) -> None:
        assert reported(of(a={"always": {"target": "b", "guard": "g"}}, b={"always": "a"})) == []
        assert reported(of(a={"always": [{"target": "c", "guard": "g"}, "b"]}, b={"always": "a"}, c={})) == []

    def test_an_assignment_counts_as_a_change(self) -> None:
        config = of(a={"always": {"actions": "count"}})
        assert reported(config, actions={"count": assign(n=1)}) == [("loops", "error", "states.a.always")]
        assert reported(config, actions={"count": log("here")}) == []
        assert reported(config) == []

    def test_the_end_of_the_machine_ends_it(self) -> None:
        assert reported({**of(a={"type": "final"}), "always": ".a"}) == []


class TestShadowed:
    def test_by_an_unguarded_one(self) -> None:
        assert reported(of(a={"on": {"E": ["b", {"target": "c", "guard": "g"}], "F": "c"}}, b={}, c={})) == [
            ("shadowed", "warning", "states.a.on.E[1]")
        ]

    def test_by_the_same_guard(self) -> None:
        guard = {"type": "g", "params": {"n": 1}}
        pair = [{"target": "b", "guard": guard}, {"target": "c", "guard": guard}]
        assert reported(of(a={"always": pair, "on": {"F": "c"}}, b={}, c={})) == [
            ("shadowed", "warning", "states.a.always[1]")
        ]

    def test_a_name_of_several_guards_is_reported_once(self) -> None:
        """XState's exports give all inline guards the same name."""
        three: list[Any] = [{"target": each, "guard": "inline"} for each in "bcb"]
        config = of(a={"on": {"E": three, "F": [*three[:2], "c"]}}, b={}, c={})
        (finding,) = found(config, "shadowed")
        assert (finding.severity, finding.path) == ("advice", "states.a.on.E[1]")
        assert 'has the guard "inline" too, here and in 2 more cases' in finding.problem

    def test_with_implementations_a_name_is_one_guard(self) -> None:
        three: list[Any] = [{"target": each, "guard": "inline"} for each in "bcb"]
        found_with = found(of(a={"on": {"E": three}}, b={}, c={}), "shadowed", guards={"inline": and_()})
        assert [finding.severity for finding in found_with] == ["warning", "warning"]

    def test_not_by_another_guard(self) -> None:
        pair = [{"target": "b", "guard": {"type": "g", "params": {"n": n}}} for n in (1, 2)]
        assert reported(of(a={"on": {"E": [*pair, "c"]}}, b={}, c={})) == []

    def test_not_a_route_by_another_route(self) -> None:
        assert reported(of(a={"id": "a", "route": {}}, b={"id": "b", "route": {}})) == []


class TestNeverDone:
    def test_a_compound_node_without_a_final_child(self) -> None:
        inner: Config = {"initial": "x", "states": {"x": {}}, "onDone": "b"}
        assert reported(of(a=inner, b={})) == [("never-done", "warning", "states.a.onDone")]

    def test_a_parallel_node_with_a_region_that_is_never_done(self) -> None:
        ends: Config = {"initial": "x", "states": {"x": {"type": "final"}}}
        stays: Config = {"initial": "x", "states": {"x": {}}}
        config = of(a={"type": "parallel", "states": {"ends": ends, "stays": stays}, "onDone": ["b"]}, b={})
        assert reported(config) == [("never-done", "warning", "states.a.onDone")]

    def test_the_root_ends_the_machine(self) -> None:
        (finding,) = found({**of(a={"type": "final"}), "onDone": ".a"}, "never-done")
        assert finding.path == "onDone"
        assert "the machine ends" in finding.problem

    def test_a_state_that_does_not_exist(self) -> None:
        (finding,) = found(of(a={"on": {"xstate.done.state.m.x": "b"}}, b={}), "never-done")
        assert 'there is no state "m.x"' in finding.problem

    def test_a_machine_that_is_never_done(self) -> None:
        config = of(a={"invoke": {"src": "child", "onDone": "b", "onError": "b"}}, b={})
        assert reported(config, actors={"child": setup().machine(of(x={}))}) == [
            ("never-done", "warning", "states.a.invoke.onDone")
        ]

    def test_a_node_that_can_be_done(self) -> None:
        region = {"initial": "x", "states": {"x": {"type": "final"}}, "onDone": {"actions": "note"}}
        assert reported(of(a={"type": "parallel", "states": {"r": region, "s": region}, "onDone": "b"}, b={})) == []


class TestUnreachable:
    def test_a_node_nothing_leads_to(self) -> None:
        lost = {"initial": "x", "states": {"x": {"on": {"E": "y"}}, "y": {}}}
        assert reported(of(a={}, lost=lost)) == [("unreachable", "warning", "states.lost")]

    def test_an_initial_child_that_is_always_bypassed(self) -> None:
        config = of(a={"on": {"E": "b.y"}}, b={"initial": "x", "states": {"x": {}, "y": {}}})
        assert reported(config) == [("unreachable", "warning", "states.b.states.x")]

    def test_a_shallow_history_enters_the_recorded_child_by_default(self) -> None:
        b: Config = {"initial": "x", "states": {"x": {}, "y": {}}}
        around: Config = {"initial": "a", "states": {"a": {"on": {"E": "b.y"}}, "b": b, "h": {"type": "history"}}}
        assert reported(of(around={**around, "on": {"OUT": "out"}}, out={"on": {"BACK": "around.h"}})) == []

    def test_a_history_that_nothing_targets(self) -> None:
        config = of(a={"initial": "x", "states": {"x": {}, "h": {"type": "history"}}})
        (finding,) = found(config, "unreachable")
        assert (finding.path, finding.problem) == ("states.a.states.h", 'no transition targets the history "m.a.h"')

    def test_a_route_leads_there(self) -> None:
        assert reported(of(a={}, b={"id": "b", "route": {}})) == []


class TestEventNotTaken:
    def test_a_declared_one(self) -> None:
        events = {"E": dict, "F": dict}
        assert reported(of(a={"on": {"E": {"actions": []}}}), events=events) == [
            ("event-not-taken", "warning", "events.F")
        ]
        assert reported(of(a={"on": {"*": {}}}), events=events) == []

    def test_one_that_the_machine_sends_itself(self) -> None:
        action = {"type": "xstate.raise", "params": {"event": {"type": "TYPO"}}}
        assert reported(of(a={"entry": ["note", action], "on": {"TYPE": "b"}}, b={})) == [
            ("event-not-taken", "warning", "states.a.entry[1]")
        ]
        assert reported(
            of(a={"entry": "go"}), actions={"go": raise_({"type": "E"}, delay=timedelta(milliseconds=10))}
        ) == [("event-not-taken", "warning", "states.a.entry")]

    def test_not_one_for_another_actor(self) -> None:
        assert reported(of(a={"entry": "go"}), actions={"go": send_to("other/1", {"type": "E"})}) == []


def test_findings_are_in_document_order() -> None:
    config = of(
        a={"on": {"E": ["b", "b"]}, "invoke": {"src": "work"}},
        b={"tags": "settled", "initial": "x", "states": {"lost": {}, "x": {}}, "onDone": "a"},
        lost={},
    )
    paths = [path for _, _, path in reported(config)]
    assert paths == [
        "states.a.invoke",
        "states.a.invoke",
        "states.a.on.E[1]",
        "states.b.onDone",
        "states.b.states.lost",
        "states.lost",
    ]


def test_a_finding_is_printed_as_a_line_and_its_remedy() -> None:
    (finding,) = check(compile_chart(of(a={}, b={})))
    assert str(finding) == (
        'states.b: warning: no transition leads to "m.b", and it is not initial (unreachable)\n'
        '  Target it from a transition, make it the initial state of "m", or remove it.'
    )


def test_checking_calls_no_implementation_and_touches_nothing() -> None:
    def fail(args: Args[Any]) -> Any:
        raise AssertionError("a check calls nothing")

    config = of(a={"entry": "act", "always": {"target": "b", "guard": "g"}, "after": {"d": "b"}}, b={})
    machine: Machine[Any] = setup(actions={"act": raise_(fail)}, guards={"g": fail}, delays={"d": fail}).machine(config)
    with watch() as seen:
        assert machine.check() == ()
    assert seen == []
