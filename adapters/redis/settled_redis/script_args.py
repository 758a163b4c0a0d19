"""The arguments of ``script.lua``: encoding a list of operations, and decoding what the script returns and stores.

An *element* is a message in its queue: ``ATTEMPTS LENGTH-OF-ID ID BODY``, or, if the message has headers,
``ATTEMPTS LENGTH-OF-ID+LENGTH-OF-HEADERS ID HEADERS BODY``. A *payload* is what a timer sends: the partition of its
instance, the message's digest and the instance's name before the element. The script takes both apart, so they have to
be simple. A message is recognised by its digest and its id: one with a seen id and another body is queued, and the
record detects it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache

from attrs import define, field

from settled.data import Json
from settled.durable.headers import headers_from_text, headers_to_text
from settled.durable.messages import Message, Timer
from settled.durable.ports import DeadLetter, Delivery, Index, Position, Stored
from settled.errors import RecordError
from settled.key import Key
from settled_redis.keyspace import Partition, decoded, encoded, machine_name

MICROSECONDS = 1_000_000


@define(eq=False)
class ScriptArgs:
    """The operations of one call of the script in `partition`, in their order.

    Attributes:
        partition: the partition whose keys all operations use.
        keys: the KEYS of instances, without those of the partition. A dict, to have each key once.
        argv: the words of the operations, without the fixed arguments.
    """

    partition: Partition
    keys: dict[bytes, None] = field(factory=dict[bytes, None])
    argv: list[bytes] = field(factory=list[bytes])

    def commit(self, key: Key, stored: Stored, expected: int, holder: Delivery | None = None) -> None:
        """Replace the version `expected` by `stored` if the lease of `holder` lasts; end the script if it fails.

        It must be the first operation: the script cannot undo what the operations before it did.
        """
        to = self.partition.instance(key)
        self._declare(to.record, to.group)
        listing = b"" if stored.is_deleted else b"s" + encoded(stored.index.status)
        token = b"" if holder is None else _receipt(holder)[0]
        versions = (b"%d" % expected, b"%d" % stored.version)
        self._add(b"commit", to.name, to.sort_name, *versions, listing, encode_record(stored), token)

    def drop_dead_letters(self, key: Key) -> None:
        to = self.partition.instance(key)
        self._declare(to.dead_letters)
        self._add(b"drop_dead_letters", to.name)

    def move_dead_letters(self, key: Key, add_dead_letters: Iterable[DeadLetter], remove_dead_letters: int) -> None:
        """Remove the `remove_dead_letters` oldest dead letters, and append `add_dead_letters`."""
        to = self.partition.instance(key)
        if remove_dead_letters:
            self._declare(to.dead_letters)
            self._add(b"remove_dead_letters", to.name, b"%d" % remove_dead_letters)
        for each in add_dead_letters:
            self._declare(to.dead_letters)
            self._add(b"add_dead_letters", to.name, encode_dead_letter(each))

    def send(self, message: Message) -> None:
        to = self.partition.instance(message.key)
        self._declare(to.group, to.queue, to.seen_ids)
        self._add(b"send", to.name, encoded(message.digest + message.id), _element(message))

    def schedule(self, timer: Timer, home: Partition) -> None:
        """Schedule `timer` in this partition; `home` is the partition of the instance that gets its message."""
        to = home.instance(timer.message.key)
        # Keys of another partition are in another slot, and a cluster refuses a script with keys of two slots.
        if home is self.partition:
            self._declare(to.group, to.queue, to.seen_ids)
        digest = encoded(timer.message.digest)
        payload = b"%d %d %b %b%b" % (home.number, len(to.name), digest, to.name, _element(timer.message))
        self._add(b"schedule", encoded(timer.id), microseconds(timer.due), payload)

    def cancel(self, timer_id: str) -> None:
        self._add(b"cancel", encoded(timer_id))

    def send_payload(self, payload: bytes) -> None:
        """Send the message of a timer that was due in another partition."""
        _, length, digest, rest = payload.split(b" ", 3)
        name, element = rest[: int(length)], rest[int(length) :]
        _, lengths, rest = element.split(b" ", 2)
        to = self.partition.instance(Key.parse(decoded(name)))
        self._declare(to.group, to.queue, to.seen_ids)
        self._add(b"send", name, digest + rest[: int(lengths.partition(b"+")[0])], element)

    def forget_fired(self, member: bytes) -> None:
        """Remove a timer whose message was sent to another partition."""
        self._add(b"forget_fired", member)

    def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        for key, token, numbers in _by_lease(deliveries):
            to = self.partition.instance(key)
            self._declare(to.group, to.queue, to.seen_ids)
            self._add(b"ack", to.name, token, b"%d" % len(numbers), *numbers)

    def withdraw(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge `deliveries`, and forget their ids."""
        # First, because it does so only if the lease lasts, and an acknowledgement may end it.
        for each in deliveries:
            to, seen_id = self.partition.instance(each.message.key), encoded(each.message.digest + each.message.id)
            self._add(b"forget", to.name, _receipt(each)[0], seen_id)
        self.acknowledge(deliveries)

    def release(self, deliveries: Iterable[Delivery], delay: float) -> None:
        for key, token, _ in _by_lease(deliveries):
            to = self.partition.instance(key)
            self._declare(to.group, to.queue)
            self._add(b"release", to.name, token, microseconds(delay))

    def extend(self, deliveries: Iterable[Delivery], lease: float) -> None:
        for key, token, numbers in _by_lease(deliveries):
            to = self.partition.instance(key)
            self._declare(to.group)
            self._add(b"extend", to.name, token, microseconds(lease), min(numbers, key=int))

    def receive(self, limit: int, machines: Collection[str] | None, first: int) -> None:
        """Receive for `machines`, or for all, beginning with the one at the index `first`, modulo their number."""
        names = () if machines is None else [machine_name(each) for each in machines]
        count = -1 if machines is None else len(names)
        self._add(b"receive", b"%d" % limit, b"%d" % first, b"%d" % count, *names)

    def _add(self, *words: bytes) -> None:
        self.argv += words

    def _declare(self, *keys: bytes) -> None:
        for key in keys:
            self.keys[key] = None


