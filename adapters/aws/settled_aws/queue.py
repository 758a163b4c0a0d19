"""The queue: one SQS FIFO queue, a message group for each key.

A hand-out's visibility timeout is its lease: while it lasts the whole group is held, and what is released comes back
when its new timeout is over. SQS counts in whole seconds, so a part of one is rounded up.

Two things SQS does not do. It forgets a message's id after five minutes, so a later repetition is told by the record's
window; and an old receipt may still do something, so what protects an instance is its version.

SQS numbers the messages of a group, and its numbers only grow. When a queue is deleted and made again there is nothing
that they go on from, so what they are compared within is the queue's name together with when it was made.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from attrs import define, field, frozen

from settled.durable.messages import Message
from settled.durable.ports import Delivery, Position
from settled.errors import ConflictError, EventError, OutcomeUnknownError, SettledError, TooLargeError, UnavailableError
from settled_aws.client_protocols import BotoResponse, SqsClient
from settled_aws.delay_queue import DelayQueue
from settled_aws.envelope import from_text, size, to_text
from settled_aws.errors import meaning, translated
from settled_aws.names import deduplication_id, epoch, group_id

MOST_AT_ONCE = 10
"""How many messages one request sends, receives, deletes or extends."""

LARGEST = 1024 * 1024
"""How many bytes one message may have, and all messages of one request together."""

LONGEST_WAIT = 20
"""For how many seconds one request may wait for messages."""

LONGEST_LEASE = 12 * 60 * 60
"""For how many seconds after its hand-out a message may stay invisible."""

MARGIN = 60
"""How many seconds a hand-out may be older than we know: Lambda passes on what it received before."""

NUMBER = "SequenceNumber"
"""The system attribute with a message's number; a Lambda function is given it, too."""

_ARN, _CREATED = "QueueArn", "CreatedTimestamp"

_LEASE_LOST = frozenset({"ReceiptHandleIsInvalid", "InvalidParameterValue", "MessageNotInflight"})
"""What SQS says of a receipt whose lease has ended; as an entry's code, or with a prefix of the service's name."""


class SqsFifoQueue:
    """The queue at `url`, whose name ends in ``.fifo``.

    `lease` is in whole seconds. `largest` is the queue's own MaximumMessageSize, in bytes. Whoever receives also
    forwards what is due in `delays`, if it is given. `clock` is the time in seconds since the epoch.
    """

    def __init__(
        self,
        client: SqsClient,
        url: str,
        lease: int = 30,
        largest: int = LARGEST,
        delays: DelayQueue | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.lease = lease
        self._client = client
        self._url = url
        self._largest = largest
        self._delays = delays
        self._clock = clock
        self._numbering: Numbering | None = None
        self._lock = threading.Lock()

    def send(self, messages: Sequence[Message]) -> None:
        """Put `messages` into the queue, in this order; durable on return.

        One with a known id and another body is queued: SQS keeps no bodies that it could be held against.

        Raises:
            TooLarge: none of them was sent.
            Unknown: some of them were sent, perhaps all; SQS knows them again for five minutes.
        """
        batches = in_batches([self._entry(message) for message in messages])
        for number, batch in enumerate(batches):
            try:
                self._send(batch)
            except UnavailableError as error:
                if number == 0:
                    raise
                raise OutcomeUnknownError(
                    f"{number} of {len(batches)} requests were answered, and then: {error}"
                ) from error

    def receive(self, limit: int, wait: float = 0.0) -> Sequence[Delivery]:
        """Up to `limit` messages, and never more than ten, waiting up to `wait`, cut to whole seconds, 20 at most."""
        if limit < 1:
            return ()
        if self._delays is not None:
            self._delays.forward(self.send)
        numbering = self.numbering()
        with translated(f"receiving from {self._url}", reading=True):
            answer = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=min(limit, MOST_AT_ONCE),
                WaitTimeSeconds=min(int(wait), LONGEST_WAIT),
                VisibilityTimeout=self.lease,
                MessageSystemAttributeNames=["ApproximateReceiveCount", NUMBER],
            )
        until = self._clock() + self.lease
        return list(_deliveries(answer.get("Messages", ()), until, numbering))

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._each("deleting from", self._client.delete_message_batch, deliveries, {})

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        """Give the leases back; the key is handed out again once `delay` seconds have passed.

        SQS keeps nothing invisible for longer than 12 hours after its hand-out: then it comes back earlier, and whoever
        receives it finds in the record that it must wait on.
        """
        held = max((self._clock() - (each.until - self.lease) for each in deliveries), default=0.0)
        longest = LONGEST_LEASE - math.ceil(held) - MARGIN
        timeout = {"VisibilityTimeout": max(0, min(math.ceil(delay), longest))}
        self._each("releasing to", self._client.change_message_visibility_batch, deliveries, timeout)

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        timeout = {"VisibilityTimeout": min(math.ceil(lease), LONGEST_LEASE)}
        lost = self._each("extending in", self._client.change_message_visibility_batch, deliveries, timeout)
        if lost:
            raise ConflictError(f"the lease of {', '.join(each.message.id for each in lost)} was lost")

    def numbering(self) -> Numbering:
        """Return the numbering of the queue's messages; one request asks for it, and then it is known.

        Raises:
            Unavailable, Denied: it could not be asked for.
        """
        with self._lock:
            if self._numbering is None:
                with translated(f"asking what {self._url} is", reading=True):
                    answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=[_ARN, _CREATED])
                queue = answer["Attributes"]
                self._numbering = Numbering(queue[_ARN], epoch(queue[_ARN], queue[_CREATED]))
            return self._numbering

    def _entry(self, message: Message) -> SendEntry:
        text = to_text(message)
        found = size(text)
        if found > self._largest:
            sizes = f"{found:,} bytes, and this queue takes {self._largest:,}"
            raise TooLargeError(f"{message.key}: the message {message.id} has {sizes}")
        return SendEntry(group_id(message.key), deduplication_id(message), text, found)

    def _send(self, batch: Sequence[SendEntry]) -> None:
        entries = [
            {
                "Id": str(number),
                "MessageBody": entry.text,
                "MessageGroupId": entry.group,
                "MessageDeduplicationId": entry.deduplication,
            }
            for number, entry in enumerate(batch)
        ]
        with translated(f"sending to {self._url}"):
            answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
        failed = answer.get("Failed", ())
        if failed:
            error = _meaning(failed[0], f"sending to {self._url}")
            if len(failed) == len(batch):
                raise error
            raise OutcomeUnknownError(f"{len(failed)} of {len(batch)} messages were not sent: {error}")

    def _each(
        self, what: str, call: Callable[..., BotoResponse], deliveries: Sequence[Delivery], options: Mapping[str, Any]
    ) -> Sequence[Delivery]:
        """Call for all of `deliveries`; those whose lease was lost, for which it did nothing."""
        lost: list[Delivery] = []
        for start in range(0, len(deliveries), MOST_AT_ONCE):
            some = deliveries[start : start + MOST_AT_ONCE]
            entries = [
                {"Id": str(number), "ReceiptHandle": delivery.receipt, **options}
                for number, delivery in enumerate(some)
            ]
            with translated(f"{what} {self._url}"):
                answer = call(QueueUrl=self._url, Entries=entries)
            for failed in answer.get("Failed", ()):
                if not _is_lost(failed):
                    raise _meaning(failed, f"{what} {self._url}")
                lost.append(some[int(failed["Id"])])
        return lost


