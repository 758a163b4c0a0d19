"""A backend whose texts are encoded: whoever uses it sees plain texts, and the backend below it sees encoded ones.

Encoded are the texts of records, the bodies of messages (in the queue, in timers, among the dead letters), and the
reasons and details of dead letters. Everything else is stored as it is: keys, ids, headers, times and the index.

Its law: nothing is lost for want of a key. A record that cannot be decoded raises `CodecError`. A message that cannot
is delivered as it is stored, and its turn raises `CodecError` and returns it to the queue; the other instances go on.
And the backend below is always given back the very deliveries that it has made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta

from attrs import field, frozen

from settled import CodecError, ConflictError, IdReusedError, Key, SettledError
from settled.durable import (
    Backend,
    Backlog,
    Capability,
    ClosedOnExit,
    CommitConflictError,
    DeadLetter,
    Delivery,
    FinishResult,
    Message,
    Queue,
    Store,
    Stored,
    Timer,
    Timers,
    Write,
)
from settled.durable.encoded import ENCODED_PREFIX
from settled.durable.malformed import is_malformed
from settled_runtime.codec import Codec

_NOT_ENCODED = f"{ENCODED_PREFIX}:"
"""Precedes a plain text that looks encoded, or that must not be read as it is."""


@frozen
class _TextCodec:
    """A codec, together with the mark of what it has encoded."""

    codec: Codec

    def encode(self, text: str, place: str) -> str:
        return _marked(text, self.codec.encode(text, place)) if text else text

    def encode_as_before(self, text: str, place: str) -> Sequence[str]:
        return [_marked(text, each) for each in self.codec.encode_as_before(text, place)] if text else ()

    def decode(self, text: str, place: str) -> str:
        """Return `text` decoded.

        Raises:
            CodecError: it cannot be decoded.
        """
        if text.startswith(ENCODED_PREFIX) and not text.startswith(_NOT_ENCODED):
            return self.codec.decode(text[len(ENCODED_PREFIX) :], place)
        if text and not self.codec.accepts_plain_text:
            raise CodecError("it is not encoded, and this codec does not accept plain text")
        return text.removeprefix(_NOT_ENCODED)

    def decode_if_possible(self, text: str, place: str) -> str:
        """Return `text` decoded; if that is impossible, encoded, so that whoever reads it raises CodecError."""
        try:
            return self.decode(text, place)
        except CodecError:
            return text if text.startswith(ENCODED_PREFIX) else f"{_NOT_ENCODED}{text}"

    # What is encoded in records, messages and dead letters

    def encoded_record(self, key: Key, stored: Stored) -> Stored:
        return Stored(stored.version, self.encode(stored.body, _place("record", key)), stored.index)

    def decoded_record(self, key: Key, stored: Stored) -> Stored:
        # A tombstone has no payload, and whoever has no codec may have deleted the instance.
        if stored.is_deleted and not stored.body.startswith(ENCODED_PREFIX):
            return stored
        try:
            return Stored(stored.version, self.decode(stored.body, _place("record", key)), stored.index)
        except CodecError as error:
            raise CodecError(
                f"{key}: the record cannot be decoded: {error}; nothing was changed, and its messages wait in the queue"
            ) from error

    @contextmanager
    def decoded_refusals(self, key: Key) -> Generator[None]:
        """Decode what a refused commit finds in this block."""
        try:
            yield
        except CommitConflictError as error:
            raise self.decoded_error(key, error) from error

    def decoded_error(self, key: Key, error: SettledError) -> SettledError:
        if not isinstance(error, CommitConflictError):
            return error
        try:
            return CommitConflictError(str(error), self.decoded_record(key, error.stored), error.now)
        except CodecError:
            return ConflictError(str(error))  # the load that follows says what is wrong

    def encoded_message(self, message: Message) -> Message:
        return _with_body(message, self.encode(message.body, _place("message", message.key, message.id)))

    def messages_as_before(self, message: Message) -> Sequence[Message]:
        bodies = self.encode_as_before(message.body, _place("message", message.key, message.id))
        return [_with_body(message, body) for body in bodies]

    def decoded_message(self, message: Message) -> Message:
        if is_malformed(message):
            return message
        return _with_body(message, self.decode_if_possible(message.body, _place("message", message.key, message.id)))

    def encoded_timer(self, timer: Timer) -> Timer:
        return Timer(timer.id, self.encoded_message(timer.message), timer.due)

    def encoded_dead_letter(self, letter: DeadLetter) -> DeadLetter:
        key, id = letter.message.key, letter.message.id
        reason = self.encode(letter.reason, _place("reason", key, id))
        detail = self.encode(letter.detail, _place("detail", key, id))
        return DeadLetter(self.encoded_message(letter.message), reason, letter.at, detail)

    def decoded_dead_letter(self, letter: DeadLetter) -> DeadLetter:
        key, id = letter.message.key, letter.message.id
        reason = self.decode_if_possible(letter.reason, _place("reason", key, id))
        detail = self.decode_if_possible(letter.detail, _place("detail", key, id))
        return DeadLetter(self.decoded_message(letter.message), reason, letter.at, detail)

    def decoded_delivery(self, delivery: Delivery) -> Delivery:
        return _DecodedDelivery(
            self.decoded_message(delivery.message),
            delivery.receipt,
            delivery.attempt,
            delivery.lease_until,
            delivery.position,
            delivery,
        )

    def encoded_write(self, write: Write) -> Write:
        return Write(
            write.key,
            None if write.stored is None else self.encoded_record(write.key, write.stored),
            write.expected,
            tuple([self.encoded_dead_letter(each) for each in write.add_dead_letters]),
            write.remove_dead_letters,
            tuple([self.encoded_message(each) for each in write.sends]),
            tuple([self.encoded_timer(each) for each in write.timers]),
            write.cancels,
            tuple([_original(each) for each in write.acks]),
            None if write.holder is None else _original(write.holder),
        )


@frozen
class _DecodedDelivery(Delivery):
    """A delivery whose message was decoded, and the delivery that the backend has made."""

    original: Delivery | None = None


def _original(delivery: Delivery) -> Delivery:
    return delivery.original or delivery if isinstance(delivery, _DecodedDelivery) else delivery


def _with_body(message: Message, body: str) -> Message:
    return message if body is message.body else Message(message.key, message.id, body, message.headers)


def _marked(text: str, encoded: str | None) -> str:
    if encoded is not None:
        return f"{ENCODED_PREFIX}{encoded}"
    return f"{_NOT_ENCODED}{text}" if text.startswith(ENCODED_PREFIX) else text


def _place(what: str, key: Key, id: str = "") -> str:
    # With the lengths, so that no two places have one text, whatever is in the names.
    return f"{what} {len(key.machine)} {len(key.instance)} {key.machine}{key.instance}{id}"


@frozen
class _CodedStore:
    store: Store
    texts: _TextCodec

    def load(self, key: Key) -> Stored | None:
        stored = self.store.load(key)
        return None if stored is None else self.texts.decoded_record(key, stored)

    def commit(
        self,
        key: Key,
        stored: Stored,
        expected: int,
        add_dead_letters: Sequence[DeadLetter] = (),
        remove_dead_letters: int = 0,
    ) -> None:
        encoded = self.texts.encoded_record(key, stored)
        letters = [self.texts.encoded_dead_letter(each) for each in add_dead_letters]
        with self.texts.decoded_refusals(key):
            self.store.commit(key, encoded, expected, letters, remove_dead_letters)

    def dead_letters(self, key: Key) -> Sequence[DeadLetter]:
        return [self.texts.decoded_dead_letter(each) for each in self.store.dead_letters(key)]

    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        with self.texts.decoded_refusals(key):
            self.store.delete(key, self.texts.encoded_record(key, tombstone), expected)

    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Sequence[tuple[Key, Stored]]:
        # Without the bodies, as a store may do: one that cannot be decoded must not hide the others.
        rows = self.store.scan(machine, after, limit, status)
        return [(key, Stored(stored.version, "", stored.index)) for key, stored in rows]


@frozen
class _CodedQueue:
    queue: Queue
    texts: _TextCodec

    def send(self, messages: Sequence[Message]) -> None:
        try:
            self.queue.send([self.texts.encoded_message(each) for each in messages])
        except IdReusedError:
            # A queue that compares bodies takes a repetition for another message if the key was rotated since the
            # first time. With the older key it is the same text again, and refused unless it is a repetition.
            before = [self.texts.messages_as_before(each) for each in messages]
            for attempt in zip(*before, strict=False):
                with suppress(IdReusedError):
                    return self.queue.send(attempt)
            raise

    def receive(self, limit: int, wait: float = 0.0, machines: Collection[str] | None = None) -> Sequence[Delivery]:
        return [self.texts.decoded_delivery(each) for each in self.queue.receive(limit, wait, machines)]

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self.queue.ack([_original(each) for each in deliveries])

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        self.queue.release([_original(each) for each in deliveries], delay)

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        self.queue.extend([_original(each) for each in deliveries], lease)

    def backlog(self) -> Sequence[Backlog]:
        return self.queue.backlog()

    def withdraw(self, deliveries: Sequence[Delivery]) -> None:
        self.queue.withdraw([_original(each) for each in deliveries])


@frozen
class _CodedTimers:
    timers: Timers
    texts: _TextCodec

    def schedule(self, timer: Timer) -> None:
        self.timers.schedule(self.texts.encoded_timer(timer))

    def cancel(self, timer_id: str) -> None:
        self.timers.cancel(timer_id)


@frozen
class CodedBackend(ClosedOnExit):
    """A `Backend` that encodes its texts with `codec` and keeps them in another one.

    It has the capabilities, the lease and the clock of the backend below it, whose limits of size count encoded texts.

    Attributes:
        below: the backend that keeps the encoded texts. It is closed with this one.
        codec: encodes and decodes.
    """

    below: Backend
    codec: Codec
    _texts: _TextCodec = field(init=False)
    store: Store = field(init=False)
    queue: Queue = field(init=False)
    timers: Timers = field(init=False)

    def __attrs_post_init__(self) -> None:
        set_field, texts = object.__setattr__, _TextCodec(self.codec)
        set_field(self, "_texts", texts)
        set_field(self, "store", _CodedStore(self.below.store, texts))
        set_field(self, "queue", _CodedQueue(self.below.queue, texts))
        set_field(self, "timers", _CodedTimers(self.below.timers, texts))

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self.below.capabilities

    @property
    def lease(self) -> timedelta:
        return self.below.lease

    @property
    def resolution(self) -> timedelta:
        return self.below.resolution

    @property
    def largest_message(self) -> int:
        """How many bytes the body of a message may have before it is encoded."""
        return self.codec.largest_text(self.below.largest_message)

    @property
    def retention(self) -> timedelta | None:
        return self.below.retention

    def now(self) -> float:
        return self.below.now()

    def finish(self, write: Write) -> None:
        with self._texts.decoded_refusals(write.key):
            self.below.finish(self._texts.encoded_write(write))

    def finish_all(
        self, writes: Sequence[Write], receive: int = 0, machines: Collection[str] | None = None
    ) -> FinishResult:
        encoded = [self._texts.encoded_write(each) for each in writes]
        result = self.below.finish_all(encoded, receive, machines)
        errors = {key: self._texts.decoded_error(key, error) for key, error in result.errors.items()}
        return FinishResult(errors, tuple([self._texts.decoded_delivery(each) for each in result.deliveries]))

    def decoded(self, delivery: Delivery) -> Delivery:
        """Return `delivery`, which was pushed to a host and not received, as `queue.receive` would have decoded it."""
        return self._texts.decoded_delivery(delivery)

    def watch(self, key: Key, changed: Callable[[], object]) -> AbstractContextManager[None]:
        return self.below.watch(key, changed)

    def close(self) -> None:
        """Close the backend below."""
        self.below.close()


def without_codec(backend: Backend) -> Backend:
    """Return the backend below the codec of `backend`; `backend` itself if it has none."""
    return backend.below if isinstance(backend, CodedBackend) else backend


def decoded(backend: Backend, delivery: Delivery) -> Delivery:
    """Return `delivery`, of the backend below the codec of `backend`, decoded; as it is if there is no codec."""
    return backend.decoded(delivery) if isinstance(backend, CodedBackend) else delivery
