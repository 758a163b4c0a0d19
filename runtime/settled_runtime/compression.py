"""Compression: a codec that shrinks what a backend stores, and what it is sent."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence

from attrs import field, frozen
from attrs.validators import ge

from settled import CodecError
from settled.durable.record_text import ROOM_BYTES, has_room

MAX_DECOMPRESSED_BYTES = 256 * 1024 * 1024
"""How large a text may be once it is decompressed: more than any store keeps. A small text may claim to be far larger.
"""

_METHOD = "zlib:"


@frozen
class Compression:
    """A `Codec` that compresses texts of at least `over` characters with zlib, and keeps shorter ones as they are.

    A compressed text is base64, so it takes a third more than the compressed bytes do. Texts that would not shrink are
    kept as they are. Repetitions are recognised before and after compression is introduced or `over` is changed.

    Attributes:
        over: from how many characters on a text is compressed.
        level: zlib's level, from 1, the fastest, to 9. Keep it: a queue that compares bodies takes a message that is
            repeated at another level for another message.
    """

    over: int = field(default=1024, validator=ge(0))
    level: int = field(default=6, validator=ge(1))
    accepts_plain_text: bool = field(default=True, init=False)

    def largest_text(self, largest: int) -> int:
        return largest  # what would not shrink is kept as it is

    def encode(self, text: str, place: str) -> str | None:
        return self._compressed(text) if len(text) >= self.over else None

    def encode_as_before(self, text: str, place: str) -> Sequence[str | None]:
        return [None] if len(text) >= self.over else [self._compressed(text)]

    def decode(self, encoded: str, place: str) -> str:
        if not encoded.startswith(_METHOD):
            raise CodecError(f"it is not compressed but {encoded[:20]!r}...: give its own codec")
        try:
            compressed = b64decode(encoded[len(_METHOD) :], validate=True)
        except ValueError as error:
            raise CodecError("what was compressed is damaged: it is not base64") from error
        return decompress(compressed)

    def _compressed(self, text: str) -> str | None:
        encoded = f"{_METHOD}{b64encode(compress(text, self.level)).decode('ascii')}"
        return encoded if len(encoded) < len(text) else None


def compress(text: str, level: int = 6) -> bytes:
    """Return `text` compressed. The room that a large record has stays free, and is not compressed away."""
    # See `record_text.ROOM_BYTES`: without it, an instance that has grown to its store's limit could not be halted.
    room = bytes(ROOM_BYTES) if has_room(text) else b""
    return zlib.compress(text.encode("utf-8", "surrogatepass"), level) + room


def decompress(data: bytes) -> str:
    """Return the text that `compress` has compressed.

    Raises:
        CodecError: it did not compress this.
    """
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(data, MAX_DECOMPRESSED_BYTES)
        if not stream.eof:
            raise CodecError("what was compressed is damaged: its end is missing, or it is far too large")
        return text.decode("utf-8", "surrogatepass")
    except (zlib.error, UnicodeDecodeError) as error:
        raise CodecError(f"what was compressed is damaged ({error})") from error