@frozen
class Numbering:
    """The numbering of the messages of the queue with the ARN `queue` since it was made."""

    queue: str
    epoch: str

    def position(self, attributes: Mapping[str, Any]) -> Position | None:
        """Return the position of the message with these system attributes; None if they do not say it."""
        return Position(self.epoch, int(attributes[NUMBER])) if NUMBER in attributes else None


@define
class SendEntry:
    """A message as it is sent. `size` is in bytes."""

    group: str
    deduplication: str
    text: str
    size: int


@define
class _Batch:
    """What one request sends."""

    entries: list[SendEntry] = field(factory=list[SendEntry])
    size: int = 0

    def has_room(self, entry: SendEntry) -> bool:
        return len(self.entries) < MOST_AT_ONCE and self.size + entry.size <= LARGEST

    def add(self, entry: SendEntry) -> None:
        self.entries.append(entry)
        self.size += entry.size


def in_batches(entries: Iterable[SendEntry]) -> Sequence[Sequence[SendEntry]]:
    """`entries` in as few requests as may be, in the order in which these are to be made.

    SQS may take a part of a request and refuse the rest. So no request carries two messages of one group: the second
    could get in before the first.
    """
    batches: list[_Batch] = []
    behind: dict[str, int] = {}
    for entry in entries:
        place = behind.get(entry.group, 0)
        while place < len(batches) and not batches[place].has_room(entry):
            place += 1
        if place == len(batches):
            batches.append(_Batch())
        batches[place].add(entry)
        behind[entry.group] = place + 1
    return [batch.entries for batch in batches]


def _deliveries(messages: Iterable[Mapping[str, Any]], until: float, numbering: Numbering) -> Iterator[Delivery]:
    """What was received. A message that is not settled's is left to the queue's own dead-letter queue."""
    for received in messages:
        attributes = received["Attributes"]
        attempt, position = int(attributes["ApproximateReceiveCount"]), numbering.position(attributes)
        with suppress(EventError):
            yield Delivery(from_text(received["Body"]), received["ReceiptHandle"], attempt, until, position)


def _is_lost(failed: Mapping[str, Any]) -> bool:
    return str(failed.get("Code", "")).rpartition(".")[2] in _LEASE_LOST


def _meaning(failed: Mapping[str, Any], what: str) -> SettledError:
    return meaning(
        str(failed.get("Code", "")), str(failed.get("Message", "")), what, happened=not failed.get("SenderFault")
    )
