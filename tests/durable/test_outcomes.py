"""The outcome of a message and its reason: an event that no transition takes is ignored, and so on for each end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from settled import Key, Machine, Outcome, assign, forward_to, setup
from settled.durable import record_from_json
from settled.durable.messages import Message
from settled.durable.record_json import record_from_tombstone, record_to_stored
from settled.durable.window import MAX_REASON_CHARACTERS, MAX_REASONS, WINDOW, Window
from tests.durable.machines import add, appending, signup, submitted
from tests.support.machines import given
from tests.support.virtual_world import World

DOOR: Mapping[str, Any] = {
    "id": "door",
    "context": {"tries": 0, "code": "42"},
    "initial": "shut",
    "states": {
        "shut": {
            "tags": ["settled"],
            "on": {
                "UNLOCK": [{"guard": "isRight", "target": "open"}, {"actions": "count", "target": "alarmed"}],
                "KNOCK": {"actions": "count"},
                "PUSH": {"target": "shut"},
                "PULL": {"guard": "isRight", "target": "open"},
                "KICK": {},
                "CALL": "calling",
                "LEAVE": "left",
            },
        },
        "open": {"tags": ["resolve"], "on": {"SHUT": "shut"}},
        "alarmed": {"tags": ["reject"], "on": {"RESET": "shut"}, "after": {"patience": "shut"}},
        "calling": {"invoke": {"id": "phone", "src": "call", "onDone": "shut", "onError": "unreached"}},
        "unreached": {"tags": ["reject"], "on": {"CRASH": "crashing"}},
        "crashing": {"invoke": {"id": "phone", "src": "call", "onDone": "shut"}},
        "left": {"type": "final"},
    },
}


def call(_input: Any, _call: Any) -> None:
    raise ConnectionError("nobody answers")


def door(**changes: Any) -> Machine[Any]:
    return setup(
        guards={"isRight": lambda a: a.event.get("code") == a.context["code"]},
        actions={"count": assign(tries=lambda a: a.context["tries"] + 1)},
        actors={"call": call},
        delays={"patience": timedelta(hours=1)},
    ).machine({**DOOR, **changes})


@pytest.fixture
def world() -> World:
    world = World(door())
    world.start()
    return world


def sent(world: World, event: Any, instance: str = "ada", id: str | None = None) -> tuple[Outcome | None, str | None]:
    """Send `event`, let its turn end, and return its outcome and the reason."""
    id = world.send(event, instance, id)
    world.settle(until=world.now)
    return world.outcome(id, instance), world.reason(id, instance)


class TestTaken:
    @pytest.mark.parametrize("type", ["KNOCK", "PUSH"])
    def test_is_an_event_of_a_transition_even_if_that_leads_nowhere(self, world: World, type: str) -> None:
        assert sent(world, type) == (Outcome.TAKEN, None)

    def test_is_an_event_that_only_an_eventless_transition_sees(self) -> None:
        config: Mapping[str, Any] = {
            "id": "m",
            "initial": "a",
            "states": {"a": {"always": {"guard": given(lambda a: a.event["type"] == "GO"), "target": "b"}}, "b": {}},
        }
        world = World(setup().machine(config))
        world.start()
        assert sent(world, "NO")[0] is Outcome.IGNORED
        assert sent(world, "GO")[0] is Outcome.TAKEN
        assert world.value() == "b"

    def test_is_an_event_whose_actor_reports_something_that_nothing_takes(self) -> None:
        config: Mapping[str, Any] = {
            "id": "m",
            "initial": "a",
            "states": {
                "a": {"tags": ["settled"], "on": {"GO": "b"}},
                "b": {
                    "tags": ["settled"],
                    "invoke": {"src": "work"},
                    "after": {"10": {"guard": given(lambda a: False), "target": "a"}},
                },
            },
        }
        world = World(setup(actors={"work": lambda input, call: 1}).machine(config))
        world.start()
        go = world.send("GO")
        world.settle()
        assert (world.value(), world.outcome(go)) == ("b", Outcome.TAKEN)
        assert (world.record().timers, world.record().window.other_outcomes) == ({}, {}), "the timer has fired"


class TestIgnored:
    def test_is_an_event_that_no_transition_takes(self, world: World) -> None:
        assert sent(world, "SING") == (
            Outcome.IGNORED,
            'no transition takes SING in "door.shut"; events taken here: UNLOCK, KNOCK, PUSH, PULL, CALL, LEAVE',
        )

    def test_is_an_event_whose_guards_all_answered_false(self, world: World) -> None:
        outcome, reason = sent(world, {"type": "PULL", "code": "1"})
        assert outcome is Outcome.IGNORED
        assert reason is not None
        assert 'the guard "isRight" answered false' in reason

    def test_is_an_event_that_is_forbidden(self, world: World) -> None:
        outcome, reason = sent(world, "KICK")
        assert outcome is Outcome.IGNORED
        assert reason is not None
        assert '"door.shut" forbids it' in reason

    def test_leaves_all_but_the_memory_of_the_message_as_it_was(self, world: World) -> None:
        world.settle()
        before = world.record()
        sent(world, "SING")
        after = world.record()
        assert (after.snapshot, after.timers, after.outbox, after.turn) == (before.snapshot, {}, (), None)

    def test_is_even_an_event_in_a_node_whose_tag_sets_the_outcome(self, world: World) -> None:
        assert sent(world, {"type": "UNLOCK", "code": "42"})[0] is Outcome.RESOLVED
        assert sent(world, "SING")[0] is Outcome.IGNORED
        sent(world, "SHUT")
        assert sent(world, "UNLOCK")[0] is Outcome.REJECTED
        assert sent(world, "SING")[0] is Outcome.IGNORED

    def test_has_the_same_answer_when_it_is_repeated_after_others(self, world: World) -> None:
        first = sent(world, "SING", id="song")
        sent(world, "UNLOCK")
        assert sent(world, "SING", id="song") == first

    def test_is_a_second_start(self, world: World) -> None:
        world.start(id="again")
        world.settle(until=world.now)
        assert (world.outcome("again"), world.reason("again")) == (Outcome.IGNORED, "it was started already")

    def test_is_an_event_after_the_end(self, world: World) -> None:
        sent(world, "LEAVE")
        assert sent(world, "KNOCK") == (Outcome.IGNORED, 'the machine is done, in "door.left"')

    def test_among_several_that_arrive_together_is_each_for_itself(self, world: World) -> None:
        ids = [world.send(type) for type in ("SING", "LEAVE", "KNOCK")]
        world.settle(until=world.now)
        assert list(map(world.outcome, ids)) == [Outcome.IGNORED, Outcome.TAKEN, Outcome.IGNORED]
        assert str(world.reason(ids[0])).startswith("no transition takes SING")
        assert world.reason(ids[2]) == 'the machine is done, in "door.left"'


class TestAnEventFromAnotherMachine:
    def test_is_ignored_like_any_other_and_its_reason_displaces_no_client(self) -> None:
        child = setup().machine({"id": "kid", "initial": "a", "states": {"a": {"on": {"OK": "a"}}}})
        parent: Any = {
            "id": "parent",
            "invoke": {"id": "kid", "src": "kid"},
            "on": {"PING": {"actions": forward_to("kid")}},
        }
        machine = setup(actors={"kid": child}).machine(parent)
        world = World(machine, [child])
        world.start()
        world.settle()
        assert sent(world, "PING") == (Outcome.TAKEN, None)
        (kid,) = world.record().children.values()
        record = world.record_of(kid.key)
        assert list(record.window.other_outcomes.values()) == [Outcome.IGNORED]
        assert record.window.reasons == {}
        assert str(world.key()) in record.window.senders, "its place among the messages of its sender is remembered"

    def test_is_not_judged_if_it_is_the_snapshot_of_a_child(self) -> None:
        child = setup().machine({"id": "kid", "initial": "a", "states": {"a": {"on": {"OK": "a"}}}})
        sees = {"guard": given(lambda a: False), "actions": "see"}
        parent: Any = {"id": "parent", "invoke": {"id": "kid", "src": "kid", "onSnapshot": sees}}
        world = World(setup(actors={"kid": child}, actions={"see": lambda a: None}).machine(parent), [child])
        world.start()
        world.settle()
        window = world.record().window
        assert len(window.ids) == 2, "the start, and the first snapshot of the child"
        assert window.other_outcomes == {}


class TestRejected:
    def test_names_the_guards_that_led_there(self, world: World) -> None:
        assert sent(world, {"type": "UNLOCK", "code": "1"}) == (
            Outcome.REJECTED,
            'UNLOCK (the guard "isRight" answered false) left the machine in "door.alarmed"',
        )

    def test_names_the_error_that_led_there(self, world: World) -> None:
        assert sent(world, "CALL") == (
            Outcome.REJECTED,
            'the failure of phone (ConnectionError: nobody answers) left the machine in "door.unreached"',
        )

    def test_does_not_name_the_guards_of_other_regions(self) -> None:
        regions: Any = {
            "left": {"on": {"GO": {"guard": given(lambda a: False), "target": "left"}}},
            "right": {"initial": "on", "states": {"on": {"on": {"GO": "off"}}, "off": {"tags": ["reject"]}}},
        }
        tagged = {"id": "m", "type": "parallel", "tags": ["settled"], "states": regions}
        world = World(setup().machine(tagged))
        world.start()
        assert sent(world, "GO") == (Outcome.REJECTED, 'GO left the machine in "m.right.off"')

    def test_asks_guards_as_the_step_did_about_an_actor_that_has_ended(self) -> None:
        is_done = given(lambda a: a.state.children["work"].status != "active")
        done = [{"guard": "no", "target": "a"}, {"guard": is_done, "target": "no"}, {"target": "a"}]
        states: Any = {
            "a": {"tags": ["settled"], "on": {"GO": "b"}},
            "b": {"invoke": {"id": "work", "src": "work", "onDone": done}},
            "no": {"tags": ["reject"]},
        }
        logic = setup(actors={"work": lambda input, call: 1}, guards={"no": lambda a: False})
        world = World(logic.machine({"id": "m", "initial": "a", "states": states}))
        world.start()
        reason = 'xstate.done.actor.work (the guard "no" answered false) left the machine in "m.no"'
        assert sent(world, "GO") == (Outcome.REJECTED, reason)

    def test_names_the_event_where_nothing_else_is_known(self) -> None:
        world = World(
            setup().machine(
                {**DOOR, "states": {"shut": {"tags": ["settled"], "on": {"GO": "no"}}, "no": {"tags": ["reject"]}}}
            )
        )
        world.start()
        assert sent(world, "GO") == (Outcome.REJECTED, 'GO left the machine in "door.no"')

    def test_may_be_the_start(self) -> None:
        world = World(door(initial="alarmed"))
        world.start(id="s")
        world.settle(until=world.now)
        assert (world.outcome("s"), world.reason("s")) == (
            Outcome.REJECTED,
            'the start left the machine in "door.alarmed"',
        )


class TestFailed:
    def test_has_the_text_of_the_error(self, world: World) -> None:
        sent(world, "CALL")
        assert sent(world, "CRASH") == (Outcome.FAILED, "ConnectionError: nobody answers")
        assert sent(world, "KNOCK") == (
            Outcome.IGNORED,
            "the machine has failed: ConnectionError: nobody answers",
        )


class TestADeadLetter:
    def test_has_what_is_wrong_with_the_event(self, world: World) -> None:
        outcome, reason = sent(world, {"type": "xstate.init"})
        assert (outcome, reason) == (Outcome.INVALID, 'an event from outside cannot have the type "xstate.init"')

    def test_has_the_error_of_its_last_attempt(self) -> None:
        world = World(appending())
        world.start()
        failing, behind = world.send(add(1, boom=True)), world.send(add(2))
        world.settle()
        assert world.outcome(failing) is Outcome.DEAD_LETTERED
        assert world.reason(failing) == 'list: the guard "sound" at states.open.on.ADD.guard raised RuntimeError: boom'
        assert str(world.reason(behind)).startswith(f"halted: {failing} failed 5 times")

    def test_that_is_redriven_loses_its_reason(self) -> None:
        world = World(appending())
        early = world.send(add(1))
        world.settle()
        assert world.reason(early) == "list/ada was never started"
        world.start()
        world.settle()
        world.redrive()
        world.settle()
        assert (world.outcome(early), world.reason(early)) == (Outcome.TAKEN, None)


class TestTheReasonsOfAWindow:
    KEY = Key("door", "ada")

    def filled(self, count: int, size: int = WINDOW, reason: str = "why") -> Window:
        window = Window(size)
        for number in range(count):
            window = window.add(Message(self.KEY, f"m{number}", ""), Outcome.IGNORED, reason=reason).unpin(())
        return window

    def test_are_those_of_the_newest_messages(self) -> None:
        window = self.filled(MAX_REASONS + 2)
        kept = [window.reason_of_id(f"m{number}") for number in range(MAX_REASONS + 2)]
        assert kept == [None, None, *["why"] * MAX_REASONS]
        assert window.outcome_of_id("m0") is Outcome.IGNORED

    def test_are_cut_where_they_are_long(self) -> None:
        assert self.filled(1, reason="x" * 10_000).reason_of_id("m0") == "x" * MAX_REASON_CHARACTERS

    def test_leave_the_window_with_their_messages(self) -> None:
        assert len(self.filled(3, size=2).reasons) == 2

    def test_do_not_grow_with_the_events(self, world: World) -> None:
        sizes: list[int] = []
        for number in range(300):
            sent(world, "SING", id=f"m{number:04}")
            stored = world.backend.store.load(world.key())
            assert stored is not None
            sizes.append(len(stored.body))
        assert abs(sizes[-1] - sizes[-30]) < 10, "the last 256 messages are remembered, and 16 reasons"

    def test_are_kept_by_the_record_and_its_tombstone(self, world: World) -> None:
        sent(world, "SING", id="song")
        stored = record_to_stored(world.machine, world.record(), 1, 0.0)
        assert record_from_json(world.machine, self.KEY, stored.body).window.reason_of_id("song") is not None
        world.delete()
        tombstone = world.backend.store.load(self.KEY)
        assert tombstone is not None
        assert record_from_tombstone(self.KEY, tombstone.body).window.reason_of_id("song") is not None

    def test_distinguish_two_bodies_under_one_id(self) -> None:
        first, second = Message(self.KEY, "m", "1"), Message(self.KEY, "m", "2")
        window = Window().add(first, Outcome.TAKEN).add(second, Outcome.INVALID, reason="reused")
        assert window.reason_of_id("m", first.digest) is None
        assert window.reason_of_id("m", second.digest) == "reused"


def test_an_event_that_is_ignored_performs_nothing() -> None:
    world = submitted(signup())
    world.settle(until=2_000)
    effects = list(world.effects)
    assert sent(world, "SING")[0] is Outcome.IGNORED
    assert world.effects == effects
