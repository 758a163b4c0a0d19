"""A machine as an actor is an instance of its own; what passes between it and its parent passes once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from settled import Key, Machine, assign, send_parent, send_to, setup
from settled.commands import Act, Finish, Load
from tests.world import World

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


def family() -> tuple[Machine[Any, Any], Machine[Any, Any]]:
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
    parent, child = family()
    world = World(parent, [child])
    world.start()
    world.send("GO")
    world.settle(until=world.now)
    return world


def kid(world: World) -> Key:
    return world.record().children["kid"].key


class TestAChildMachine:
    def test_is_an_instance_under_its_parents_key(self) -> None:
        world = working()
        assert kid(world) == Key("child", "ada/~kid.w1.1.1.0")
        assert world.record_of(kid(world)).live().value == "idle"

    def test_lets_its_parent_rest_while_it_lives(self) -> None:
        assert working().record().turn is None

    def test_hears_its_parent_and_answers(self) -> None:
        world = working()
        world.send("PING")
        world.send("PING")
        world.settle(until=world.now)
        assert world.snapshot().context["heard"] == ["PONG", "PONG"]

    def test_tells_its_parent_when_it_is_done(self) -> None:
        world = working()
        world.send("FINISH")
        world.settle(until=world.now)
        assert world.value() == "done"
        assert world.snapshot().context["answer"] == 42
        assert world.record().children == {}

    def test_tells_its_parent_when_it_has_failed(self) -> None:
        world = working()
        world.send("FAIL")
        world.settle(until=world.now)
        assert world.value() == "failed"


class TestAChildThatIsStopped:
    def test_is_told_and_takes_no_more_events(self) -> None:
        world = working()
        key = kid(world)
        world.send("STOP")
        world.settle(until=world.now)
        assert world.value() == "idle"
        assert world.record_of(key).live().status == "stopped"

    def test_is_another_one_when_it_is_started_again(self) -> None:
        world = working()
        first = kid(world)
        world.send("AGAIN")
        world.settle(until=world.now)
        assert kid(world) != first
        assert world.record_of(first).live().status == "stopped"
        assert world.record_of(kid(world)).live().status == "active"

    def test_cannot_report_to_its_successors_place(self) -> None:
        world = working()
        world.send("FINISH")
        world.deliver()
        world.send("AGAIN")
        world.settle(until=world.now)
        assert world.value() == "working"
        assert world.record_of(kid(world)).live().value == "idle"


class TestADelayedWordToAChild:
    """As in XState it is for the actor that was there when it was said."""

    def test_that_is_gone_is_dropped(self) -> None:
        world = working()
        world.send("PING_LATER")
        world.send("STOP")
        world.settle()
        assert world.letters() == []
        assert world.value() == "idle"

    def test_that_has_a_successor_is_not_for_the_successor(self) -> None:
        world = working()
        world.send("PING_LATER")
        world.send("AGAIN")
        world.settle()
        assert world.value() == "working"
        assert world.snapshot().context["heard"] == []


PLACES = [*product([Load, Finish, Act], range(1, 12), [False, True])]


@pytest.mark.parametrize(("command", "nth", "after"), PLACES, ids=str)
def test_wherever_a_worker_dies_each_word_passes_once(command: type[Any], nth: int, after: bool) -> None:
    parent, child = family()
    world = World(parent, [child])
    (world.crash_after if after else world.crash_at)(command, nth=nth)
    world.start()
    for event in ("GO", "PING", "PING", "FINISH"):
        world.send(event)
    world.settle(until=5_000)
    assert world.value() == "done"
    assert world.snapshot().context == {"heard": ["PONG", "PONG"], "answer": 42}
