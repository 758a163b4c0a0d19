"""Headers: texts about a message that go with it, and with all that it causes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from attrs import define, evolve, field

from settled import Call, EventError, Key, Machine, actor, setup
from settled.durable import Message, check_headers, headers_from_text, headers_to_text, record_from_json
from settled.durable.commands import Finish, PerformActions, RunActors
from settled.durable.record_json import record_to_stored
from tests.support.example_records import KEY, MACHINE, WITH_HEADERS
from tests.support.virtual_world import World

TRACE = {"traceparent": "00-1"}


@define
class Seen:
    """The headers that actions and actors were called with, by their names."""

    calls: list[tuple[str, dict[str, str]]] = field(factory=list[tuple[str, dict[str, str]]])
    broken: bool = False

    def action(self, name: str) -> Any:
        def act(args: Any) -> None:
            self.calls.append((name, dict(args.call.headers)))

        return act

    def run(self, _input: Any, call: Call) -> None:
        self.calls.append(("actor", dict(call.headers)))

    def is_sound(self, _args: Any) -> bool:
        if self.broken:
            raise RuntimeError("broken")
        return True


def machine(seen: Seen) -> Machine[Any]:
    child = setup(actions={"hello": seen.action("child")}).machine(
        {"id": "child", "initial": "a", "states": {"a": {"tags": ["settled"], "entry": "hello"}}}
    )
    return setup(
        guards={"sound": seen.is_sound},
        actions={"note": seen.action("action"), "ring": seen.action("timer"), "bye": seen.action("ended")},
        actors={"run": actor(seen.run), "child": child},
        delays={"patience": timedelta(hours=1)},
    ).machine(
        {
            "id": "m",
            "initial": "idle",
            "states": {
                "idle": {
                    "tags": ["settled"],
                    "on": {
                        "NOTE": {"guard": "sound", "actions": "note"},
                        "RUN": "running",
                        "CHILD": "parent",
                        "WAIT": "waiting",
                    },
                },
                "running": {"invoke": {"src": "run", "onDone": {"target": "idle", "actions": "bye"}}},
                "parent": {"tags": ["settled"], "invoke": {"src": "child"}},
                "waiting": {"tags": ["settled"], "after": {"patience": {"target": "idle", "actions": "ring"}}},
            },
        }
    )


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def world(seen: Seen) -> World:
    root = machine(seen)
    child = root.actor("child")
    assert isinstance(child, Machine)
    world = World(root, [child])
    world.start()
    world.settle()
    return world


class TestTheHeadersOfAMessage:
    def test_are_passed_to_its_actions(self, world: World, seen: Seen) -> None:
        world.send("NOTE", headers=TRACE)
        world.send("NOTE")
        world.send("NOTE", headers={"other": "1"})
        world.settle()
        assert seen.calls == [("action", TRACE), ("action", {}), ("action", {"other": "1"})]

    def test_are_passed_to_its_actors_and_to_what_their_results_cause(self, world: World, seen: Seen) -> None:
        world.send("RUN", headers=TRACE)
        world.settle()
        assert seen.calls == [("actor", TRACE), ("ended", TRACE)]

    @pytest.mark.parametrize("command", [PerformActions, RunActors])
    def test_are_passed_to_the_attempt_of_another_worker(self, command: type[object], world: World, seen: Seen) -> None:
        world.crash_at(command)
        world.send("NOTE" if command is PerformActions else "RUN", headers=TRACE)
        world.settle()
        assert seen.calls
        assert all(headers == TRACE for _, headers in seen.calls)

    def test_are_those_of_the_child_machine_that_it_starts(self, world: World, seen: Seen) -> None:
        world.send("CHILD", headers=TRACE)
        world.settle()
        assert seen.calls == [("child", TRACE)]

    def test_go_with_what_is_sent_after_a_crash(self, world: World, seen: Seen) -> None:
        """From the outbox of the record, because a backend may have committed and not sent."""
        world.send("CHILD", headers=TRACE)
        world.crash_at(Finish, nth=2)
        world.settle()
        assert seen.calls == [("child", TRACE)]

    def test_are_those_of_the_timers_that_it_starts(self, world: World, seen: Seen) -> None:
        world.send("WAIT", headers=TRACE)
        world.settle()
        assert seen.calls == [("timer", TRACE)]

    def test_are_in_its_dead_letter_and_come_back_with_the_redrive(self, world: World, seen: Seen) -> None:
        seen.broken = True
        world.send("NOTE", headers=TRACE)
        world.settle()
        assert [each.message.headers for each in world.dead_letters()] == [TRACE]
        seen.broken = False
        world.redrive()
        world.settle()
        assert seen.calls == [("action", TRACE)]

    def test_do_not_make_it_another_message(self, world: World, seen: Seen) -> None:
        first = Message(Key("m", "ada"), "id", "{}", TRACE)
        assert evolve(first, headers={}).digest == first.digest
        world.send("NOTE", id="once", headers=TRACE)
        world.settle()
        world.send("NOTE", id="once", headers={"other": "1"})
        world.settle()
        assert seen.calls == [("action", TRACE)]

    def test_are_in_the_record_as_long_as_something_is_left_to_do(self) -> None:
        stored = record_to_stored(MACHINE, WITH_HEADERS, 1, 0.0)
        assert record_from_json(MACHINE, KEY, stored.body) == WITH_HEADERS


class TestHeadersThatAreAllowed:
    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"a": ""},
            {"0.-_" * 16: "two words, é and 🙂"},
            {f"h{n}": "x" * 250 for n in range(16)},
            {"long": "x" * 1024},
        ],
    )
    def test_are_copied(self, headers: dict[str, str]) -> None:
        assert check_headers(headers) == headers
        assert check_headers(headers) is not headers
        assert headers_from_text(headers_to_text(headers)) == headers


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"": "x"}, "the header '': a name has 1 to 64 of the characters a-z"),
        ({"Trace": "x"}, "the header 'Trace': a name has"),
        ({"a b": "x"}, "the header 'a b': a name has"),
        ({"a\n": "x"}, r"the header 'a\\n': a name has"),
        ({"a" * 65: "x"}, "a name has"),
        ({1: "x"}, "the header 1: a name has"),
        ({"a": 1}, "the header 'a': its value is int; make it text"),
        ({"a": "x" * 1025}, "the header 'a': its value has 1025 characters of 1024; put data into the event"),
        ({"a": "one\ntwo"}, "the header 'a': its value 'one.*' is not printable on one line; encode it"),
        ({"a": "\ud800"}, "is not printable"),
        ({f"h{n}": "" for n in range(17)}, "17 headers: a message may have 16, so leave some out"),
        ({f"h{n}": "x" * 1024 for n in range(4)}, "headers of 4104 bytes: all together may have 4096"),
        ([("a", "b")], "the headers are list; make them an object of names and texts"),
    ],
)
def test_headers_that_are_not_allowed_say_which_and_what_to_do(headers: Any, said: str) -> None:
    with pytest.raises(EventError, match=said):
        check_headers(headers)
