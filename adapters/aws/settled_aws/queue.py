"""The queue on SQS: one FIFO queue, with a message group for each key.

The visibility timeout of a delivery is its lease: SQS delivers nothing else of the group until it ends or the message
is deleted. Releasing a delivery sets the timeout to the delay. SQS counts whole seconds; fractions are rounded up.

SQS does not guarantee two things. It deduplicates for five minutes only; the record's window detects later duplicates.
And an expired receipt handle may still work; the record's version fences off its holder.

SQS' sequence numbers grow within a message group. A queue that is deleted and created again starts over, so positions
are comparable only within an epoch: the queue's ARN and creation time.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from attrs import define, field, frozen

from settled.durable.messages import Message
from settled.durable.ports import Backlog, Delivery, Position
from settled.durations import in_seconds
from settled.errors import (
    ConflictError,
    OutcomeUnknownError,
    SettledError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
)
from settled_aws.client_protocols import BotoResponse, SqsClient
from settled_aws.delay_queue import DelayQueue, release_later
from settled_aws.envelope import decode_received, size, to_text
from settled_aws.errors import error_for_code, translated
from settled_aws.names import deduplication_id, epoch, group_id
from settled_aws.set_aside import set_aside

MAX_BATCH_SIZE = 10
"""SQS' limit on the messages of one request of any kind."""

MAX_REQUEST_BYTES = 1024 * 1024
"""SQS' limit on the size of one message, and of all messages of one request together."""

MAX_WAIT_SECONDS = 20
"""SQS' limit on WaitTimeSeconds."""

MAX_LEASE_SECONDS = 12 * 60 * 60
"""SQS' limit on the visibility timeout, in seconds, counted from when the message was received."""

MAX_RETENTION_SECONDS = 14 * 24 * 60 * 60
"""SQS' limit on MessageRetentionPeriod."""

RECEIVE_AGE_MARGIN = 60
"""How many seconds earlier than we assume a delivery may have been received: Lambda polls before it invokes."""

GROUP, SEQUENCE_NUMBER = "MessageGroupId", "SequenceNumber"
"""The system attributes with the group and the sequence number of a message; Lambda's records have them, too."""

NUMBERING_MAX_AGE = 30.0
"""After how many seconds a receiver asks again when the queue was created.

A name can be used again 60 seconds after its queue was deleted, so a process that lives through this learns of it.
"""

_ARN, _CREATED, _VISIBILITY = "QueueArn", "CreatedTimestamp", "VisibilityTimeout"

_LEASE_LOST = frozenset({"ReceiptHandleIsInvalid", "InvalidParameterValue", "MessageNotInflight"})
"""SQS' codes for an expired receipt handle, without the prefix ``AWS.SimpleQueueService.`` that some have."""


@frozen
class EventSourceDelivery(Delivery):
    """A delivery by a Lambda event source, which deletes the message when the invocation has not reported it as failed.

    Attributes:
        acked: has the receipts of the deliveries that were acknowledged; `SqsFifoQueue.ack` only adds to it.
    """

    acked: set[str] = field(factory=set[str], eq=False, repr=False)


