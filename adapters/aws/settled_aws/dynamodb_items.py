"""Records and dead letters as the items of a table, and how large they are.

All items of a key share its partition; the sort key says which one it is: the record, or a dead letter under the
version it was buried with. Versions only grow, so the dead letters stand in their order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from settled.durable.messages import Message
from settled.durable.ports import DeadLetter, Index, Stored
from settled.errors import TooLargeError
from settled.key import Key
from settled_aws.names import partition

Item: TypeAlias = Mapping[str, Mapping[str, Any]]

LARGEST = 400 * 1024
"""How many bytes an item may have, its attributes' names included."""

LARGEST_NUMBER = 21
"""How many bytes a number takes at most."""

RECORD, LETTER = "record", "letter/"


NOBODYS: Item = {"key": {"S": "time"}, "part": {"S": "time"}}
"""A primary key that no item has. Whoever reads it learns only what an answer says besides."""


def record_key(key: Key) -> Item:
    """The primary key of the record of `key`."""
    return {"key": _text(partition(key)), "part": _text(RECORD)}


def record_item(key: Key, stored: Stored, expires: float | None) -> Item:
    """The item of a record, or of what is left of it. From `expires` on, DynamoDB may forget it."""
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
    return item


def stored_in(item: Item) -> Stored:
    """What `record_item` wrote."""
    index = Index(_read(item["status"]), tuple(json.loads(_read(item["tags"]))), float(item["updated"]["N"]))
    return Stored(int(item["version"]["N"]), _read(item["body"]), index)


def letter_item(key: Key, letter: DeadLetter, version: int, place: int) -> Item:
    """The item of a dead letter, the one at `place` of those that were buried with `version`."""
    return {
        "key": _text(partition(key)),
        "part": _text(f"{LETTER}{version:016}/{place:04}"),
        "id": _text(letter.message.id),
        "body": _text(letter.message.body),
        "reason": _text(letter.reason),
        "at": _number(letter.at),
        "detail": _text(letter.detail),
    }


def letter_in(key: Key, item: Item) -> DeadLetter:
    """What `letter_item` wrote."""
    message = Message(key, _read(item["id"]), _read(item["body"]))
    return DeadLetter(message, _read(item["reason"]), float(item["at"]["N"]), _read(item["detail"]))


def buried_with(item: Item) -> int:
    """The version that the dead letter in `item` was buried with."""
    return int(_read(item["part"]).removeprefix(LETTER).partition("/")[0])


def fits(item: Item, what: str) -> None:
    """Go on only if DynamoDB takes an item of this size.

    Raises:
        TooLarge: it does not.
    """
    size = sum(len(name.encode()) + _size(value) for name, value in item.items())
    if size > LARGEST:
        raise TooLargeError(f"{what}: {size:,} bytes, and DynamoDB takes {LARGEST:,} in one item")


def _size(value: Mapping[str, Any]) -> int:
    if "N" in value:
        return LARGEST_NUMBER
    content = value.get("S", value.get("B"))
    return len(content.encode() if isinstance(content, str) else content or b"")


def _text(value: str) -> Mapping[str, Any]:
    """JSON may hold half of a surrogate pair, which no encoding of Unicode does: such a text is stored as bytes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return {"B": value.encode("utf-8", "surrogatepass")}
    return {"S": value}


def _read(value: Mapping[str, Any]) -> str:
    return str(value["S"]) if "S" in value else bytes(value["B"]).decode("utf-8", "surrogatepass")


def _number(value: float) -> Mapping[str, str]:
    return {"N": repr(value)}
