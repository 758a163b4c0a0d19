"""Many senders and one receiver: what they send is told from repetitions, and that costs no more than it must."""

from __future__ import annotations

from typing import Any

from settled import Key, Machine, Policy, assign, emit, send_parent, send_to, setup, spawn_child, stop_child
from settled.durable import Traits
from settled.durable.commands import Finish, PerformActions
from settled.durable.messages import Event, ForwardToSystemId, SenderPosition, Start, decode, encode
from tests.durable.machines import add, appending, applied
from tests.support.virtual_world import LEASE, World


def stamp(sender: str, version: int, place: int = 0, birth: str = "b") -> SenderPosition:
    return SenderPosition(Key("other", sender), birth, version, place)


def hear(world: World, stamp: SenderPosition, n: int) -> None:
    """ada is sent `n`; no queue knows the id again."""
    world.take([world.stray(Event(add(n), stamp), f"{stamp.key}{stamp.order}")])


class TestASender:
    def test_is_known_by_its_life_and_its_furthest_step(self) -> None:
        world = World(appending(), policy=Policy(window=1, lease=LEASE))
        world.start()
        world.settle()
        hear(world, stamp("bob", 4), 1)
        hear(world, stamp("bob", 4, 1), 2)
        hear(world, stamp("bob", 3, 9), 3)
        assert applied(world) == [1, 2]

    def test_that_began_a_new_life_is_heard_though_its_versions_begin_again(self) -> None:
        world = World(appending(), policy=Policy(window=1, lease=LEASE))
        world.start()
        world.settle()
        hear(world, stamp("bob", 40), 1)
        hear(world, stamp("bob", 1, birth="restored"), 2)
        assert applied(world) == [1, 2]

    def test_is_forgotten_once_as_many_others_were_heard_as_the_window_is_long(self) -> None:
        world = World(appending(), policy=Policy(window=2, lease=LEASE))
        world.start()
        world.settle()
        for n, sender in enumerate(("ann", "bob", "cem")):
            hear(world, stamp(sender, 1), n)
        assert list(world.record().window.senders) == ["other/bob", "other/cem"]


def telling() -> tuple[Machine[Any, Any], Machine[Any, Any]]:
    """A parent that starts as many children as it is told, each of which tells it something and, later, ends."""
    child = setup(actions={"tell": send_parent(lambda a: {"type": "ADD", "n": a.context["n"]})}).machine(
        {
            "id": "child",
            "context": {"n": 0},
            "initial": "in",
            "states": {
                "in": {"tags": ["settled"], "on": {"TELL": {"actions": "tell"}, "END": "out"}},
                "out": {"type": "final"},
            },
        }
    )
    parent = setup(
        actions={
            "add": assign(applied=lambda a: [*a.context["applied"], a.event["n"]]),
            "more": spawn_child("child", id=lambda a: f"c{a.event['n']}"),
            "less": stop_child(lambda a: f"c{a.event['n']}"),
        },
        actors={"child": child},
    ).machine(
        {
            "id": "parent",
            "context": {"applied": []},
            "initial": "open",
            "states": {
                "open": {
                    "tags": ["settled"],
                    "on": {"MORE": {"actions": "more"}, "LESS": {"actions": "less"}, "ADD": {"actions": "add"}},
                },
            },
        }
    )
    return parent, child


def with_children(count: int) -> World:
    parent, child = telling()
    world = World(parent, [child], policy=Policy(window=2, lease=LEASE))
    world.start()
    for n in range(count):
        world.send({"type": "MORE", "n": n})
    world.settle()
    return world


class TestAChild:
    def test_is_never_forgotten_while_it_lives(self) -> None:
        world = with_children(9)
        children = [child.key for child in world.record().children.values()]
        for child in children:
            world.send("TELL", child)
        world.settle()
        assert len(applied(world)) == 9
        told = [each for each in world.record().window.senders if each.startswith("child/")]
        assert len(told) == 9

    def test_that_has_ended_has_said_all(self) -> None:
        world = with_children(4)
        child = world.record().children["c0"].key
        world.send("TELL", child)
        world.settle()
        birth, generation = world.record_of(child).birth, world.record().children["c0"].generation
        world.send("END", child)
        world.settle()
        assert "c0" not in world.record().children
        late = Event(add(7), SenderPosition(child, birth, 2, 0, generation))
        world.take([world.stray(late, "late")])
        assert applied(world) == [0]
        assert world.letters() == []

    def test_that_was_stopped_is_heard_to_its_end(self) -> None:
        world = World(*_leaving(), policy=Policy(window=2, lease=LEASE))
        world.start()
        world.settle()
        child = world.record().children["kid"].key
        world.send("LEAVE")
        world.send("TELL", child)
        world.deliver(limit=1)
        assert world.record().children == {}
        world.post("ada", encode(Event(add(1), SenderPosition(child, "birth", 2, 0))), id="from the stopped one")
        world.settle()
        assert applied(world) == [1]

    def test_that_was_stopped_makes_nobody_forgotten_who_lives(self) -> None:
        world = with_children(1)
        old = world.record().children["c0"].key
        said = world.stray(Event(add(7), SenderPosition(old, "birth", 7, 0)), "settled:from the old one")
        world.take([said])
        for n in range(1, 5):
            world.send({"type": "MORE", "n": n})
            world.settle()
            world.send({"type": "LESS", "n": n})
            world.settle()
        world.take([said])
        assert applied(world) == [7]


