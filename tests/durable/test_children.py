"""A child machine is an instance of its own, and each message between it and its parent is taken once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from settled import Key, Machine, assign, send_parent, send_to, setup
from settled.durable.commands import Finish, Load, PerformActions
from tests.support.virtual_world import World

CHILD: Mapping[str, Any] = {
    "id": "child",
    "initial": "idle",
    "context": {"input": None},
    "states": {
        "idle": {"tags": ["settled"], "on": {"PING": {"actions": "pong"}, "FINISH": "finished", "FAIL": "failing"}},
        "failing": {"invoke": {"src": "fail", "onDone": "idle"}},
        "finished": {"type": "final"},
    },
    "output": {"answer": 42},
}

PARENT: Mapping[str, Any] = {
    "id": "parent",
    "initial": "idle",
    "context": {"heard": [], "answer": None},
    "states": {
        "idle": {"tags": ["settled"], "on": {"GO": "working"}},
        "working": {
            "invoke": {
                "id": "kid",
                "src": "child",
                "onDone": {"target": "done", "actions": "keep"},
                "onError": "failed",
            },
            "on": {
                "PING": {"actions": "ping"},
                "PING_LATER": {"actions": "ping_later"},
                "FINISH": {"actions": "finish"},
                "FAIL": {"actions": "fail"},
                "PONG": {"actions": "hear"},
                "STOP": "idle",
                "AGAIN": {"target": "working", "reenter": True},
            },
        },
        "done": {"tags": ["settled"], "on": {"GO": "working"}},
        "failed": {"tags": ["settled"]},
    },
}


def fail(_input: Any, _call: Any) -> None:
    raise RuntimeError("no")


def parent_and_child() -> tuple[Machine[Any], Machine[Any]]:
    child = setup(actions={"pong": send_parent({"type": "PONG"})}, actors={"fail": fail}).machine(CHILD)
    parent = setup(
        actors={"child": child},
        actions={
            "keep": assign(answer=lambda a: a.event["output"]["answer"]),
            "hear": assign(heard=lambda a: [*a.context["heard"], a.event["type"]]),
            "ping": send_to("kid", {"type": "PING"}),
            "ping_later": send_to("kid", {"type": "PING"}, delay=timedelta(minutes=1)),
            "finish": send_to("kid", {"type": "FINISH"}),
            "fail": send_to("kid", {"type": "FAIL"}),
        },
    ).machine(PARENT)
    return parent, child


def working() -> World:
    parent, child = parent_and_child()
    world = World(parent, [child])
    world.start()
    world.send("GO")
    world.settle(until=world.now)
    return world


def kid(world: World) -> Key:
    return world.record().children["kid"].key


class TestAChildMachine:
    def test_is_an_instance_whose_key_contains_that_of_its_parent(self) -> None:
        world = working()
        assert kid(world) == Key("child", "ada/~kid.w1.1.1.0")
        assert world.record_of(kid(world)).readable_snapshot().value == "idle"

    def test_does_not_keep_the_turn_of_its_parent_open(self) -> None:
        assert working().record().turn is None

    def test_receives_events_of_its_parent_and_answers(self) -> None:
        world = working()
        world.send("PING")
        world.send("PING")
        world.settle(until=world.now)
        assert world.snapshot().context["heard"] == ["PONG", "PONG"]

    def test_reports_its_output_to_its_parent(self) -> None:
        world = working()
        world.send("FINISH")
        world.settle(until=world.now)
        assert world.value() == "done"
        assert world.snapshot().context["answer"] == 42
        assert world.record().children == {}

    def test_reports_its_error_to_its_parent(self) -> None:
        world = working()
        world.send("FAIL")
        world.settle(until=world.now)
        assert world.value() == "failed"


class TestAChildThatIsStopped:
    def test_ends_and_takes_no_more_events(self) -> None:
        world = working()
        key = kid(world)
        world.send("STOP")
        world.settle(until=world.now)
        assert world.value() == "idle"
        assert world.record_of(key).readable_snapshot().status == "stopped"

    def test_is_another_instance_when_it_is_started_again(self) -> None:
        world = working()
        first = kid(world)
        world.send("AGAIN")
        world.settle(until=world.now)
        assert kid(world) != first
        assert world.record_of(first).readable_snapshot().status == "stopped"
        assert world.record_of(kid(world)).readable_snapshot().status == "active"

    def test_cannot_end_its_successor_by_its_report(self) -> None:
        world = working()
        world.send("FINISH")
        world.deliver()
        world.send("AGAIN")
        world.settle(until=world.now)
        assert world.value() == "working"
        assert world.record_of(kid(world)).readable_snapshot().value == "idle"


class TestAChildThatIsStoppedByTheStepThatStartsIt:
    def test_never_starts(self) -> None:
        kid = setup(actions={"shout": send_parent({"type": "SHOUT"})}).machine({"id": "kid", "entry": "shout"})
        machine = setup(
            actors={"kid": kid},
            actions={
                "greet": send_to("k", {"type": "HI"}),
                "later": send_to("k", {"type": "HI"}, delay=timedelta(milliseconds=10)),
            },
        ).machine(
            {
                "id": "m",
                "initial": "a",
                "states": {
                    "a": {
                        "entry": ["greet", "later"],
                        "invoke": {"src": "kid", "id": "k", "systemId": "sys"},
                        "exit": "greet",
                        "always": "b",
                    },
                    "b": {"on": {"SHOUT": "heard"}},
                    "heard": {},
                },
            }
        )
        world = World(machine, [kid])
        world.start()
        world.settle()
        assert world.value() == "b"
        assert world.dead_letters() == []
        assert [key for key, _ in world.backend.store.scan()] == [world.key()]


class TestTheLastEventOfAChild:
    """As in XState, the parent takes both an event that a child sends in the step that ends it, and its end."""

    def machines(self, **config: Any) -> tuple[Machine[Any], Machine[Any]]:
        states = {"a": {"on": {"END": {"target": "z", "actions": "tell"}}}, "z": {"type": "final"}}
        kid = setup(actions={"tell": send_parent({"type": "TELL"})}).machine(
            {"id": "kid", "initial": "a", "states": states, "output": 7}
        )
        parent = setup(
            actors={"kid": kid},
            actions={"end": send_to("k", {"type": "END"}), "keep": assign(output=lambda a: a.event["output"])},
        ).machine({"id": "m", "context": {"output": None}, **config})
        return parent, kid

    def ended(self, last_event: Any, **crash: Any) -> World:
        done = {"xstate.done.actor.k": {"actions": "keep"}}
        parent, kid = self.machines(
            initial="s",
            states={
                "s": {"invoke": {"src": "kid", "id": "k"}, "on": {"END": {"actions": "end"}, "TELL": last_event}},
                "t": {},
            },
            on=done,
        )
        world = World(parent, [kid])
        world.start()
        world.settle()
        if crash:
            (world.crash_after if crash["after"] else world.crash_at)(crash["command"], nth=crash["nth"])
        world.send("END")
        world.settle()
        return world

    def test_may_leave_the_node_that_waits_for_the_child(self) -> None:
        world = self.ended("t")
        assert world.value() == "t"
        assert world.snapshot().context["output"] == 7
        assert world.record().detached == {}
        assert world.record().window.senders == {}

    def test_does_not_end_its_successor(self) -> None:
        world = self.ended({"target": "s", "reenter": True})
        assert world.value() == "s"
        assert world.snapshot().context["output"] == 7
        assert world.snapshot().children["k"].status == "active"
        assert world.record_of(world.record().children["k"].key).readable_snapshot().value == "a"

    @pytest.mark.parametrize(
        ("command", "nth", "after"), [*product([Load, Finish], range(1, 9), [False, True])], ids=str
    )
    def test_is_taken_once_wherever_a_worker_dies(self, command: type[Any], nth: int, after: bool) -> None:
        world = self.ended("t", command=command, nth=nth, after=after)
        assert world.value() == "t"
        assert world.snapshot().context["output"] == 7


class TestAListenerToSnapshots:
    def world(self, **crash: Any) -> World:
        kid = setup().machine(
            {
                "id": "kid",
                "initial": "a",
                "states": {"a": {"on": {"N": "b"}}, "b": {"on": {"N": "z"}}, "z": {"type": "final"}},
            }
        )
        machine = setup(
            actors={"kid": kid},
            actions={
                "see": assign(seen=lambda a: [*a.context["seen"], a.event["snapshot"]["value"]]),
                "next": send_to("k", {"type": "N"}),
            },
        ).machine(
            {
                "id": "m",
                "context": {"seen": []},
                "initial": "s",
                "states": {
                    "s": {
                        "invoke": {"src": "kid", "id": "k", "onSnapshot": {"actions": "see"}, "onDone": "d"},
                        "on": {"GO": {"actions": "next"}, "LEAVE": "d"},
                    },
                    "d": {"on": {"xstate.snapshot.k": "e"}},
                    "e": {},
                },
            }
        )
        world = World(machine, [kid])
        if crash:
            (world.crash_after if crash["after"] else world.crash_at)(crash["command"], nth=crash["nth"])
        world.start()
        world.send("GO")
        world.settle()
        return world

    def test_receives_each_snapshot_of_a_child(self) -> None:
        world = self.world()
        assert world.snapshot().context["seen"] == ["a", "b"]
        world.send("GO")
        world.settle()
        assert world.value() == "d"
        assert world.snapshot().context["seen"] == ["a", "b"]

    def test_receives_none_of_a_child_that_it_has_stopped(self) -> None:
        world = self.world()
        child = kid_of(world)
        world.send("N", child)
        world.send("LEAVE")
        world.deliver()
        world.settle()
        assert world.value() == "d"

    @pytest.mark.parametrize(
        ("command", "nth", "after"), [*product([Load, Finish], range(1, 9), [False, True])], ids=str
    )
    def test_receives_each_once_wherever_a_worker_dies(self, command: type[Any], nth: int, after: bool) -> None:
        world = self.world(command=command, nth=nth, after=after)
        assert world.snapshot().context["seen"] == ["a", "b"]

    def test_receives_the_initial_snapshot_of_a_function(self) -> None:
        machine = setup(
            actors={"work": lambda input, call: input + 1},
            actions={
                "see": assign(seen=lambda a: a.event["snapshot"]),
                "keep": assign(output=lambda a: a.event["output"]),
            },
        ).machine(
            {
                "id": "m",
                "context": {},
                "invoke": {
                    "src": "work",
                    "input": 1,
                    "onSnapshot": {"actions": "see"},
                    "onDone": {"actions": "keep"},
                },
            }
        )
        world = World(machine)
        world.start()
        world.settle()
        assert world.snapshot().context == {"seen": {"status": "active", "input": 1}, "output": 2}

    def test_ignores_a_snapshot_that_an_outsider_sends(self) -> None:
        world = self.world()
        world.send({"type": "xstate.snapshot.k", "snapshot": {"value": "forged"}})
        world.settle()
        assert world.snapshot().context["seen"] == ["a", "b"]
        assert len(world.dead_letters()) == 1


def kid_of(world: World) -> Key:
    return world.record().children["k"].key


class TestADelayedEventToAChild:
    """As in XState, it is for the actor that had the address when the event was sent."""

    def test_is_dropped_if_the_child_is_gone(self) -> None:
        world = working()
        world.send("PING_LATER")
        world.send("STOP")
        world.settle()
        assert world.dead_letters() == []
        assert world.value() == "idle"

    def test_is_not_delivered_to_a_successor(self) -> None:
        world = working()
        world.send("PING_LATER")
        world.send("AGAIN")
        world.settle()
        assert world.value() == "working"
        assert world.snapshot().context["heard"] == []


CRASH_POINTS = [*product([Load, Finish, PerformActions], range(1, 12), [False, True])]


@pytest.mark.parametrize(("command", "nth", "after"), CRASH_POINTS, ids=str)
def test_each_event_is_taken_once_wherever_a_worker_dies(command: type[Any], nth: int, after: bool) -> None:
    parent, child = parent_and_child()
    world = World(parent, [child])
    (world.crash_after if after else world.crash_at)(command, nth=nth)
    world.start()
    for event in ("GO", "PING", "PING", "FINISH"):
        world.send(event)
    world.settle(until=5_000)
    assert world.value() == "done"
    assert world.snapshot().context == {"heard": ["PONG", "PONG"], "answer": 42}
