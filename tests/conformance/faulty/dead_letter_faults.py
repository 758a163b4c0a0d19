"""Stores that lose, cut, reorder or mix up dead letters."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from attrs import evolve

from settled import Key
from settled.durable import DeadLetter, Stored
from tests.conformance.faulty.reference import Plain, locked


class NoDeadLetters(Plain):
    """Dead letters are dropped."""

    def move_dead_letters(self, key: Key, add_dead_letters: Sequence[DeadLetter], remove_dead_letters: int) -> None:
        pass


class DeadLetterLosesPayload(Plain):
    """Only the ids of dead letters are kept."""

    def move_dead_letters(self, key: Key, add_dead_letters: Sequence[DeadLetter], remove_dead_letters: int) -> None:
        super().move_dead_letters(
            key, [evolve(each, message=evolve(each.message, body="")) for each in add_dead_letters], remove_dead_letters
        )


class BuryTakesFollowers(Plain):
    """Dead-lettering a message removes all others from its queue."""

    def put(
        self, key: Key, stored: Stored, expected: int, add_dead_letters: Sequence[DeadLetter], remove_dead_letters: int
    ) -> None:
        super().put(key, stored, expected, add_dead_letters, remove_dead_letters)
        if add_dead_letters:
            group = self.group(key)
            group.entries = group.entries[:1]


class BuriesOnConflict(Plain):
    """A failing commit has already added its dead letters."""

    def put(
        self, key: Key, stored: Stored, expected: int, add_dead_letters: Sequence[DeadLetter], remove_dead_letters: int
    ) -> None:
        self.move_dead_letters(key, add_dead_letters, remove_dead_letters)
        super().put(key, stored, expected, (), 0)


class UnburiesFromTheTail(Plain):
    """The newest dead letters are removed first."""

    def move_dead_letters(self, key: Key, add_dead_letters: Sequence[DeadLetter], remove_dead_letters: int) -> None:
        dead_letters = self.world.dead_letters.get(key, [])
        self.world.dead_letters[key] = [*dead_letters[: len(dead_letters) - remove_dead_letters], *add_dead_letters]


class BuriesAtTheHead(Plain):
    """New dead letters are added at the head."""

    def move_dead_letters(self, key: Key, add_dead_letters: Sequence[DeadLetter], remove_dead_letters: int) -> None:
        self.world.dead_letters[key] = [*add_dead_letters, *self.world.dead_letters.get(key, [])[remove_dead_letters:]]


class KeepsLettersOfTheDeleted(Plain):
    """A deleted instance keeps its dead letters."""

    @locked
    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        self.expect(key, expected)
        self.world.records[key] = tombstone


class LettersOfTheFormerLife(Plain):
    """Dead letters of a deleted instance are hidden, and belong to the next one of its key."""

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
    """Only the newest hundred dead letters are kept."""

    def move_dead_letters(self, key: Key, add_dead_letters: Sequence[DeadLetter], remove_dead_letters: int) -> None:
        super().move_dead_letters(key, add_dead_letters, remove_dead_letters)
        self.world.dead_letters[key] = self.world.dead_letters[key][-100:]


class LettersOf64Kibibytes(Plain):
    """A dead letter is cut at 65,536 characters."""

    def move_dead_letters(self, key: Key, add_dead_letters: Sequence[DeadLetter], remove_dead_letters: int) -> None:
        cut = [evolve(each, message=evolve(each.message, body=each.message.body[: 2**16])) for each in add_dead_letters]
        super().move_dead_letters(key, cut, remove_dead_letters)


class TimesOf32Bits(Plain):
    """Times are single-precision floats, exact to two minutes at best."""

    def move_dead_letters(self, key: Key, add_dead_letters: Sequence[DeadLetter], remove_dead_letters: int) -> None:
        super().move_dead_letters(
            key,
            [evolve(each, at=struct.unpack("f", struct.pack("f", each.at))[0]) for each in add_dead_letters],
            remove_dead_letters,
        )


class DetailsCut(Plain):
    """The detail of a dead letter is cut at a thousand characters."""

    def move_dead_letters(self, key: Key, add_dead_letters: Sequence[DeadLetter], remove_dead_letters: int) -> None:
        super().move_dead_letters(
            key, [evolve(each, detail=each.detail[:1000]) for each in add_dead_letters], remove_dead_letters
        )


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
