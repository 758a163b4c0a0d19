"""Steps: what is to change in one partition, as words for ``script.lua``; and what travels in those words.

An element is a message in its queue, as ``ATTEMPTS LENGTH-OF-ID ID BODY``; a post is what a timer sends, with the
partition and the name of its instance before the element. Both are taken apart by the script, so they are plain.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from attrs import define, field

from settled.message import Key, Message, Timer
from settled.ports import DeadLetter, Delivery, Index, Stored
from settled_redis.keyspace import Partition, decoded, encoded, listed_name

MICROSECONDS = 1_000_000


@define(eq=False)
class Steps:
    """A list of steps in `partition`; `keys` and `words` are the script's KEYS and ARGV behind the fixed ones."""

    partition: Partition
    keys: dict[bytes, None] = field(factory=dict[bytes, None])
    words: list[bytes] = field(factory=list[bytes])

    def commit(self, key: Key, stored: Stored, expected: int) -> None:
        """Write `stored` over the version `expected`, or end here."""
        name = self._touch(key, b"record:", b"lane:")
        listing = b"" if stored.body is None else b"s" + encoded(stored.index.status)
        self._add(b"commit", name, listed_name(key), b"%d" % expected, b"%d" % stored.version, listing, record(stored))

    def delete(self, key: Key, expected: int) -> None:
        """Leave only the version behind `expected`, or end here. The script adds the time to the record."""
        name = self._touch(key, b"record:", b"lane:", b"dead:")
        version = b"%d" % (expected + 1)
        self._add(b"delete", name, listed_name(key), b"%d" % expected, version, version + b' ["absent", [], ')

    def move_letters(self, key: Key, bury: Iterable[DeadLetter], unbury: int) -> None:
        """Take `unbury` dead letters from the head, and put `bury` behind the others."""
        if unbury:
            self._add(b"unbury", self._touch(key, b"dead:"), b"%d" % unbury)
        for letter in bury:
            self._add(b"bury", self._touch(key, b"dead:"), dead_letter(letter))

    def send(self, messages: Iterable[Message]) -> None:
        for message in messages:
            name = self._touch(message.key, b"lane:", b"queue:", b"known:")
            self._add(b"send", name, encoded(message.id), _element(message))

    def schedule(self, timer: Timer, home: Partition) -> None:
        """Put `timer` here; `home` is where its message will go."""
        name = encoded(str(timer.message.key))
        if home is self.partition:
            self._touch(timer.message.key, b"lane:", b"queue:", b"known:")
        post = b"%d %d %b%b" % (home.number, len(name), name, _element(timer.message))
        self._add(b"schedule", encoded(timer.id), microseconds(timer.due), post)

    def cancel(self, timer_id: str) -> None:
        self._add(b"cancel", encoded(timer_id))

    def send_post(self, post: bytes) -> None:
        """Send what a timer of another partition was to send."""
        _, length, rest = post.split(b" ", 2)
        name, element = rest[: int(length)], rest[int(length) :]
        _, length, rest = element.split(b" ", 2)
        self._touch(Key.parse(decoded(name)), b"lane:", b"queue:", b"known:")
        self._add(b"send", name, rest[: int(length)], element)

    def rung(self, member: bytes) -> None:
        """Forget a timer whose post was sent elsewhere."""
        self._add(b"rung", member)

    def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        for key, token, places in _hand_outs(deliveries):
            name = self._touch(key, b"lane:", b"queue:", b"known:")
            self._add(b"ack", name, token, b"%d" % len(places), *places)

    def release(self, deliveries: Iterable[Delivery], delay: float) -> None:
        for key, token, _ in _hand_outs(deliveries):
            self._add(b"release", self._touch(key, b"lane:", b"queue:"), token, microseconds(delay))

    def extend(self, deliveries: Iterable[Delivery], lease: float) -> None:
        for key, token, _ in _hand_outs(deliveries):
            self._add(b"extend", self._touch(key, b"lane:"), token, microseconds(lease))

    def receive(self, limit: int) -> None:
        self._add(b"receive", b"%d" % limit)

    def _add(self, *words: bytes) -> None:
        self.words += words

    def _touch(self, key: Key, *kinds: bytes) -> bytes:
        """The name of `key`, once its keys of these `kinds` are declared."""
        name = encoded(str(key))
        for kind in kinds:
            self.keys[self.partition.named(kind, name)] = None
        return name


def microseconds(seconds: float) -> bytes:
    """A time, or a length of time, as the script reads it."""
    return b"%d" % round(seconds * MICROSECONDS)


def delivery(name: bytes, token: int, place: int, element: bytes, until: float) -> Delivery:
    """What the script handed out."""
    attempts, length, rest = element.split(b" ", 2)
    id, body = rest[: int(length)], rest[int(length) :]
    message = Message(Key.parse(decoded(name)), decoded(id), decoded(body))
    return Delivery(message, f"{token}.{place}", int(attempts) + 1, until)


def record(stored: Stored) -> bytes:
    """`stored` as one text: version and index on the first line, the body behind it, if there is one."""
    index = json.dumps([stored.index.status, stored.index.tags, stored.index.updated])
    body = b"" if stored.body is None else b"\n" + encoded(stored.body)
    return b"%d %b%b" % (stored.version, index.encode(), body)


def read_record(data: bytes) -> Stored:
    """What `record` wrote."""
    line, newline, body = data.partition(b"\n")
    version, _, index = line.partition(b" ")
    status, tags, updated = json.loads(index)
    return Stored(int(version), decoded(body) if newline else None, Index(status, tuple(tags), updated))


def dead_letter(letter: DeadLetter) -> bytes:
    """`letter` as one text; its key is that of the list it goes to."""
    return json.dumps([letter.message.id, letter.message.body, letter.reason, letter.at, letter.detail]).encode()


def read_dead_letter(key: Key, data: bytes) -> DeadLetter:
    """What `dead_letter` wrote."""
    id, body, reason, at, detail = json.loads(data)
    return DeadLetter(Message(key, id, body), reason, at, detail)


def _element(message: Message) -> bytes:
    id = encoded(message.id)
    return b"0 %d %b%b" % (len(id), id, encoded(message.body))


def _hand_outs(deliveries: Iterable[Delivery]) -> Iterable[tuple[Key, bytes, Sequence[bytes]]]:
    """The receipts of `deliveries`: each key and token once, with all its places."""
    places: dict[tuple[Key, bytes], list[bytes]] = {}
    for each in deliveries:
        token, _, place = each.receipt.encode().partition(b".")
        places.setdefault((each.message.key, token), []).append(place)
    return [(key, token, found) for (key, token), found in places.items()]