class SqsFifoQueue:
    """The FIFO queue at `url`, whose name ends in ``.fifo``.

    Args:
        client: a client of the service ``sqs``.
        url: of the queue.
        lease: the visibility timeout of deliveries: whole seconds.
        delays: a delay queue; `receive` forwards its due messages.
        clock: the time in seconds since the epoch.
    """

    def __init__(
        self,
        client: SqsClient,
        url: str,
        lease: timedelta = timedelta(seconds=30),
        delays: DelayQueue | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._lease = int(in_seconds(lease, "lease"))
        self._client = client
        self.url = url
        self._delays = delays
        self._clock = clock
        self._numbering: Numbering | None = None
        self._numbering_read_at = -math.inf
        self._lock = threading.Lock()

    def send(self, messages: Sequence[Message]) -> None:
        """Add `messages` to the queue in this order; they are durable on return.

        A message with a known id and another body is added as well; the record detects the reuse.

        Raises:
            TooLargeError: a message is too large; none was sent.
            OutcomeUnknownError: some were sent, perhaps all. Sending all of them again within five minutes, SQS'
                deduplication interval, adds only the missing ones.
        """
        self.send_entries(self.entries(messages))

    def entries(self, messages: Sequence[Message]) -> Sequence[SendEntry]:
        """Return the entries of `messages` for `send_entries`.

        Raises:
            TooLargeError: a message is too large.
        """
        return [self._entry(message) for message in messages]

    def send_entries(self, entries: Sequence[SendEntry]) -> None:
        """Do `send` with the entries of its messages."""
        batches = in_batches(entries)
        for number, batch in enumerate(batches):
            # Any error ends the loop: a later batch must not overtake a failed one that has the same group.
            try:
                self._send(batch)
            except UnavailableError as error:
                if number == 0:
                    raise
                # "Unavailable" means that nothing happened, but earlier batches were sent.
                raise OutcomeUnknownError(
                    f"{number} of {len(batches)} requests were answered, and then: {error}"
                ) from error

    def receive(self, limit: int, wait: float = 0.0, machines: Collection[str] | None = None) -> Sequence[Delivery]:
        """Receive up to `limit` messages, ten at most, waiting up to `wait` seconds (truncated; 20 at most).

        SQS cannot select: messages of other machines than `machines` are received, too.
        """
        if limit < 1:
            return ()
        if self._delays is not None:
            self._delays.forward(self.send)
        numbering = self.numbering()  # first: a failure after receiving would leave messages leased
        with translated(f"receiving from {self.url}", repeatable=True):
            response = self._client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=min(limit, MAX_BATCH_SIZE),
                WaitTimeSeconds=min(int(wait), MAX_WAIT_SECONDS),
                VisibilityTimeout=self._lease,
                MessageSystemAttributeNames=["ApproximateReceiveCount", GROUP, SEQUENCE_NUMBER],
            )
        until = self._clock() + self._lease
        return list(self._deliveries(response.get("Messages", ()), until, numbering))

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        to_delete: list[Delivery] = []
        for delivery in deliveries:
            if isinstance(delivery, EventSourceDelivery):
                delivery.acked.add(delivery.receipt)
            else:
                to_delete.append(delivery)
        # Lost leases are ignored: the message is delivered again, and the record detects the duplicate.
        self._call_in_batches("deleting from", self._client.delete_message_batch, to_delete, {})

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        """Return the deliveries; SQS delivers the key again after `delay` seconds.

        A longer delay than SQS allows is shortened. The worker that receives the message early sees in the record that
        it must wait, and releases it again.
        """
        # The visibility timeout and the time already held may together not exceed 12 hours, or SQS rejects the request.
        held = max((self._clock() - (each.lease_until - self._lease) for each in deliveries), default=0.0)
        longest = MAX_LEASE_SECONDS - math.ceil(held) - RECEIVE_AGE_MARGIN
        timeout = {"VisibilityTimeout": max(0, min(math.ceil(delay), longest))}
        self._call_in_batches("releasing to", self._client.change_message_visibility_batch, deliveries, timeout)

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        # An event source receives under the queue's own visibility timeout, which must not become shorter.
        if any(isinstance(delivery, EventSourceDelivery) for delivery in deliveries):
            lease = max(lease, self.numbering().visibility_timeout)
        timeout = {"VisibilityTimeout": min(math.ceil(lease), MAX_LEASE_SECONDS)}
        lost = self._call_in_batches("extending in", self._client.change_message_visibility_batch, deliveries, timeout)
        if lost:
            raise ConflictError(f"the lease of {', '.join(each.message.id for each in lost)} was lost")

    def backlog(self) -> Sequence[Backlog]:
        """Raise UnsupportedError: SQS counts the messages of a queue, not those of a machine."""
        raise UnsupportedError("SQS does not count the messages of a machine: see the metrics of its queue")

    def withdraw(self, deliveries: Sequence[Delivery]) -> None:
        """Raise UnsupportedError: SQS deduplicates for five minutes."""
        raise UnsupportedError("SQS remembers the ids of messages for five minutes")

    def numbering(self) -> Numbering:
        """Return the numbering of the queue's messages. The request is made again after `NUMBERING_MAX_AGE`.

        Raises:
            UnavailableError, AccessDeniedError, BackendConfigError: the request failed.
        """
        with self._lock:
            # The machine's clock: in a function that was frozen, the monotonic one may have stopped.
            now = time.time()
            if self._numbering is None or abs(now - self._numbering_read_at) > NUMBERING_MAX_AGE:
                with translated(f"reading the attributes of {self.url}", repeatable=True):
                    names = [_ARN, _CREATED, _VISIBILITY]
                    queue = self._client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
                self._numbering = Numbering(queue[_ARN], epoch(queue[_ARN], queue[_CREATED]), int(queue[_VISIBILITY]))
                self._numbering_read_at = now
            return self._numbering

    def set_aside(self, text: str, id: str, group: str, queue: str | None = None) -> bool:
        """Send the SQS message `id`, which names no instance, to the dead-letter queue, and return whether it is there.

        `queue` is the name of the queue that it is in, if it is another one in this account. See `set_aside`.
        """
        url = self.url if queue is None else self._url_of(queue)
        return set_aside(self._client, url, text, id, group)

    def release_later(self, queue: str, received: Sequence[tuple[str, int]], error: SettledError) -> None:
        """Release messages of the queue named `queue`, in this account, that could not be forwarded.

        See `settled_aws.delay_queue.release_later`.
        """
        release_later(self._client, self._url_of(queue), received, error)

    def _url_of(self, queue: str) -> str:
        return f"{self.url.rpartition('/')[0]}/{queue}"

    def _deliveries(
        self, messages: Iterable[Mapping[str, Any]], until: float, numbering: Numbering
    ) -> Iterator[Delivery]:
        blocked = set[str]()
        for received in messages:
            attributes, receipt = received["Attributes"], received["ReceiptHandle"]
            group = attributes[GROUP]
            if group in blocked:
                continue  # delivered again, when their lease ends, after the one before them
            message = decode_received(received["Body"], group, received["MessageId"])
            if message is not None:
                attempt = int(attributes["ApproximateReceiveCount"])
                yield Delivery(message, receipt, attempt, until, numbering.position(attributes))
            elif not self._move_away(received["Body"], received["MessageId"], group, receipt):
                blocked.add(group)

    def _move_away(self, text: str, id: str, group: str, receipt: str) -> bool:
        """Set a message aside and delete it. Return whether it is gone."""
        if not self.set_aside(text, id, group):
            return False
        with suppress(SettledError), translated(f"deleting from {self.url}", repeatable=True):
            entries = [{"Id": "0", "ReceiptHandle": receipt}]
            return not self._client.delete_message_batch(QueueUrl=self.url, Entries=entries).get("Failed")
        return False

    def _entry(self, message: Message) -> SendEntry:
        text = to_text(message)
        actual = size(text)
        if actual > MAX_REQUEST_BYTES:
            sizes = f"{actual:,} bytes; the limit of SQS is {MAX_REQUEST_BYTES:,}"
            raise TooLargeError(f"{message.key}: the message {message.id} has {sizes}")
        return SendEntry(group_id(message.key), deduplication_id(message), text, actual)

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
        with translated(f"sending to {self.url}"):
            response = self._client.send_message_batch(QueueUrl=self.url, Entries=entries)
        failed = response.get("Failed", ())
        if failed:
            error = _entry_error(failed[0], f"sending to {self.url}")
            if len(failed) == len(batch):
                raise error
            raise OutcomeUnknownError(f"{len(failed)} of {len(batch)} messages were not sent: {error}")

    def _call_in_batches(
        self,
        operation: str,
        call: Callable[..., BotoResponse],
        deliveries: Sequence[Delivery],
        options: Mapping[str, Any],
    ) -> Sequence[Delivery]:
        """Call a batch operation for `deliveries`. Return those whose lease was lost; it had no effect on them."""
        lost: list[Delivery] = []
        for start in range(0, len(deliveries), MAX_BATCH_SIZE):
            some = deliveries[start : start + MAX_BATCH_SIZE]
            entries = [
                {"Id": str(number), "ReceiptHandle": delivery.receipt, **options}
                for number, delivery in enumerate(some)
            ]
            with translated(f"{operation} {self.url}"):
                response = call(QueueUrl=self.url, Entries=entries)
            for failed in response.get("Failed", ()):
                if not _is_lease_lost(failed):
                    raise _entry_error(failed, f"{operation} {self.url}")
                lost.append(some[int(failed["Id"])])
        return lost


