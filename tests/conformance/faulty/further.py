"""Adapters that do well for a while: broken past a number or a size, for names that are alike, or in a later life."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, cast

from attrs import evolve

from settled import ConflictError, IdReusedError, Key
from settled.durable import DeadLetter, Delivery, Finished, Message, Stored, Timer, Write
from tests.conformance.faulty.reference import Entry, Lane, Plain, locked

Page = Sequence[tuple[Key, Stored]]

# Past a number


class SequenceOfThreeDigits(Plain):
    """Places in the line are text of three digits: the thousandth comes before the hundredth."""

    def batch(self, group: Lane, limit: int) -> list[Entry]:
        return sorted(group.entries, key=lambda entry: f"{entry.place:03}")[:limit]


class SequenceOfTwelveDigits(Plain):
    """The same with so many digits that nobody will ever send as many."""

    def batch(self, group: Lane, limit: int) -> list[Entry]:
        return sorted(group.entries, key=lambda entry: f"{entry.place:012}")[:limit]


class VersionsOfOneByte(Plain):
    """A version is a number below 256."""

    def expect(self, key: Key, expected: int) -> None:
        if self.version(key) % 256 != expected % 256 or (self.version(key) == 0) != (expected == 0):
            raise ConflictError(f"{key}: expected version {expected}")


class UnguardedPastManyVersions(Plain):
    """Numbers are compared by what they are in memory, and where that is never the same, not at all."""

    def expect(self, key: Key, expected: int) -> None:
        if self.version(key) <= 256:
            super().expect(key, expected)


class VersionsOfAWord(Plain):
    """A version is kept in 32 bits."""

    def expect(self, key: Key, expected: int) -> None:
        if self.version(key) & 0xFFFFFFFF != expected & 0xFFFFFFFF:
            raise ConflictError(f"{key}: expected version {expected}")


class SixtyFourKeys(Plain):
    """Whoever receives looks at the first 64 keys that have messages, held or not."""

    def ready(self) -> list[Lane]:
        first = [group for group in self.world.groups.values() if group.entries][:64]
        return [group for group in super().ready() if group in first]


class OnlyHotKeys(Plain):
    """Whoever receives looks at the keys that were sent to last."""

    def append(self, message: Message) -> None:
        super().append(message)
        self.world.groups[message.key] = self.world.groups.pop(message.key)

    def ready(self) -> list[Lane]:
        hot = list(self.world.groups.values())[-16:]
        return [group for group in super().ready() if group in hot]


class BusyKeysFirst(Plain):
    """The key with the most to do comes first."""

    def ready(self) -> list[Lane]:
        return sorted(super().ready(), key=lambda group: -len(group.entries))


class LettersOfAHundred(Plain):
    """The hundred newest dead letters are kept."""

    def move_letters(self, key: Key, bury: Sequence[DeadLetter], unbury: int) -> None:
        super().move_letters(key, bury, unbury)
        self.world.letters[key] = self.world.letters[key][-100:]


# A receipt after an extension


class ReceiptForEver(Plain):
    """A receipt that was extended once is good, whoever holds the key now."""

    @locked
    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        super().extend(deliveries, lease)
        self.world.notes.setdefault("extended", set()).update(each.receipt for each in deliveries)

    def holds(self, group: Lane, delivery: Delivery) -> bool:
        if delivery.receipt not in self.world.notes.get("extended", ()):
            return super().holds(group, delivery)
        if group.lease is not None and group.entries:
            group.lease.entries.setdefault(delivery.receipt, group.entries[0])
        return group.lease is not None

    def consume(self, group: Lane, delivery: Delivery) -> None:
        assert group.lease is not None
        entry = group.lease.entries.pop(delivery.receipt)
        group.entries = [each for each in group.entries if each is not entry]
        if not group.lease.entries:
            self.end_lease(group)


class ReceiptOfTheFirstLease(Plain):
    """What was extended is held for longer, and acknowledged for as long as it was held at first."""

    def holds(self, group: Lane, delivery: Delivery) -> bool:
        return super().holds(group, delivery) and self.world.now < delivery.until

    @locked
    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        super().extend([evolve(each, until=self.world.now + 1) for each in deliveries], lease)


# A new life


class LettersOfTheFormerLife(Plain):
    """What is deleted hides its dead letters, and what comes after it has them again."""

    @locked
    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        letters = self.world.letters.get(key, [])
        super().delete(key, tombstone, expected)
        self.world.letters[key] = letters

    @locked
    def dead_letters(self, key: Key) -> Sequence[DeadLetter]:
        stored = self.world.records.get(key)
        return () if stored is not None and stored.is_deleted else super().dead_letters(key)


# Names that begin alike


class CancelsAllThatBeginSo(Plain):
    """A timer is cancelled by the beginning of its id."""

    @locked
    def cancel(self, timer_id: str) -> None:
        for id in [each for each in self.world.timers if each.startswith(timer_id)]:
            del self.world.timers[id]


class DeletesAllThatBeginSo(Plain):
    """What is deleted takes with it the dead letters of all keys that begin so."""

    @locked
    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        super().delete(key, tombstone, expected)
        for other in [each for each in self.world.letters if str(each).startswith(str(key))]:
            del self.world.letters[other]


class KnowsAllThatBeginSo(Plain):
    """An id is looked up in the text of those that are known."""

    def is_known(self, group: Lane, message: Message) -> bool:
        return any(known.startswith(message.id) for known in group.known)


class ListsAllThatBeginSo(Plain):
    """The machine is the beginning of the key."""

    @locked
    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Page:
        found = super().scan(None, after, 10**6, status)
        return [each for each in found if each[0].machine.startswith(machine or "")][:limit]


# A known id with another body


class KnownByLength(Plain):
    """Two bodies of one length are one."""

    def check(self, message: Message) -> None:
        pass

    def append(self, message: Message) -> None:
        super().append(evolve(message))

    def is_known(self, group: Lane, message: Message) -> bool:
        if message.id in group.known:
            lengths: dict[Any, int] = self.world.notes.setdefault("lengths", {})
            return lengths.setdefault((message.key, message.id), len(message.body)) == len(message.body)
        self.world.notes.setdefault("lengths", {})[message.key, message.id] = len(message.body)
        return False


class KnownByMeaning(Plain):
    """Two bodies that say the same as JSON are one."""

    def check(self, message: Message) -> None:
        known = self._meanings.get((message.key, message.id))
        if known is not None and known != _meaning(message.body):
            super().check(message)

    def is_known(self, group: Lane, message: Message) -> bool:
        meaning = _meaning(message.body)
        return self._meanings.setdefault((message.key, message.id), meaning) == meaning and message.id in group.known

    @property
    def _meanings(self) -> dict[tuple[Key, str], str]:
        meanings: dict[tuple[Key, str], str] = self.world.notes.setdefault("meanings", {})
        return meanings


def _meaning(body: str) -> str:
    try:
        return json.dumps(json.loads(body), sort_keys=True)
    except ValueError:
        return body


class RefusedHalfway(Plain):
    """A batch is sent up to the message that is refused."""

    @locked
    def send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            super().send([message])


class DroppedByAnotherHandle(Plain):
    """A handle refuses what it has itself sent with another body, and takes what others have sent for a repetition."""

    def check(self, message: Message) -> None:
        mine: set[str] = self.__dict__.setdefault("mine", set())
        if message.id in mine or message.id not in self.group(message.key).known:
            super().check(message)
        mine.add(message.id)

    def is_known(self, group: Lane, message: Message) -> bool:
        return message.id in group.known


# Pages


class LimitBeforeFilter(Plain):
    """So many are read, and of these the right ones are listed."""

    @locked
    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Page:
        found = super().scan(machine, after, limit)
        return [each for each in found if status in (None, each[1].index.status)]


class TombstonesInThePage(Plain):
    """What was deleted is left out of the page, once it was counted for it."""

    @locked
    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Page:
        rows = [each for each in sorted(self.world.records.items()) if after is None or each[0] > after]
        rows = [each for each in rows if machine in (None, each[0].machine)]
        rows = [each for each in rows if each[1].is_deleted or status in (None, each[1].index.status)][:limit]
        return [each for each in rows if not each[1].is_deleted]


class PagesByNumber(Plain):
    """A page begins so many rows behind the first as there were before it."""

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
    """A page that begins behind what was deleted meanwhile is the first one."""

    @locked
    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Page:
        stored = self.world.records.get(after) if after else None
        is_there = stored is not None and not stored.is_deleted
        return super().scan(machine, after, limit, status) if after is None or is_there else ()


class StatusOfTheFirstCommit(Plain):
    """What an instance is listed by is noted when it is created."""

    @locked
    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Page:
        first: dict[Key, str] = self.world.notes.setdefault("first", {})
        found = super().scan(machine, after, 10**6)
        for key, stored in found:
            first.setdefault(key, "active" if stored.version > 1 else stored.index.status)
        return [each for each in found if status in (None, first[each[0]])][:limit]


# A timer in another's place


class KeepsTheMessage(Plain):
    """A timer that is there comes at its new time, and says to whom it said before what it said before."""

    def replaced(self, old: Timer, new: Timer) -> Timer:
        return evolve(new, message=old.message)


class KeepsTheKey(Plain):
    """It goes to whom the first one went."""

    def replaced(self, old: Timer, new: Timer) -> Timer:
        return evolve(new, message=evolve(new.message, key=old.message.key))


class KeepsTheBody(Plain):
    """It says what the first one said."""

    def replaced(self, old: Timer, new: Timer) -> Timer:
        return evolve(new, message=evolve(new.message, body=old.message.body))


class KeepsTheId(Plain):
    """Its message has the id of the first one's."""

    def replaced(self, old: Timer, new: Timer) -> Timer:
        return evolve(new, message=evolve(new.message, id=old.message.id))


