"""Backends that change, cut or confuse texts and keys."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence

from attrs import evolve

from settled import Key, TooLargeError
from settled.durable import DeadLetter, Message, Stored
from tests.conformance.faulty.reference import Entry, MessageGroup, Plain, locked


class FloatNumbers(Plain):
    """Bodies are parsed and written as JSON with float numbers."""

    def message(self, entry: Entry) -> Message:
        try:
            body = json.dumps(json.loads(entry.message.body, parse_int=float))
        except ValueError:
            return entry.message
        return evolve(entry.message, body=body)


class Truncation(Plain):
    """Bodies are cut at 65,536 characters."""

    def message(self, entry: Entry) -> Message:
        return evolve(entry.message, body=entry.message.body[:65536])


class NormalisedText(Plain):
    """Texts are normalised to NFC."""

    def append(self, message: Message) -> None:
        super().append(evolve(message, body=unicodedata.normalize("NFC", message.body)))


class NoNul(Plain):
    """Texts end at the first NUL."""

    def message(self, entry: Entry) -> Message:
        return evolve(entry.message, body=entry.message.body.split("\0")[0])


class BodiesOfA256Kibibytes(Plain):
    """Bodies are cut at 256 KiB."""

    def message(self, entry: Entry) -> Message:
        return evolve(entry.message, body=entry.message.body[: 2**18])


class RefusesWhatItDeclares(Plain):
    """Bodies of more than half of `largest_message` are refused."""

    def check(self, message: Message) -> None:
        if len(message.body) > self.largest_message / 2:
            raise TooLargeError(f"{message.id} has {len(message.body)} bytes")
        super().check(message)


class HasNoRoomForEscapes(Plain):
    """Bodies are sent within a JSON text, which may have a quarter more than `largest_message`."""

    def check(self, message: Message) -> None:
        size = len(json.dumps(message.body, ensure_ascii=False))
        if size > self.largest_message * 5 / 4:
            raise TooLargeError(f"{message.id} has {size} bytes")
        super().check(message)


class LosesTheLastPiece(Plain):
    """Texts are stored in pieces of 64 KiB; one of exactly several pieces loses the last."""

    def message(self, entry: Entry) -> Message:
        body = entry.message.body
        return evolve(entry.message, body=body[: -(2**16)]) if body and len(body) % 2**16 == 0 else entry.message


class KeyPrefixCollision(Plain):
    """Keys are joined by colons, and only the first part is compared."""

    def group(self, key: Key) -> MessageGroup:
        return super().group(_shortened(key))

    @locked
    def load(self, key: Key) -> Stored | None:
        return self.world.records.get(_shortened(key))

    def put(
        self, key: Key, stored: Stored, expected: int, add_dead_letters: Sequence[DeadLetter], remove_dead_letters: int
    ) -> None:
        super().put(_shortened(key), stored, expected, add_dead_letters, remove_dead_letters)

    @locked
    def dead_letters(self, key: Key) -> Sequence[DeadLetter]:
        return super().dead_letters(_shortened(key))


class CaseInsensitiveKeys(Plain):
    """Keys are compared without regard to case."""

    def group(self, key: Key) -> MessageGroup:
        return super().group(Key(key.machine.lower(), key.instance.lower()))


class ShortKeys(Plain):
    """Keys are cut at 128 characters."""

    def group(self, key: Key) -> MessageGroup:
        return super().group(Key(key.machine, key.instance[:128]))


def _shortened(key: Key) -> Key:
    return Key(key.machine, key.instance.split(":")[0])


TEXT_FAULTS: Mapping[type[Plain], str] = {
    FloatNumbers: "D6",
    Truncation: "D6",
    NormalisedText: "D6",
    NoNul: "D6",
    BodiesOfA256Kibibytes: "D6",
    RefusesWhatItDeclares: "D6",
    HasNoRoomForEscapes: "D6",
    LosesTheLastPiece: "D6",
    KeyPrefixCollision: "X9",
    CaseInsensitiveKeys: "F8",
    ShortKeys: "F8",
}
"""Each class with the guarantee that must catch it."""
