"""The text of a record: its format number and checksum, its parts as JSON, and the window, which is not parsed.

The text is one JSON object. It begins with the format and the checksum, and ends with the window, an entry a line::

    {"settled":4,"crc32":"1a2b3c4d","machine":"order",...,"snapshot":{...},"window":["ID DIGEST",
    "ID DIGEST"]}

The checksum is the CRC-32 of the UTF-8 bytes of all that follows its comma, in eight hexadecimal digits. So any change
of the text is noticed, and an instance whose record was damaged does not continue from a false state.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any
from zlib import crc32

from settled.data import parse
from settled.durable.encoded import ENCODED_PREFIX, not_decoded
from settled.durable.older_records import LAST_WITHOUT_CHECKSUM, OLDEST_FORMAT, migrate
from settled.durable.window import Window
from settled.errors import RecordError
from settled.key import Key

FORMAT = 4

ROOM_BYTES = 6144
"""How much of a large record is room: an instance whose record has grown to its store's limit can still be halted.

The record of a halt names the message four times, and an id may take 1.5 KB in JSON.
"""

MIN_CHARACTERS_WITH_ROOM = 64 * 1024
"""From how many characters on a record has that room. The limits of stores are higher: smaller records need none."""

_HEADER = re.compile(r'\{"settled":([1-9][0-9]*),"crc32":"([0-9a-f]{8})",')
_HEADER_WITHOUT_CHECKSUM = f'{{"settled":{LAST_WITHOUT_CHECKSUM},"machine":'
_ROOM = f'"room":"{" " * ROOM_BYTES}",'
_WINDOW, _END = ',"window":[', "]}"


def write_record(parts: str, snapshot: str | None, window: str, *, has_room: bool = False) -> str:
    """Return the text of a record.

    Args:
        parts: its parts as a JSON object.
        snapshot: the snapshot as JSON text; None for a tombstone, which has none.
        window: the lines of the window, as in `Window.encoded_ids`.
        has_room: whether a large record gets room for a failure.
    """
    rest = "" if snapshot is None else f',"snapshot":{snapshot}'
    summed = f"{parts[1:-1]}{rest}{_WINDOW}{window}{_END}"
    if has_room and len(summed) >= MIN_CHARACTERS_WITH_ROOM:
        summed = f"{_ROOM}{summed}"
    return f'{{"settled":{FORMAT},"crc32":"{_checksum(summed)}",{summed}'


def parse_record(key: Key, text: str) -> tuple[Mapping[str, Any], str]:
    """Return the parts of the record `text` of `key`, without its window, and the lines of the window, unparsed.

    The parts of an older record are returned as this format has them.

    Raises:
        CodecError: `text` is encoded.
        RecordError: `text` is not a record, is damaged, or has a format that this version of settled does not read.
    """
    header = _HEADER.match(text)
    if header is None:
        return _parse_without_checksum(key, text)
    format, summed = int(header[1]), text[header.end() :]
    _require_known(key, format)
    if format <= LAST_WITHOUT_CHECKSUM or header[2] != _checksum(summed):
        raise _damaged(key, "its checksum is wrong")
    # The window comes last and is copied as text: parsing its ids would be most of the cost of a small record. Within
    # its ids quotes are escaped, so what looks like its beginning and comes last is its beginning.
    head, _, lines = summed.rpartition(_WINDOW)
    with damage_as_record_error(key):
        return migrate(parse(f"{{{head}}}"), format), lines.removesuffix(_END)


def has_room(text: str) -> bool:
    """Return whether `text` is that of a record which has room for a failure."""
    header = _HEADER.match(text)
    return header is not None and text.startswith(_ROOM, header.end())


def _checksum(text: str) -> str:
    # JSON may have a lone surrogate, which strict UTF-8 cannot encode.
    return f"{crc32(text.encode('utf-8', 'surrogatepass')):08x}"


def _parse_without_checksum(key: Key, text: str) -> tuple[Mapping[str, Any], str]:
    if text.startswith(ENCODED_PREFIX):
        raise not_decoded(key, "the record", text)
    try:
        data: Any = parse(text)
        format = int(data["settled"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise RecordError(f"{key}: the stored text is not a record of settled ({error}): {text[:80]!r}") from error
    _require_known(key, format)
    if not text.startswith(_HEADER_WITHOUT_CHECKSUM):
        raise _damaged(key, "it does not begin as settled writes it")
    with damage_as_record_error(key):
        return migrate(data, format), Window.of(0, data["window"]).encoded_ids


def _require_known(key: Key, format: int) -> None:
    if OLDEST_FORMAT <= format <= FORMAT:
        return
    remedy = "update settled" if format > FORMAT else "finish it with the settled that wrote it, or delete it"
    known = f"this version of settled reads {OLDEST_FORMAT} to {FORMAT}"
    raise RecordError(f"{key}: the record has format {format}, {known}: {remedy}")


def _damaged(key: Key, what: str) -> RecordError:
    return RecordError(
        f"{key}: the record is damaged ({what}); nothing was changed, and its messages wait in the queue: "
        "restore it from a backup, or delete the instance"
    )


@contextmanager
def damage_as_record_error(key: Key) -> Generator[None]:
    """Raise RecordError instead of the errors that reading a text causes that settled has not written."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(key, f"{type(error).__name__}: {error}") from error
