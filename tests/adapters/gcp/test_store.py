"""The store on Google's Firestore emulator, which keeps Firestore's rules but for its indexes and its TTL."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
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
from tests.support.builders import ADA, BEN, PATIENCE, letter, stored, watched
from tests.support.store_contract import ODD, Commits, DeadLetters

DAY = 86_400.0

texts = st.text(st.characters(exclude_categories=()))


@pytest.fixture(params=list(ConcurrencyMode))
def store(request: pytest.FixtureRequest, documents: Any, collection: Collection) -> FirestoreStore:
    """A store, in each way of meeting others."""
    return FirestoreStore(documents, collection, contention=request.param)


class TestCommit(Commits):
    def test_one_who_has_only_heard_of_the_version_may_commit(self, store: FirestoreStore, documents: Any) -> None:
        store.commit(ADA, stored(1), 0)
        another = FirestoreStore(documents, store.collection)
        another.commit(ADA, stored(2), 1)
        with pytest.raises(ConflictError):
            another.commit(ADA, stored(2), 1)
        assert store.load(ADA) == stored(2)

    def test_where_there_is_no_record_there_is_no_version(self, store: FirestoreStore) -> None:
        with pytest.raises(ConflictError):
            store.commit(ADA, stored(4), 3)
        assert store.load(ADA) is None


class TestNames:
    def test_a_person_recognises_them(self) -> None:
        assert document_id(ADA) == "signup!ada"
        assert document_id(Key("order", "a7-42 é")) == 'order!a7-42"20é'

    def test_keys_that_look_alike_are_kept_apart(self, documents: Any, collection: Collection) -> None:
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
    def test_they_stand_in_the_order_of_keys(self, m: str, i: str, n: str, j: str) -> None:
        one, other = Key(m, i), Key(n, j)
        names = [document_id(key).encode() for key in (one, other)]
        assert (names[0] < names[1], names[0] == names[1]) == (one < other, one == other)
        assert all(0 < len(name) <= 1500 and b"/" not in name and name not in (b".", b"..") for name in names)
        assert not any(name.startswith(b"__") and name.endswith(b"__") for name in names)


class TestSize:
    def test_as_much_as_firestore_takes_is_taken(self, store: FirestoreStore) -> None:
        body = "x" * (MAX_FIELD_BYTES - 200)
        store.commit(ADA, stored(1, body), 0)
        assert store.load(ADA) == stored(1, body)

    def test_more_is_refused_with_its_size_before_firestore_is_asked(self, store: FirestoreStore) -> None:
        with pytest.raises(
            TooLargeError, match=r"the record of signup/ada: 1,048,\d\d\d bytes, and Firestore takes 1,048,576"
        ):
            store.commit(ADA, stored(1, "x" * MAX_FIELD_BYTES), 0)
        assert store.load(ADA) is None

    def test_a_dead_letter_that_is_too_large_takes_its_commit_along(self, store: FirestoreStore) -> None:
        with pytest.raises(TooLargeError, match="a dead letter: 1,048,"):
            store.commit(ADA, stored(1), 0, [letter(ADA, "1", "é" * (MAX_DOCUMENT_BYTES // 2))])
        assert store.load(ADA) is None

    def test_more_than_one_commit_takes_is_refused(self, store: FirestoreStore) -> None:
        with pytest.raises(TooLargeError, match=r"10,5[0-9,]+ bytes at once, and Firestore takes 10,485,760"):
            store.commit(ADA, stored(1), 0, [letter(ADA, f"{number}", "x" * 875_000) for number in range(12)])
        assert store.load(ADA) is None

    def test_a_document_weighs_what_firestore_documents(self) -> None:
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
    def test_those_of_one_key_are_not_anothers(self, store: FirestoreStore) -> None:
        store.commit(ADA, stored(1), 0, [letter(ADA, "1")])
        store.commit(BEN, stored(1), 0, [letter(BEN, "2")])
        assert store.dead_letters(BEN) == [letter(BEN, "2")]

    def test_hundreds_go_in_one_commit(self, store: FirestoreStore) -> None:
        """Firestore once took 500 writes in a commit, and counts only their bytes since 2023."""
        store.commit(ADA, stored(1), 0, [letter(ADA, f"{number}") for number in range(600)])
        store.commit(ADA, stored(2), 1, unbury=550)
        assert [each.message.id for each in store.dead_letters(ADA)] == [f"{number}" for number in range(550, 600)]


def tombstone(version: int, body: str = '{"left":1}') -> Stored:
    return stored(version, body, DELETED)


class TestDelete:
    def test_the_tombstone_is_what_is_left_and_the_version_goes_on(self, store: FirestoreStore) -> None:
        store.commit(ADA, stored(1), 0, [letter(ADA, "1")])
        store.delete(ADA, tombstone(2), 1)
        assert store.load(ADA) == tombstone(2)
        assert store.dead_letters(ADA) == []
        store.commit(ADA, stored(3), 2)
        assert store.load(ADA) == stored(3)

    def test_a_version_that_has_gone_on_is_not_deleted(self, store: FirestoreStore) -> None:
        store.commit(ADA, stored(1), 0, [letter(ADA, "1")])
        for expected in (0, 2):
            with pytest.raises(ConflictError, match="signup/ada, version"):
                store.delete(ADA, tombstone(expected + 1), expected)
        assert store.load(ADA) == stored(1)
        assert store.dead_letters(ADA) == [letter(ADA, "1")]

    def test_one_who_has_only_heard_of_the_version_may_delete(self, store: FirestoreStore, documents: Any) -> None:
        store.commit(ADA, stored(1), 0)
        FirestoreStore(documents, store.collection).delete(ADA, tombstone(2), 1)
        assert store.load(ADA) == tombstone(2)

    def test_hundreds_of_dead_letters_go_in_the_same_commit(self, documents: Any, collection: Collection) -> None:
        asked = list[str]()
        store = FirestoreStore(watched(documents, asked.append), collection)
        store.commit(ADA, stored(1), 0, [letter(ADA, f"{number}") for number in range(600)])
        asked.clear()
        store.delete(ADA, tombstone(2), 1)
        assert asked == ["run_query", "commit"]
        assert store.dead_letters(ADA) == []

    def test_more_letters_than_one_commit_takes_leave_it_undeleted(
        self, store: FirestoreStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.commit(ADA, stored(1), 0, [letter(ADA, f"{number}") for number in range(20)])
        with monkeypatch.context() as smaller, pytest.raises(TooLargeError, match="at once"):
            smaller.setattr("settled_gcp.store.LARGEST_COMMIT", 2000)
            store.delete(ADA, tombstone(2), 1)
        assert store.load(ADA) == stored(1)
        assert len(store.dead_letters(ADA)) == 20

    @pytest.mark.parametrize("text", ODD)
    def test_odd_texts_come_back(self, store: FirestoreStore, text: str) -> None:
        store.delete(ADA, tombstone(1, text), 0)
        assert store.load(ADA) == tombstone(1, text)


class TestExpiry:
    def test_a_finished_instance_expires_if_asked(self, documents: Any, collection: Collection) -> None:
        """A TTL policy on the timestamp `expires` is what Firestore deletes by, within a day."""
        store = FirestoreStore(documents, collection, keep_finished=86_400.0, clock=lambda: 1_000_000.5)
        store.commit(ADA, stored(1), 0)
        store.commit(BEN, stored(1, status="done"), 0)
        assert expiry(documents, collection, ADA) is None
        assert expiry(documents, collection, BEN) == datetime.fromtimestamp(1_086_400.5, UTC)

    def test_so_does_what_is_left_of_one_that_was_deleted(self, documents: Any, collection: Collection) -> None:
        store = FirestoreStore(documents, collection, keep_finished=86_400.0, clock=lambda: 1_000_000.5)
        store.commit(ADA, stored(1), 0)
        store.delete(ADA, tombstone(2), 1)
        assert expiry(documents, collection, ADA) == datetime.fromtimestamp(1_086_400.5, UTC)

    def test_that_is_counted_by_firestores_own_clock(self, documents: Any, collection: Collection) -> None:
        store = FirestoreStore(ahead(documents, DAY), collection, keep_finished=60.0)
        store.commit(ADA, stored(1, status="done"), 0)
        found = expiry(documents, collection, ADA)
        assert found is not None
        assert found.timestamp() == pytest.approx(time.time() + DAY + 60.0, abs=PATIENCE)

    def test_one_that_goes_on_expires_no_more(self, documents: Any, collection: Collection) -> None:
        store = FirestoreStore(documents, collection, keep_finished=86_400.0)
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

    def test_deleted_ones_are_left_out_and_pages_stay_full(self, store: FirestoreStore) -> None:
        keys = [Key("m", f"{number}") for number in range(6)]
        for key in keys:
            store.commit(key, stored(1), 0)
        for key in keys[:3]:
            store.delete(key, tombstone(2), 1)
        assert [key for key, _ in store.scan(limit=2)] == keys[3:5]
        assert list(store.scan(status=DELETED)) == []


class TestWhatIsIndexed:
    def test_every_field_but_the_status_is_to_be_exempt(self) -> None:
        from settled_gcp.documents import EXEMPT_RECORD_FIELDS

        assert set(record_fields(ADA, stored(1), 1.0)) - {"status"} == set(EXEMPT_RECORD_FIELDS)


def test_of_many_at_once_one_wins(documents: Any, collection: Collection) -> None:
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


def test_two_collections_are_two_places(documents: Any) -> None:
    FirestoreStore(documents, fresh_collection()).commit(ADA, stored(1), 0)
    assert FirestoreStore(documents, fresh_collection()).load(ADA) is None
