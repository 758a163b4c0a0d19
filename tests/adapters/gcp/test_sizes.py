"""Instances and messages as large as Firestore and Pub/Sub take them, and larger ones."""

from __future__ import annotations

import pytest

from settled import Key
from settled.durable import Event, Message, encode
from settled_gcp.documents import MAX_DOCUMENT_BYTES, checked_size, record_fields
from settled_gcp.store import FirestoreStore
from settled_gcp.url import GcpUrl
from settled_runtime import Client
from tests.adapters.gcp.fixtures import Cloud, backend
from tests.support.full_instances import LARGE_FOLLOWERS, FullInstance, growing, relaying

LARGEST_FOREIGN = 2_500_000
"""The size of a message that Pub/Sub takes and no document holds. The emulator of Firestore takes no larger commits."""


@pytest.fixture
def full(cloud: Cloud, url: GcpUrl) -> FullInstance:
    key, gcp = Key("list", "ada"), backend(cloud, url)
    store = gcp.store
    assert isinstance(store, FirestoreStore)

    def size() -> int:
        stored = store.load(key)
        return 0 if stored is None else checked_size(store.collection.record(key), record_fields(key, stored, None), "")

    return FullInstance(gcp, size, MAX_DOCUMENT_BYTES)


def test_an_instance_whose_document_is_full_is_halted_and_redriven(full: FullInstance) -> None:
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


def test_a_message_that_no_commit_holds_is_set_aside_by_reference(full: FullInstance) -> None:
    full.client.start("ada")
    full.backend.queue.send([Message(Key("list", "ada"), "foreign", "x" * 4_500_000)])
    full.work()
    (letter,) = full.client.dead_letters("ada")
    assert "the store cannot keep its body of 4,500,000 bytes" in letter.reason
    full.client.send("ada", {"type": "GROW", "text": "x"})
    full.work()
    assert full.context() == {"text": "x"}


def test_the_largest_event_can_be_sent_on(full: FullInstance, url: GcpUrl) -> None:
    relay = Client(relaying(), full.backend)
    full.client.start("ada")
    relay.start("r")
    text = "x" * (url.largest_message - len(encode(Event({"type": "TELL", "text": ""}))))
    relay.send("r", {"type": "TELL", "text": text})
    full.work(growing(), relaying())
    assert relay.dead_letters("r") == []
    assert full.context() == {"text": text}
