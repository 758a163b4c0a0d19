"""Backends that lose or change headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve

from settled import IdReusedError, Key
from settled.durable import DeadLetter, Delivery, Message, Timer
from tests.conformance.faulty.reference import Entry, MessageGroup, Plain, locked


class NoHeaders(Plain):
    """Queued messages have no headers."""

    def message(self, entry: Entry) -> Message:
        return evolve(entry.message, headers={})


class HeadersOnce(Plain):
    """Only the first delivery has headers."""

    def message(self, entry: Entry) -> Message:
        return entry.message if entry.attempts == 1 else evolve(entry.message, headers={})


class HeadersLostByARelease(Plain):
    """A message that is released loses its headers; one whose lease ends keeps them."""

    @locked
    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        for delivery in deliveries:
            group = self.group(delivery.message.key)
            if self.holds(group, delivery) and group.lease is not None:
                entry = group.lease.entries[delivery.receipt]
                entry.message = evolve(entry.message, headers={})
        super().release(deliveries, delay)


class TimersWithoutHeaders(Plain):
    """Headers are lost in the timers."""

    def put_timer(self, timer: Timer) -> None:
        super().put_timer(evolve(timer, message=evolve(timer.message, headers={})))


class TimersKeepTheirHeaders(Plain):
    """A timer that replaces another one gets the headers of the former."""

    def replaced(self, old: Timer, new: Timer) -> Timer:
        return evolve(new, message=evolve(new.message, headers=old.message.headers))


class DeadLettersWithoutHeaders(Plain):
    """Headers are lost in the dead letters."""

    def move_dead_letters(self, key: Key, add_dead_letters: Sequence[DeadLetter], remove_dead_letters: int) -> None:
        bare = [evolve(each, message=evolve(each.message, headers={})) for each in add_dead_letters]
        super().move_dead_letters(key, bare, remove_dead_letters)


class TenHeaders(Plain):
    """A message keeps ten headers, as in SQS."""

    def append(self, message: Message) -> None:
        super().append(evolve(message, headers=dict(list(message.headers.items())[:10])))


class TrimmedHeaders(Plain):
    """Values lose the spaces around them, as in HTTP."""

    def append(self, message: Message) -> None:
        headers = {name: value.strip() for name, value in message.headers.items()}
        super().append(evolve(message, headers=headers))


class HeadersOfTheBatch(Plain):
    """All messages of a batch get the headers of the first."""

    def batch(self, group: MessageGroup, limit: int) -> list[Entry]:
        batch = super().batch(group, limit)
        for entry in batch:
            entry.message = evolve(entry.message, headers=batch[0].message.headers)
        return batch


class HeadersOfTheRepetition(Plain):
    """A repetition replaces the headers of the first message."""

    def append(self, message: Message) -> None:
        for entry in self.group(message.key).entries:
            if entry.message.id == message.id:
                entry.message = evolve(entry.message, headers=message.headers)
        super().append(message)


class HeadersTellMessagesApart(Plain):
    """A repetition with other headers is another message under the same id."""

    def check(self, message: Message) -> None:
        super().check(message)
        known = self.world.notes.setdefault((message.key, message.id), message.headers)
        if known != message.headers:
            raise IdReusedError(f"{message.id} belongs to another message")


HEADER_FAULTS: Mapping[type[Plain], str] = {
    NoHeaders: "D8",
    HeadersOnce: "D8",
    HeadersLostByARelease: "D8",
    TimersWithoutHeaders: "D8",
    TimersKeepTheirHeaders: "D8",
    DeadLettersWithoutHeaders: "D8",
    TenHeaders: "D8",
    TrimmedHeaders: "D8",
    HeadersOfTheBatch: "D8",
    HeadersOfTheRepetition: "D8",
    HeadersTellMessagesApart: "D8",
}
"""Each class with the guarantee that must catch it."""
