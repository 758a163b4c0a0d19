"""The store on DynamoDB Local, which keeps DynamoDB's rules, except that its TTL deletes far sooner."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from attrs import evolve

from settled import ConflictError, Key, TooLargeError
from settled.durable import Capability, CommitConflictError, DeadLetter, Stored
from settled.durable.ports import DELETED
from settled_aws import Addresses, AwsUrl, DynamoDBStore
from settled_aws.dynamodb_items import MAX_ITEM_BYTES, record_key
from settled_runtime import CompositeBackend
from tests.adapters.aws.fixtures import Cloud, backend, create_table
from tests.support.builders import ADA, BEN, CEM, dead_letter, fresh_name, message, stored
from tests.support.store_contract import ODD, Commits, DeadLetters, Deletes


class TestCommit(Commits):
    def test_of_concurrent_commits_one_wins(self, store: DynamoDBStore) -> None:
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

    @pytest.mark.parametrize("letters", [[], [dead_letter(ADA, "1")]], ids=["one item", "a transaction"])
    def test_a_refusal_tells_the_record(self, store: DynamoDBStore, letters: list[DeadLetter]) -> None:
        store.commit(ADA, stored(1, "mine"), 0)
        for expected in (0, 7):
            with pytest.raises(CommitConflictError) as refused:
                store.commit(ADA, stored(expected + 1, "other"), expected, letters)
            assert refused.value.stored == stored(1, "mine")
            assert abs(refused.value.now - time.time()) < 60

    def test_a_refusal_for_an_item_that_is_not_there_tells_nothing(self, store: DynamoDBStore) -> None:
        with pytest.raises(ConflictError) as refused:
            store.commit(ADA, stored(2), 1)
        assert not isinstance(refused.value, CommitConflictError)

    def test_similar_keys_have_separate_items(self, store: DynamoDBStore) -> None:
        alike = [Key("a", "b/c"), Key("a/b", "c"), Key("a%2Fb", "c"), Key("a", "x" * 3000), Key("a", "x" * 3001)]
        for number, key in enumerate(alike):
            store.commit(key, stored(1, f"{number}"), 0)
        assert [store.load(key) for key in alike] == [stored(1, f"{number}") for number in range(len(alike))]


class TestSize:
    def test_an_item_of_the_largest_size_is_written(self, store: DynamoDBStore) -> None:
        body = "x" * (MAX_ITEM_BYTES - 200)
        store.commit(ADA, stored(1, body), 0)
        assert store.load(ADA) == stored(1, body)

    def test_a_larger_item_fails_with_its_size_and_without_a_request(self, store: DynamoDBStore) -> None:
        with pytest.raises(TooLargeError, match=r"409,6\d\d bytes; the limit of a DynamoDB item is 409,600"):
            store.commit(ADA, stored(1, "x" * (MAX_ITEM_BYTES - 60)), 0)
        assert store.load(ADA) is None

    def test_a_dead_letter_whose_detail_is_too_large_fails_the_commit(self, store: DynamoDBStore) -> None:
        with pytest.raises(TooLargeError, match="a dead letter: 4"):
            store.commit(ADA, stored(1), 0, [evolve(dead_letter(ADA, "1"), detail="é" * (MAX_ITEM_BYTES // 2))])
        assert store.load(ADA) is None

    def test_more_items_than_a_transaction_writes_are_too_large(self, store: DynamoDBStore) -> None:
        with pytest.raises(TooLargeError, match="101 items at once; the limit of a DynamoDB transaction is 100"):
            store.commit(ADA, stored(1), 0, [dead_letter(ADA, f"{number}") for number in range(100)])
        assert store.load(ADA) is None

    def test_more_bytes_than_a_transaction_writes_are_too_large(self, store: DynamoDBStore) -> None:
        letters = [dead_letter(ADA, f"{number}", "x" * 390_000) for number in range(10)]
        with pytest.raises(TooLargeError, match=r"4,2\d\d,\d\d\d bytes at once; the limit of a DynamoDB transaction"):
            store.commit(ADA, stored(1, "x" * 300_000), 0, letters)
        assert store.load(ADA) is None


class TestDeadLetters(DeadLetters):
    def test_many_large_dead_letters_are_read_in_pages(self, store: DynamoDBStore) -> None:
        for version in range(1, 9):
            store.commit(ADA, stored(version), version - 1, [dead_letter(ADA, f"{version}", "x" * 200_000)])
        assert [each.message.id for each in store.dead_letters(ADA)] == [f"{version}" for version in range(1, 9)]
        store.commit(ADA, stored(9), 8, remove_dead_letters=7)
        assert [each.message.id for each in store.dead_letters(ADA)] == ["8"]


class TestADeadLetterThatIsLargerThanAnItem:
    """Its body is divided among several items, and whoever reads it gets it whole."""

    # The divisions are within a character of two bytes, and within half a surrogate pair, of three.
    @pytest.mark.parametrize("text", ["x", "é", "\ud83d"], ids=["one byte", "two bytes", "a surrogate"])
    def test_comes_back_whole(self, store: DynamoDBStore, text: str) -> None:
        body = "x" + text * 500_000
        headers = {"traceparent": "x" * 1000}
        large = evolve(dead_letter(ADA, "2", body), message=evolve(message(ADA, "2", body), headers=headers))
        store.commit(ADA, stored(1, "x" * 300_000), 0, [dead_letter(ADA, "1"), large, dead_letter(ADA, "3")])
        assert store.dead_letters(ADA) == [dead_letter(ADA, "1"), large, dead_letter(ADA, "3")]

    def test_is_removed_with_all_its_items(self, store: DynamoDBStore, cloud: Cloud, table: str) -> None:
        large = [dead_letter(ADA, f"{number}", "x" * 800_000) for number in range(3)]
        store.commit(ADA, stored(1), 0, large)
        store.commit(ADA, stored(2), 1, [dead_letter(ADA, "last")], remove_dead_letters=2)
        assert store.dead_letters(ADA) == [large[2], dead_letter(ADA, "last")]
        store.commit(ADA, stored(3), 2, remove_dead_letters=2)
        assert store.dead_letters(ADA) == []
        assert parts_of(cloud, table) == ["record"]

    def test_is_deleted_with_its_instance(self, store: DynamoDBStore, cloud: Cloud, table: str) -> None:
        for version in range(1, 7):
            store.commit(ADA, stored(version), version - 1, [dead_letter(ADA, f"{version}", "x" * 1_000_000)])
        assert len(parts_of(cloud, table)) == 1 + 6 * 4
        store.delete(ADA, tombstone(7), 6)
        assert store.load(ADA) == tombstone(7)
        assert parts_of(cloud, table) == ["record"]


def parts_of(cloud: Cloud, table: str) -> list[str]:
    """Return the sort keys of all items in the table."""
    pages = cloud.dynamodb.get_paginator("scan").paginate(TableName=table)
    return [item["part"]["S"] for page in pages for item in page["Items"]]


class TestDelete(Deletes):
    @pytest.mark.parametrize("text", ODD)
    def test_odd_texts_round_trip(self, store: DynamoDBStore, text: str) -> None:
        store.delete(ADA, tombstone(1, text), 0)
        assert store.load(ADA) == tombstone(1, text)

    def test_more_dead_letters_than_a_transaction_writes_are_deleted(self, store: DynamoDBStore) -> None:
        store.commit(ADA, stored(1), 0, [dead_letter(ADA, f"a{number}") for number in range(99)])
        store.commit(ADA, stored(2), 1, [dead_letter(ADA, f"b{number}") for number in range(30)])
        store.delete(ADA, tombstone(3), 2)
        assert store.dead_letters(ADA) == []
        assert store.load(ADA) == tombstone(3)

    def test_a_lost_race_deletes_nothing_however_many_dead_letters_there_are(self, store: DynamoDBStore) -> None:
        store.commit(ADA, stored(1), 0, [dead_letter(ADA, f"a{number}") for number in range(99)])
        store.commit(ADA, stored(2), 1, [dead_letter(ADA, f"b{number}") for number in range(30)])
        with pytest.raises(ConflictError):
            store.delete(ADA, tombstone(2), 1)
        assert store.load(ADA) == stored(2)
        assert len(store.dead_letters(ADA)) == 129

    def test_a_tombstone_that_is_too_large_deletes_nothing(self, store: DynamoDBStore) -> None:
        store.commit(ADA, stored(1), 0, [dead_letter(ADA, "1")])
        with pytest.raises(TooLargeError):
            store.delete(ADA, tombstone(2, "x" * MAX_ITEM_BYTES), 1)
        assert store.load(ADA) == stored(1)
        assert store.dead_letters(ADA) == [dead_letter(ADA, "1")]


def tombstone(version: int, body: str = '{"left":1}') -> Stored:
    return stored(version, body, DELETED)


class TestExpiry:
    @pytest.fixture
    def expiring(self, cloud: Cloud) -> DynamoDBStore:
        table = fresh_name()
        create_table(cloud.dynamodb, table)
        return DynamoDBStore(cloud.dynamodb, table, keep_finished=timedelta(days=1), clock=lambda: 1_000_000.5)

    def test_a_finished_instance_expires_if_configured(self, cloud: Cloud, expiring: DynamoDBStore) -> None:
        expiring.commit(ADA, stored(1), 0)
        expiring.commit(BEN, stored(1, status="done"), 0)
        expiring.commit(CEM, stored(1), 0, [dead_letter(CEM, "1")])
        expiring.delete(CEM, tombstone(2), 1)
        assert expiry(cloud, expiring, ADA) is None
        assert expiry(cloud, expiring, BEN) == expiry(cloud, expiring, CEM) == "1086400"

    def test_one_that_has_dead_letters_does_not(self, cloud: Cloud, expiring: DynamoDBStore) -> None:
        expiring.commit(ADA, stored(1, status="done"), 0, [dead_letter(ADA, "1")])
        assert expiry(cloud, expiring, ADA) is None
        expiring.commit(ADA, stored(2, status="done"), 1)
        assert expiry(cloud, expiring, ADA) is None

    def test_it_expires_once_the_last_dead_letter_is_removed(self, cloud: Cloud, expiring: DynamoDBStore) -> None:
        expiring.commit(ADA, stored(1), 0, [dead_letter(ADA, f"{number}") for number in range(3)])
        expiring.commit(ADA, stored(2, status="done"), 1, remove_dead_letters=2)
        assert expiry(cloud, expiring, ADA) is None
        expiring.commit(ADA, stored(3, status="done"), 2, remove_dead_letters=1)
        assert expiry(cloud, expiring, ADA) == "1086400"

    def test_no_request_is_made_for_an_instance_that_goes_on(self, cloud: Cloud, expiring: DynamoDBStore) -> None:
        requests = list[str]()
        watched = cloud.watched(requests.append).dynamodb
        store = DynamoDBStore(watched, expiring._table, keep_finished=timedelta(days=1))  # pyright: ignore[reportPrivateUsage]
        store.commit(ADA, stored(1), 0)
        assert requests == ["put_item"]

    def test_a_backend_whose_instances_expire_says_so(
        self, cloud: Cloud, url: AwsUrl, addresses: Addresses, aws: CompositeBackend
    ) -> None:
        assert Capability.EXPIRY in backend(cloud, evolve(url, keep_finished=timedelta(days=1)), addresses).capabilities
        assert Capability.EXPIRY not in aws.capabilities


def expiry(cloud: Cloud, store: DynamoDBStore, key: Key) -> str | None:
    table = store._table  # pyright: ignore[reportPrivateUsage]
    item = cloud.dynamodb.get_item(TableName=table, Key=record_key(key), ConsistentRead=True)["Item"]
    return item["expires"]["N"] if "expires" in item else None


class TestDeadLettersWithoutARecord:
    """An operator has removed it by hand, and the next instance of the name begins with version 1 again."""

    def left(self, cloud: Cloud) -> DynamoDBStore:
        table = fresh_name()
        create_table(cloud.dynamodb, table)
        store = DynamoDBStore(cloud.dynamodb, table)
        for version in range(1, 4):
            store.commit(ADA, stored(version), version - 1, [dead_letter(ADA, f"left {version}")])
        cloud.dynamodb.delete_item(TableName=table, Key=record_key(ADA))
        store.commit(ADA, stored(1), 0)
        return store

    def test_can_be_removed(self, cloud: Cloud) -> None:
        store = self.left(cloud)
        store.commit(ADA, stored(2), 1, remove_dead_letters=3)
        assert store.dead_letters(ADA) == []

    def test_do_not_collide_with_new_ones(self, cloud: Cloud) -> None:
        store = self.left(cloud)
        store.commit(ADA, stored(2), 1, [dead_letter(ADA, "new")], remove_dead_letters=3)
        assert store.dead_letters(ADA) == [dead_letter(ADA, "new")]


class TestScan:
    def test_lists_each_instance_once_whatever_its_items_are(self, store: DynamoDBStore) -> None:
        keys = {ADA, BEN, Key("a", "x" * 3000), Key("a/b", "\x7f"), Key("a", "\udc00")}
        for key in keys:
            store.commit(key, stored(1), 0)
            store.commit(key, stored(2), 1, [dead_letter(key, f"{number}") for number in range(3)])
        store.delete(BEN, tombstone(3), 2)
        found = store.scan()
        assert sorted(key for key, _ in found) == sorted(keys - {BEN})
        assert {(each.version, each.body, each.index) for _, each in found} == {(2, "", stored(2).index)}

    def test_goes_through_a_table_of_several_pages_of_a_megabyte(self, store: DynamoDBStore) -> None:
        keys = [Key("m", f"{number}") for number in range(12)]
        for key in keys:
            store.commit(key, stored(1, "x" * 300_000), 0)
        for limit in (1, 5, 100):
            found = list[Key]()
            while page := store.scan("m", found[-1] if found else None, limit):
                found += [key for key, _ in page]
            assert sorted(found) == sorted(keys)

    def test_passes_over_an_item_whose_key_it_cannot_tell(self, cloud: Cloud) -> None:
        """Written by an older version of settled: the partition key is a hash, and the key is nowhere."""
        key, table = Key("a", "\x7f"), fresh_name()
        create_table(cloud.dynamodb, table)
        store = DynamoDBStore(cloud.dynamodb, table)
        store.commit(key, stored(1), 0)
        cloud.dynamodb.update_item(
            TableName=table, Key=record_key(key), UpdateExpression="REMOVE #n", ExpressionAttributeNames={"#n": "name"}
        )
        assert store.scan() == []
        store.commit(key, stored(2), 1)
        assert [each for each, _ in store.scan()] == [key]
