"""Encode records and dead letters as Firestore documents, decode them, and compute their size.

The names of records sort like their keys, so the built-in index on document names lists instances in key order. Dead
letters are in a subcollection of their record; each is named by the version that added it and its number within that
version. Versions only grow, from one instance under the key to the next, too, so name order is dead letter order. The
body of a dead letter that does not fit into its document is divided among documents in a subcollection of it.

The ``EXEMPT_*`` fields should be exempt from Firestore's automatic single-field indexes. Setting up the database
includes that, and the doctor checks it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

from attrs import frozen

from settled.durable.headers import NO_HEADERS, headers_from_text, headers_to_text
from settled.durable.messages import Message
from settled.durable.ports import DeadLetter, Index, Stored
from settled.errors import TooLargeError
from settled.key import Key

Fields: TypeAlias = Mapping[str, Mapping[str, Any]]

MAX_DOCUMENT_BYTES = 1024 * 1024
"""Firestore's limit on a document; its name and the names of its fields count."""

MAX_FIELD_BYTES = MAX_DOCUMENT_BYTES - 89
"""Firestore's limit on the value of a field."""

MAX_PIECE_BYTES = 1_000_000
"""How much of a body one of several documents holds; the rest is for its name."""

MAX_COMMIT_BYTES = 10 * 1024 * 1024
"""Firestore's limit on a request."""

MAX_ID_BYTES = 1500
"""Firestore's limit on the id of a document, in bytes."""

DEAD_LETTERS = "letters"
"""Suffix of the name of the subcollections of dead letters, after the name of the records' collection."""

EXPIRES = "expires"
EXEMPT_RECORD_FIELDS: Sequence[str] = ("body", "key", "tags", "updated", "version", EXPIRES)
"""The fields of a record that need no index: queries filter by `status` only."""

EXEMPT_DEAD_LETTER_FIELDS: Sequence[str] = ("id", "body", "reason", "at", "detail", "headers", "pieces")
"""The fields of a dead letter, none of which needs an index."""


