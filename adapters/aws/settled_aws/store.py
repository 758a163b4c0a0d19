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
from typing import Any, NamedTuple

from settled.durable.ports import DELETED, CommitConflictError, DeadLetter, Stored
from settled.durations import in_seconds
from settled.errors import ConflictError, TooLargeError
from settled.key import Key
from settled_aws.client_protocols import DynamoDBClient
from settled_aws.dynamodb_items import (
    ABSENT_KEY,
    DEAD_LETTER,
    MAX_ITEM_BYTES,
    Item,
    by_dead_letter,
    check_size,
    dead_letter_from_items,
    dead_letter_items,
    item_size,
    key_from_item,
    record_item,
    record_key,
    scan_request,
    stored_from_item,
)
from settled_aws.errors import refused_item, translated
from settled_aws.names import partition_key

MAX_TRANSACTION_ITEMS = 100
"""DynamoDB's limit on the items of one TransactWriteItems."""

MAX_TRANSACTION_BYTES = 4 * 1000 * 1000
"""DynamoDB's limit on the size of all its items together; documented as 4 MB."""

FINISHED = frozenset({"done", "error", "stopped", "absent", DELETED})
"""Statuses of instances that have ended or never started; only these may expire."""


class _Operation(NamedTuple):
    """An operation of a TransactWriteItems, and the size of its item in bytes."""

    request: dict[str, Any]
    size: int


