"""The store on DynamoDB Local, which keeps DynamoDB's rules, except that its TTL deletes far sooner."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from settled import ConflictError, Key, TooLargeError, UnsupportedError
from settled.durable import CommitConflictError, DeadLetter, Stored
from settled.durable.ports import DELETED
from settled_aws import DynamoDBStore
from settled_aws.dynamodb_items import MAX_ITEM_BYTES, record_key
from tests.adapters.aws.fixtures import Cloud, create_table
from tests.support.builders import ADA, BEN, CEM, dead_letter, fresh_name, stored
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

    def test_a_dead_letter_that_is_too_large_fails_the_commit(self, store: DynamoDBStore) -> None:
        with pytest.raises(TooLargeError, match="a dead letter: 4"):
            store.commit(ADA, stored(1), 0, [dead_letter(ADA, "1", "é" * (MAX_ITEM_BYTES // 2))])
        assert store.load(ADA) is None

    def test_more_items_than_a_transaction_writes_are_too_large(self, store: DynamoDBStore) -> None:
        with pytest.raises(TooLargeError, match="101 items at once; the limit of a DynamoDB transaction is 100"):
            store.commit(ADA, stored(1), 0, [dead_letter(ADA, f"{number}") for number in range(100)])
        assert store.load(ADA) is None


class TestDeadLetters(DeadLetters):
    def test_many_large_dead_letters_are_read_in_pages(self, store: DynamoDBStore) -> None:
        for version in range(1, 9):
            store.commit(ADA, stored(version), version - 1, [dead_letter(ADA, f"{version}", "x" * 200_000)])
        assert [each.message.id for each in store.dead_letters(ADA)] == [f"{version}" for version in range(1, 9)]
        store.commit(ADA, stored(9), 8, remove_dead_letters=7)
        assert [each.message.id for each in store.dead_letters(ADA)] == ["8"]


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
