"""The store on DynamoDB: one table, with one item for each record and one for each dead letter.

A commit is a conditional write: DynamoDB itself checks the version when it writes. A commit that adds or removes dead
letters writes several items, in one TransactWriteItems, which costs twice as many write units.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from typing import Any

from settled.durable.ports import DELETED, CommitConflictError, DeadLetter, Stored
from settled.durations import in_seconds
from settled.errors import ConflictError, TooLargeError, UnsupportedError
from settled.key import Key
from settled_aws.client_protocols import DynamoDBClient
from settled_aws.dynamodb_items import (
    ABSENT_KEY,
    DEAD_LETTER,
    Item,
    check_size,
    dead_letter_from_item,
    dead_letter_item,
    record_item,
    record_key,
    stored_from_item,
)
from settled_aws.errors import refused_item, translated
from settled_aws.names import partition_key

MAX_TRANSACTION_ITEMS = 100
"""DynamoDB's limit on the items of one TransactWriteItems."""

FINISHED = frozenset({"done", "error", "stopped", "absent", DELETED})
"""Statuses of instances that have ended or never started; only these may expire."""


class DynamoDBStore:
    """The store in `table`, whose partition key is the string ``key`` and whose sort key is the string ``part``.

    With `keep_finished`, the record of an instance that is done, failed, stopped or deleted expires that
    long after its last commit (attribute ``expires``, for DynamoDB's time to live). An expired instance leaves no
    trace: a new instance under its key starts at version 1 again. Idempotency keys do not repeat, because each contains
    a random nonce. `clock` is the time in seconds since the epoch, from which ``expires`` is computed.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        keep_finished: timedelta | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._table = table
        self._keep_finished = None if keep_finished is None else in_seconds(keep_finished, "keep_finished")
        self._clock = clock

    def load(self, key: Key) -> Stored | None:
        with translated(f"reading {key} from {self._table}", repeatable=True):
            response = self._client.get_item(TableName=self._table, Key=record_key(key), ConsistentRead=True)
        return stored_from_item(response["Item"]) if "Item" in response else None

    def commit(
        self,
        key: Key,
        stored: Stored,
        expected: int,
        add_dead_letters: Sequence[DeadLetter] = (),
        remove_dead_letters: int = 0,
    ) -> None:
        """Write `stored` if the item's version is still `expected` (0: there is no item).

        Raises:
            ConflictError: another commit came first; nothing was written.
            TooLargeError: an item is larger than 400 KB, or there are more than 100 items; nothing was written.
            OutcomeUnknownError: the response was lost; load the record to find out.
        """
        put = self._put_record(key, stored, expected)
        if add_dead_letters or remove_dead_letters:
            additions = [
                self._put_dead_letter(dead_letter_item(key, each, stored.version, at))
                for at, each in enumerate(add_dead_letters)
            ]
            oldest = list(self._dead_letter_items(key, remove_dead_letters)) if remove_dead_letters else []
            # DynamoDB rejects a transaction with two operations on one item as invalid, and a Put replaces the item
            # anyway. An old dead letter has the sort key of a new one if another commit came first, which the condition
            # on the record finds out, or if it is left of an earlier instance, whose record has expired.
            replaced = [each["Put"]["Item"]["part"] for each in additions]
            removals = [self._delete_dead_letter(item) for item in oldest if item["part"] not in replaced]
            self._write_transaction(key, [{"Put": put}, *removals, *additions])
            return
        with self._committing(f"committing {key}, version {stored.version}, to {self._table}"):
            self._client.put_item(**put)

    def dead_letters(self, key: Key) -> Sequence[DeadLetter]:
        return [dead_letter_from_item(key, item) for item in self._dead_letter_items(key)]

    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        """Replace the record by `tombstone` and delete the dead letters of `key`.

        More than 100 items take several transactions; the last one writes the tombstone.

        Raises:
            ConflictError: the version was not `expected`. Dead letters may have been deleted if it changed in between.
        """
        removals = [self._delete_dead_letter(item) for item in self._dead_letter_items(key)]
        while len(removals) >= MAX_TRANSACTION_ITEMS:
            # Each transaction checks the version, so that a deletion that lost the race stops at once.
            some, removals = removals[: MAX_TRANSACTION_ITEMS - 1], removals[MAX_TRANSACTION_ITEMS - 1 :]
            check = {"TableName": self._table, "Key": record_key(key), **_if_unchanged(expected)}
            self._write_transaction(key, [{"ConditionCheck": check}, *some])
        self._write_transaction(key, [{"Put": self._put_record(key, tombstone, expected)}, *removals])

    def ping(self) -> None:
        """Make the cheapest request, for the date of its response: an eventually consistent read of an absent item."""
        with translated(f"asking {self._table} for the time", repeatable=True):
            self._client.get_item(TableName=self._table, Key=ABSENT_KEY)

    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Sequence[tuple[Key, Stored]]:
        """Raise UnsupportedError: DynamoDB hashes partition keys, so listing in key order would read the whole table.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            f"{self._table}: DynamoDB cannot list instances in the order of their keys; export the table"
        )

    def _put_record(self, key: Key, stored: Stored, expected: int) -> dict[str, Any]:
        keep = self._keep_finished if stored.index.status in FINISHED else None
        item = record_item(key, stored, None if keep is None else self._clock() + keep)
        check_size(item, f"the record of {key}")
        on_refusal = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        return {"TableName": self._table, "Item": item, **_if_unchanged(expected), **on_refusal}

    def _put_dead_letter(self, item: Item) -> dict[str, Any]:
        check_size(item, "a dead letter")
        return {"Put": {"TableName": self._table, "Item": item}}

    def _delete_dead_letter(self, item: Item) -> dict[str, Any]:
        return {"Delete": {"TableName": self._table, "Key": {name: item[name] for name in ("key", "part")}}}

    def _write_transaction(self, key: Key, writes: Sequence[dict[str, Any]]) -> None:
        if len(writes) > MAX_TRANSACTION_ITEMS:
            raise TooLargeError(
                f"{key}: {len(writes)} items at once; the limit of a DynamoDB transaction is {MAX_TRANSACTION_ITEMS}"
            )
        with self._committing(f"committing {key} and its dead letters to {self._table}"):
            self._client.transact_write_items(TransactItems=writes)

    @contextmanager
    def _committing(self, operation: str) -> Generator[None]:
        """Translate the errors of this block; a refusal has the record for which the commit was refused."""
        try:
            with translated(operation):
                yield
        except ConflictError as error:
            item = refused_item(error.__cause__)
            if item is None:
                raise
            raise CommitConflictError(str(error), stored_from_item(item), self._clock()) from error.__cause__

    def _dead_letter_items(self, key: Key, limit: int | None = None) -> Iterator[Item]:
        """Return the items of the dead letters of `key`, oldest first: all of them, or the first `limit`."""
        return islice(self._query_dead_letters(key, {} if limit is None else {"Limit": limit}), limit)

    def _query_dead_letters(self, key: Key, options: dict[str, Any]) -> Iterator[Item]:
        request = {
            "TableName": self._table,
            "KeyConditionExpression": "#key = :key AND begins_with(#part, :letter)",
            "ExpressionAttributeNames": {"#key": "key", "#part": "part"},
            "ExpressionAttributeValues": {":key": {"S": partition_key(key)}, ":letter": {"S": DEAD_LETTER}},
            "ConsistentRead": True,
            **options,
        }
        while True:
            with translated(f"reading the dead letters of {key} from {self._table}", repeatable=True):
                response = self._client.query(**request)
            yield from response["Items"]
            if "LastEvaluatedKey" not in response:
                return
            request["ExclusiveStartKey"] = response["LastEvaluatedKey"]


def _if_unchanged(expected: int) -> dict[str, Any]:
    if expected == 0:
        return {
            "ConditionExpression": "attribute_not_exists(#version)",
            "ExpressionAttributeNames": {"#version": "version"},
        }
    return {
        "ConditionExpression": "#version = :expected",
        "ExpressionAttributeNames": {"#version": "version"},
        "ExpressionAttributeValues": {":expected": {"N": str(expected)}},
    }
