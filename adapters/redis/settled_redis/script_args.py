"""Steps: what is to change in one partition, as words for ``script.lua``; and what travels in those words.

An element is a message in its queue, as ``ATTEMPTS LENGTH-OF-ID ID BODY``; a post is what a timer sends, with the
partition of its instance, the message's digest, and the instance's name before the element. Both are taken apart by
the script, so they are plain. A message is known by its digest and its id: a known id with another body is queued, and
whoever reads it finds out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache

from attrs import define, field

from settled.durable.messages import Message, Timer
from settled.durable.ports import DeadLetter, Delivery, Index, Position, Stored
from settled.key import Key
from settled_redis.keyspace import Partition, decoded, encoded

MICROSECONDS = 1_000_000


@define(eq=False)
class ScriptArgs:
    """A list of steps in `partition`; `keys` and `words` are the script's KEYS and ARGV behind the fixed ones."""

    partition: Partition
    keys: dict[bytes, None] = field(factory=dict[bytes, None])
    words: list[bytes] = field(factory=list[bytes])

    def commit(self, key: Key, stored: Stored, expected: int, holder: Delivery | None = None) -> None:
        """Write `stored` over the version `expected`, while `holder` has the lease of `key`; or end here."""
        to = self.partition.instance(key)
        self._declare(to.record, to.lane)
        listing = b"" if stored.is_deleted else b"s" + encoded(stored.index.status)
        token = b"" if holder is None else _token(holder)[0]
        versions = (b"%d" % expected, b"%d" % stored.version)
        self._add(b"commit", to.name, to.listed, *versions, listing, record(stored), token)

    def drop_letters(self, key: Key) -> None:
        """Forget all dead letters."""
        to = self.partition.instance(key)
        self._declare(to.dead)
        self._add(b"drop", to.name)

    def move_letters(self, key: Key, bury: Iterable[DeadLetter], unbury: int) -> None:
        """Take `unbury` dead letters from the head, and put `bury` behind the others."""
        to = self.partition.instance(key)
        if unbury:
            self._declare(to.dead)
            self._add(b"unbury", to.name, b"%d" % unbury)
        for letter in bury:
            self._declare(to.dead)
            self._add(b"bury", to.name, dead_letter(letter))

    def send(self, message: Message) -> None:
        to = self.partition.instance(message.key)
        self._declare(to.lane, to.queue, to.known)
        self._add(b"send", to.name, encoded(message.digest + message.id), _element(message))

    def schedule(self, timer: Timer, home: Partition) -> None:
        """Put `timer` here; `home` is where its message will go."""
        to = home.instance(timer.message.key)
        if home is self.partition:
            self._declare(to.lane, to.queue, to.known)
        digest = encoded(timer.message.digest)
        post = b"%d %d %b %b%b" % (home.number, len(to.name), digest, to.name, _element(timer.message))
        self._add(b"schedule", encoded(timer.id), microseconds(timer.due), post)

    def cancel(self, timer_id: str) -> None:
        self._add(b"cancel", encoded(timer_id))

    def send_post(self, post: bytes) -> None:
        """Send what a timer of another partition was to send."""
        _, length, digest, rest = post.split(b" ", 3)
        name, element = rest[: int(length)], rest[int(length) :]
        _, length, rest = element.split(b" ", 2)
        to = self.partition.instance(Key.parse(decoded(name)))
        self._declare(to.lane, to.queue, to.known)
        self._add(b"send", name, digest + rest[: int(length)], element)

    def rung(self, member: bytes) -> None:
        """Forget a timer whose post was sent elsewhere."""
        self._add(b"rung", member)

    def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        for key, token, places in _hand_outs(deliveries):
            to = self.partition.instance(key)
            self._declare(to.lane, to.queue, to.known)
            self._add(b"ack", to.name, token, b"%d" % len(places), *places)

    def release(self, deliveries: Iterable[Delivery], delay: float) -> None:
        for key, token, _ in _hand_outs(deliveries):
            to = self.partition.instance(key)
            self._declare(to.lane, to.queue)
            self._add(b"release", to.name, token, microseconds(delay))

    def extend(self, deliveries: Iterable[Delivery], lease: float) -> None:
        for key, token, _ in _hand_outs(deliveries):
            to = self.partition.instance(key)
            self._declare(to.lane)
            self._add(b"extend", to.name, token, microseconds(lease))

    def receive(self, limit: int) -> None:
        self._add(b"receive", b"%d" % limit)

    def _add(self, *words: bytes) -> None:
        self.words += words

    def _declare(self, *keys: bytes) -> None:
        for key in keys:
            self.keys[key] = None


def microseconds(seconds: float) -> bytes:
    """A time, or a length of time, as the script reads it."""
    return b"%d" % round(seconds * MICROSECONDS)


def delivery(text: bytes, until: float, epoch: str) -> Delivery:
    """Read one delivery from what the script handed out, in a key space of this epoch."""
    token, place, length, rest = text.split(b" ", 3)
    name, element = rest[: int(length)], rest[int(length) :]
    attempts, length, rest = element.split(b" ", 2)
    id, body = rest[: int(length)], rest[int(length) :]
    receipt = (token + b"." + place).decode()
    message, position = Message(_key(name), decoded(id), decoded(body)), Position(epoch, int(place))
    return Delivery(message, receipt, int(attempts) + 1, until, position)


@lru_cache(4096)
def _key(name: bytes) -> Key:
    return Key.parse(decoded(name))


def record(stored: Stored) -> bytes:
    """`stored` as one text: version and index on the first line, the body behind it."""
    index = json.dumps([stored.index.status, stored.index.tags, stored.index.updated])
    return b"%d %b\n%b" % (stored.version, index.encode(), encoded(stored.body))


def read_record(data: bytes) -> Stored:
    """What `record` wrote."""
    line, _, body = data.partition(b"\n")
    version, _, index = line.partition(b" ")
    status, tags, updated = json.loads(index)
    return Stored(int(version), decoded(body), Index(status, tuple(tags), updated))


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
        token, place = _token(each)
        places.setdefault((each.message.key, token), []).append(place)
    return [(key, token, found) for (key, token), found in places.items()]


def _token(delivery: Delivery) -> tuple[bytes, bytes]:
    """The token of this hand-out, and the place of its message."""
    token, _, place = delivery.receipt.encode().partition(b".")
    return token, place
