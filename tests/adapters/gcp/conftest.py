"""The emulators run once for all tests of the adapter; each test has a collection and a topic of its own in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from settled_gcp.clients import firestore_client
from settled_gcp.documents import Collection
from settled_gcp.store import FirestoreStore
from tests.adapters.gcp.place import fresh_collection
from tests.emulators.firestore import firestore
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
    client: Any = firestore_client(emulator=firestore_address)
    yield client
    client.transport.close()


@pytest.fixture
def collection() -> Collection:
    return fresh_collection()


@pytest.fixture
def store(documents: Any, collection: Collection) -> FirestoreStore:
    return FirestoreStore(documents, collection)
