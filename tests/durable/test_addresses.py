"""The addresses a machine can send to: itself, its parent, its children, and any instance by key or system id."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from settled import Key, Machine, Outcome, assign, raise_, send_parent, send_to, setup
from settled.durable.commands import Finish, Load, PerformActions
from tests.support.virtual_world import World


def listener(id: str, *, actors: Mapping[str, Any] | None = None, **config: Any) -> Machine[Any]:
    """Return a machine that keeps the words it receives, and sends words to the address given in its events."""
    return setup(
        actors=actors or {},
        actions={
            "hear": assign(heard=lambda a: [*a.context["heard"], a.event["word"]]),
            "say": send_to(lambda a: a.event["to"], lambda a: {"type": "HEAR", "word": a.event["word"]}),
            "say later": send_to(
                lambda a: a.event["to"],
                lambda a: {"type": "HEAR", "word": a.event["word"]},
                delay=timedelta(seconds=10),
            ),
            "report": send_parent(lambda a: {"type": "HEAR", "word": a.event["word"]}),
            "greet": send_to("kid", {"type": "HEAR", "word": "welcome"}),
            "mutter": raise_({"type": "HEAR", "word": "to myself"}),
        },
    ).machine(
        {
            "id": id,
            "context": {"heard": []},
            "on": {
                "HEAR": {"actions": "hear"},
                "SAY": {"actions": "say"},
                "LATER": {"actions": "say later"},
                "REPORT": {"actions": "report"},
                "MUTTER": {"actions": "mutter"},
            },
            **config,
        }
    )


def actor_system() -> World:
    """Return a root with two children; one of them, with the system id "left", has a child "deep" of its own."""
    leaf = listener("leaf")
    branch = listener(
        "branch",
        actors={"leaf": leaf},
        invoke={"id": "kid", "src": "leaf", "systemId": "deep"},
        initial="on",
        states={"on": {"on": {"END": "off"}}, "off": {"type": "final"}},
    )
    root = listener(
        "root",
        actors={"branch": branch, "leaf": leaf},
        invoke=[
            {"id": "kid", "src": "branch", "systemId": "left", "onDone": {}},
            {"id": "other", "src": "leaf", "systemId": "right"},
        ],
        entry="greet",
    )
    world = World(root, [branch, leaf])
    world.start()
    world.settle()
    return world


def say(to: str, word: str, kind: str = "SAY") -> dict[str, str]:
    return {"type": kind, "to": to, "word": word}


def heard(world: World, key: Key | None = None) -> list[str]:
    return list(world.record_of(key or world.key()).readable_snapshot().context["heard"])


def branch_of(world: World) -> Key:
    return world.record().children["kid"].key


def leaf_of(world: World) -> Key:
    return world.record_of(branch_of(world)).children["kid"].key


def other_of(world: World) -> Key:
    return world.record().children["other"].key


class TestAChild:
    def test_receives_an_event_sent_by_the_entry_of_the_node_that_invokes_it(self) -> None:
        world = actor_system()
        assert heard(world, branch_of(world)) == ["welcome"]

    def test_receives_events_sent_to_its_id_and_to_its_system_id(self) -> None:
        world = actor_system()
        world.send(say("kid", "by id"))
        world.send(say("left", "by system id"))
        world.settle()
        assert heard(world, branch_of(world)) == ["welcome", "by id", "by system id"]


def say_to(id: str) -> dict[str, Any]:
    return {"type": "xstate.sendTo", "params": {"to": id, "event": {"type": "HEAR", "word": "bye"}}}


class TestASendToAnActorThatEndsInTheSameStep:
    """An address is resolved at the point of the send within the step. As in XState, ended actors receive nothing."""

    def world(self, config: Mapping[str, Any], *events: str) -> World:
        kid = listener("kid", initial="on", states={"on": {"on": {"END": "off"}}, "off": {"type": "final"}})
        machine = setup(actors={"kid": kid, "work": lambda input, call: None}).machine({"id": "m", **config})
        world = World(machine, [kid])
        world.start()
        for event in events:
            world.send(event)
        world.settle()
        assert world.dead_letters() == []
        assert world.record().halted is None
        return world

    def invoking(self, src: str, **transitions: Any) -> Mapping[str, Any]:
        end = {"actions": {"type": "xstate.sendTo", "params": {"to": "k", "event": {"type": "END"}}}}
        invoke = {"src": src, "id": "k", **transitions}
        return {
            "initial": "s",
            "states": {"s": {"invoke": invoke, "exit": say_to("k"), "on": {"END": end, "GO": "next"}}, "next": {}},
        }

    def test_is_dropped_if_the_end_of_the_child_left_the_node(self) -> None:
        assert self.world(self.invoking("kid", onDone="next"), "END").value() == "next"

    def test_is_dropped_if_the_child_has_ended_before(self) -> None:
        assert self.world(self.invoking("kid"), "END", "GO").value() == "next"

    def test_is_dropped_if_the_actor_is_a_function(self) -> None:
        assert self.world(self.invoking("work", onDone="next")).value() == "next"

    @pytest.mark.parametrize(("src", "hears"), [("kid", ["bye"]), ("work", None)])
    def test_arrives_if_the_same_list_of_actions_stops_the_actor(self, src: str, hears: list[str] | None) -> None:
        spawn = {"type": "xstate.spawnChild", "params": {"src": src, "id": "w"}}
        stop = {"type": "xstate.stopChild", "params": {"id": "w"}}
        states = {"a": {"entry": spawn, "on": {"X": {"target": "b", "actions": [say_to("w"), stop]}}}, "b": {}}
        world = self.world({"initial": "a", "states": states}, "X")
        assert world.value() == "b"
        if hears is not None:
            (kid,) = [key for key in keys_of(world) if key.machine == "kid"]
            assert heard(world, kid) == hears
            assert world.record_of(kid).readable_snapshot().status == "stopped"


def keys_of(world: World) -> list[Key]:
    return [key for key, _ in world.backend.store.scan()]


class TestASystemId:
    def test_reaches_a_descendant_of_the_root(self) -> None:
        world = actor_system()
        world.send(say("deep", "down"))
        world.settle()
        assert heard(world, leaf_of(world)) == ["down"]

    def test_reaches_an_actor_in_another_branch(self) -> None:
        world = actor_system()
        world.send(say("right", "hello"), leaf_of(world))
        world.settle()
        assert heard(world, other_of(world)) == ["hello"]

    def test_receives_a_delayed_event(self) -> None:
        world = actor_system()
        world.send(say("right", "late", "LATER"), leaf_of(world))
        world.settle(until=world.now + 9)
        assert heard(world, other_of(world)) == []
        world.settle(until=world.now + 11)
        assert heard(world, other_of(world)) == ["late"]

    def test_that_no_actor_has_makes_the_event_a_dead_letter_of_the_root(self) -> None:
        world = actor_system()
        world.send(say("nobody", "?"), leaf_of(world))
        world.settle()
        (dead_letter,) = world.dead_letters()
        assert "no actor in its system has the system id 'nobody'" in dead_letter.reason
        assert world.outcome(dead_letter.message.id) is Outcome.INVALID

    def test_that_no_actor_has_fails_the_event_of_the_root(self) -> None:
        world = actor_system()
        world.send(say("nobody", "?"))
        world.settle()
        assert "cannot send to 'nobody'" in world.dead_letters()[0].detail

    def test_that_two_children_would_have_fails_the_event(self) -> None:
        states = {
            "idle": {"on": {"GO": "twins"}},
            "twins": {"invoke": [{"id": id, "src": "leaf", "systemId": "twin"} for id in "ab"]},
        }
        leaf = listener("leaf")
        world = World(listener("root", actors={"leaf": leaf}, initial="idle", states=states), [leaf])
        world.start()
        world.send("GO")
        world.settle()
        assert world.value() == "idle"
        assert 'the system id "twin" is already in use by the actor "a"' in (world.dead_letters()[0].detail or "")

    def test_that_an_actor_of_another_branch_has_fails_the_second_child(self) -> None:
        leaf = listener("leaf")
        spawning = {"type": "xstate.spawnChild", "params": {"src": "leaf", "id": "kid", "systemId": "one"}}
        branch = listener(
            "branch",
            actors={"leaf": leaf},
            initial="idle",
            states={
                "idle": {"on": {"GO": "with"}},
                "with": {"entry": spawning, "on": {"xstate.error.actor.kid": "without"}},
                "without": {},
            },
        )
        root = listener(
            "root", actors={"branch": branch}, invoke=[{"id": "kid", "src": "branch"}, {"id": "two", "src": "branch"}]
        )
        world = World(root, [branch, leaf])
        world.start()
        world.settle()
        first, second = branch_of(world), world.record().children["two"].key
        world.send("GO", first)
        world.settle()
        world.send("GO", second)
        world.settle()
        assert world.record_of(first).readable_snapshot().value == "with"
        assert world.record_of(second).readable_snapshot().value == "without"
        world.send(say("one", "hello"))
        world.settle()
        assert heard(world, leaf_of(world)) == ["hello"]
        leaves = [world.record_of(key).readable_snapshot() for key in keys_of(world) if key.machine == "leaf"]
        assert sorted(leaf.status for leaf in leaves) == ["active", "stopped"]

    def test_is_unregistered_when_its_actor_ends(self) -> None:
        world = actor_system()
        assert set(world.record().system_ids) == {"left", "right", "deep"}
        world.send("END", branch_of(world))
        world.settle()
        assert set(world.record().system_ids) == {"right"}

    @pytest.mark.parametrize(
        ("command", "nth", "after"), [*product([Load, Finish, PerformActions], range(1, 8), [False, True])], ids=str
    )
    def test_receives_an_event_once_wherever_a_worker_dies(self, command: type[Any], nth: int, after: bool) -> None:
        world = actor_system()
        (world.crash_after if after else world.crash_at)(command, nth=nth)
        world.send(say("right", "once"), leaf_of(world))
        world.settle()
        assert heard(world, other_of(world)) == ["once"]


class TestAKey:
    def test_reaches_any_instance(self) -> None:
        world = actor_system()
        world.start("bob")
        world.settle()
        world.send(say("root/bob", "hi"))
        world.settle()
        assert world.snapshot("bob").context["heard"] == ["hi"]


class TestAParent:
    def test_receives_events_of_its_child(self) -> None:
        world = actor_system()
        world.send({"type": "REPORT", "word": "news"}, branch_of(world))
        world.settle()
        assert heard(world) == ["news"]

    def test_that_does_not_exist_fails_the_event(self) -> None:
        world = actor_system()
        world.send({"type": "REPORT", "word": "news"})
        world.settle()
        assert "#_parent" in world.dead_letters()[0].detail


class TestTheMachineItself:
    def test_takes_an_event_to_itself_within_the_turn(self) -> None:
        world = actor_system()
        version = world.version()
        world.send({"type": "MUTTER"})
        world.deliver()
        assert heard(world) == ["to myself"]
        assert world.version() == version + 1


class TestARoute:
    """``xstate.route`` asks a machine to go to a node by its id."""

    def world(self) -> World:
        states: Mapping[str, Any] = {
            "home": {},
            "far": {"id": "far", "route": {}},
            "closed": {
                "id": "closed",
                "route": {"guard": {"type": "xstate.stateIn", "params": {"stateValue": "#far"}}},
            },
        }
        return World(setup().machine({"id": "m", "initial": "home", "states": states}))

    @pytest.mark.parametrize(
        ("to", "value"), [("#far", "far"), ("#closed", "home"), ("#nowhere", "home"), ("far", "home")]
    )
    def test_leads_to_a_node_that_allows_it(self, to: str, value: str) -> None:
        world = self.world()
        world.start()
        world.send({"type": "xstate.route", "to": to})
        world.settle()
        assert world.value() == value
        assert world.dead_letters() == []
