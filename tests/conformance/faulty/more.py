"""More broken adapters, beyond those that everybody has met: what a hurried author might well write."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

from attrs import evolve

from settled import ConflictError, Key, SettledError
from settled.durable import Capability, DeadLetter, Delivery, Finished, Index, Message, Stored, Timer, Write
from tests.conformance.faulty.reference import Entry, Lane, Plain, locked


class DelayIgnored(Plain):
    """What is given back is handed out at once."""

    @locked
    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        super().release(deliveries)


class ExtensionIgnored(Plain):
    """Extending is answered, and nothing is done."""

    @locked
    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        pass


class ExtensionOfTheLost(Plain):
    """A lost lease can be extended, says the adapter."""

    @locked
    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        try:
            super().extend(deliveries, lease)
        except ConflictError:
            return


class LimitIgnored(Plain):
    """Who asks for one message is handed the whole line."""

    @locked
    def receive(self, limit: int, wait: float = 0.0) -> Sequence[Delivery]:
        return super().receive(limit and 1000)


class CancelsForgotten(Plain):
    """A write schedules, but cancels nothing."""

    def pay(self, write: Write) -> None:
        super().pay(evolve(write, cancels=()))


class TimersForgotten(Plain):
    """A write sends, but schedules nothing."""

    def pay(self, write: Write) -> None:
        super().pay(evolve(write, timers=()))


class AcksOnConflict(Plain):
    """A write that is refused has already acknowledged."""

    @locked
    def finish(self, write: Write) -> None:
        self.ack(write.acks)
        super().finish(evolve(write, acks=()))


class BuriesOnConflict(Plain):
    """A commit that is refused has already set aside."""

    def put(self, key: Key, stored: Stored, expected: int, bury: Sequence[DeadLetter], unbury: int) -> None:
        self.move_letters(key, bury, unbury)
        super().put(key, stored, expected, (), 0)


class UnburiesFromTheTail(Plain):
    """The newest dead letters leave first."""

    def move_letters(self, key: Key, bury: Sequence[DeadLetter], unbury: int) -> None:
        letters = self.world.letters.get(key, [])
        self.world.letters[key] = [*letters[: len(letters) - unbury], *bury]


class BuriesAtTheHead(Plain):
    """The newest dead letter lies on top."""

    def move_letters(self, key: Key, bury: Sequence[DeadLetter], unbury: int) -> None:
        self.world.letters[key] = [*bury, *self.world.letters.get(key, [])[unbury:]]


class KeepsLettersOfTheDeleted(Plain):
    """What is deleted leaves its dead letters behind."""

    @locked
    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        self.expect(key, expected)
        self.world.records[key] = tombstone


class UnguardedDelete(Plain):
    """What is deleted is deleted whatever its version."""

    @locked
    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        super().delete(key, tombstone, self.version(key))


class ScanOutOfOrder(Plain):
    """Lists in the order of creation."""

    @locked
    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Sequence[tuple[Key, Stored]]:
        return super().scan(machine, after, limit, status)[::-1]


class ScanShowsTheDeleted(Plain):
    """Lists what is not there."""

    @locked
    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Sequence[tuple[Key, Stored]]:
        found = sorted(self.world.records.items())
        return [each for each in found if after is None or each[0] > after][:limit]


class IndexForgotten(Plain):
    """The text is kept, and what it could be listed by is not."""

    @locked
    def load(self, key: Key) -> Stored | None:
        stored = self.world.records.get(key)
        return stored and evolve(stored, index=Index(stored.index.status))


class CaseInsensitiveKeys(Plain):
    """A database that takes A for a."""

    def group(self, key: Key) -> Lane:
        return super().group(Key(key.machine.lower(), key.instance.lower()))


class NormalisedText(Plain):
    """A database that takes two ways to write é for one."""

    def append(self, message: Message) -> None:
        super().append(evolve(message, body=unicodedata.normalize("NFC", message.body)))


class NoNul(Plain):
    """A database whose texts end at a NUL."""

    def message(self, entry: Entry) -> Message:
        return evolve(entry.message, body=entry.message.body.split("\0")[0])


class ShortKeys(Plain):
    """A queue whose keys are cut at 128 characters."""

    def group(self, key: Key) -> Lane:
        return super().group(Key(key.machine, key.instance[:128]))


class AttemptsNeverGrow(Plain):
    """Each hand-out says that it is the first."""

    def attempt(self, group: Lane, entry: Entry) -> int:
        return 1


class TimerOnlyWhenIdle(Plain):
    """A timer that falls due while its key is held is dropped."""

    def fire(self) -> None:
        for timer in list(self.world.timers.values()):
            if self.is_due(timer):
                del self.world.timers[timer.id]
                if self.group(timer.message.key).lease is None:
                    self.append(timer.message)


class OneTimerAtATime(Plain):
    """A timer replaces every other one of its key."""

    @locked
    def schedule(self, timer: Timer) -> None:
        for other in list(self.world.timers.values()):
            if other.message.key == timer.message.key:
                del self.world.timers[other.id]
        super().schedule(timer)


class ReusedReceipts(Plain):
    """A receipt is the message's id."""

    def hand_out(self, group: Lane, limit: int) -> list[Delivery]:
        deliveries = super().hand_out(group, limit)
        assert group.lease is not None
        group.lease.entries = {entry.message.id: entry for entry in group.lease.entries.values()}
        return [evolve(each, receipt=each.message.id) for each in deliveries]


