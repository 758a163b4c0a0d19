"""The emulators run once for all tests of the adapter; each test has its own collection and topic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from settled_gcp.documents import Collection
from settled_gcp.store import FirestoreStore
from settled_gcp.url import GcpUrl
from tests.adapters.gcp.fixtures import Cloud, create, fresh_collection
from tests.adapters.gcp.messaging import Messaging
from tests.emulators.firestore import firestore
from tests.emulators.pubsub import GoogleServer, pubsub
from tests.emulators.running import NotHere
from tests.support.builders import fresh_name


@pytest.fixture(scope="session")
def firestore_address() -> Iterator[str]:
    try:
        with firestore() as address:
            yield address
    except NotHere as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def cloud(firestore_address: str) -> Iterator[Cloud]:
    """A project on the real clock."""
    with pubsub() as server:
        cloud = Cloud.at(server, firestore_address)
        yield cloud
        cloud.close()


@pytest.fixture
def url(cloud: Cloud) -> GcpUrl:
    """The URL of a new backend in the project, with all of its resources."""
    url = cloud.gcp_url(fresh_name())
    create(cloud, url)
    return url


@pytest.fixture(scope="session")
def documents(cloud: Cloud) -> Any:
    """The client of Firestore."""
    return cloud.firestore


@pytest.fixture
def collection() -> Collection:
    return fresh_collection()


@pytest.fixture
def store(documents: Any, collection: Collection) -> FirestoreStore:
    return FirestoreStore(documents, collection)


@pytest.fixture(scope="session")
def google() -> Iterator[GoogleServer]:
    """Pub/Sub and Cloud Tasks; tests advance their clock."""
    with pubsub() as server:
        yield server


@pytest.fixture
def messaging(google: GoogleServer) -> Iterator[Messaging]:
    """A topic, and a subscription with exactly-once delivery."""
    messaging = Messaging.at(google)
    messaging.create(enable_exactly_once_delivery=True)
    yield messaging
    messaging.close()