def microseconds(seconds: float) -> bytes:
    """Return a time or a duration in the script's unit."""
    return b"%d" % round(seconds * MICROSECONDS)


def decode_delivery(text: bytes, until: float, epoch: str) -> Delivery:
    """Decode a delivery of the script, in a key space of this epoch."""
    token, number, length, rest = text.split(b" ", 3)
    name, element = rest[: int(length)], rest[int(length) :]
    attempts, lengths, rest = element.split(b" ", 2)
    id_length, _, headers_length = lengths.partition(b"+")
    begin = int(id_length)
    end = begin + int(headers_length or 0)
    headers = headers_from_text(decoded(rest[begin:end]))
    message = Message(_key(name), decoded(rest[:begin]), decoded(rest[end:]), headers)
    receipt = (token + b"." + number).decode()
    return Delivery(message, receipt, int(attempts) + 1, until, Position(epoch, int(number)))


@lru_cache(4096)
def _key(name: bytes) -> Key:
    return Key.parse(decoded(name))


def encode_record(stored: Stored) -> bytes:
    """Encode `stored` as one text: version and index on the first line, then the body.

    The first line can be read without the body, which is how `RedisStore.scan` lists instances.
    """
    index = json.dumps([stored.index.status, stored.index.tags, stored.index.updated])
    return b"%d %b\n%b" % (stored.version, index.encode(), encoded(stored.body))


def decode_record(data: bytes) -> Stored:
    """Decode what `encode_record` encoded.

    Raises:
        RecordError: it is damaged.
    """
    try:
        header, _, body = data.partition(b"\n")
        version, _, index = header.partition(b" ")
        status, tags, updated = json.loads(index)
        return Stored(int(version), decoded(body), Index(status, tuple(tags), updated))
    except (ValueError, TypeError) as error:
        raise RecordError(f"a record on the server is damaged ({error}): restore it from a backup") from error


def encode_dead_letter(dead_letter: DeadLetter) -> bytes:
    """Encode `dead_letter` without its key, which is that of its list."""
    message = dead_letter.message
    items: list[Json] = [message.id, message.body, dead_letter.reason, dead_letter.at, dead_letter.detail]
    return json.dumps([*items, message.headers] if message.headers else items).encode()


def decode_dead_letter(key: Key, data: bytes) -> DeadLetter:
    """Decode what `encode_dead_letter` encoded."""
    id, body, reason, at, detail, *headers = json.loads(data)
    return DeadLetter(Message(key, id, body, *headers), reason, at, detail)


def _element(message: Message) -> bytes:
    id = encoded(message.id)
    if not message.headers:
        return b"0 %d %b%b" % (len(id), id, encoded(message.body))
    headers = encoded(headers_to_text(message.headers))
    return b"0 %d+%d %b%b%b" % (len(id), len(headers), id, headers, encoded(message.body))


def _by_lease(deliveries: Iterable[Delivery]) -> Iterable[tuple[Key, bytes, Sequence[bytes]]]:
    """Group `deliveries` by their leases: return the key and token of each, and the numbers of its messages."""
    numbers: dict[tuple[Key, bytes], list[bytes]] = {}
    for each in deliveries:
        token, number = _receipt(each)
        numbers.setdefault((each.message.key, token), []).append(number)
    return [(key, token, found) for (key, token), found in numbers.items()]


def _receipt(delivery: Delivery) -> tuple[bytes, bytes]:
    """Return the token of the delivery's lease, and the number of its message."""
    token, _, number = delivery.receipt.encode().partition(b".")
    return token, number
