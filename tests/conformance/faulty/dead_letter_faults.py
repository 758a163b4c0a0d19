"""Stores that lose, cut, reorder or mix up dead letters."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from attrs import evolve

from settled import Key
from settled.durable import DeadLetter, Stored
from tests.conformance.faulty.reference import Plain, locked


class NoDeadLetters(Plain):
    """What is set aside is gone."""

    def move_dead_letters(self, key: Key, bury: Sequence[DeadLetter], unbury: int) -> None:
        pass


class DeadLetterLosesPayload(Plain):
    """Of what is set aside only the id is kept."""

    def move_dead_letters(self, key: Key, bury: Sequence[DeadLetter], unbury: int) -> None:
        super().move_dead_letters(key, [evolve(each, message=evolve(each.message, body="")) for each in bury], unbury)


class BuryTakesFollowers(Plain):
    """Setting one aside empties its line."""

    def put(self, key: Key, stored: Stored, expected: int, bury: Sequence[DeadLetter], unbury: int) -> None:
        super().put(key, stored, expected, bury, unbury)
        if bury:
            group = self.group(key)
            group.entries = group.entries[:1]


class BuriesOnConflict(Plain):
    """A commit that is refused has already set aside."""

    def put(self, key: Key, stored: Stored, expected: int, bury: Sequence[DeadLetter], unbury: int) -> None:
        self.move_dead_letters(key, bury, unbury)
        super().put(key, stored, expected, (), 0)


class UnburiesFromTheTail(Plain):
    """The newest dead letters leave first."""

    def move_dead_letters(self, key: Key, bury: Sequence[DeadLetter], unbury: int) -> None:
        dead_letters = self.world.dead_letters.get(key, [])
        self.world.dead_letters[key] = [*dead_letters[: len(dead_letters) - unbury], *bury]


class BuriesAtTheHead(Plain):
    """The newest dead letter lies on top."""

    def move_dead_letters(self, key: Key, bury: Sequence[DeadLetter], unbury: int) -> None:
        self.world.dead_letters[key] = [*bury, *self.world.dead_letters.get(key, [])[unbury:]]


class KeepsLettersOfTheDeleted(Plain):
    """What is deleted leaves its dead letters behind."""

    @locked
    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        self.expect(key, expected)
        self.world.records[key] = tombstone


class LettersOfTheFormerLife(Plain):
    """What is deleted hides its dead letters, and what comes after it has them again."""

    @locked
    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        dead_letters = self.world.dead_letters.get(key, [])
        super().delete(key, tombstone, expected)
        self.world.dead_letters[key] = dead_letters

    @locked
    def dead_letters(self, key: Key) -> Sequence[DeadLetter]:
        stored = self.world.records.get(key)
        return () if stored is not None and stored.is_deleted else super().dead_letters(key)


class LettersOfAHundred(Plain):
    """The hundred newest dead letters are kept."""

    def move_dead_letters(self, key: Key, bury: Sequence[DeadLetter], unbury: int) -> None:
        super().move_dead_letters(key, bury, unbury)
        self.world.dead_letters[key] = self.world.dead_letters[key][-100:]


class LettersOf64Kibibytes(Plain):
    """A dead letter is a column of 65,536 bytes."""

    def move_dead_letters(self, key: Key, bury: Sequence[DeadLetter], unbury: int) -> None:
        cut = [evolve(each, message=evolve(each.message, body=each.message.body[: 2**16])) for each in bury]
        super().move_dead_letters(key, cut, unbury)


class TimesOf32Bits(Plain):
    """Times are numbers of single precision, which know two minutes at best."""

    def move_dead_letters(self, key: Key, bury: Sequence[DeadLetter], unbury: int) -> None:
        super().move_dead_letters(
            key, [evolve(each, at=struct.unpack("f", struct.pack("f", each.at))[0]) for each in bury], unbury
        )


class DetailsCut(Plain):
    """Of how a message failed the first thousand characters are kept."""

    def move_dead_letters(self, key: Key, bury: Sequence[DeadLetter], unbury: int) -> None:
        super().move_dead_letters(key, [evolve(each, detail=each.detail[:1000]) for each in bury], unbury)


DEAD_LETTER_FAULTS: Mapping[type[Plain], str] = {
    NoDeadLetters: "X6",
    DeadLetterLosesPayload: "X6",
    BuryTakesFollowers: "X6",
    BuriesOnConflict: "R6",
    UnburiesFromTheTail: "X10",
    BuriesAtTheHead: "X6",
    KeepsLettersOfTheDeleted: "R3",
    LettersOfTheFormerLife: "X6",
    LettersOfAHundred: "X6",
    LettersOf64Kibibytes: "D6",
    TimesOf32Bits: "D6",
    DetailsCut: "D6",
}
"""Each class with the guarantee that must catch it."""
