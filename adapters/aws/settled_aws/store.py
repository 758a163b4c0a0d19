"""The store on DynamoDB: one table, with one item for each record and one for each dead letter.

A commit is a conditional write: DynamoDB itself checks the version when it writes. A commit that adds or removes dead
letters writes several items, in one TransactWriteItems, which costs twice as many write units.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any

from settled.durable.ports import DELETED, DeadLetter, Stored
from settled.durations import in_seconds
from settled.errors import TooLargeError
from settled.key import Key
from settled_aws.client_protocols import DynamoDBClient
from settled_aws.dynamodb_items import (
    ABSENT_KEY,
    DEAD_LETTER,
    Item,
    check_size,
    dead_letter_from_item,
    dead_letter_item,
    key_from_item,
    record_item,
    record_key,
    scan_request,
    stored_from_item,
)
from settled_aws.errors import translated
from settled_aws.names import partition_key

MAX_TRANSACTION_ITEMS = 100
"""DynamoDB's limit on the items of one TransactWriteItems."""

FINISHED = frozenset({"done", "error", "stopped", "absent", DELETED})
"""Statuses of instances that have ended or never started; only these may expire."""


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
            TooLargeError: an item is larger than 400 KB, or there are more than 100 items; nothing was written.
            OutcomeUnknownError: the response was lost; load the record to find out.
        """
        may_expire = self._keep_finished is not None and stored.index.status in FINISHED and not add_dead_letters
        # A dead letter that outlived its record would be one of the next instance. The query is no part of the commit,
        # but dead letters change in commits only, so they are those of the version `expected`.
        limit = remove_dead_letters + may_expire
        oldest = list(self._dead_letter_items(key, limit)) if limit else []
        may_expire = may_expire and len(oldest) <= remove_dead_letters
        put = self._put_record(key, stored, expected, may_expire=may_expire)
        if add_dead_letters or remove_dead_letters:
            additions = [
                self._put_dead_letter(dead_letter_item(key, each, stored.version, at))
                for at, each in enumerate(add_dead_letters)
            ]
            # DynamoDB rejects a transaction with two operations on one item as invalid, and a Put replaces the item
            # anyway. An old dead letter has the sort key of a new one if another commit came first, which the condition
            # on the record finds out, or if its record was removed by hand.
            replaced = [each["Put"]["Item"]["part"] for each in additions]
            removed = [item for item in oldest[:remove_dead_letters] if item["part"] not in replaced]
            removals = [self._delete_dead_letter(item) for item in removed]
            self._write_transaction(key, [{"Put": put}, *removals, *additions])
            return
        with translated(f"committing {key}, version {stored.version}, to {self._table}"):
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
        put = self._put_record(key, tombstone, expected, may_expire=True)
        self._write_transaction(key, [{"Put": put}, *removals])

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

    def _put_record(self, key: Key, stored: Stored, expected: int, *, may_expire: bool) -> dict[str, Any]:
        keep = self._keep_finished if may_expire else None
        item = record_item(key, stored, None if keep is None else self._clock() + keep)
        check_size(item, f"the record of {key}")
        return {"TableName": self._table, "Item": item, **_if_unchanged(expected)}

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
        with translated(f"committing {key} and its dead letters to {self._table}"):
            self._client.transact_write_items(TransactItems=writes)

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
