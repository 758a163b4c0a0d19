"""The store on DynamoDB Local, which keeps DynamoDB's rules, except that its TTL deletes far sooner."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from attrs import evolve

from settled import ConflictError, Key, TooLargeError, UnsupportedError
from settled.durable import Stored
from settled.durable.ports import DELETED
from settled_aws import DynamoDBStore
from settled_aws.dynamodb_items import MAX_ITEM_BYTES, record_key
from tests.adapters.aws.fixtures import Cloud, create_table
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
    def test_a_finished_instance_expires_if_configured(self, cloud: Cloud) -> None:
        table = fresh_name()
        create_table(cloud.dynamodb, table)
        store = DynamoDBStore(cloud.dynamodb, table, keep_finished=timedelta(days=1), clock=lambda: 1_000_000.5)
        store.commit(ADA, stored(1), 0)
        store.commit(BEN, stored(1, status="done"), 0)
        store.commit(CEM, stored(1), 0)
        store.delete(CEM, tombstone(2), 1)
        items = cloud.dynamodb.scan(TableName=table)["Items"]
        expires = {item["key"]["S"]: item.get("expires") for item in items}
        assert expires == {"signup/ada": None, "signup/ben": {"N": "1086400"}, "signup/cem": {"N": "1086400"}}


class TestDeadLettersOfAnExpiredInstance:
    """Its record is gone, and the next instance of the name begins with version 1 again."""

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


def test_scanning_is_not_supported(store: DynamoDBStore) -> None:
    with pytest.raises(UnsupportedError, match="export the table"):
        store.scan()
