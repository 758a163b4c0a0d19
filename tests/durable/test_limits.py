"""Messages from outside have limits, and one that was queued past them becomes a dead letter."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from settled import EventError, Json, Key, Outcome, TooLargeError, assign, send_to, setup
from settled.data import MAX_DEPTH, MAX_EVENT_DEPTH
from settled.durable import Event, Message, Start, Traits, encode
from settled.durable.commands import Finish
from settled.durable.limits import MAX_CHILD_NAME_BYTES, MAX_ID_BYTES, MAX_NAME_BYTES, message_from_outside
from settled.durable.messages import ChildEnded, decode
from tests.durable.machines import add, appending, applied
from tests.support.virtual_world import World

KEY = Key("order", "42")


def nested(levels: int) -> Json:
    """Return an array with `levels` levels, of which the innermost holds a number."""
    return wrapped(1, levels)


def wrapped(value: Json, levels: int) -> Json:
    """Return `value` in `levels` more arrays."""
    for _ in range(levels):
        value = [value]
    return value


def event(levels: int) -> Any:
    """Return an event with `levels` levels, the event itself included."""
    return {"type": "KEEP", "n": nested(levels - 1)}


class TestAMessageFromOutside:
    @pytest.mark.parametrize("content", [Event({"type": "PAY"}), Start({"card": 1})])
    def test_may_have_everything_up_to_its_limit(self, content: Event | Start) -> None:
        id, key = "i" * MAX_ID_BYTES, Key("m" * MAX_NAME_BYTES, "n" * MAX_NAME_BYTES)
        body = encode(content)
        assert message_from_outside(key, id, content, largest=len(body)) == Message(key, id, body)

    @pytest.mark.parametrize(
        ("key", "id", "error"),
        [
            (KEY, "i" * 257, "the message id 'iiii.*' has 257 bytes; the limit is 256: use a shorter one"),
            (KEY, "ä" * 129, "the message id .* has 258 bytes"),
            (Key("m" * 257, "42"), "id", "the machine's id .* has 257 bytes; the limit is 256"),
            (Key("order", "n" * 257), "id", "the instance's name .* has 257 bytes; the limit is 256"),
            (Key("order", "n" * 8_000 + "/~pay.1"), "id", "the instance's name .* bytes; the limit is 2,048"),
            (Key("order", ""), "id", "an instance needs a name"),
            (KEY, "settled:1", "reserved for machines"),
        ],
    )
    def test_has_no_longer_names(self, key: Key, id: str, error: str) -> None:
        with pytest.raises(EventError, match=error) as raised:
            message_from_outside(key, id, Event({"type": "PAY"}))
        assert len(str(raised.value)) < 200

    def test_may_go_to_a_child_with_a_longer_name(self) -> None:
        key = Key("payment", f"{'n' * 256}/~pay.".ljust(MAX_CHILD_NAME_BYTES, "1"))
        assert message_from_outside(key, "id", Event({"type": "PAY"})).key == key

    @pytest.mark.parametrize("text", ["x" * 1000, "ä" * 500])
    def test_is_no_larger_than_its_limit(self, text: str) -> None:
        content = Event({"type": "PAY", "text": text})
        size = len(encode(content).encode())
        assert message_from_outside(KEY, "id", content, largest=size)
        with pytest.raises(
            TooLargeError, match=f"order/42: the message id has {size:,} bytes; the limit is {size - 1:,}"
        ):
            message_from_outside(KEY, "id", content, largest=size - 1)

    @pytest.mark.parametrize("kind", [Event, Start])
    def test_is_no_more_deeply_nested(self, kind: type[Event | Start]) -> None:
        assert message_from_outside(KEY, "id", kind(event(MAX_EVENT_DEPTH)))
        for levels in (MAX_EVENT_DEPTH + 1, 490, 100_000):
            with pytest.raises(EventError, match="nested more than 64 levels deep: flatten"):
                message_from_outside(KEY, "id", kind(event(levels)))

    def test_may_be_wide(self) -> None:
        assert message_from_outside(KEY, "id", Event({"type": "KEEP", "rows": [{"n": [n]} for n in range(1000)]}))


def keeping() -> Any:
    """Return a machine that keeps the events it takes, and sends one on after a delay, wrapped."""
    return setup(
        actions={
            "keep": assign(kept=lambda a: a.event["n"]),
            "wrap": send_to("hub/h", lambda a: {"type": "SEEN", "event": a.event}, delay=timedelta(seconds=1)),
        },
    ).machine(
        {
            "id": "keeper",
            "initial": "open",
            "context": {"kept": None},
            "states": {"open": {"tags": ["settled"], "on": {"KEEP": {"actions": ["keep", "wrap"]}}}},
        }
    )


class TestAnEventThatWasSentPastTheLimits:
    @pytest.mark.parametrize("levels", [MAX_EVENT_DEPTH, 489, 100_000])
    def test_becomes_a_dead_letter_and_halts_nothing(self, levels: int) -> None:
        world = World(appending())
        world.start()
        body = f'{{"kind":"event","event":{{"type":"ADD","n":{"[" * levels}{"]" * levels}}}}}'
        world.backend.queue.send([Message(world.key(), "deep", body)])
        world.send(add(1))
        world.settle()
        assert [dead_letter.message.id for dead_letter in world.dead_letters()] == ["deep"]
        assert "nested more than 64 levels deep" in world.dead_letters()[0].reason
        assert world.record().window.outcome_of_id("deep") is Outcome.INVALID
        assert world.record().halted is None
        assert applied(world) == [1]


class TestADeepEvent:
    def test_can_be_kept_and_sent_on_even_after_a_delay(self) -> None:
        world = World(keeping(), [hub()])
        world.start()
        world.send(event(MAX_EVENT_DEPTH))
        world.settle()
        assert world.record().halted is None
        assert world.dead_letters() == []
        (sent_on,) = world.backend.store.dead_letters(Key("hub", "h"))  # it was never started
        assert "was never started" in sent_on.reason
        snapshot: Any = world.record().snapshot
        assert snapshot.context == {"kept": nested(MAX_EVENT_DEPTH - 1)}


class TestWhatAMachineMakes:
    def test_too_deep_a_context_halts_its_instance(self) -> None:
        machine = setup(actions={"wrap": assign(kept=lambda a: wrapped(a.context["kept"], a.event["levels"]))}).machine(
            {
                "id": "wrapper",
                "initial": "open",
                "context": {"kept": []},
                "states": {"open": {"tags": ["settled"], "on": {"WRAP": {"actions": "wrap"}}}},
            }
        )
        world = World(machine)
        world.start()
        world.send({"type": "WRAP", "levels": MAX_DEPTH - 2})  # the context is an object, and `kept` begins as an array
        world.settle()
        assert world.record().halted is None
        world.send({"type": "WRAP", "levels": 1}, id="last")
        world.settle()
        assert "nested more than 128 levels deep" in str(world.record().halted)

    @pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 490, 100_000])
    def test_too_deep_a_result_is_a_failure_of_its_actor(self, levels: int) -> None:
        machine = setup(
            actors={"fetch": lambda _input, _call: nested(levels)},
            actions={"note": assign(error=lambda a: a.event["error"]["message"])},
        ).machine(
            {
                "id": "fetcher",
                "initial": "fetching",
                "context": {"error": None},
                "states": {
                    "fetching": {"invoke": {"src": "fetch", "onError": {"target": "failed", "actions": "note"}}},
                    "failed": {"tags": ["settled"]},
                },
            }
        )
        world = World(machine)
        world.start()
        world.settle()
        assert world.value() == "failed"
        assert "nested more than 128 levels deep" in world.snapshot().context["error"]


class TestTheMessagesOfMachines:
    def test_may_be_deeper_but_not_without_limit(self) -> None:
        report = ChildEnded("child", "1", True, nested(MAX_DEPTH))
        assert decode(encode(report)) == report
        for levels in (MAX_DEPTH + 1, 490, 100_000):
            with pytest.raises(EventError, match="nested more than 128 levels deep"):
                encode(ChildEnded("child", "1", True, nested(levels)))


SMALL = Traits(largest_message=1000)
SIZES = {"fits": 1000, "too large": 5100}


def sender(**actions: Any) -> Any:
    """Return a machine that performs all of `actions`, built-in ones, on GO."""
    return setup(actions=actions).machine(
        {
            "id": "sender",
            "initial": "open",
            "states": {"open": {"tags": ["settled"], "on": {"GO": {"actions": list(actions)}, "STAY": {}}}},
        }
    )


def hub() -> Any:
    return setup().machine(
        {"id": "hub", "initial": "open", "states": {"open": {"tags": ["settled"], "on": {"SEEN": {}}}}}
    )


def large(a: Any) -> Any:
    return {"type": "SEEN", "text": "x" * a.event["size"]}


class TestWhatAMachineSends:
    """A message that is too large is refused by the step that sends it, and not after the commit, for ever."""

    @pytest.mark.parametrize("delay", [None, timedelta(seconds=1)], ids=["at once", "delayed"])
    def test_fails_its_message_if_it_is_too_large(self, delay: timedelta | None) -> None:
        world = World(sender(send=send_to("hub/h", large, delay=delay)), [hub()], traits=SMALL)
        world.start()
        world.send({"type": "GO", "size": SIZES["fits"]})
        world.settle()
        assert world.record().halted is None
        assert len(world.backend.store.dead_letters(Key("hub", "h"))) == 1  # it was never started
        world.send({"type": "GO", "size": SIZES["too large"]}, id="large")
        world.settle()
        (dead_letter,) = world.dead_letters()
        assert dead_letter.message.id == "large"
        size = "5,223" if delay is None else "5,150"
        assert str(world.record().halted).endswith(
            f"sender/ada: what it sends to hub/h has {size} bytes; the limit is 5,096: "
            "store large data elsewhere and send its address"
        )
        assert len(world.backend.store.dead_letters(Key("hub", "h"))) == 1

    def test_is_not_in_the_timer_of_a_delayed_send(self) -> None:
        """The services that keep timers have limits of their own, far below those of queues."""
        world = World(sender(send=send_to("hub/h", large, delay=timedelta(hours=1))), [hub()], traits=SMALL)
        world.start()
        world.send({"type": "GO", "size": SIZES["fits"]})
        world.settle(until=world.now)
        (timer,) = [timer for each in world.commands if isinstance(each, Finish) for timer in each.write.timers]
        assert len(timer.message.body) < 200

    def test_may_be_the_largest_event_that_it_was_sent(self) -> None:
        relayed = send_to("hub/" + "h" * MAX_NAME_BYTES, lambda a: a.event)
        world = World(sender(send=relayed), [hub()], traits=SMALL)
        world.start()
        event = {"type": "GO", "text": "x" * (1000 - len(encode(Event({"type": "GO", "text": ""}))))}
        message_from_outside(KEY, "id", Event(event), largest=1000)
        world.send(event)
        world.settle()
        assert world.dead_letters() == []

    def test_fails_its_own_message_only(self) -> None:
        world = World(sender(send=send_to("hub/h", large)), [hub()], traits=SMALL)
        world.start()
        for number, size in enumerate((1, SIZES["too large"], 2)):
            world.send({"type": "GO", "size": size}, id=f"go{number}")
        world.settle()
        assert [each.message.id for each in world.dead_letters()] == ["go1", "go2"]  # the second is behind the first
        outcomes = [world.record().window.outcome_of_id(f"go{number}") for number in range(3)]
        assert outcomes == [Outcome.TAKEN, Outcome.DEAD_LETTERED, Outcome.DEAD_LETTERED]

    def test_may_be_the_output_of_a_child_that_is_too_large(self) -> None:
        child = setup(actors={}).machine(
            {"id": "child", "initial": "end", "states": {"end": {"type": "final"}}, "output": {"text": "x" * 6000}}
        )
        parent = setup(actors={"child": child}).machine(
            {
                "id": "parent",
                "initial": "waiting",
                "states": {
                    "waiting": {"tags": ["settled"], "invoke": {"src": "child", "onDone": "over"}},
                    "over": {"tags": ["settled"]},
                },
            }
        )
        world = World(parent, [child], traits=SMALL)
        world.start()
        world.settle()
        (key,) = [each.key for each in world.record().children.values()]
        (dead_letter,) = world.backend.store.dead_letters(key)
        assert f"{key}: what it sends to parent/ada has" in dead_letter.detail


class TestTheResultOfAnActor:
    @pytest.mark.parametrize("fails", [False, True], ids=["output", "error"])
    def test_that_is_too_large_is_a_failure(self, fails: bool) -> None:
        def fetch(_input: Any, _call: Any) -> str:
            if fails:
                raise ValueError("x" * 2000)
            return "x" * 2000

        machine = setup(
            actors={"fetch": fetch},
            actions={"note": assign(error=lambda a: a.event["error"])},
        ).machine(
            {
                "id": "fetcher",
                "initial": "fetching",
                "context": {"error": None},
                "states": {
                    "fetching": {"invoke": {"src": "fetch", "onError": {"target": "failed", "actions": "note"}}},
                    "failed": {"tags": ["settled"]},
                },
            }
        )
        world = World(machine, traits=SMALL)
        world.start()
        world.settle()
        assert world.value() == "failed"
        error: Any = world.snapshot().context["error"]
        assert error["name"] == "TooLargeError"
        assert error["message"].startswith("fetch: its result has 2,0")
        assert "the limit is 1,000: store large data elsewhere" in error["message"]