class KeepsTheEarlierTime(Plain):
    """It comes when the first one was due, if that is earlier."""

    def replaced(self, old: Timer, new: Timer) -> Timer:
        return evolve(new, due=min(old.due, new.due))


class KeepsTheLaterTime(Plain):
    """It comes when the first one was due, if that is later."""

    def replaced(self, old: Timer, new: Timer) -> Timer:
        return evolve(new, due=max(old.due, new.due))


# Texts that are cut


class BodiesOfA256Kibibytes(Plain):
    """A message is cut at the size of SQS."""

    def message(self, entry: Entry) -> Message:
        return evolve(entry.message, body=entry.message.body[: 2**18])


class RecordsOfAMebibyte(Plain):
    """A record is cut behind its first mebibyte, in bytes."""

    @locked
    def load(self, key: Key) -> Stored | None:
        stored = super().load(key)
        if stored is None or len(stored.body) < 2**18:
            return stored
        return evolve(stored, body=stored.body.encode()[: 2**20].decode(errors="ignore"))


class LettersOf64Kibibytes(Plain):
    """A dead letter is a column of 65,536 bytes."""

    def move_letters(self, key: Key, bury: Sequence[DeadLetter], unbury: int) -> None:
        cut = [evolve(each, message=evolve(each.message, body=each.message.body[: 2**16])) for each in bury]
        super().move_letters(key, cut, unbury)


