"""Queues and stores that break deduplication: new messages taken for repetitions, or repetitions for new messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve

from settled import Key
from settled.durable import Message, Stored
from tests.conformance.faulty.reference import Entry, MessageGroup, Plain, locked

DEDUPLICATION_FIELDS = ("window", "pinned", "outcomes", "senders", "high_water_mark")
"""The fields by which a record knows which messages it has taken."""


class NoDedup(Plain):
    """Every send adds a message."""

    def is_known(self, group: MessageGroup, message: Message) -> bool:
        return False


class GlobalDedup(Plain):
    """An id that is known for one key is known for all."""

    def is_known(self, group: MessageGroup, message: Message) -> bool:
        return any(message.id in each.known for each in self.world.groups.values())


class DedupForgottenOnAck(Plain):
    """Only ids of waiting messages are known."""

    def is_known(self, group: MessageGroup, message: Message) -> bool:
        return any(entry.message.id == message.id for entry in group.entries)


class DedupByContent(Plain):
    """A message with a known body is taken for a duplicate."""

    def is_known(self, group: MessageGroup, message: Message) -> bool:
        return message.id in group.known or any(entry.message.body == message.body for entry in group.entries)


class DedupByIdAlone(Plain):
    """A message with a known id is taken for a duplicate, whatever its body."""

    def check_all(self, messages: Sequence[Message]) -> None:
        pass

    def is_known(self, group: MessageGroup, message: Message) -> bool:
        return message.id in group.known


class KnownByLength(Plain):
    """Two bodies of equal length are taken for equal."""

    def check(self, message: Message) -> None:
        pass

    def append(self, message: Message) -> None:
        super().append(evolve(message))

    def is_known(self, group: MessageGroup, message: Message) -> bool:
        if message.id in group.known:
            lengths: dict[Any, int] = self.world.notes.setdefault("lengths", {})
            return lengths.setdefault((message.key, message.id), len(message.body)) == len(message.body)
        self.world.notes.setdefault("lengths", {})[message.key, message.id] = len(message.body)
        return False


class KnownByMeaning(Plain):
    """Two bodies that are equal as JSON are taken for equal."""

    def check(self, message: Message) -> None:
        known = self._canonical_bodies.get((message.key, message.id))
        if known is not None and known != _canonical(message.body):
            super().check(message)

    def is_known(self, group: MessageGroup, message: Message) -> bool:
        canonical = _canonical(message.body)
        return (
            self._canonical_bodies.setdefault((message.key, message.id), canonical) == canonical
            and message.id in group.known
        )

    @property
    def _canonical_bodies(self) -> dict[tuple[Key, str], str]:
        canonical_bodies: dict[tuple[Key, str], str] = self.world.notes.setdefault("meanings", {})
        return canonical_bodies


class KnowsAllThatBeginSo(Plain):
    """An id that is a prefix of a known one is taken for known."""

    def is_known(self, group: MessageGroup, message: Message) -> bool:
        return any(known.startswith(message.id) for known in group.known)


class RefusedHalfway(Plain):
    """A batch is sent up to the message that fails."""

    @locked
    def send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            super().send([message])


class DroppedByAnotherHandle(Plain):
    """A reused id fails in the handle that sent it first, and is taken for a duplicate in all others."""

    def check(self, message: Message) -> None:
        mine: set[str] = self.__dict__.setdefault("mine", set())
        if message.id in mine or message.id not in self.group(message.key).known:
            super().check(message)
        mine.add(message.id)

    def is_known(self, group: MessageGroup, message: Message) -> bool:
        return message.id in group.known


class IdsOf255(Plain):
    """Ids are compared by their first 255 characters."""

    def is_known(self, group: MessageGroup, message: Message) -> bool:
        return any(known[:255] == message.id[:255] for known in group.known)


class NewIdOnRedelivery(Plain):
    """A redelivered message has another id."""

    def message(self, entry: Entry) -> Message:
        if entry.attempts < 2:
            return entry.message
        return evolve(entry.message, id=f"{entry.message.id}-{entry.attempts}")


class ConsumedIdsDropped(Plain):
    """A store drops the ids of taken messages from the record."""

    @locked
    def load(self, key: Key) -> Stored | None:
        stored = self.world.records.get(key)
        if stored is None or stored.is_deleted:
            return stored
        try:
            record: dict[str, Any] = json.loads(stored.body)
            kept = {name: value for name, value in record.items() if name not in DEDUPLICATION_FIELDS}
        except (ValueError, AttributeError):
            return stored
        return evolve(stored, body=json.dumps(kept, ensure_ascii=False, separators=(",", ":")))


def _canonical(body: str) -> str:
    try:
        return json.dumps(json.loads(body), sort_keys=True)
    except ValueError:
        return body


DEDUPLICATION_FAULTS: Mapping[type[Plain], str] = {
    NoDedup: "X1",
    GlobalDedup: "X2",
    DedupForgottenOnAck: "X3",
    DedupByContent: "X8",
    DedupByIdAlone: "X11",
    KnownByLength: "X11",
    KnownByMeaning: "X11",
    KnowsAllThatBeginSo: "D1",
    RefusedHalfway: "X11",
    DroppedByAnotherHandle: "X11",
    IdsOf255: "D1",
    NewIdOnRedelivery: "X9",
    ConsumedIdsDropped: "X4",
}
"""Each class with the guarantee that must catch it."""
