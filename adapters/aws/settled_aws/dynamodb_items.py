"""Encode records and dead letters as DynamoDB items, decode them, and compute their size.

All items of a key share a partition key. The sort key is ``record`` for the record; for a dead letter it holds the
version that added it and its number within that version. Versions only grow, from one instance under the key to the
next, too, so sort order is dead letter order.

The body of a dead letter that does not fit into its item is divided among further items, which follow it in sort order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

from settled.durable.headers import NO_HEADERS, headers_from_text, headers_to_text
from settled.durable.messages import Message
from settled.durable.ports import DELETED, DeadLetter, Index, Stored
from settled.errors import TooLargeError
from settled.key import Key
from settled_aws.names import partition_key

Item: TypeAlias = Mapping[str, Mapping[str, Any]]

MAX_ITEM_BYTES = 400 * 1024
"""DynamoDB's limit on the size of an item; attribute names count."""

MAX_PART_BYTES = 384 * 1024
"""How much of a body one of several items holds; the rest is for the names of a key."""

MAX_NUMBER_BYTES = 21
"""The most that DynamoDB counts for a number: 38 digits at two a byte, and overhead."""

RECORD, DEAD_LETTER = "record", "letter/"
"""Sort key of a record, and prefix of the sort keys of dead letters. Both are stored."""

# No slash: no written key can equal it, and it is too short for a hash.
ABSENT_KEY: Item = {"key": {"S": "time"}, "part": {"S": "time"}}
"""A primary key that no item has, for requests of which only the response's date matters."""


def record_key(key: Key) -> Item:
    """Return the primary key of the record of `key`."""
    return {"key": _text(partition_key(key)), "part": _text(RECORD)}


def record_item(key: Key, stored: Stored, expires: float | None) -> Item:
    """Encode a record or a tombstone; DynamoDB may delete it once `expires`, in seconds since the epoch, has passed."""
    item = {
        **record_key(key),
        "version": _number(stored.version),
        "body": _text(stored.body),
        "status": _text(stored.index.status),
        "tags": _text(json.dumps(stored.index.tags)),
        "updated": _number(stored.index.updated),
    }
    if expires is not None:
        item["expires"] = _number(int(expires))
    if partition_key(key) != str(key):
        item["name"] = _text(str(key))  # the partition key is a hash, and a list needs the key
    return item


def stored_from_item(item: Item) -> Stored:
    """Decode an item that `record_item` encoded. Its body may have been left out."""
    index = Index(_read(item["status"]), tuple(json.loads(_read(item["tags"]))), float(item["updated"]["N"]))
    return Stored(int(item["version"]["N"]), _read(item["body"]) if "body" in item else "", index)


def key_from_item(item: Item) -> Key:
    """Return the key whose record `record_item` encoded in `item`."""
    return Key.parse(_read(item.get("name", item["key"])))


def scan_request(status: str | None) -> dict[str, Any]:
    """Return the parameters of a Scan of all records but tombstones, without their bodies, or of those with `status`.

    It leaves out what `key_from_item` cannot name: a key that is hashed in an item without a name.
    """
    names = ("key", "part", "name", "version", "status", "tags", "updated")
    is_wanted = "#status <> :status" if status is None else "#status = :status"
    return {
        "ProjectionExpression": ", ".join(f"#{name}" for name in names),
        "FilterExpression": f"#part = :record AND {is_wanted} AND (contains(#key, :slash) OR attribute_exists(#name))",
        "ExpressionAttributeNames": {f"#{name}": name for name in names},
        "ExpressionAttributeValues": {
            ":record": _text(RECORD),
            ":status": _text(DELETED if status is None else status),
            ":slash": _text("/"),
        },
        "ConsistentRead": True,
    }