class TimersOfTwoMebibytes(Plain):
    """A timer's message is cut at two mebibytes."""

    @locked
    def schedule(self, timer: Timer) -> None:
        super().schedule(evolve(timer, message=evolve(timer.message, body=timer.message.body[: 2**21])))


class LosesTheLastPiece(Plain):
    """Texts are kept in pieces of 64 KiB; what is a whole number of them loses the last."""

    def message(self, entry: Entry) -> Message:
        body = entry.message.body
        return evolve(entry.message, body=body[: -(2**16)]) if body and len(body) % 2**16 == 0 else entry.message


# Parts of others


class OutboxOfAnother(Plain):
    """What a record owes is kept beside it, under the version alone."""

    @locked
    def load(self, key: Key) -> Stored | None:
        stored = super().load(key)
        if stored is None or stored.is_deleted:
            return stored
        record, others = (
            _record(stored),
            [_record(each) for each in self.world.records.values() if each.version == stored.version],
        )
        owed = [each["outbox"] for each in others if each.get("outbox")]
        if not record.get("outbox") or not owed:
            return stored
        return evolve(stored, body=json.dumps({**record, "outbox": owed[-1]}, ensure_ascii=False))


def _record(stored: Stored) -> dict[str, Any]:
    try:
        record = json.loads(stored.body)
    except ValueError:
        return {}
    return cast("dict[str, Any]", record) if isinstance(record, dict) else {}


# Of no kind


class ReleasesTheFirstKey(Plain):
    """What is given back together is given back for the key that stands first."""

    @locked
    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        super().release([each for each in deliveries if each.message.key == deliveries[0].message.key], delay)


