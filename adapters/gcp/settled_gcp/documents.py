"""Records and dead letters as documents: their names, their fields, and how large they are.

The names of records stand in the order of their keys, so Firestore lists instances by the index that it has anyway.
Dead letters are documents below their record, under the version they were buried with: versions only grow, so these
stand in their order, too.

To take fields out of the indexes is for whoever sets the database up: `EXEMPT` says which, and the doctor looks.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

from attrs import frozen

from settled.durable.messages import Message
from settled.durable.ports import DeadLetter, Index, Stored
from settled.errors import TooLargeError
from settled.key import Key

Fields: TypeAlias = Mapping[str, Mapping[str, Any]]

LARGEST = 1024 * 1024
"""How many bytes a document may have, its name and its fields' names included."""

LARGEST_VALUE = LARGEST - 89
"""How many bytes one field may have."""

LARGEST_COMMIT = 10 * 1024 * 1024
"""How many bytes one commit may have."""

LONGEST_ID = 1500
"""How many bytes the id of a document may have."""

LETTERS = "letters"
"""The collection of dead letters below a record; the name of the record's collection stands before it."""

EXPIRES = "expires"
EXEMPT: Sequence[str] = ("body", "key", "tags", "updated", "version", EXPIRES)
"""The fields of a record that should be in no index; only `status` is asked for."""

EXEMPT_LETTER: Sequence[str] = ("id", "body", "reason", "at", "detail")
"""The fields of a dead letter, none of which should be in an index."""


@frozen
class Collection:
    """The collection `name` in `database`, which is ``projects/PROJECT/databases/DATABASE``."""

    database: str
    name: str

    @property
    def parent(self) -> str:
        return f"{self.database}/documents"

    @property
    def letters(self) -> str:
        """The name of the collections of dead letters."""
        return f"{self.name}-{LETTERS}"

    def record(self, key: Key) -> str:
        """The name of the record of `key`."""
        return f"{self.parent}/{self.name}/{document_id(key)}"

    def letter(self, key: Key, version: int, place: int) -> str:
        """The name of a dead letter, the one at `place` of those that were buried with `version`."""
        return f"{self.record(key)}/{self.letters}/{version:016}-{place:04}"

    @property
    def timers(self) -> str:
        """The name of the collection of timers."""
        return f"{self.name}-timers"

    def timer(self, timer_id: str) -> str:
        """The name of a timer: a hash, because names that resemble each other would all be kept in one place."""
        hashed = hashlib.sha256(timer_id.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{self.parent}/{self.timers}/{hashed}"

    @property
    def nobody(self) -> str:
        """The name of a document that is never there."""
        return f"{self.parent}/{self.name}-clock/nobody"

    def bounds(self, machine: str) -> tuple[str, str]:
        """Between which names the records of `machine` stand: from the first one on, up to before the second."""
        before = f"{self.parent}/{self.name}/{_escaped(machine)}"
        return before + "!", before + '"'


def document_id(key: Key) -> str:
    """An id for each key, in the order of keys; what is too long is cut, and ends in a hash.

    Characters that no id may have, or that stand below the ``!`` between machine and instance, are written behind one
    that keeps the order: a quotation mark, a full stop, and the last character before the surrogates.
    """
    name = f"{_escaped(key.machine)}!{_escaped(key.instance)}"
    if name.startswith("__") and name.endswith("__"):
        name += "!"  # such names are Firestore's own
    if len(name.encode()) > LONGEST_ID:
        hashed = hashlib.sha256(name.encode()).hexdigest()
        name = name.encode()[: LONGEST_ID - 100].decode(errors="ignore") + f'"~{hashed}'
    return name


def _escaped(text: str) -> str:
    return _SPECIAL.sub(_escape, text)


_SPECIAL = re.compile('[\0-"./\ud7ff-\udfff]')


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    if character <= '"':
        return f'"{ord(character):02x}'
    if character <= "/":
        return {".": ".1", "/": ".2"}[character]
    return f"\ud7ff{ord(character):04x}"


def record_fields(key: Key, stored: Stored, expires: float | None) -> Fields:
    """The fields of a record. From `expires` on, Firestore may forget it."""
    fields = {
        "body": _text(stored.body),
        "key": _text(str(key)),
        "version": {"integer_value": stored.version},
        "status": _text(stored.index.status),
        "tags": _text(json.dumps(stored.index.tags)),
        "updated": {"double_value": stored.index.updated},
    }
    if expires is not None:
        fields[EXPIRES] = {"timestamp_value": datetime.fromtimestamp(expires, UTC)}
    return fields


LISTED: Sequence[str] = ("key", "version", "status", "tags", "updated")
"""The fields of a record that are read for a list."""


def key_in(document: Any) -> Key:
    """The key of the record in `document`."""
    return Key.parse(_read(document.fields["key"]))


def version_in(document: Any) -> int:
    """The version of the record in `document`."""
    return int(document.fields["version"].integer_value)


def stored_in(document: Any) -> Stored:
    """What `record_fields` wrote, with an empty body where it was not read."""
    fields = document.fields
    index = Index(_read(fields["status"]), tuple(json.loads(_read(fields["tags"]))), fields["updated"].double_value)
    body = _read(fields["body"]) if "body" in fields else ""
    return Stored(version_in(document), body, index)


def letter_fields(letter: DeadLetter) -> Fields:
    """The fields of a dead letter."""
    return {
        "id": _text(letter.message.id),
        "body": _text(letter.message.body),
        "reason": _text(letter.reason),
        "at": {"double_value": letter.at},
        "detail": _text(letter.detail),
    }


def letter_in(key: Key, document: Any) -> DeadLetter:
    """What `letter_fields` wrote."""
    fields = document.fields
    message = Message(key, _read(fields["id"]), _read(fields["body"]))
    return DeadLetter(message, _read(fields["reason"]), fields["at"].double_value, _read(fields["detail"]))


def fits(name: str, fields: Fields, what: str) -> int:
    """The size of a document, if Firestore takes it.

    Raises:
        TooLarge: it does not.
    """
    sizes = {field: _size(value) for field, value in fields.items()}
    size = _size_of_name(name) + sum(len(field) + 1 + length for field, length in sizes.items()) + 32
    if size > LARGEST or max(sizes.values()) > LARGEST_VALUE:
        raise TooLargeError(
            f"{what}: {size:,} bytes, and Firestore takes {LARGEST:,} in a document, less 89 in a field"
        )
    return size


def _size_of_name(name: str) -> int:
    """A name weighs what its collections and ids weigh, and not the database."""
    path = name.partition("/documents/")[2]
    return len(path.encode()) + 1 + 16


def _size(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    match kind:
        case "string_value":
            return len(content.encode()) + 1
        case "bytes_value":
            return len(content)
        case "boolean_value":
            return 1
        case _:
            return 8


def _text(value: str) -> dict[str, Any]:
    """JSON may hold half of a surrogate pair, which no encoding of Unicode does: such a text is stored as bytes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return {"bytes_value": value.encode("utf-8", "surrogatepass")}
    return {"string_value": value}


def _read(value: Any) -> str:
    if "bytes_value" in value:
        return bytes(value.bytes_value).decode("utf-8", "surrogatepass")
    return str(value.string_value)
