"""The store on Google's Firestore emulator, which keeps Firestore's rules, except for indexes and TTL."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from settled import ConflictError, Key, TooLargeError
from settled.durable import Stored
from settled.durable.ports import DELETED
from settled_gcp.documents import (
    MAX_DOCUMENT_BYTES,
    MAX_FIELD_BYTES,
    Collection,
    Fields,
    checked_size,
    document_id,
    record_fields,
)
from settled_gcp.store import ConcurrencyMode, FirestoreStore
from tests.adapters.gcp.fixtures import ahead, fresh_collection
from tests.support.builders import ADA, BEN, PATIENCE, dead_letter, message, stored, watched
from tests.support.store_contract import ODD, Commits, DeadLetters

DAY = 86_400.0

texts = st.text(st.characters(exclude_categories=()))


@pytest.fixture(params=list(ConcurrencyMode))
def store(request: pytest.FixtureRequest, documents: Any, collection: Collection) -> FirestoreStore:
    """A store in each concurrency mode."""
    return FirestoreStore(documents, collection, contention=request.param)


class TestCommit(Commits):
    def test_a_process_that_has_not_read_the_record_may_commit(self, store: FirestoreStore, documents: Any) -> None:
        store.commit(ADA, stored(1), 0)
        another = FirestoreStore(documents, store.collection)
        another.commit(ADA, stored(2), 1)
        with pytest.raises(ConflictError):
            another.commit(ADA, stored(2), 1)
        assert store.load(ADA) == stored(2)

    def test_a_dead_letter_is_not_removed_with_one_left_of_an_expired_instance(
        self, store: FirestoreStore, documents: Any
    ) -> None:
        store.commit(ADA, stored(1), 0)
        store.commit(ADA, stored(2), 1, [dead_letter(ADA, "left")])
        name = store.collection.record(ADA)
        documents.commit(request={"database": store.collection.database, "writes": [{"delete": name}]})
        store.commit(ADA, stored(1), 0)
        store.commit(ADA, stored(2), 1, [dead_letter(ADA, "new")], remove_dead_letters=1)
        assert store.dead_letters(ADA) == [dead_letter(ADA, "new")]

    def test_without_a_record_no_version_is_current(self, store: FirestoreStore) -> None:
        with pytest.raises(ConflictError):
            store.commit(ADA, stored(4), 3)
        assert store.load(ADA) is None


class TestNames:
    def test_they_are_readable(self) -> None:
        assert document_id(ADA) == "signup!ada"
        assert document_id(Key("order", "a7-42 é")) == 'order!a7-42"20é'

    def test_similar_keys_have_separate_documents(self, documents: Any, collection: Collection) -> None:
        alike = [
            Key("a", "b/c"),
            Key("a/b", "c"),
            Key("a%2Fb", "c"),
            Key("a", "x" * 3000),
            Key("a", "x" * 3001),
            Key("__a", "b__"),
            Key("__a", "b__!"),
            Key(".", "."),
            Key("", ""),
        ]
        store = FirestoreStore(documents, collection)
        for number, key in enumerate(alike):
            store.commit(key, stored(1, f"{number}"), 0)
        assert [store.load(key) for key in alike] == [stored(1, f"{number}") for number in range(len(alike))]

    @given(texts, texts, texts, texts)
    def test_they_sort_like_keys(self, m: str, i: str, n: str, j: str) -> None:
        one, other = Key(m, i), Key(n, j)
        names = [document_id(key).encode() for key in (one, other)]
        assert (names[0] < names[1], names[0] == names[1]) == (one < other, one == other)
        assert all(0 < len(name) <= 1500 and b"/" not in name and name not in (b".", b"..") for name in names)
        assert not any(name.startswith(b"__") and name.endswith(b"__") for name in names)


class TestSize:
    def test_a_document_of_the_largest_size_is_written(self, store: FirestoreStore) -> None:
        body = "x" * (MAX_FIELD_BYTES - 200)
        store.commit(ADA, stored(1, body), 0)
        assert store.load(ADA) == stored(1, body)

    def test_a_larger_document_fails_with_its_size_and_without_a_request(self, store: FirestoreStore) -> None:
        with pytest.raises(
            TooLargeError, match=r"the record of signup/ada: 1,048,\d\d\d bytes; the limit of Firestore is 1,048,576"
        ):
            store.commit(ADA, stored(1, "x" * MAX_FIELD_BYTES), 0)
        assert store.load(ADA) is None

    def test_a_dead_letter_whose_detail_is_too_large_fails_the_commit(self, store: FirestoreStore) -> None:
        with pytest.raises(TooLargeError, match="a dead letter: 1,048,"):
            store.commit(ADA, stored(1), 0, [evolve(dead_letter(ADA, "1"), detail="é" * (MAX_DOCUMENT_BYTES // 2))])
        assert store.load(ADA) is None

    def test_a_commit_that_is_too_large_fails(self, store: FirestoreStore) -> None:
        with pytest.raises(TooLargeError, match=r"10,5[0-9,]+ bytes at once; the limit of Firestore is 10,485,760"):
            store.commit(ADA, stored(1), 0, [dead_letter(ADA, f"{number}", "x" * 875_000) for number in range(12)])
        assert store.load(ADA) is None

    def test_the_size_of_a_document_is_computed_as_firestore_documents(self) -> None:
        """The example of ``firestore/docs/storage-size``: its path, and 32 bytes, and its fields."""
        fields: Fields = {
            "type": {"string_value": "Personal"},
            "done": {"boolean_value": False},
            "priority": {"integer_value": 1},
            "description": {"string_value": "Learn Cloud Firestore"},
        }
        name = "projects/p/databases/(default)/documents/users/jeff/tasks/my_task_id"
        assert checked_size(name, fields, "the example") == 147


class TestDeadLetters(DeadLetters):
    def test_each_key_has_its_own(self, store: FirestoreStore) -> None:
        store.commit(ADA, stored(1), 0, [dead_letter(ADA, "1")])
        store.commit(BEN, stored(1), 0, [dead_letter(BEN, "2")])
        assert store.dead_letters(BEN) == [dead_letter(BEN, "2")]

    def test_one_commit_moves_hundreds(self, store: FirestoreStore) -> None:
        """Since 2023 Firestore limits the bytes of a commit only; before, it allowed 500 writes."""
        store.commit(ADA, stored(1), 0, [dead_letter(ADA, f"{number}") for number in range(600)])
        store.commit(ADA, stored(2), 1, remove_dead_letters=550)
        assert [each.message.id for each in store.dead_letters(ADA)] == [f"{number}" for number in range(550, 600)]


def tombstone(version: int, body: str = '{"left":1}') -> Stored:
    return stored(version, body, DELETED)


class TestADeadLetterThatIsLargerThanADocument:
    """Its body is divided among several documents, and whoever reads it gets it whole.

    Firestore takes commits of 10 MiB, its emulator of 4 MiB only.
    """

    # The divisions are within a character of two bytes, and within half a surrogate pair, of three.
    @pytest.mark.parametrize("text", ["x", "é", "\ud83d"], ids=["one byte", "two bytes", "a surrogate"])
    def test_comes_back_whole(self, store: FirestoreStore, text: str) -> None:
        body = "x" + text * 1_300_000
        large = evolve(dead_letter(ADA, "2"), message=evolve(message(ADA, "2", body), headers={"a": "b"}))
        store.commit(ADA, stored(1), 0, [dead_letter(ADA, "1"), large, dead_letter(ADA, "3")])
        assert store.dead_letters(ADA) == [dead_letter(ADA, "1"), large, dead_letter(ADA, "3")]

    def test_is_removed_with_all_its_documents(
        self, store: FirestoreStore, documents: Any, collection: Collection
    ) -> None:
        large = [dead_letter(ADA, f"{number}", "x" * 1_100_000) for number in range(3)]
        store.commit(ADA, stored(1), 0, large)
        assert len(letters_of(documents, collection)) == 3 + 3 * 2
        store.commit(ADA, stored(2), 1, [dead_letter(ADA, "last")], remove_dead_letters=2)
        assert store.dead_letters(ADA) == [large[2], dead_letter(ADA, "last")]
        store.commit(ADA, stored(3), 2, remove_dead_letters=2)
        assert letters_of(documents, collection) == []

    def test_is_deleted_with_its_instance(self, store: FirestoreStore, documents: Any, collection: Collection) -> None:
        for version in (1, 2):
            store.commit(ADA, stored(version), version - 1, [dead_letter(ADA, f"{version}", "x" * 3_800_000)])
        store.delete(ADA, tombstone(3), 2)
        assert store.load(ADA) == tombstone(3)
        assert letters_of(documents, collection) == []


def letters_of(documents: Any, collection: Collection) -> list[str]:
    """Return the names of all documents of dead letters, at whatever depth."""
    query = {"from_": [{"collection_id": collection.dead_letters, "all_descendants": True}]}
    request = {"parent": collection.parent, "structured_query": query}
    return [each.document.name for each in documents.run_query(request=request) if "document" in each]


class TestDelete:
    def test_the_tombstone_remains_and_the_version_continues(self, store: FirestoreStore) -> None:
        store.commit(ADA, stored(1), 0, [dead_letter(ADA, "1")])
        store.delete(ADA, tombstone(2), 1)
        assert store.load(ADA) == tombstone(2)
        assert store.dead_letters(ADA) == []
        store.commit(ADA, stored(3), 2)
        assert store.load(ADA) == stored(3)

    def test_another_version_is_not_deleted(self, store: FirestoreStore) -> None:
        store.commit(ADA, stored(1), 0, [dead_letter(ADA, "1")])
        for expected in (0, 2):
            with pytest.raises(ConflictError, match="signup/ada, version"):
                store.delete(ADA, tombstone(expected + 1), expected)
        assert store.load(ADA) == stored(1)
        assert store.dead_letters(ADA) == [dead_letter(ADA, "1")]

    def test_a_process_that_has_not_read_the_record_may_delete(self, store: FirestoreStore, documents: Any) -> None:
        store.commit(ADA, stored(1), 0)
        FirestoreStore(documents, store.collection).delete(ADA, tombstone(2), 1)
        assert store.load(ADA) == tombstone(2)

    def test_hundreds_of_dead_letters_are_deleted_in_the_same_commit(
        self, documents: Any, collection: Collection
    ) -> None:
        asked = list[str]()
        store = FirestoreStore(watched(documents, asked.append), collection)
        store.commit(ADA, stored(1), 0, [dead_letter(ADA, f"{number}") for number in range(600)])
        asked.clear()
        store.delete(ADA, tombstone(2), 1)
        assert asked == ["run_query", "commit"]
        assert store.dead_letters(ADA) == []

    def test_more_dead_letters_than_a_commit_takes_fail_the_deletion(
        self, store: FirestoreStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.commit(ADA, stored(1), 0, [dead_letter(ADA, f"{number}") for number in range(20)])
        with monkeypatch.context() as smaller, pytest.raises(TooLargeError, match="at once"):
            smaller.setattr("settled_gcp.store.MAX_COMMIT_BYTES", 2000)
            store.delete(ADA, tombstone(2), 1)
        assert store.load(ADA) == stored(1)
        assert len(store.dead_letters(ADA)) == 20

    @pytest.mark.parametrize("text", ODD)
    def test_odd_texts_round_trip(self, store: FirestoreStore, text: str) -> None:
        store.delete(ADA, tombstone(1, text), 0)
        assert store.load(ADA) == tombstone(1, text)


class TestExpiry:
    @pytest.fixture
    def expiring(self, documents: Any, collection: Collection) -> FirestoreStore:
        return FirestoreStore(documents, collection, keep_finished=timedelta(days=1), clock=lambda: 1_000_000.5)

    def test_a_finished_instance_expires_if_configured(self, documents: Any, collection: Collection) -> None:
        """With a TTL policy on the timestamp `expires`, Firestore deletes documents within a day."""
        store = FirestoreStore(documents, collection, keep_finished=timedelta(days=1), clock=lambda: 1_000_000.5)
        store.commit(ADA, stored(1), 0)
        store.commit(BEN, stored(1, status="done"), 0)
        assert expiry(documents, collection, ADA) is None
        assert expiry(documents, collection, BEN) == datetime.fromtimestamp(1_086_400.5, UTC)

    def test_so_does_a_tombstone(self, documents: Any, collection: Collection) -> None:
        store = FirestoreStore(documents, collection, keep_finished=timedelta(days=1), clock=lambda: 1_000_000.5)
        store.commit(ADA, stored(1), 0)
        store.delete(ADA, tombstone(2), 1)
        assert expiry(documents, collection, ADA) == datetime.fromtimestamp(1_086_400.5, UTC)

    def test_expiry_is_by_firestores_own_clock(self, documents: Any, collection: Collection) -> None:
        store = FirestoreStore(ahead(documents, DAY), collection, keep_finished=timedelta(minutes=1))
        store.commit(ADA, stored(1, status="done"), 0)
        found = expiry(documents, collection, ADA)
        assert found is not None
        assert found.timestamp() == pytest.approx(time.time() + DAY + 60.0, abs=PATIENCE)

    def test_one_that_has_dead_letters_does_not(self, expiring: FirestoreStore, documents: Any) -> None:
        expiring.commit(ADA, stored(1, status="done"), 0, [dead_letter(ADA, "1")])
        assert expiry(documents, expiring.collection, ADA) is None
        expiring.commit(ADA, stored(2, status="done"), 1)
        assert expiry(documents, expiring.collection, ADA) is None

    def test_it_expires_once_the_last_dead_letter_is_removed(self, expiring: FirestoreStore, documents: Any) -> None:
        expiring.commit(ADA, stored(1), 0, [dead_letter(ADA, f"{number}") for number in range(3)])
        expiring.commit(ADA, stored(2, status="done"), 1, remove_dead_letters=2)
        assert expiry(documents, expiring.collection, ADA) is None
        expiring.commit(ADA, stored(3, status="done"), 2, remove_dead_letters=1)
        assert expiry(documents, expiring.collection, ADA) == datetime.fromtimestamp(1_086_400.5, UTC)

    def test_no_request_is_made_for_an_instance_that_goes_on(self, documents: Any, collection: Collection) -> None:
        requests = list[str]()
        client = watched(documents, requests.append)
        store = FirestoreStore(client, collection, keep_finished=timedelta(days=1), clock=lambda: 1.0)
        store.commit(ADA, stored(1), 0)
        assert requests == ["commit"]

    def test_an_instance_that_continues_does_not_expire(self, documents: Any, collection: Collection) -> None:
        store = FirestoreStore(documents, collection, keep_finished=timedelta(days=1))
        store.commit(ADA, stored(1, status="done"), 0)
        store.commit(ADA, stored(2), 1)
        assert expiry(documents, collection, ADA) is None


def expiry(documents: Any, collection: Collection, key: Key) -> datetime | None:
    document = documents.get_document(request={"name": collection.record(key)})
    return document.fields["expires"].timestamp_value if "expires" in document.fields else None


class TestScan:
    @pytest.fixture
    def filled(self, store: FirestoreStore) -> list[Key]:
        keys = [
            Key(m, i)
            for m in ("a", "a!", "b", "a/b", "é")
            for i in ("", "1", "10", "2", "é", "🙂", "\ud800", "a.b", "a/b")
        ]
        for number, key in enumerate(keys):
            store.commit(key, stored(1, status="halted" if number % 2 else "active"), 0)
        return sorted(keys)

    def test_instances_are_listed_in_the_order_of_their_keys(self, store: FirestoreStore, filled: list[Key]) -> None:
        assert [key for key, _ in store.scan()] == filled
        assert dict(store.scan())[Key("a", "1")].index == stored(1, status="halted").index

    def test_page_by_page(self, store: FirestoreStore, filled: list[Key]) -> None:
        pages, after = list[Key](), None
        while page := store.scan(after=after, limit=7):
            pages += [key for key, _ in page]
            after = page[-1][0]
        assert pages == filled

    def test_by_machine_and_by_status(self, store: FirestoreStore, filled: list[Key]) -> None:
        of_a = [key for key in filled if key.machine == "a"]
        assert [key for key, _ in store.scan(machine="a")] == of_a
        assert [key for key, _ in store.scan(machine="a", after=of_a[3], limit=2)] == of_a[4:6]
        halted = {key: each.index.status for key, each in store.scan(status="halted", limit=50)}
        assert set(halted.values()) == {"halted"} and len(halted) == len(filled) // 2
        both = [key for key, _ in store.scan(machine="b", status="halted")]
        assert both == [key for key in halted if key.machine == "b"]

    def test_deleted_instances_are_left_out_and_pages_stay_full(self, store: FirestoreStore) -> None:
        keys = [Key("m", f"{number}") for number in range(6)]
        for key in keys:
            store.commit(key, stored(1), 0)
        for key in keys[:3]:
            store.delete(key, tombstone(2), 1)
        assert [key for key, _ in store.scan(limit=2)] == keys[3:5]
        assert list(store.scan(status=DELETED)) == []


class TestWhatIsIndexed:
    def test_all_fields_but_the_status_are_exempt(self) -> None:
        from settled_gcp.documents import EXEMPT_RECORD_FIELDS

        assert set(record_fields(ADA, stored(1), 1.0)) - {"status"} == set(EXEMPT_RECORD_FIELDS)


def test_of_concurrent_commits_one_wins(documents: Any, collection: Collection) -> None:
    store = FirestoreStore(documents, collection)

    def commit(number: int) -> bool:
        try:
            store.commit(ADA, stored(1, f"{number}"), 0)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(commit, range(8)))
    assert won.count(True) == 1
    assert store.load(ADA) == stored(1, f"{won.index(True)}")


def test_two_collections_are_separate(documents: Any) -> None:
    FirestoreStore(documents, fresh_collection()).commit(ADA, stored(1), 0)
    assert FirestoreStore(documents, fresh_collection()).load(ADA) is None
