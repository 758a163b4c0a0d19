"""Adapters that are broken in one way each. Whoever reads them sees how little it takes.

`MUTANTS` says by which guarantee each must be caught; being caught by others as well is no fault.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve

from settled import ConflictError, Key, LeaseLostError, UnavailableError
from settled.durable import DeadLetter, Delivery, Message, Position, Stored, Timer, Write
from tests.conformance.faulty.reference import Entry, Lane, Plain, locked

# Order


class Lifo(Plain):
    """The newest message is handed out first."""

    def batch(self, group: Lane, limit: int) -> list[Entry]:
        return group.entries[::-1][:limit]


class NackToTail(Plain):
    """What is given back goes to the end of its line."""

    @locked
    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        for delivery in deliveries:
            group = self.group(delivery.message.key)
            if self.holds(group, delivery) and group.lease is not None:
                held = list(group.lease.entries.values())
                group.entries = [entry for entry in group.entries if entry not in held] + held
        super().release(deliveries, delay)


class ExpiryToTail(Plain):
    """What was held too long goes to the end of its line."""

    def expire(self) -> None:
        for group in self.world.groups.values():
            if group.lease is not None and group.lease.until <= self.world.now:
                held = list(group.lease.entries.values())
                group.entries = [entry for entry in group.entries if entry not in held] + held
        super().expire()


class ReversedBatch(Plain):
    """The right messages, the wrong way round."""

    def batch(self, group: Lane, limit: int) -> list[Entry]:
        return super().batch(group, limit)[::-1]


class DuplicatedBatchHead(Plain):
    """A batch of several repeats its first message."""

    def batch(self, group: Lane, limit: int) -> list[Entry]:
        batch = super().batch(group, limit)
        return [batch[0], *batch] if 1 < len(batch) < limit else batch

    def consume(self, group: Lane, delivery: Delivery) -> None:
        assert group.lease is not None
        entry = group.lease.entries.pop(delivery.receipt)
        if entry in group.entries:
            group.entries.remove(entry)
        if not group.lease.entries:
            self.end_lease(group)


class LexicographicSequence(Plain):
    """Places in the line are numbers, and sorted as text: the tenth comes behind the first."""

    def batch(self, group: Lane, limit: int) -> list[Entry]:
        numbers = {id: number for number, id in enumerate(self.arrivals(group), 1)}
        group.entries.sort(key=lambda entry: str(numbers[entry.message.id]))
        return super().batch(group, limit)

    def arrivals(self, group: Lane) -> list[str]:
        return list(group.known)


# Leases


class LockPerEvent(Plain):
    """The lease is one message's, and not its key's."""

    def is_free(self, group: Lane) -> bool:
        return True

    def batch(self, group: Lane, limit: int) -> list[Entry]:
        held = list(group.lease.entries.values()) if group.lease else []
        return [entry for entry in group.entries if entry not in held][:limit]

    def hand_out(self, group: Lane, limit: int) -> list[Delivery]:
        before = group.lease
        if not self.batch(group, limit):
            return []
        deliveries = super().hand_out(group, limit)
        if before is not None and group.lease is not None:
            group.lease.entries = {**before.entries, **group.lease.entries}
        return deliveries


class CheckThenSetClaim(Plain):
    """Whether a key is free is found out before it is claimed, and not while."""

    def receive(self, limit: int, wait: float = 0.0) -> Sequence[Delivery]:
        with self.world.lock:
            self.fire()
            self.expire()
            free = self.ready() if limit else []
        deliveries = list[Delivery]()
        for group in free:
            if len(deliveries) < limit:
                deliveries += self.hand_out(group, limit - len(deliveries))
        return deliveries


class EarlyExpiry(Plain):
    """Leases end a moment before they should."""

    def expire(self) -> None:
        for group in self.world.groups.values():
            if group.lease is not None and group.lease.until - 0.1 <= self.world.now:
                self.end_lease(group)


class LeaseNeverExpires(Plain):
    """Who holds a key holds it for ever."""

    def expire(self) -> None:
        pass


class ZombieAck(Plain):
    """An acknowledgement counts, whoever holds the key now."""

    @locked
    def ack(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            group = self.group(delivery.message.key)
            group.entries = [entry for entry in group.entries if entry.message.id != delivery.message.id]
            self.end_lease(group)


class ZombieRelease(Plain):
    """A release counts, whoever holds the key now."""

    @locked
    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        for delivery in deliveries:
            group = self.group(delivery.message.key)
            group.parked_until = self.world.now + delay
            self.end_lease(group)


# Commits


class VersionResetOnDrain(Plain):
    """A deleted key begins again at nothing."""

    @locked
    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        self.expect(key, expected)
        del self.world.records[key]
        self.world.letters.pop(key, None)


class CasWithoutFence(Plain):
    """A commit only looks whether there is something to replace."""

    def expect(self, key: Key, expected: int) -> None:
        if (self.version(key) == 0) != (expected == 0):
            raise ConflictError(f"{key}: expected version {expected}")


class CheckThenPut(Plain):
    """The version is looked up before the write, and not by it."""

    def commit(self, key: Key, stored: Stored, expected: int, bury: Sequence[DeadLetter] = (), unbury: int = 0) -> None:
        self.expect(key, expected)
        self.world.records[key] = stored
        self.move_letters(key, bury, unbury)


class UnguardedCreate(Plain):
    """What is created is written without looking."""

    def expect(self, key: Key, expected: int) -> None:
        if expected:
            super().expect(key, expected)


class BlindRetryOnConflict(Plain):
    """A conflict is mended by trying again over whatever is there."""

    def put(self, key: Key, stored: Stored, expected: int, bury: Sequence[DeadLetter], unbury: int) -> None:
        try:
            super().put(key, stored, expected, bury, unbury)
        except ConflictError:
            version = self.version(key)
            super().put(key, evolve(stored, version=version + 1), version, bury, unbury)


class LoserLeavesOutbox(Plain):
    """What a write owes is sent first, and then the write may be refused."""

    @locked
    def finish(self, write: Write) -> None:
        self.pay(write)
        super().finish(write)


class StaleCache(Plain):
    """Each handle remembers what it has read."""

    @locked
    def load(self, key: Key) -> Stored | None:
        cache: dict[Key, Stored | None] = self.__dict__.setdefault("cache", {})
        return cache.setdefault(key, self.world.records.get(key))

    def version(self, key: Key) -> int:
        stored = self.world.records.get(key)
        return 0 if stored is None else stored.version

    def put(self, key: Key, stored: Stored, expected: int, bury: Sequence[DeadLetter], unbury: int) -> None:
        super().put(key, stored, expected, bury, unbury)
        self.__dict__.setdefault("cache", {})[key] = stored


class AliasedSnapshot(Plain):
    """What is read is the very thing that is stored."""

    @locked
    def dead_letters(self, key: Key) -> Sequence[DeadLetter]:
        return self.world.letters.setdefault(key, [])


class TornCommit(Plain):
    """The record in one write, the dead letters in the next."""

    def commit(self, key: Key, stored: Stored, expected: int, bury: Sequence[DeadLetter] = (), unbury: int = 0) -> None:
        with self.world.lock:
            self.expect(key, expected)
            self.world.records[key] = stored
        self.trip("dead letters")
        with self.world.lock:
            self.move_letters(key, bury, unbury)


# Debts


class OutboxAfterCommit(Plain):
    """What a write owes is kept in the handle, and sent along with whatever it does next."""

    def pay(self, write: Write) -> None:
        self.__dict__.setdefault("owed", []).append(write)

    @locked
    def receive(self, limit: int, wait: float = 0.0) -> Sequence[Delivery]:
        if limit:
            for write in self.__dict__.pop("owed", []):
                super().pay(write)
        return super().receive(limit, wait)


class MarkedDoneBeforeSend(Plain):
    """A message is acknowledged, and then what it owes is sent."""

    @locked
    def finish(self, write: Write) -> None:
        super().finish(evolve(write, sends=(), timers=(), cancels=()))
        self.trip("what is owed")
        self.pay(write)


# Loss


class AckClearsQueue(Plain):
    """An acknowledgement empties the line."""

    def consume(self, group: Lane, delivery: Delivery) -> None:
        super().consume(group, delivery)
        if group.lease is None:
            group.entries.clear()


class PartialAckTakesBatch(Plain):
    """Who acknowledges one message acknowledges all that came with it."""

    def consume(self, group: Lane, delivery: Delivery) -> None:
        held = list(group.lease.entries.values()) if group.lease else []
        group.entries = [entry for entry in group.entries if entry not in held]
        self.end_lease(group)


class LostWakeUp(Plain):
    """A key is put on the list of those to look at when a message finds it idle, and not when it comes back."""

    def append(self, message: Message) -> None:
        group = self.group(message.key)
        if not group.entries:
            group.parked_until = 0.0
        super().append(message)

    def consume(self, group: Lane, delivery: Delivery) -> None:
        sent_meanwhile = len(group.entries) > len(group.lease.entries) if group.lease else False
        super().consume(group, delivery)
        if sent_meanwhile and group.lease is None:
            group.parked_until = float("inf")


class HeadOfLineBlock(Plain):
    """As long as one key is held, nobody is handed anything."""

    def ready(self) -> list[Lane]:
        waiting = [group for group in self.world.groups.values() if group.entries]
        return super().ready() if all(self.is_free(group) for group in waiting) else []


class BufferedSend(Plain):
    """Sends are kept in the handle until it receives."""

    @locked
    def send(self, messages: Sequence[Message]) -> None:
        self.__dict__.setdefault("buffer", []).extend(messages)

    @locked
    def receive(self, limit: int, wait: float = 0.0) -> Sequence[Delivery]:
        super().send(self.__dict__.pop("buffer", []))
        return super().receive(limit, wait)


class SwallowedSendError(Plain):
    """A send that failed is answered like one that did not."""

    @locked
    def send(self, messages: Sequence[Message]) -> None:
        try:
            super().send(messages)
        except UnavailableError:
            return


class FloatNumbers(Plain):
    """Bodies are read and written as JSON whose numbers are floats."""

    def message(self, entry: Entry) -> Message:
        try:
            body = json.dumps(json.loads(entry.message.body, parse_int=float))
        except ValueError:
            return entry.message
        return evolve(entry.message, body=body)


class Truncation(Plain):
    """What is too long is cut off."""

    def message(self, entry: Entry) -> Message:
        return evolve(entry.message, body=entry.message.body[:65536])


# Duplicates


class NoDedup(Plain):
    """Every send is a new message."""

    def is_known(self, group: Lane, message: Message) -> bool:
        return False


class GlobalDedup(Plain):
    """An id is known for one key, and therefore for all."""

    def is_known(self, group: Lane, message: Message) -> bool:
        return any(message.id in each.known for each in self.world.groups.values())


class DedupForgottenOnAck(Plain):
    """Only what waits is known."""

    def is_known(self, group: Lane, message: Message) -> bool:
        return any(entry.message.id == message.id for entry in group.entries)


class DedupByContent(Plain):
    """What says the same is the same."""

    def is_known(self, group: Lane, message: Message) -> bool:
        return message.id in group.known or any(entry.message.body == message.body for entry in group.entries)


REMEMBERED = ("window", "pinned", "outcomes", "senders", "high_water_mark")
"""The fields by which a record knows what it has taken."""


class ConsumedIdsDropped(Plain):
    """A store that finds the ids of old messages too long to keep."""

    @locked
    def load(self, key: Key) -> Stored | None:
        stored = self.world.records.get(key)
        if stored is None or stored.is_deleted:
            return stored
        try:
            record: dict[str, Any] = json.loads(stored.body)
            kept = {name: value for name, value in record.items() if name not in REMEMBERED}
        except (ValueError, AttributeError):
            return stored
        return evolve(stored, body=json.dumps(kept, ensure_ascii=False, separators=(",", ":")))


class NewIdOnRedelivery(Plain):
    """A message that comes again comes under another name."""

    def message(self, entry: Entry) -> Message:
        if entry.attempts < 2:
            return entry.message
        return evolve(entry.message, id=f"{entry.message.id}-{entry.attempts}")


class KeyPrefixCollision(Plain):
    """Keys are joined by a colon, and only the first part counts."""

    def group(self, key: Key) -> Lane:
        return super().group(_shortened(key))

    @locked
    def load(self, key: Key) -> Stored | None:
        return self.world.records.get(_shortened(key))

    def put(self, key: Key, stored: Stored, expected: int, bury: Sequence[DeadLetter], unbury: int) -> None:
        super().put(_shortened(key), stored, expected, bury, unbury)

    @locked
    def dead_letters(self, key: Key) -> Sequence[DeadLetter]:
        return super().dead_letters(_shortened(key))


# Dead letters


class NoDeadLetters(Plain):
    """What is set aside is gone."""

    def move_letters(self, key: Key, bury: Sequence[DeadLetter], unbury: int) -> None:
        pass


class DeadLetterLosesPayload(Plain):
    """Of what is set aside only the id is kept."""

    def move_letters(self, key: Key, bury: Sequence[DeadLetter], unbury: int) -> None:
        super().move_letters(key, [evolve(each, message=evolve(each.message, body="")) for each in bury], unbury)


class BuryTakesFollowers(Plain):
    """Setting one aside empties its line."""

    def put(self, key: Key, stored: Stored, expected: int, bury: Sequence[DeadLetter], unbury: int) -> None:
        super().put(key, stored, expected, bury, unbury)
        if bury:
            group = self.group(key)
            group.entries = group.entries[:1]


class AttemptsPerKey(Plain):
    """Hand-outs are counted for the key, and not for each message."""

    def attempt(self, group: Lane, entry: Entry) -> int:
        return max(each.attempts for each in group.entries)


# Timers


class EarlyTimer(Plain):
    """Timers are rounded down to whole seconds."""

    def is_due(self, timer: Timer) -> bool:
        return int(timer.due) <= self.world.now + 0.5


class PoppedBeforeSend(Plain):
    """A timer leaves the list, and is sent after that."""

    def fire(self) -> None:
        for timer in list(self.world.timers.values()):
            if self.is_due(timer):
                del self.world.timers[timer.id]
                self.trip("a timer")
                self.append(timer.message)


class RescheduleIgnored(Plain):
    """A timer that is there stays as it is."""

    @locked
    def schedule(self, timer: Timer) -> None:
        self.world.timers.setdefault(timer.id, timer)


class UncheckedCancel(Plain):
    """Cancelling is answered, and nothing is done."""

    @locked
    def cancel(self, timer_id: str) -> None:
        pass


# Hand-outs


class CommitWithoutHolder(Plain):
    """Nobody looks in whose name a commit is made."""

    def fence(self, write: Write) -> None:
        pass


class CommitByAnyToken(Plain):
    """Who was ever handed a key may commit to it, as long as somebody holds it."""

    def fence(self, write: Write) -> None:
        if write.holder is not None and self.group(write.key).lease is None:
            raise LeaseLostError(f"{write.key}: its lease was lost")


class CommitAfterTheLease(Plain):
    """A lease that is over still commits, until somebody else takes the key."""

    def fence(self, write: Write) -> None:
        lease = self.group(write.key).lease
        if write.holder is not None and (lease is None or write.holder.receipt not in lease.entries):
            raise LeaseLostError(f"{write.key}: its lease was lost")


class CommitOnceForAHandOut(Plain):
    """A hand-out commits with the messages that it acknowledges, and then no more."""

    def fence(self, write: Write) -> None:
        super().fence(write)
        lease = self.group(write.key).lease
        if write.holder is not None and lease is not None and len(lease.entries) == 1 and write.expected == 1:
            raise LeaseLostError(f"{write.key}: its lease was lost")


class RefusesTooLate(Plain):
    """A commit is refused once its messages are sent."""

    @locked
    def finish(self, write: Write) -> None:
        if write.stored is not None and write.expected == self.version(write.key):
            self.pay(write)
            self.move_letters(write.key, write.bury, write.unbury)
        super().finish(write)


class PositionsBeginAgain(Plain):
    """A queue that was empty counts from one."""

    def consume(self, group: Lane, delivery: Delivery) -> None:
        super().consume(group, delivery)
        if not group.entries:
            group.tail = 0


class PositionOfTheHandOut(Plain):
    """A position is where the message stands in the batch."""

    def position(self, group: Lane, entry: Entry) -> Position | None:
        return Position("epoch", group.entries.index(entry) + 1)


class PositionMissing(Plain):
    """What comes again has no position any more."""

    def position(self, group: Lane, entry: Entry) -> Position | None:
        return super().position(group, entry) if entry.attempts == 1 else None


class DedupByIdAlone(Plain):
    """What bears a known id is a repetition, whatever it says."""

    def check_all(self, messages: Sequence[Message]) -> None:
        pass

    def is_known(self, group: Lane, message: Message) -> bool:
        return message.id in group.known


def _shortened(key: Key) -> Key:
    return Key(key.machine, key.instance.split(":")[0])


MUTANTS: Mapping[type[Plain], str] = {
    Lifo: "F1",
    NackToTail: "F3",
    ExpiryToTail: "F3",
    ReversedBatch: "F2",
    DuplicatedBatchHead: "F2",
    LexicographicSequence: "F1",
    LockPerEvent: "R1",
    CheckThenSetClaim: "R1",
    EarlyExpiry: "R1",
    LeaseNeverExpires: "R2",
    VersionResetOnDrain: "R3",
    CasWithoutFence: "R4",
    ZombieAck: "R5",
    ZombieRelease: "R5",
    CheckThenPut: "R6",
    UnguardedCreate: "R6",
    BlindRetryOnConflict: "R6",
    LoserLeavesOutbox: "R6",
    StaleCache: "R8",
    AliasedSnapshot: "R8",
    TornCommit: "R9",
    OutboxAfterCommit: "D4",
    MarkedDoneBeforeSend: "D4",
    AckClearsQueue: "F5",
    PartialAckTakesBatch: "F4",
    LostWakeUp: "F5",
    HeadOfLineBlock: "F6",
    BufferedSend: "D1",
    SwallowedSendError: "D3",
    FloatNumbers: "D6",
    Truncation: "D6",
    NoDedup: "X1",
    GlobalDedup: "X2",
    DedupForgottenOnAck: "X3",
    DedupByContent: "X8",
    ConsumedIdsDropped: "X4",
    NewIdOnRedelivery: "X9",
    KeyPrefixCollision: "X9",
    NoDeadLetters: "X6",
    DeadLetterLosesPayload: "X6",
    BuryTakesFollowers: "X6",
    AttemptsPerKey: "X7",
    EarlyTimer: "T1",
    PoppedBeforeSend: "T2",
    RescheduleIgnored: "T4",
    UncheckedCancel: "T3",
    CommitWithoutHolder: "R12",
    CommitByAnyToken: "R12",
    CommitAfterTheLease: "R12",
    CommitOnceForAHandOut: "R12",
    RefusesTooLate: "R12",
    PositionsBeginAgain: "F9",
    PositionOfTheHandOut: "F9",
    PositionMissing: "F9",
    DedupByIdAlone: "X11",
}
"""The broken adapters that must be caught, each by the guarantee that names what is wrong with it."""