class DynamoDBStore:
    """The store in `table`, whose partition key is the string ``key`` and whose sort key is the string ``part``.

    With `keep_finished`, the record of an instance that is done, failed, stopped or deleted, and has no dead letters,
    expires that long after its last commit (attribute ``expires``, for DynamoDB's time to live). An expired instance
    leaves no trace; a backend with this store declares `Capability.EXPIRY`, so that versions do not repeat in the next
    instance under its key. `clock` is the time in seconds since the epoch, from which ``expires`` is computed.
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
            TooLargeError: an item is larger than 400 KB, or there are more than 100 items, or they are larger than 4 MB
                together; nothing was written.
            OutcomeUnknownError: the response was lost; load the record to find out.
        """
        may_expire = self._keep_finished is not None and stored.index.status in FINISHED and not add_dead_letters
        # A dead letter that outlived its record would be one of the next instance. The query is no part of the commit,
        # but dead letters change in commits only, so they are those of the version `expected`.
        limit = remove_dead_letters + may_expire
        oldest = self._oldest_dead_letters(key, limit) if limit else ()
        may_expire = may_expire and len(oldest) <= remove_dead_letters
        put = self._put_record(key, stored, expected, may_expire=may_expire)
        if add_dead_letters or remove_dead_letters:
            additions = [
                item
                for at, each in enumerate(add_dead_letters)
                for item in dead_letter_items(key, each, stored.version, at)
            ]
            # DynamoDB rejects a transaction with two operations on one item as invalid, and a Put replaces the item
            # anyway. An old dead letter has the sort key of a new one if another commit came first, which the condition
            # on the record finds out, or if its record was removed by hand.
            replaced = [item["part"] for item in additions]
            removed = [item for items in oldest[:remove_dead_letters] for item in items if item["part"] not in replaced]
            removals = map(self._delete_item, removed)
            self._write_transaction(key, [put, *removals, *map(self._put_dead_letter_item, additions)])
            return
        with self._committing(f"committing {key}, version {stored.version}, to {self._table}"):
            self._client.put_item(**put.request["Put"])

    def dead_letters(self, key: Key) -> Sequence[DeadLetter]:
        letters = [dead_letter_from_items(key, items) for items in by_dead_letter(self._query_dead_letters(key, {}))]
        return [each for each in letters if each is not None]

    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        """Replace the record by `tombstone` and delete the dead letters of `key`.

        More than 100 items, or more than 4 MB, take several transactions; the last one writes the tombstone.

        Raises:
            ConflictError: the version was not `expected`. Dead letters may have been deleted if it changed in between.
        """
        put = self._put_record(key, tombstone, expected, may_expire=True)
        # Each transaction checks the version, so that a deletion that lost the race stops at once. The record, whose
        # size counts too, may be as large as any item.
        unchanged = {"TableName": self._table, "Key": record_key(key), **_if_unchanged(expected)}
        check = _Operation({"ConditionCheck": unchanged}, MAX_ITEM_BYTES)
        batch: list[_Operation] = []
        for item in self._query_dead_letters(key, {}):
            removal = self._delete_item(item)
            if len(batch) + 1 == MAX_TRANSACTION_ITEMS or _size_of([check, *batch, removal]) > MAX_TRANSACTION_BYTES:
                self._write_transaction(key, [check, *batch])
                batch = []
            batch.append(removal)
        self._write_transaction(key, [put, *batch])

    def ping(self) -> None:
        """Make the cheapest request, for the date of its response: an eventually consistent read of an absent item."""
        with translated(f"asking {self._table} for the time", repeatable=True):
            self._client.get_item(TableName=self._table, Key=ABSENT_KEY)

    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Sequence[tuple[Key, Stored]]:
        """Return up to `limit` instances, without their bodies, in the order of the hashes of their partition keys.

        A filter saves no reading: if few instances match, this reads the table to its end, and DynamoDB charges for it.
        """
        return list(islice(self._scan(machine, after, limit, status), limit))

    def _scan(
        self, machine: str | None, after: Key | None, limit: int, status: str | None
    ) -> Iterator[tuple[Key, Stored]]:
        request = scan_request(status)
        if machine is None and status is None:
            request["Limit"] = limit  # nearly every item is listed, so more than that would be read again
        if after is not None:
            request["ExclusiveStartKey"] = record_key(after)
        while True:
            with translated(f"listing {self._table}", repeatable=True):
                response = self._client.scan(TableName=self._table, **request)
            for item in response["Items"]:
                key = key_from_item(item)
                if machine in (None, key.machine):
                    yield key, stored_from_item(item)
            if "LastEvaluatedKey" not in response:
                return
            request["ExclusiveStartKey"] = response["LastEvaluatedKey"]

    def _put_record(self, key: Key, stored: Stored, expected: int, *, may_expire: bool) -> _Operation:
        keep = self._keep_finished if may_expire else None
        item = record_item(key, stored, None if keep is None else self._clock() + keep)
        check_size(item, f"the record of {key}")
        on_refusal = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        put = {"TableName": self._table, "Item": item, **_if_unchanged(expected), **on_refusal}
        return _Operation({"Put": put}, item_size(item))

    def _put_dead_letter_item(self, item: Item) -> _Operation:
        check_size(item, "a dead letter")
        return _Operation({"Put": {"TableName": self._table, "Item": item}}, item_size(item))

    def _delete_item(self, item: Item) -> _Operation:
        primary_key = {name: item[name] for name in ("key", "part")}
        return _Operation({"Delete": {"TableName": self._table, "Key": primary_key}}, item_size(item))

    def _write_transaction(self, key: Key, operations: Sequence[_Operation]) -> None:
        size = _size_of(operations)
        if len(operations) > MAX_TRANSACTION_ITEMS:
            raise TooLargeError(
                f"{key}: {len(operations)} items at once; the limit of a DynamoDB transaction is "
                f"{MAX_TRANSACTION_ITEMS}"
            )
        if size > MAX_TRANSACTION_BYTES:
            raise TooLargeError(
                f"{key}: {size:,} bytes at once; the limit of a DynamoDB transaction is {MAX_TRANSACTION_BYTES:,}"
            )
        with self._committing(f"committing {key} and its dead letters to {self._table}"):
            self._client.transact_write_items(TransactItems=[each.request for each in operations])

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

    def _oldest_dead_letters(self, key: Key, count: int) -> Sequence[Sequence[Item]]:
        """Return the items of each of the first `count` dead letters of `key`."""
        return list(islice(by_dead_letter(self._query_dead_letters(key, {"Limit": count})), count))

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


def _size_of(operations: Sequence[_Operation]) -> int:
    return sum(each.size for each in operations)


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
