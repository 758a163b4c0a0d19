"""Queues that break the order of messages, or lose, withhold or miscount them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from settled import Key, UnavailableError
from settled.durable import Delivery, Message, Position, Stored, Write
from tests.conformance.faulty.reference import Entry, MessageGroup, Plain, locked


class Lifo(Plain):
    """The newest message is delivered first."""

    def batch(self, group: MessageGroup, limit: int) -> list[Entry]:
        return group.entries[::-1][:limit]


class NackToTail(Plain):
    """Released messages move to the end of the queue."""

    @locked
    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        for delivery in deliveries:
            group = self.group(delivery.message.key)
            if self.holds(group, delivery) and group.lease is not None:
                held = list(group.lease.entries.values())
                group.entries = [entry for entry in group.entries if entry not in held] + held
        super().release(deliveries, delay)


class ExpiryToTail(Plain):
    """Messages whose lease expired move to the end of the queue."""

    def expire(self) -> None:
        for group in self.world.groups.values():
            if group.lease is not None and group.lease.until <= self.world.now:
                held = list(group.lease.entries.values())
                group.entries = [entry for entry in group.entries if entry not in held] + held
        super().expire()


class ReversedBatch(Plain):
    """A batch has the right messages in reverse order."""

    def batch(self, group: MessageGroup, limit: int) -> list[Entry]:
        return super().batch(group, limit)[::-1]


class DuplicatedBatchHead(Plain):
    """A batch of several messages repeats the first one."""

    def batch(self, group: MessageGroup, limit: int) -> list[Entry]:
        batch = super().batch(group, limit)
        return [batch[0], *batch] if 1 < len(batch) < limit else batch

    def consume(self, group: MessageGroup, delivery: Delivery) -> None:
        assert group.lease is not None
        entry = group.lease.entries.pop(delivery.receipt)
        if entry in group.entries:
            group.entries.remove(entry)
        if not group.lease.entries:
            self.end_lease(group)


class LexicographicSequence(Plain):
    """Sequence numbers are sorted as text: the tenth message follows the first."""

    def batch(self, group: MessageGroup, limit: int) -> list[Entry]:
        numbers = {id: number for number, id in enumerate(self.arrivals(group), 1)}
        group.entries.sort(key=lambda entry: str(numbers[entry.message.id]))
        return super().batch(group, limit)

    def arrivals(self, group: MessageGroup) -> list[str]:
        return list(group.known)


class SequenceOfThreeDigits(Plain):
    """Sequence numbers are texts of three digits: the thousandth message precedes the hundred-and-first."""

    def batch(self, group: MessageGroup, limit: int) -> list[Entry]:
        return sorted(group.entries, key=lambda entry: f"{entry.number:03}")[:limit]


class SequenceOfTwelveDigits(Plain):
    """Sequence numbers are texts of twelve digits, which no test reaches by sending."""

    def batch(self, group: MessageGroup, limit: int) -> list[Entry]:
        return sorted(group.entries, key=lambda entry: f"{entry.number:012}")[:limit]


class AckClearsQueue(Plain):
    """An acknowledgement empties the queue of the key."""

    def consume(self, group: MessageGroup, delivery: Delivery) -> None:
        super().consume(group, delivery)
        if group.lease is None:
            group.entries.clear()


class PartialAckTakesBatch(Plain):
    """Acknowledging one message acknowledges its whole batch."""

    def consume(self, group: MessageGroup, delivery: Delivery) -> None:
        held = list(group.lease.entries.values()) if group.lease else []
        group.entries = [entry for entry in group.entries if entry not in held]
        self.end_lease(group)


class LostWakeUp(Plain):
    """A key becomes ready when a message arrives while it is idle, but not when its lease ends."""

    def append(self, message: Message) -> None:
        group = self.group(message.key)
        if not group.entries:
            group.parked_until = 0.0
        super().append(message)

    def consume(self, group: MessageGroup, delivery: Delivery) -> None:
        sent_meanwhile = len(group.entries) > len(group.lease.entries) if group.lease else False
        super().consume(group, delivery)
        if sent_meanwhile and group.lease is None:
            group.parked_until = float("inf")


class HeadOfLineBlock(Plain):
    """While one key is leased, nothing is delivered."""

    def ready(self) -> list[MessageGroup]:
        waiting = [group for group in self.world.groups.values() if group.entries]
        return super().ready() if all(self.is_free(group) for group in waiting) else []


class StarvesTheOthers(Plain):
    """A key with a backlog stays the first to be delivered."""

    def come_back(self, group: MessageGroup) -> None:
        pass


class SixtyFourKeys(Plain):
    """A receive looks only at the first 64 keys with messages, leased or not."""

    def ready(self) -> list[MessageGroup]:
        first = [group for group in self.world.groups.values() if group.entries][:64]
        return [group for group in super().ready() if group in first]


class OnlyHotKeys(Plain):
    """A receive looks only at the 16 keys that were sent to most recently."""

    def append(self, message: Message) -> None:
        super().append(message)
        self.world.groups[message.key] = self.world.groups.pop(message.key)

    def ready(self) -> list[MessageGroup]:
        hot = list(self.world.groups.values())[-16:]
        return [group for group in super().ready() if group in hot]


class BusyKeysFirst(Plain):
    """The key with the most messages is delivered first."""

    def ready(self) -> list[MessageGroup]:
        return sorted(super().ready(), key=lambda group: -len(group.entries))


class BufferedSend(Plain):
    """Sends are buffered in the handle until it receives."""

    @locked
    def send(self, messages: Sequence[Message]) -> None:
        self.__dict__.setdefault("buffer", []).extend(messages)

    @locked
    def receive(self, limit: int, wait: float = 0.0, machines: Collection[str] | None = None) -> Sequence[Delivery]:
        super().send(self.__dict__.pop("buffer", []))
        return super().receive(limit, wait, machines)


class SwallowedSendError(Plain):
    """A failed send returns successfully."""

    @locked
    def send(self, messages: Sequence[Message]) -> None:
        try:
            super().send(messages)
        except UnavailableError:
            return


class LimitIgnored(Plain):
    """A receive returns all messages of a key, whatever its limit."""

    @locked
    def receive(self, limit: int, wait: float = 0.0, machines: Collection[str] | None = None) -> Sequence[Delivery]:
        return super().receive(limit and 1000, wait, machines)


class DeleteTakesMessages(Plain):
    """Deleting an instance deletes its queued messages."""

    @locked
    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        super().delete(key, tombstone, expected)
        self.group(key).entries.clear()


class PositionsBeginAgain(Plain):
    """Positions start again at one when the queue is empty."""

    def consume(self, group: MessageGroup, delivery: Delivery) -> None:
        super().consume(group, delivery)
        if not group.entries:
            group.tail = 0


class PositionOfTheHandOut(Plain):
    """A position is the index in the batch."""

    def position(self, group: MessageGroup, entry: Entry) -> Position | None:
        return Position("epoch", group.entries.index(entry) + 1)


class PositionMissing(Plain):
    """Redeliveries have no position."""

    def position(self, group: MessageGroup, entry: Entry) -> Position | None:
        return super().position(group, entry) if entry.attempts == 1 else None


class AttemptsPerKey(Plain):
    """Attempts are counted per key instead of per message."""

    def attempt(self, group: MessageGroup, entry: Entry) -> int:
        return max(each.attempts for each in group.entries)


class AttemptsNeverGrow(Plain):
    """Every delivery says that it is the first."""

    def attempt(self, group: MessageGroup, entry: Entry) -> int:
        return 1


class Empty(Plain):
    """Every call succeeds without effect."""

    @locked
    def send(self, messages: Sequence[Message]) -> None:
        pass

    @locked
    def receive(self, limit: int, wait: float = 0.0, machines: Collection[str] | None = None) -> Sequence[Delivery]:
        return ()

    @locked
    def finish(self, write: Write) -> None:
        pass


QUEUE_FAULTS: Mapping[type[Plain], str] = {
    Lifo: "F1",
    NackToTail: "F3",
    ExpiryToTail: "F3",
    ReversedBatch: "F2",
    DuplicatedBatchHead: "F2",
    LexicographicSequence: "F1",
    SequenceOfThreeDigits: "F8",
    SequenceOfTwelveDigits: "F8",
    AckClearsQueue: "F5",
    PartialAckTakesBatch: "F4",
    LostWakeUp: "F5",
    HeadOfLineBlock: "F6",
    StarvesTheOthers: "F6",
    SixtyFourKeys: "F6",
    OnlyHotKeys: "F6",
    BusyKeysFirst: "F6",
    BufferedSend: "D1",
    SwallowedSendError: "D3",
    LimitIgnored: "F8",
    DeleteTakesMessages: "D1",
    PositionsBeginAgain: "F9",
    PositionOfTheHandOut: "F9",
    PositionMissing: "F9",
    AttemptsPerKey: "X7",
    AttemptsNeverGrow: "X6",
    Empty: "D1",
}
"""Each class with the guarantee that must catch it."""