@frozen
class Collection:
    """The collection `name` in `database`, which is ``projects/PROJECT/databases/DATABASE``."""

    database: str
    name: str

    @property
    def parent(self) -> str:
        return f"{self.database}/documents"

    @property
    def dead_letters(self) -> str:
        """The id of the subcollections of dead letters."""
        return f"{self.name}-{DEAD_LETTERS}"

    def record(self, key: Key) -> str:
        """Return the name of the record of `key`."""
        return f"{self.parent}/{self.name}/{document_id(key)}"

    def dead_letter(self, key: Key, version: int, number: int) -> str:
        """Return the name of the dead letter with this `number` of those that version `version` of the record added."""
        # Zero-padded, because names are compared as strings.
        return f"{self.record(key)}/{self.dead_letters}/{version:016}-{number:04}"

    def piece(self, dead_letter: str, number: int) -> str:
        """Return the name of the document with this piece of the body of the dead letter of this name."""
        # The same id of a collection, so that the exemptions from indexes hold here, too.
        return f"{dead_letter}/{self.dead_letters}/{number:04}"

    @property
    def timers(self) -> str:
        """The id of the collection of timers."""
        return f"{self.name}-timers"

    def timer(self, timer_id: str) -> str:
        """Return the name of a timer."""
        # Hashed: Firestore keeps neighbouring names together, so similar names would make a hotspot.
        hashed = hashlib.sha256(timer_id.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{self.parent}/{self.timers}/{hashed}"

    @property
    def absent_document(self) -> str:
        """The name of a document that never exists, for requests of which only the time matters."""
        return f"{self.parent}/{self.name}-clock/nobody"

    def bounds(self, machine: str) -> tuple[str, str]:
        """Return the range of names of the records of `machine`: its start, inclusive, and its end, exclusive."""
        prefix = f"{self.parent}/{self.name}/{_escaped(machine)}"
        return prefix + "!", prefix + '"'  # the quotation mark follows the exclamation mark


def document_id(key: Key) -> str:
    """Return the document id of `key`. Ids sort like keys, but one that is too long is cut and ends in a hash.

    Some characters are escaped: those not allowed in an id, and those that sort below the ``!`` that separates machine
    and instance. Each is written behind a prefix that keeps its place in the order: a quotation mark, a full stop, or
    the last character before the surrogates.
    """
    name = f"{_escaped(key.machine)}!{_escaped(key.instance)}"
    if name.startswith("__") and name.endswith("__"):
        name += "!"  # Firestore reserves ids that match __.*__
    if len(name.encode()) > MAX_ID_BYTES:
        hashed = hashlib.sha256(name.encode()).hexdigest()
        name = name.encode()[: MAX_ID_BYTES - 100].decode(errors="ignore") + f'"~{hashed}'
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
    """Encode a record or a tombstone; Firestore may delete it after `expires`, in seconds since the epoch."""
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


LISTED_FIELDS: Sequence[str] = ("key", "version", "status", "tags", "updated")
"""The fields of a record that a scan reads."""


def key_from(document: Any) -> Key:
    """Return the key of the record in `document`."""
    return Key.parse(_read(document.fields["key"]))


def version_from(document: Any) -> int:
    """Return the version of the record in `document`."""
    return int(document.fields["version"].integer_value)


def stored_from(document: Any) -> Stored:
    """Decode a record; its body is empty if it was not read."""
    fields = document.fields
    index = Index(_read(fields["status"]), tuple(json.loads(_read(fields["tags"]))), fields["updated"].double_value)
    body = _read(fields["body"]) if "body" in fields else ""
    return Stored(version_from(document), body, index)


def dead_letter_fields(dead_letter: DeadLetter) -> Fields:
    """Encode a dead letter."""
    fields = {
        "id": _text(dead_letter.message.id),
        "body": _text(dead_letter.message.body),
        "reason": _text(dead_letter.reason),
        "at": {"double_value": dead_letter.at},
        "detail": _text(dead_letter.detail),
    }
    if dead_letter.message.headers:
        fields["headers"] = _text(headers_to_text(dead_letter.message.headers))
    return fields


def divided(fields: Fields) -> tuple[Fields, Sequence[Fields]]:
    """Return the fields of a dead letter without its body, and those of each piece of its body."""
    # In bytes, because a division may fall within a character.
    body = _encoded(fields["body"])
    starts = range(0, len(body), MAX_PIECE_BYTES)
    pieces = [{"body": {"bytes_value": body[start : start + MAX_PIECE_BYTES]}} for start in starts]
    others = {name: value for name, value in fields.items() if name != "body"}
    return {**others, "pieces": {"integer_value": len(pieces)}}, pieces


def pieces_of(document: Any) -> int:
    """Return among how many other documents the body of the dead letter in `document` is divided; usually 0."""
    return int(document.fields["pieces"].integer_value) if "pieces" in document.fields else 0


def dead_letter_from(key: Key, document: Any, pieces: Sequence[Any] = ()) -> DeadLetter:
    """Decode a dead letter, whose body is in the documents `pieces` if it is divided."""
    fields = document.fields
    headers = headers_from_text(_read(fields["headers"])) if "headers" in fields else NO_HEADERS
    encoded = b"".join(bytes(piece.fields["body"].bytes_value) for piece in pieces)
    body = encoded.decode("utf-8", "surrogatepass") if pieces else _read(fields["body"])
    message = Message(key, _read(fields["id"]), body, headers)
    return DeadLetter(message, _read(fields["reason"]), fields["at"].double_value, _read(fields["detail"]))


def checked_size(name: str, fields: Fields, what: str) -> int:
    """Return the size of a document, described by `what`, as Firestore computes it.

    Raises:
        TooLargeError: it is larger than Firestore allows.
    """
    size = _size_of_document(name, fields)
    if not fits(name, fields):
        raise TooLargeError(
            f"{what}: {size:,} bytes; the limit of Firestore is {MAX_DOCUMENT_BYTES:,} for a document, "
            "and 89 bytes less for one field"
        )
    return size


def fits(name: str, fields: Fields) -> bool:
    """Return whether a document is not larger than Firestore allows."""
    largest_field = max(_size(value) for value in fields.values())
    return _size_of_document(name, fields) <= MAX_DOCUMENT_BYTES and largest_field <= MAX_FIELD_BYTES


def _size_of_document(name: str, fields: Fields) -> int:
    return _size_of_name(name) + sum(len(field) + 1 + _size(value) for field, value in fields.items()) + 32


def _size_of_name(name: str) -> int:
    # Firestore counts the collections and ids of a name, each with one byte, and 16 bytes; the database not at all.
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
    # JSON can contain a lone surrogate, which UTF-8 cannot encode and Firestore rejects in a string: store it as bytes.
    try:
        value.encode()
    except UnicodeEncodeError:
        return {"bytes_value": value.encode("utf-8", "surrogatepass")}
    return {"string_value": value}


def _encoded(text: Mapping[str, Any]) -> bytes:
    ((_, content),) = text.items()
    return content.encode() if isinstance(content, str) else bytes(content)


def _read(value: Any) -> str:
    if "bytes_value" in value:
        return bytes(value.bytes_value).decode("utf-8", "surrogatepass")
    return str(value.string_value)
