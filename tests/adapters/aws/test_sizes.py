"""Instances and messages as large as AWS takes them, and larger ones."""

from __future__ import annotations

import pytest

from settled import Key
from settled.durable import Event, encode
from settled_aws import AwsUrl
from settled_aws.dynamodb_items import MAX_ITEM_BYTES, item_size, record_item
from settled_runtime import Client, CompositeBackend
from tests.support.full_instances import LARGE_FOLLOWERS, FullInstance, growing, relaying

LARGEST_FOREIGN = 1_000_000
"""The size of a message that SQS takes and no item of DynamoDB holds."""


@pytest.fixture
def full(aws: CompositeBackend) -> FullInstance:
    key = Key("list", "ada")

    def size() -> int:
        stored = aws.store.load(key)
        return 0 if stored is None else item_size(record_item(key, stored, None))

    return FullInstance(aws, size, MAX_ITEM_BYTES)


def test_an_instance_whose_item_is_full_is_halted_and_redriven(full: FullInstance) -> None:
    full.grow()
    letters = full.halt(LARGEST_FOREIGN)
    expected = ["poison", *(f"large{number}" for number in range(LARGE_FOLLOWERS)), "foreign"]
    assert [each.message.id for each in letters] == expected
    assert len(letters[-1].message.body.encode()) > LARGEST_FOREIGN
    full.redrive()
    assert full.client.dead_letters("ada") == []
    assert full.context() == {"text": ""}


def test_it_can_be_deleted(full: FullInstance) -> None:
    full.grow()
    full.halt(LARGEST_FOREIGN)
    full.client.delete("ada")
    assert full.client.dead_letters("ada") == []


def test_the_largest_event_can_be_sent_on(full: FullInstance, url: AwsUrl) -> None:
    relay = Client(relaying(), full.backend)
    full.client.start("ada")
    relay.start("r")
    text = "x" * (url.largest_message - len(encode(Event({"type": "TELL", "text": ""}))))
    relay.send("r", {"type": "TELL", "text": text})
    full.work(growing(), relaying())
    assert relay.dead_letters("r") == []
    assert full.context() == {"text": text}