class TestASenderOfTheSameName:
    def test_is_no_child_of_this_machine(self) -> None:
        child = setup().machine(
            {
                "id": "child",
                "initial": "in",
                "states": {"in": {"tags": ["settled"], "entry": [send_to("list/ada", add(1))]}},
            }
        )
        other = setup(actors={"child": child}).machine(
            {
                "id": "other",
                "initial": "in",
                "states": {"in": {"tags": ["settled"], "invoke": {"id": "kid", "src": "child"}}},
            }
        )
        world = World(appending(), [child, other])
        world.start()
        world.post(Key("other", "ada"), encode(Start(None)))
        world.settle()
        assert applied(world) == [1]


class TestWhatARootPassesOn:
    def test_is_told_from_a_repetition_for_as_long_as_its_sender_is(self) -> None:
        bob = setup(actions={"add": assign(applied=lambda a: [*a.context["applied"], a.event["n"]])}).machine(
            {
                "id": "bob",
                "context": {"applied": []},
                "initial": "in",
                "states": {"in": {"tags": ["settled"], "on": {"ADD": {"actions": "add"}}}},
            }
        )
        ann = setup().machine(
            {
                "id": "ann",
                "initial": "in",
                "states": {"in": {"tags": ["settled"], "entry": [send_to("bob-sys", add(1))]}},
            }
        )
        root = setup(actors={"bob": bob, "ann": ann}).machine(
            {
                "id": "root",
                "initial": "in",
                "invoke": {"id": "b", "src": "bob", "systemId": "bob-sys"},
                "on": {"NOISE": {}, "ANN": {"actions": spawn_child("ann", id="ann")}},
                "states": {"in": {"tags": ["settled"]}},
            }
        )
        world = World(root, [ann, bob], policy=Policy(window=2, lease=LEASE))
        world.start()
        world.send("ANN")
        world.settle()
        (passed,) = [
            message
            for each in world.commands
            if isinstance(each, Finish)
            for message in each.write.sends
            if isinstance(decode(message.body), ForwardToSystemId)
        ]
        to = world.record().children["b"].key
        for n in range(4):
            world.send("NOISE")
            world.send(add(100 + n), to)
            world.settle()
        world.take([world.stray(decode(passed.body), passed.id)])
        world.settle()
        assert world.record_of(to).readable_snapshot().context["applied"] == [1, 100, 101, 102, 103]


def _leaving() -> tuple[Machine[Any, Any], tuple[Machine[Any, Any]]]:
    child = setup().machine({"id": "child", "initial": "in", "states": {"in": {"tags": ["settled"]}}})
    keep = assign(applied=lambda a: [*a.context["applied"], a.event["n"]])
    parent = setup(actors={"child": child}, actions={"add": keep}).machine(
        {
            "id": "parent",
            "context": {"applied": []},
            "initial": "with",
            "on": {"ADD": {"actions": "add"}},
            "states": {
                "with": {"tags": ["settled"], "invoke": {"id": "kid", "src": "child"}, "on": {"LEAVE": "without"}},
                "without": {"tags": ["settled"]},
            },
        }
    )
    return parent, (child,)


def _shouting() -> Machine[Any, Any]:
    """Sends to a hub, and says so in an action."""
    return setup(
        actions={"send": send_to("list/ada", lambda a: add(a.event["n"])), "say": emit({"type": "SAID"})}
    ).machine(
        {
            "id": "shouter",
            "initial": "open",
            "states": {"open": {"tags": ["settled"], "on": {"GO": {"actions": ["send", "say"]}}}},
        }
    )


class TestASenderWhoseWorkerDiesBeforeItsAcknowledgement:
    def _sends(self, traits: Traits) -> World:
        world = World(appending(), [_shouting()], policy=Policy(window=2, lease=LEASE), traits=traits)
        world.start()
        shouters = [Key("shouter", f"s{n}") for n in range(6)]
        for shouter in shouters:
            world.post(shouter, '{"kind":"start","input":null,"parent":null}')
        world.settle()
        for n, shouter in enumerate(shouters):
            world.send({"type": "GO", "n": n}, shouter)
            world.crash_at(PerformActions)
            while world.plans:
                world.deliver(limit=1)
        while deliveries := [each for each in world.backend.queue.receive(50) if each.message.key.machine == "list"]:
            world.take(deliveries)
        world.commands.clear()
        world.now += LEASE
        world.settle()
        return world

    def test_does_not_send_again_what_left_with_the_commit(self) -> None:
        world = self._sends(Traits(atomic=True, fenced=True))
        sent = [each for each in world.commands if getattr(getattr(each, "write", None), "sends", ())]
        assert sent == []
        assert sorted(applied(world)) == [*range(6)]

    def test_says_it_under_the_same_id_where_it_may_not_have_left(self) -> None:
        assert sorted(applied(self._sends(Traits()))) == [*range(6)]