def dead_letter_items(key: Key, dead_letter: DeadLetter, version: int, number: int) -> Sequence[Item]:
    """Encode the dead letter with this `number` of those that version `version` of the record added.

    It is one item, or several if it is larger than DynamoDB allows.
    """
    body = dead_letter.message.body
    item = {
        "key": _text(partition_key(key)),
        # Zero-padded, because sort keys are compared as strings.
        "part": _text(f"{DEAD_LETTER}{version:016}/{number:04}"),
        "id": _text(dead_letter.message.id),
        "body": _text(body),
        "reason": _text(dead_letter.reason),
        "at": _number(dead_letter.at),
        "detail": _text(dead_letter.detail),
    }
    if dead_letter.message.headers:
        item["headers"] = _text(headers_to_text(dead_letter.message.headers))
    return [item] if item_size(item) <= MAX_ITEM_BYTES else _divided(item, body)


def _divided(item: dict[str, Mapping[str, Any]], body: str) -> Sequence[Item]:
    """Return `item` without its `body`, and the items that hold it."""
    # In bytes, because a division may fall within a character.
    encoded = body.encode("utf-8", "surrogatepass")
    pieces = [encoded[start : start + MAX_PART_BYTES] for start in range(0, len(encoded), MAX_PART_BYTES)]
    first = {name: value for name, value in item.items() if name != "body"} | {"pieces": _number(len(pieces))}
    # No dead letter's own sort key is between that of `item` and these.
    parts = [_text(f"{item['part']['S']}/{at:04}") for at in range(len(pieces))]
    others = zip(parts, pieces, strict=True)
    return [first, *({"key": item["key"], "part": part, "of": item["part"], "body": {"B": it}} for part, it in others)]


def by_dead_letter(items: Iterator[Item]) -> Iterator[Sequence[Item]]:
    """Return the items of each dead letter, given those of several in sort order."""
    for item in items:
        if "of" not in item:
            yield [item, *islice(items, _pieces(item))]


def dead_letter_from_items(key: Key, items: Sequence[Item]) -> DeadLetter | None:
    """Decode the items of one dead letter; None if some are missing, because it was removed while they were read."""
    first, *others = items
    if len(others) < _pieces(first) or any(item.get("of") != first["part"] for item in others):
        return None
    headers = headers_from_text(_read(first["headers"])) if "headers" in first else NO_HEADERS
    encoded = b"".join(bytes(item["body"]["B"]) for item in others)
    body = encoded.decode("utf-8", "surrogatepass") if others else _read(first["body"])
    message = Message(key, _read(first["id"]), body, headers)
    return DeadLetter(message, _read(first["reason"]), float(first["at"]["N"]), _read(first["detail"]))


def _pieces(item: Item) -> int:
    return int(item["pieces"]["N"]) if "pieces" in item else 0


def check_size(item: Item, what: str) -> None:
    """Check that `item`, described by `what`, is not larger than DynamoDB allows.

    Raises:
        TooLargeError: it is.
    """
    size = item_size(item)
    if size > MAX_ITEM_BYTES:
        raise TooLargeError(f"{what}: {size:,} bytes; the limit of a DynamoDB item is {MAX_ITEM_BYTES:,}")


def item_size(item: Item) -> int:
    """Return the size of `item` as DynamoDB counts it, in bytes, or a little more."""
    return sum(len(name.encode()) + _size(value) for name, value in item.items())


def _size(value: Mapping[str, Any]) -> int:
    if "N" in value:
        return MAX_NUMBER_BYTES
    content = value.get("S", value.get("B"))
    return len(content.encode() if isinstance(content, str) else content or b"")


def _text(value: str) -> Mapping[str, Any]:
    # JSON can contain a lone surrogate, which UTF-8 cannot encode and DynamoDB's S type rejects: store it as binary.
    try:
        value.encode()
    except UnicodeEncodeError:
        return {"B": value.encode("utf-8", "surrogatepass")}
    return {"S": value}


def _read(value: Mapping[str, Any]) -> str:
    return str(value["S"]) if "S" in value else bytes(value["B"]).decode("utf-8", "surrogatepass")


def _number(value: float) -> Mapping[str, str]:
    return {"N": repr(value)}
