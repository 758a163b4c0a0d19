"""The store: one DynamoDB table, one item for each record and for each dead letter.

A commit is one conditional write: the condition is the version, and DynamoDB checks it where it writes. Only when dead
letters move is there more than one item to write, and then all of them are one transaction, at twice the price.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from settled.durable.ports import DELETED, DeadLetter, Stored
from settled.errors import ConflictError, TooLargeError, UnsupportedError
from settled.key import Key
from settled_aws.client_protocols import DynamoDBClient
from settled_aws.dynamodb_items import (
    LETTER,
    NOBODYS,
    Item,
    buried_with,
    fits,
    letter_in,
    letter_item,
    record_item,
    record_key,
    stored_in,
)
from settled_aws.errors import translated
from settled_aws.names import partition

MOST_TOGETHER = 100
"""How many items one transaction may write."""

FINISHED = frozenset({"done", "error", "stopped", "absent", DELETED})
"""The statuses of instances that nothing happens to any more, or that never began."""


class DynamoDBStore:
    """The store in `table`, whose partition key is the text ``key`` and whose sort key is the text ``part``.

    With `keep_finished`, in seconds, an instance that is done, failed, stopped or deleted is marked to expire (the
    number ``expires``) that long after its last commit. An instance that has expired was never there: if its name is
    used again its versions begin again, but not its idempotency keys, because no two of those are ever the same.
    `clock` is the time in seconds since the epoch, by which DynamoDB will see what has expired.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        keep_finished: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._table = table
        self._keep_finished = keep_finished
        self._clock = clock

    def load(self, key: Key) -> Stored | None:
        with translated(f"reading {key} from {self._table}", reading=True):
            answer = self._client.get_item(TableName=self._table, Key=record_key(key), ConsistentRead=True)
        return stored_in(answer["Item"]) if "Item" in answer else None

    def commit(self, key: Key, stored: Stored, expected: int, bury: Sequence[DeadLetter] = (), unbury: int = 0) -> None:
        """Write `stored` if the item's version is still `expected` (0: there is none).

        Raises:
            Conflict: another commit came first; nothing was written.
            TooLarge: an item would pass 400 KB, or more than 100 items would move at once; nothing was written.
            Unknown: the answer was lost; load and look.
        """
        put = self._put(key, stored, expected)
        if bury or unbury:
            additions = [self._addition(letter_item(key, each, stored.version, at)) for at, each in enumerate(bury)]
            heads = list(self._letters(key, unbury)) if unbury else []
            if any(buried_with(head) > expected for head in heads):
                raise ConflictError(f"{key}: the version is not {expected} any more")
            self._write_together(key, [{"Put": put}, *map(self._removal, heads), *additions])
            return
        with translated(f"committing {key}, version {stored.version}, to {self._table}"):
            self._client.put_item(**put)

    def dead_letters(self, key: Key) -> Sequence[DeadLetter]:
        return [letter_in(key, item) for item in self._letters(key)]

    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        """Put `tombstone` in the place of the record, and forget the dead letters of `key`.

        What would be more than 100 items at once goes in several transactions, of which the last has the tombstone.

        Raises:
            Conflict: the version was not `expected`; nothing more was deleted.
        """
        removals = [self._removal(letter) for letter in self._letters(key)]
        while len(removals) >= MOST_TOGETHER:
            some, removals = removals[: MOST_TOGETHER - 1], removals[MOST_TOGETHER - 1 :]
            check = {"TableName": self._table, "Key": record_key(key), **_if_unchanged(expected)}
            self._write_together(key, [{"ConditionCheck": check}, *some])
        self._write_together(key, [{"Put": self._put(key, tombstone, expected)}, *removals])

    def answer(self) -> None:
        """Read nothing, at the lowest price, for the sake of the date that stands on each answer."""
        with translated(f"asking {self._table} for the time", reading=True):
            self._client.get_item(TableName=self._table, Key=NOBODYS)

    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Sequence[tuple[Key, Stored]]:
        """Not to be had: a table is spread by its keys, and reading all of it to sort a page would be paid in full.

        Raises:
            Unsupported: always.
        """
        raise UnsupportedError(
            f"{self._table}: DynamoDB cannot list instances in the order of their keys; export the table"
        )

    def _put(self, key: Key, stored: Stored, expected: int) -> dict[str, Any]:
        keep = self._keep_finished if stored.index.status in FINISHED else None
        item = record_item(key, stored, None if keep is None else self._clock() + keep)
        fits(item, f"the record of {key}")
        return {"TableName": self._table, "Item": item, **_if_unchanged(expected)}

    def _addition(self, letter: Item) -> dict[str, Any]:
        fits(letter, "a dead letter")
        return {"Put": {"TableName": self._table, "Item": letter}}

    def _removal(self, letter: Item) -> dict[str, Any]:
        return {"Delete": {"TableName": self._table, "Key": {name: letter[name] for name in ("key", "part")}}}

    def _write_together(self, key: Key, parts: Sequence[dict[str, Any]]) -> None:
        if len(parts) > MOST_TOGETHER:
            raise TooLargeError(f"{key}: {len(parts)} items at once, and DynamoDB writes {MOST_TOGETHER} together")
        with translated(f"committing {key} and its dead letters to {self._table}"):
            self._client.transact_write_items(TransactItems=parts)

    def _letters(self, key: Key, limit: int | None = None) -> Iterator[Item]:
        """The items of the dead letters of `key`, oldest first: all of them, or the first `limit`."""
        return islice(self._all_letters(key, {} if limit is None else {"Limit": limit}), limit)

    def _all_letters(self, key: Key, options: dict[str, Any]) -> Iterator[Item]:
        request = {
            "TableName": self._table,
            "KeyConditionExpression": "#key = :key AND begins_with(#part, :letter)",
            "ExpressionAttributeNames": {"#key": "key", "#part": "part"},
            "ExpressionAttributeValues": {":key": {"S": partition(key)}, ":letter": {"S": LETTER}},
            "ConsistentRead": True,
            **options,
        }
        while True:
            with translated(f"reading the dead letters of {key} from {self._table}", reading=True):
                answer = self._client.query(**request)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


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