@frozen
class Numbering:
    """The sequence numbers of the queue with the ARN `queue`, since it was created.

    `visibility_timeout`, in seconds, is the queue's own; the same request brings it.
    """

    queue: str
    epoch: str
    visibility_timeout: int = 0

    def position(self, attributes: Mapping[str, Any]) -> Position | None:
        """Return the position of the message with these system attributes; None if they lack the sequence number."""
        return Position(self.epoch, int(attributes[SEQUENCE_NUMBER])) if SEQUENCE_NUMBER in attributes else None


@define
class SendEntry:
    """An entry of a SendMessageBatch request; `size` is in bytes."""

    group: str
    deduplication: str
    text: str
    size: int


@define
class _Batch:
    """The entries of one request."""

    entries: list[SendEntry] = field(factory=list[SendEntry])
    size: int = 0

    def has_room(self, entry: SendEntry) -> bool:
        return len(self.entries) < MAX_BATCH_SIZE and self.size + entry.size <= MAX_REQUEST_BYTES

    def add(self, entry: SendEntry) -> None:
        self.entries.append(entry)
        self.size += entry.size


def in_batches(entries: Iterable[SendEntry]) -> Sequence[Sequence[SendEntry]]:
    """Divide `entries` among as few requests as possible, to be made in this order."""
    batches: list[_Batch] = []
    first_allowed: dict[str, int] = {}
    for entry in entries:
        index = first_allowed.get(entry.group, 0)
        while index < len(batches) and not batches[index].has_room(entry):
            index += 1
        if index == len(batches):
            batches.append(_Batch())
        batches[index].add(entry)
        # SendMessageBatch may fail for some entries only. With two entries of one group in a request, the second could
        # be queued without the first, and out of order when the first is sent again.
        first_allowed[entry.group] = index + 1
    return [batch.entries for batch in batches]


def _is_lease_lost(failed: Mapping[str, Any]) -> bool:
    return str(failed.get("Code", "")).rpartition(".")[2] in _LEASE_LOST


def _entry_error(failed: Mapping[str, Any], operation: str) -> SettledError:
    return error_for_code(
        str(failed.get("Code", "")),
        str(failed.get("Message", "")),
        operation,
        may_have_happened=not failed.get("SenderFault"),
    )
