"""The emulators run once for all tests of the adapter; each test has a collection and a topic of its own in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from settled_gcp.clients import FIRESTORE, client_of
from settled_gcp.documents import Collection
from settled_gcp.store import FirestoreStore
from tests.adapters.gcp.messaging import Messaging
from tests.adapters.gcp.place import fresh_collection
from tests.emulators.firestore import firestore
from tests.emulators.pubsub import GoogleServer, pubsub
from tests.emulators.running import NotHere


@pytest.fixture(scope="session")
def firestore_address() -> Iterator[str]:
    try:
        with firestore() as address:
            yield address
    except NotHere as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def documents(firestore_address: str) -> Iterator[Any]:
    """A client of the emulated Firestore."""
    client = client_of(FIRESTORE, emulator=firestore_address)
    yield client
    client.transport.close()


@pytest.fixture
def collection() -> Collection:
    return fresh_collection()


@pytest.fixture
def store(documents: Any, collection: Collection) -> FirestoreStore:
    return FirestoreStore(documents, collection)


@pytest.fixture(scope="session")
def google() -> Iterator[GoogleServer]:
    """Pub/Sub and Cloud Tasks, whose time is the machine's until a test lets it pass."""
    with pubsub() as server:
        yield server


@pytest.fixture
def messaging(google: GoogleServer) -> Iterator[Messaging]:
    """A topic and a subscription with exactly-once delivery."""
    messaging = Messaging.at(google)
    messaging.create(enable_exactly_once_delivery=True)
    yield messaging
    messaging.close()
