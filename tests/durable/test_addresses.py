"""Who can be sent to: oneself, one's parent, one's children, and anybody by key or by system id."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest

from settled import Key, Machine, Outcome, assign, raise_, send_parent, send_to, setup
from settled.durable.commands import Finish, Load, PerformActions
from tests.support.virtual_world import World


def hearing(id: str, *, actors: Mapping[str, Any] | None = None, **config: Any) -> Machine[Any, Any]:
    """A machine that keeps the words it hears, and says what its events tell it to whom."""
    return setup(
        actors=actors or {},
        actions={
            "hear": assign(heard=lambda a: [*a.context["heard"], a.event["word"]]),
            "say": send_to(lambda a: a.event["to"], lambda a: {"type": "HEAR", "word": a.event["word"]}),
            "say later": send_to(
                lambda a: a.event["to"], lambda a: {"type": "HEAR", "word": a.event["word"]}, delay=10_000
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


def family() -> World:
    """A root with two children; one of them, known in the system as "left", has a child "deep" of its own."""
    leaf = hearing("leaf")
    branch = hearing(
        "branch",
        actors={"leaf": leaf},
        invoke={"id": "kid", "src": "leaf", "systemId": "deep"},
        initial="on",
        states={"on": {"on": {"END": "off"}}, "off": {"type": "final"}},
    )
    root = hearing(
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
    def test_can_be_sent_to_before_it_is_started_by_the_same_entry(self) -> None:
        world = family()
        assert heard(world, branch_of(world)) == ["welcome"]

    def test_hears_its_parent_by_its_id_and_by_its_system_id(self) -> None:
        world = family()
        world.send(say("kid", "by id"))
        world.send(say("left", "by system id"))
        world.settle()
        assert heard(world, branch_of(world)) == ["welcome", "by id", "by system id"]


def say_to(id: str) -> dict[str, Any]:
    return {"type": "xstate.sendTo", "params": {"to": id, "event": {"type": "HEAR", "word": "bye"}}}


class TestAnActorThatIsGoneByTheEndOfTheStep:
    """An address means what it means at its place in the step. As in XState, who has ended hears nothing."""

    def world(self, config: Mapping[str, Any], *events: str) -> World:
        kid = hearing("kid", initial="on", states={"on": {"on": {"END": "off"}}, "off": {"type": "final"}})
        machine = setup(actors={"kid": kid, "work": lambda input, call: None}).machine({"id": "m", **config})
        world = World(machine, [kid])
        world.start()
        for event in events:
            world.send(event)
        world.settle()
        assert world.letters() == []
        assert world.record().halted is None
        return world

    def invoking(self, src: str, **transitions: Any) -> Mapping[str, Any]:
        end = {"actions": {"type": "xstate.sendTo", "params": {"to": "k", "event": {"type": "END"}}}}
        invoke = {"src": src, "id": "k", **transitions}
        return {
            "initial": "s",
            "states": {"s": {"invoke": invoke, "exit": say_to("k"), "on": {"END": end, "GO": "next"}}, "next": {}},
        }

    def test_is_a_child_whose_own_end_leaves_the_node(self) -> None:
        assert self.world(self.invoking("kid", onDone="next"), "END").value() == "next"

    def test_is_a_child_that_has_ended_long_ago(self) -> None:
        assert self.world(self.invoking("kid"), "END", "GO").value() == "next"

    def test_is_a_function(self) -> None:
        assert self.world(self.invoking("work", onDone="next")).value() == "next"

    @pytest.mark.parametrize(("src", "hears"), [("kid", ["bye"]), ("work", None)])
    def test_is_sent_to_and_stopped_by_one_list_of_actions(self, src: str, hears: list[str] | None) -> None:
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
    def test_reaches_down_from_the_root_past_the_children(self) -> None:
        world = family()
        world.send(say("deep", "down"))
        world.settle()
        assert heard(world, leaf_of(world)) == ["down"]

    def test_reaches_up_and_across(self) -> None:
        world = family()
        world.send(say("right", "hello"), leaf_of(world))
        world.settle()
        assert heard(world, other_of(world)) == ["hello"]

    def test_reaches_later_too(self) -> None:
        world = family()
        world.send(say("right", "late", "LATER"), leaf_of(world))
        world.settle(until=world.now + 9)
        assert heard(world, other_of(world)) == []
        world.settle(until=world.now + 11)
        assert heard(world, other_of(world)) == ["late"]

    def test_that_nobody_has_is_kept_for_an_operator_of_the_root(self) -> None:
        world = family()
        world.send(say("nobody", "?"), leaf_of(world))
        world.settle()
        (letter,) = world.letters()
        assert "no actor in its system has the system id 'nobody'" in letter.reason
        assert world.outcome(letter.message.id) is Outcome.INVALID

    def test_that_nobody_has_fails_at_the_root_itself(self) -> None:
        world = family()
        world.send(say("nobody", "?"))
        world.settle()
        assert "cannot send to 'nobody'" in world.letters()[0].detail

    def test_that_two_children_are_to_have_fails_the_event(self) -> None:
        states = {
            "idle": {"on": {"GO": "twins"}},
            "twins": {"invoke": [{"id": id, "src": "leaf", "systemId": "twin"} for id in "ab"]},
        }
        leaf = hearing("leaf")
        world = World(hearing("root", actors={"leaf": leaf}, initial="idle", states=states), [leaf])
        world.start()
        world.send("GO")
        world.settle()
        assert world.value() == "idle"
        assert """the system id "twin" is that of the actor "a" already""" in (world.letters()[0].detail or "")

    def test_that_another_branch_has_is_refused_to_the_second_one_which_has_failed(self) -> None:
        leaf = hearing("leaf")
        spawning = {"type": "xstate.spawnChild", "params": {"src": "leaf", "id": "kid", "systemId": "one"}}
        branch = hearing(
            "branch",
            actors={"leaf": leaf},
            initial="idle",
            states={
                "idle": {"on": {"GO": "with"}},
                "with": {"entry": spawning, "on": {"xstate.error.actor.kid": "without"}},
                "without": {},
            },
        )
        root = hearing(
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

    def test_is_given_back_when_its_holder_ends(self) -> None:
        world = family()
        assert set(world.record().system) == {"left", "right", "deep"}
        world.send("END", branch_of(world))
        world.settle()
        assert set(world.record().system) == {"right"}

    @pytest.mark.parametrize(
        ("command", "nth", "after"), [*product([Load, Finish, PerformActions], range(1, 8), [False, True])], ids=str
    )
    def test_reaches_once_wherever_a_worker_dies(self, command: type[Any], nth: int, after: bool) -> None:
        world = family()
        (world.crash_after if after else world.crash_at)(command, nth=nth)
        world.send(say("right", "once"), leaf_of(world))
        world.settle()
        assert heard(world, other_of(world)) == ["once"]


class TestAKey:
    def test_reaches_any_instance(self) -> None:
        world = family()
        world.start("bob")
        world.settle()
        world.send(say("root/bob", "hi"))
        world.settle()
        assert world.snapshot("bob").context["heard"] == ["hi"]


class TestAParent:
    def test_hears_its_child(self) -> None:
        world = family()
        world.send({"type": "REPORT", "word": "news"}, branch_of(world))
        world.settle()
        assert heard(world) == ["news"]

    def test_that_is_not_there_fails_the_event(self) -> None:
        world = family()
        world.send({"type": "REPORT", "word": "news"})
        world.settle()
        assert "#_parent" in world.letters()[0].detail


class TestOneself:
    def test_is_sent_to_and_the_event_is_taken_within_the_turn(self) -> None:
        world = family()
        version = world.version()
        world.send({"type": "MUTTER"})
        world.deliver()
        assert heard(world) == ["to myself"]
        assert world.version() == version + 1


class TestARoute:
    """What XState lets anybody ask of a machine: to go to a node by its id."""

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
    def test_leads_to_a_node_that_lets_it(self, to: str, value: str) -> None:
        world = self.world()
        world.start()
        world.send({"type": "xstate.route", "to": to})
        world.settle()
        assert world.value() == value
        assert world.letters() == []
