"""Stores that break versions, reads, whole commits, or the listing of instances."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from attrs import evolve

from settled import ConflictError, Key
from settled.durable import Capability, CommitConflictError, DeadLetter, Index, Stored
from tests.conformance.faulty.reference import Plain, locked

Page = Sequence[tuple[Key, Stored]]


class VersionResetOnDrain(Plain):
    """A deleted key starts again at version 0."""

    @locked
    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        self.expect(key, expected)
        del self.world.records[key]
        self.world.dead_letters.pop(key, None)


class CasWithoutFence(Plain):
    """A commit checks only whether a record exists."""

    def expect(self, key: Key, expected: int) -> None:
        if (self.version(key) == 0) != (expected == 0):
            raise ConflictError(f"{key}: expected version {expected}")


class CheckThenPut(Plain):
    """The version is checked before the write, not atomically."""

    def commit(
        self,
        key: Key,
        stored: Stored,
        expected: int,
        add_dead_letters: Sequence[DeadLetter] = (),
        remove_dead_letters: int = 0,
    ) -> None:
        self.expect(key, expected)
        self.world.records[key] = stored
        self.move_dead_letters(key, add_dead_letters, remove_dead_letters)


class UnguardedCreate(Plain):
    """The first commit of a key is not checked."""

    def expect(self, key: Key, expected: int) -> None:
        if expected:
            super().expect(key, expected)


class BlindRetryOnConflict(Plain):
    """A conflicting commit is repeated over the version that is there."""

    def put(
        self, key: Key, stored: Stored, expected: int, add_dead_letters: Sequence[DeadLetter], remove_dead_letters: int
    ) -> None:
        try:
            super().put(key, stored, expected, add_dead_letters, remove_dead_letters)
        except ConflictError:
            version = self.version(key)
            super().put(key, evolve(stored, version=version + 1), version, add_dead_letters, remove_dead_letters)


class RefusesWithAnOlderRecord(Plain):
    """A refused commit is told the first record that the key ever had."""

    def expect(self, key: Key, expected: int) -> None:
        try:
            super().expect(key, expected)
        except ConflictError as error:
            if key not in self.world.notes:
                raise
            raise CommitConflictError(str(error), self.world.notes[key], self.world.now) from error

    def move_dead_letters(self, key: Key, add_dead_letters: Sequence[DeadLetter], remove_dead_letters: int) -> None:
        super().move_dead_letters(key, add_dead_letters, remove_dead_letters)
        self.world.notes.setdefault(key, self.world.records[key])


class StaleCache(Plain):
    """Each handle caches what it has loaded."""

    @locked
    def load(self, key: Key) -> Stored | None:
        cache: dict[Key, Stored | None] = self.__dict__.setdefault("cache", {})
        return cache.setdefault(key, self.world.records.get(key))

    def version(self, key: Key) -> int:
        stored = self.world.records.get(key)
        return 0 if stored is None else stored.version

    def put(
        self, key: Key, stored: Stored, expected: int, add_dead_letters: Sequence[DeadLetter], remove_dead_letters: int
    ) -> None:
        super().put(key, stored, expected, add_dead_letters, remove_dead_letters)
        self.__dict__.setdefault("cache", {})[key] = stored


class AliasedSnapshot(Plain):
    """A read returns the stored list itself."""

    @locked
    def dead_letters(self, key: Key) -> Sequence[DeadLetter]:
        return self.world.dead_letters.setdefault(key, [])


class TornCommit(Plain):
    """The record and its dead letters are written one after the other."""

    def commit(
        self,
        key: Key,
        stored: Stored,
        expected: int,
        add_dead_letters: Sequence[DeadLetter] = (),
        remove_dead_letters: int = 0,
    ) -> None:
        with self.world.lock:
            self.expect(key, expected)
            self.world.records[key] = stored
        self.round_trip("dead letters")
        with self.world.lock:
            self.move_dead_letters(key, add_dead_letters, remove_dead_letters)


class CommitWithoutLock(Plain):
    """Each handle has a lock of its own."""

    def commit(
        self,
        key: Key,
        stored: Stored,
        expected: int,
        add_dead_letters: Sequence[DeadLetter] = (),
        remove_dead_letters: int = 0,
    ) -> None:
        found = self.world.records.get(key)
        if (found.version if found else 0) != expected:
            raise ConflictError(f"{key}: expected version {expected}")
        self.world.records[key] = stored
        self.move_dead_letters(key, add_dead_letters, remove_dead_letters)


class UnguardedDelete(Plain):
    """A deletion does not check the version."""

    @locked
    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        super().delete(key, tombstone, self.version(key))


class VersionsOfOneByte(Plain):
    """Versions are compared modulo 256."""

    def expect(self, key: Key, expected: int) -> None:
        if self.version(key) % 256 != expected % 256 or (self.version(key) == 0) != (expected == 0):
            raise ConflictError(f"{key}: expected version {expected}")


class UnguardedPastManyVersions(Plain):
    """Versions above 256 are not checked, as if integers were compared by identity."""

    def expect(self, key: Key, expected: int) -> None:
        if self.version(key) <= 256:
            super().expect(key, expected)


class VersionsOfAWord(Plain):
    """Versions are compared modulo 2^32."""

    def expect(self, key: Key, expected: int) -> None:
        if self.version(key) & 0xFFFFFFFF != expected & 0xFFFFFFFF:
            raise ConflictError(f"{key}: expected version {expected}")


class IndexForgotten(Plain):
    """The body is stored, the tags and time of its index are not."""

    @locked
    def load(self, key: Key) -> Stored | None:
        stored = self.world.records.get(key)
        return stored and evolve(stored, index=Index(stored.index.status))


class RecordsOfAMebibyte(Plain):
    """A record is cut at its first mebibyte."""

    @locked
    def load(self, key: Key) -> Stored | None:
        stored = super().load(key)
        if stored is None or len(stored.body) < 2**18:
            return stored
        return evolve(stored, body=stored.body.encode()[: 2**20].decode(errors="ignore"))


class OutboxOfAnother(Plain):
    """The outbox is stored beside the record, under its version alone."""

    @locked
    def load(self, key: Key) -> Stored | None:
        stored = super().load(key)
        if stored is None or stored.is_deleted:
            return stored
        record, others = (
            _record(stored),
            [_record(each) for each in self.world.records.values() if each.version == stored.version],
        )
        outboxes = [each["outbox"] for each in others if each.get("outbox")]
        if not record.get("outbox") or not outboxes:
            return stored
        return evolve(stored, body=json.dumps({**record, "outbox": outboxes[-1]}, ensure_ascii=False))


class DeletesAllThatBeginSo(Plain):
    """A deletion deletes the dead letters of all keys with the same prefix."""

    @locked
    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        super().delete(key, tombstone, expected)
        for other in [each for each in self.world.dead_letters if str(each).startswith(str(key))]:
            del self.world.dead_letters[other]


class ScanOutOfOrder(Plain):
    """A scan is not in the order of keys."""

    @locked
    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Sequence[tuple[Key, Stored]]:
        return super().scan(machine, after, limit, status)[::-1]


class ScanShowsTheDeleted(Plain):
    """A scan lists tombstones."""

    @locked
    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Sequence[tuple[Key, Stored]]:
        found = sorted(self.world.records.items())
        return [each for each in found if after is None or each[0] > after][:limit]


class ListsAllThatBeginSo(Plain):
    """A scan takes the machine for a prefix."""

    @locked
    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Page:
        found = super().scan(None, after, 10**6, status)
        return [each for each in found if each[0].machine.startswith(machine or "")][:limit]


class LimitBeforeFilter(Plain):
    """A scan applies its limit before its status filter."""

    @locked
    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Page:
        found = super().scan(machine, after, limit)
        return [each for each in found if status in (None, each[1].index.status)]


class TombstonesInThePage(Plain):
    """Tombstones count towards the limit of a page."""

    @locked
    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Page:
        rows = [each for each in sorted(self.world.records.items()) if after is None or each[0] > after]
        rows = [each for each in rows if machine in (None, each[0].machine)]
        rows = [each for each in rows if each[1].is_deleted or status in (None, each[1].index.status)][:limit]
        return [each for each in rows if not each[1].is_deleted]


class PagesByNumber(Plain):
    """A page starts at a row number instead of after a key."""

    @locked
    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Page:
        found = super().scan(machine, None, 10**6, status)
        seen: dict[Key, int] = self.world.notes.setdefault("seen", {})
        start = seen.get(after, sum(key <= after for key, _ in found)) if after else 0
        page = found[start : start + limit]
        seen.update({key: start + number for number, (key, _) in enumerate(page, 1)})
        return page


class AfterWhatIsThere(Plain):
    """A page that starts after a deleted key is empty."""

    @locked
    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Page:
        stored = self.world.records.get(after) if after else None
        is_there = stored is not None and not stored.is_deleted
        return super().scan(machine, after, limit, status) if after is None or is_there else ()


class StatusOfTheFirstCommit(Plain):
    """The status of an instance is stored once, at its creation."""

    @locked
    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Page:
        first: dict[Key, str] = self.world.notes.setdefault("first", {})
        found = super().scan(machine, after, 10**6)
        for key, stored in found:
            first.setdefault(key, "active" if stored.version > 1 else stored.index.status)
        return [each for each in found if status in (None, first[each[0]])][:limit]


class DeclaresNothing(Plain):
    """The backend declares no capability, although it can list."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset()


