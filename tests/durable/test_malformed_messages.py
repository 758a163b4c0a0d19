"""What a queue delivers although settled has not written it becomes a dead letter, and delays nothing."""

from __future__ import annotations

import base64

import pytest

from settled import EventError, Key, Outcome
from settled.data import parse
from settled.durable import Delivery, Message
from settled.durable.limits import check_id
from settled.durable.malformed import is_malformed, malformed_message
from settled.durable.messages import decode
from tests.durable.machines import add, appending, applied
from tests.support.virtual_world import World

KEY = Key("list", "ada")

CLOSE = '{"kind":"event","event":{"type":"CLOSE"}}'
RECEIVED = [
    "hello",
    "",
    '{"kind":"wake"}',
    "[" * 100_000,
    CLOSE,
    "\ud83d é 🙂 \0",
]


class TestATurn:
    @pytest.mark.parametrize("received", RECEIVED)
    def test_makes_it_a_dead_letter_and_goes_on(self, received: str) -> None:
        world = World(appending())
        world.start()
        world.send(add(1))
        malformed = malformed_message(world.key(), "sqs/1", received)
        world.backend.queue.send([malformed])
        world.send(add(2))
        world.settle(until=world.now)
        assert applied(world) == [1, 2]
        assert [each.message for each in world.dead_letters()] == [malformed]
        assert world.outcome(malformed.id) is Outcome.INVALID

    def test_takes_a_second_delivery_for_the_same_message(self) -> None:
        world = World(appending())
        world.start()
        world.settle(until=world.now)
        deliveries = list[Delivery]()
        for _ in range(2):
            world.backend.queue.send([malformed_message(world.key(), "sqs/1", "hello")])
            deliveries += world.backend.queue.receive(10)
        world.take(deliveries)
        world.take(deliveries[:1])
        assert len(world.dead_letters()) == 1


class TestTheMessage:
    @pytest.mark.parametrize("received", RECEIVED)
    def test_cannot_be_decoded_whatever_was_received(self, received: str) -> None:
        message = malformed_message(KEY, "sqs/1", received)
        with pytest.raises(EventError):
            decode(message.body)
        assert is_malformed(message)
        assert parse(message.body)["text"] == received

    def test_has_bytes_that_are_no_text_in_base64(self) -> None:
        message = malformed_message(KEY, "pubsub/1", b"\xff\0")
        assert base64.b64decode(parse(message.body)["base64"]) == b"\xff\0"
        assert parse(malformed_message(KEY, "pubsub/1", "é".encode()).body)["text"] == "é"

    def test_has_an_id_that_no_outsider_may_use(self) -> None:
        with pytest.raises(EventError, match="reserved for machines"):
            check_id(malformed_message(KEY, "sqs/1", "").id)


class TestWhatACodecLeavesAsItIs:
    """No sender has encoded a malformed message. What a machine could take must not pass for one."""

    def test_is_the_message_itself(self) -> None:
        assert is_malformed(malformed_message(KEY, "sqs/1", "hello"))

    @pytest.mark.parametrize(
        "body",
        [
            CLOSE,
            '{"kind":"malformed","kind":"event","event":{"type":"CLOSE"}}',
            "settled-encoded:x:hello",
        ],
    )
    def test_is_nothing_else_under_its_id(self, body: str) -> None:
        id = malformed_message(KEY, "sqs/1", "").id
        assert not is_malformed(Message(KEY, id, body))

    def test_is_nothing_under_another_id(self) -> None:
        assert not is_malformed(Message(KEY, "1", malformed_message(KEY, "sqs/1", "hello").body))