class StarvesTheOthers(Plain):
    """A key with a backlog keeps its place at the head of the line."""

    def come_back(self, group: Lane) -> None:
        pass


class ReleasesOneOnly(Plain):
    """Giving back a batch gives back its first message, and the rest is lost."""

    @locked
    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        for delivery in deliveries[1:]:
            group = self.group(delivery.message.key)
            if self.holds(group, delivery) and group.lease is not None:
                group.entries.remove(group.lease.entries[delivery.receipt])
        super().release(deliveries[:1], delay)


class CommitWithoutLock(Plain):
    """Two handles of one place, each with a lock of its own."""

    def commit(self, key: Key, stored: Stored, expected: int, bury: Sequence[DeadLetter] = (), unbury: int = 0) -> None:
        found = self.world.records.get(key)
        if (found.version if found else 0) != expected:
            raise ConflictError(f"{key}: expected version {expected}")
        self.world.records[key] = stored
        self.move_letters(key, bury, unbury)


class SendsOutsideTheCommit(Plain):
    """Declares that a write is atomic, and sends in a second round trip."""

    @locked
    def finish(self, write: Write) -> None:
        super().finish(evolve(write, sends=(), timers=(), cancels=(), acks=()))
        self.trip("what is owed")
        super().finish(evolve(write, stored=None, bury=(), unbury=0))


class RefusalTakesTheOthers(Plain):
    """Of several writes none is done after one that is refused."""

    @locked
    def finish_all(self, writes: Sequence[Write], receive: int = 0) -> Finished:
        refused = dict[Key, SettledError]()
        for write in writes:
            if refused:
                refused[write.key] = ConflictError("another one was refused")
                continue
            try:
                self.finish(write)
            except SettledError as error:
                refused[write.key] = error
        return Finished(refused, tuple(self.receive(receive)))


class RefusalUnsaid(Plain):
    """Of several writes one that is refused is said to be done."""

    @locked
    def finish_all(self, writes: Sequence[Write], receive: int = 0) -> Finished:
        return Finished({}, super().finish_all(writes, receive).deliveries)


class DeclaresNothing(Plain):
    """Can list, and does not say so."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset()


class BareErrors(Plain):
    """A late acknowledgement ends in an error of the adapter's own insides."""

    def holds(self, group: Lane, delivery: Delivery) -> bool:
        return self.world.now < (group.lease.until if group.lease else 0.0)


class Empty(Plain):
    """Answers everything, and does nothing."""

    @locked
    def send(self, messages: Sequence[Message]) -> None:
        pass

    @locked
    def receive(self, limit: int, wait: float = 0.0) -> Sequence[Delivery]:
        return ()

    @locked
    def finish(self, write: Write) -> None:
        pass


MORE: Mapping[type[Plain], str] = {
    DelayIgnored: "R2",
    ExtensionIgnored: "R2",
    ExtensionOfTheLost: "R5",
    LimitIgnored: "F8",
    CancelsForgotten: "T3",
    TimersForgotten: "T2",
    AcksOnConflict: "R6",
    BuriesOnConflict: "R6",
    UnburiesFromTheTail: "X10",
    BuriesAtTheHead: "X6",
    KeepsLettersOfTheDeleted: "R3",
    UnguardedDelete: "R6",
    ScanOutOfOrder: "C1",
    ScanShowsTheDeleted: "C1",
    IndexForgotten: "D6",
    CaseInsensitiveKeys: "F8",
    NormalisedText: "D6",
    NoNul: "D6",
    ShortKeys: "F8",
    AttemptsNeverGrow: "X6",
    TimerOnlyWhenIdle: "T2",
    OneTimerAtATime: "T2",
    ReusedReceipts: "R5",
    StarvesTheOthers: "F6",
    ReleasesOneOnly: "F2",
    CommitWithoutLock: "R6",
    SendsOutsideTheCommit: "R9",
    RefusalTakesTheOthers: "R9",
    RefusalUnsaid: "R6",
    DeclaresNothing: "C1",
    BareErrors: "D3",
    Empty: "D1",
}
"""Broken adapters that are on nobody's list, each with a guarantee that must catch it."""