class AckStopsAtALostOne(Plain):
    """Of several acknowledgements none counts behind one that comes too late."""

    @locked
    def ack(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            if not self.holds(self.group(delivery.message.key), delivery):
                return
            super().ack([delivery])


class ExtendStopsAtALostOne(Plain):
    """Of several extensions none is made if one of the leases was lost."""

    @locked
    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        if not all(self.holds(self.group(each.message.key), each) for each in deliveries):
            raise ConflictError("a lease was lost")
        super().extend(deliveries, lease)


class PauseEndsWithATimer(Plain):
    """A timer that fires wakes its key, whatever it waits for."""

    def fire(self) -> None:
        for timer in self.world.timers.values():
            if self.is_due(timer):
                self.group(timer.message.key).parked_until = 0.0
        super().fire()


class TimesOf32Bits(Plain):
    """Times are numbers of single precision, which know two minutes at best."""

    def move_letters(self, key: Key, bury: Sequence[DeadLetter], unbury: int) -> None:
        super().move_letters(
            key, [evolve(each, at=struct.unpack("f", struct.pack("f", each.at))[0]) for each in bury], unbury
        )


class DetailsCut(Plain):
    """Of how a message failed the first thousand characters are kept."""

    def move_letters(self, key: Key, bury: Sequence[DeadLetter], unbury: int) -> None:
        super().move_letters(key, [evolve(each, detail=each.detail[:1000]) for each in bury], unbury)


class IdsOf255(Plain):
    """The ids of messages are known by their first 255 characters."""

    def is_known(self, group: Lane, message: Message) -> bool:
        return any(known[:255] == message.id[:255] for known in group.known)


class JointReceivesUnasked(Plain):
    """With several writes comes what there is, however much was asked for."""

    @locked
    def finish_all(self, writes: Sequence[Write], receive: int = 0) -> Finished:
        return super().finish_all(writes, 10)


class CloseEndsLeases(Plain):
    """Who closes a handle gives back all that anybody holds."""

    def close(self) -> None:
        for group in self.world.groups.values():
            if group.lease is not None:
                self.end_lease(group)


class DeleteTakesMessages(Plain):
    """What is deleted takes with it what waits for it."""

    @locked
    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        super().delete(key, tombstone, expected)
        self.group(key).entries.clear()


class JointRaisesForAll(Plain):
    """An id that one of several writes has used again is raised, and the writes behind it are not made."""

    @locked
    def finish_all(self, writes: Sequence[Write], receive: int = 0) -> Finished:
        done = list[Write]()
        for write in writes:
            try:
                self.check_all(write.sends)
            except IdReusedError:
                super().finish_all(done)
                raise
            done.append(write)
        return super().finish_all(writes, receive)


FURTHER: Mapping[type[Plain], str] = {
    SequenceOfThreeDigits: "F8",
    SequenceOfTwelveDigits: "F8",
    VersionsOfOneByte: "R6",
    UnguardedPastManyVersions: "R4",
    VersionsOfAWord: "R6",
    SixtyFourKeys: "F6",
    OnlyHotKeys: "F6",
    BusyKeysFirst: "F6",
    LettersOfAHundred: "X6",
    ReceiptForEver: "R5",
    ReceiptOfTheFirstLease: "R2",
    LettersOfTheFormerLife: "X6",
    CancelsAllThatBeginSo: "T2",
    DeletesAllThatBeginSo: "D2",
    KnowsAllThatBeginSo: "D1",
    ListsAllThatBeginSo: "C1",
    KnownByLength: "X11",
    KnownByMeaning: "X11",
    RefusedHalfway: "X11",
    DroppedByAnotherHandle: "X11",
    LimitBeforeFilter: "C1",
    TombstonesInThePage: "C1",
    PagesByNumber: "C1",
    AfterWhatIsThere: "C1",
    StatusOfTheFirstCommit: "C1",
    KeepsTheMessage: "T4",
    KeepsTheKey: "T4",
    KeepsTheBody: "T4",
    KeepsTheId: "T4",
    KeepsTheEarlierTime: "T4",
    KeepsTheLaterTime: "T4",
    BodiesOfA256Kibibytes: "D6",
    RecordsOfAMebibyte: "D6",
    LettersOf64Kibibytes: "D6",
    TimersOfTwoMebibytes: "D6",
    LosesTheLastPiece: "D6",
    OutboxOfAnother: "R9",
    ReleasesTheFirstKey: "R2",
    AckStopsAtALostOne: "R5",
    ExtendStopsAtALostOne: "R2",
    PauseEndsWithATimer: "R2",
    TimesOf32Bits: "D6",
    DetailsCut: "D6",
    IdsOf255: "D1",
    JointReceivesUnasked: "F8",
    CloseEndsLeases: "R1",
    DeleteTakesMessages: "D1",
    JointRaisesForAll: "R9",
}
"""Broken adapters that earlier suites did not see, each with the guarantee that must catch it."""
