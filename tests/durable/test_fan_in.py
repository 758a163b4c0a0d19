"""Many senders and one receiver: repetitions are recognized, and the window stays bounded."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from settled import Key, Machine, Policy, assign, emit, send_parent, send_to, setup, spawn_child, stop_child
from settled.durable import Traits
from settled.durable.commands import Finish, PerformActions
from settled.durable.messages import Event, ForwardToSystemId, SenderPosition, Start, decode, encode
from tests.durable.machines import add, appending, applied
from tests.support.virtual_world import LEASE, World


def position(sender: str, version: int, index: int = 0, start_nonce: str = "b") -> SenderPosition:
    return SenderPosition(Key("other", sender), start_nonce, version, index)


def receive(world: World, position: SenderPosition, n: int) -> None:
    """Deliver `n` to ada, as a queue does that does not remember the id."""
    world.take([world.stray(Event(add(n), position), f"{position.key}{position.order}")])


class TestASender:
    def test_is_known_by_its_start_and_its_last_position(self) -> None:
        world = World(appending(), policy=Policy(window=1, lease=timedelta(seconds=LEASE)))
        world.start()
        world.settle()
        receive(world, position("bob", 4), 1)
        receive(world, position("bob", 4, 1), 2)
        receive(world, position("bob", 3, 9), 3)
        assert applied(world) == [1, 2]

    def test_that_was_started_again_is_heard_although_its_versions_begin_again(self) -> None:
        world = World(appending(), policy=Policy(window=1, lease=timedelta(seconds=LEASE)))
        world.start()
        world.settle()
        receive(world, position("bob", 40), 1)
        receive(world, position("bob", 1, start_nonce="restored"), 2)
        assert applied(world) == [1, 2]

    def test_is_evicted_once_the_window_is_full_of_newer_senders(self) -> None:
        world = World(appending(), policy=Policy(window=2, lease=timedelta(seconds=LEASE)))
        world.start()
        world.settle()
        for n, sender in enumerate(("ann", "bob", "cem")):
            receive(world, position(sender, 1), n)
        assert list(world.record().window.senders) == ["other/bob", "other/cem"]


def parent_and_child() -> tuple[Machine[Any], Machine[Any]]:
    """Return a parent that starts children on request, and the child, which sends it an event on request and ends."""
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
    parent, child = parent_and_child()
    world = World(parent, [child], policy=Policy(window=2, lease=timedelta(seconds=LEASE)))
    world.start()
    for n in range(count):
        world.send({"type": "MORE", "n": n})
    world.settle()
    return world


class TestAChild:
    def test_is_never_evicted_while_it_is_active(self) -> None:
        world = with_children(9)
        children = [child.key for child in world.record().children.values()]
        for child in children:
            world.send("TELL", child)
        world.settle()
        assert len(applied(world)) == 9
        known = [each for each in world.record().window.senders if each.startswith("child/")]
        assert len(known) == 9

    def test_that_has_ended_is_not_heard_again(self) -> None:
        world = with_children(4)
        child = world.record().children["c0"].key
        world.send("TELL", child)
        world.settle()
        start_nonce, generation = world.record_of(child).start_nonce, world.record().children["c0"].generation
        world.send("END", child)
        world.settle()
        assert "c0" not in world.record().children
        late = Event(add(7), SenderPosition(child, start_nonce, 2, 0, generation))
        world.take([world.stray(late, "late")])
        assert applied(world) == [0]
        assert world.dead_letters() == []

    def test_that_was_stopped_is_heard_until_it_ends(self) -> None:
        world = World(*_leaving(), policy=Policy(window=2, lease=timedelta(seconds=LEASE)))
        world.start()
        world.settle()
        child = world.record().children["kid"].key
        world.send("LEAVE")
        world.send("TELL", child)
        world.deliver(limit=1)
        assert world.record().children == {}
        world.post("ada", encode(Event(add(1), SenderPosition(child, "nonce", 2, 0))), id="from the stopped one")
        world.settle()
        assert applied(world) == [1]

    def test_that_was_stopped_evicts_no_sender_that_is_active(self) -> None:
        world = with_children(1)
        old = world.record().children["c0"].key
        said = world.stray(Event(add(7), SenderPosition(old, "nonce", 7, 0)), "settled:from the old one")
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


class TestAnEventThatARootForwards:
    def test_is_known_as_a_repetition_for_as_long_as_its_sender_is(self) -> None:
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
        world = World(root, [ann, bob], policy=Policy(window=2, lease=timedelta(seconds=LEASE)))
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


def _leaving() -> tuple[Machine[Any], tuple[Machine[Any]]]:
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


def _sender() -> Machine[Any]:
    """Return a machine that sends to an instance and performs an action in the same step."""
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
        world = World(appending(), [_sender()], policy=Policy(window=2, lease=timedelta(seconds=LEASE)), traits=traits)
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

    def test_does_not_send_again_if_the_write_was_atomic(self) -> None:
        world = self._sends(Traits(atomic=True, fenced=True))
        sent = [each for each in world.commands if getattr(getattr(each, "write", None), "sends", ())]
        assert sent == []
        assert sorted(applied(world)) == [*range(6)]

    def test_sends_again_under_the_same_id_if_the_write_was_not_atomic(self) -> None:
        assert sorted(applied(self._sends(Traits()))) == [*range(6)]