def _record(stored: Stored) -> dict[str, Any]:
    try:
        record = json.loads(stored.body)
    except ValueError:
        return {}
    return cast("dict[str, Any]", record) if isinstance(record, dict) else {}


STORE_FAULTS: Mapping[type[Plain], str] = {
    VersionResetOnDrain: "R3",
    CasWithoutFence: "R4",
    CheckThenPut: "R6",
    UnguardedCreate: "R6",
    RefusesWithAnOlderRecord: "R8",
    BlindRetryOnConflict: "R6",
    StaleCache: "R8",
    AliasedSnapshot: "R8",
    TornCommit: "R9",
    CommitWithoutLock: "R6",
    UnguardedDelete: "R6",
    VersionsOfOneByte: "R6",
    UnguardedPastManyVersions: "R4",
    VersionsOfAWord: "R6",
    IndexForgotten: "D6",
    RecordsOfAMebibyte: "D6",
    OutboxOfAnother: "R9",
    DeletesAllThatBeginSo: "D2",
    ScanOutOfOrder: "C1",
    ScanShowsTheDeleted: "C1",
    ListsAllThatBeginSo: "C1",
    LimitBeforeFilter: "C1",
    TombstonesInThePage: "C1",
    PagesByNumber: "C1",
    AfterWhatIsThere: "C1",
    StatusOfTheFirstCommit: "C1",
    DeclaresNothing: "C1",
}
"""Each class with the guarantee that must catch it."""
