"""The queue on Pub/Sub: a topic and a subscription with message ordering, and an ordering key for each key.

The ack deadline of a delivery is its lease. While messages of a key that one pull returned are outstanding, Pub/Sub
delivers no others of that key. If a message is redelivered, because its lease ended or it was released, Pub/Sub
redelivers all later ones of its key after it, even acknowledged ones. So the order holds; the record detects
duplicates.

Pub/Sub does not deduplicate by our ids, and gives subscribers no sequence numbers. Only a subscription with
exactly-once delivery reports a lost lease; without it `extend` learns nothing, and an expired ack id may still
acknowledge. A pushed message has no ack id at all, so its lease cannot be checked. Therefore the record's version
protects the instance. Delivery attempts are counted only under a dead-letter policy; without one they are estimated.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Protocol, assert_never, runtime_checkable

from attrs import define, field

from settled.durable.messages import Message, Timer
from settled.durable.ports import Backlog, Delivery, Queue
from settled.durations import in_seconds
from settled.errors import (
    ConflictError,
    OutcomeUnknownError,
    SettledError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
)
from settled_gcp.attempts import estimated_attempt
from settled_gcp.client_protocols import PublisherClient, SubscriberClient
from settled_gcp.envelope import decode_received, to_text
from settled_gcp.errors import status_of, translated
from settled_gcp.filters import ATTRIBUTE
from settled_gcp.names import machine_attribute, ordering_key
from settled_gcp.set_aside import set_aside

MAX_RETENTION_SECONDS = 31 * 24 * 60 * 60
"""Pub/Sub's limit on a subscription's message retention."""

MAX_BATCH_SIZE = 1000
"""Pub/Sub's limit on the messages of a publish request, used for pulls, acks and extensions as well."""

MAX_REQUEST_BYTES = 10_000_000
"""Pub/Sub's limit on a publish request, and so on a message."""

MESSAGE_OVERHEAD_BYTES = 96
"""An upper bound of what a message takes in a request besides its data, ordering key and machine."""

MAX_LEASE_SECONDS = 600
"""Pub/Sub's limit on an ack deadline, and so on a lease and on the delay of a release."""

TIMEOUT = 10.0
"""The timeout of requests other than pulls, in seconds."""

PUSH_RECEIPT = ""
"""The receipt of a pushed message, which has no ack id: only the response to the push request acknowledges it."""


@runtime_checkable
class SubscriptionQueue(Queue, Protocol):
    """A queue that is a subscription, and sets aside what that has delivered and no instance can take."""

    def set_aside(self, data: bytes, ordering: str, id: str) -> bool:
        """Do as `PubSubQueue.set_aside` does."""
        ...


class PubSubQueue:
    """The queue over `topic` and `subscription`, which are full names such as ``projects/PROJECT/topics/TOPIC``.

    Args:
        publisher: a generated client; all publishers should use the same region, or there is no order between them.
        subscriber: a generated client.
        topic: where messages are published.
        subscription: where they are received; it must have message ordering.
        lease: the subscription's ack deadline, in whole seconds from 10 to 600.
        reschedule: called with a timer that is received before it is due; without it the timer is not acknowledged.
        min_wait: the shortest timeout of a pull. If a pull times out just before its response, the messages
            in it stay leased although they were not received.
        clock: the time in seconds since the epoch, or a lower bound of it.
    """

    def __init__(
        self,
        publisher: PublisherClient,
        subscriber: SubscriberClient,
        topic: str,
        subscription: str,
        lease: timedelta = timedelta(seconds=60),
        *,
        reschedule: Callable[[Timer], None] | None = None,
        min_wait: timedelta = timedelta(seconds=1),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.lease = int(in_seconds(lease, "lease"))
        self._publisher = publisher
        self._subscriber = subscriber
        self._topic = topic
        self.subscription = subscription
        self._reschedule_timer = reschedule
        self._min_wait = in_seconds(min_wait, "min_wait")
        self._clock = clock

    def send(self, messages: Sequence[Message]) -> None:
        """Publish `messages`, those of each key in this order; they are durable on return.

        Raises:
            TooLargeError: a message is too large; none was sent.
            OutcomeUnknownError: some were sent, perhaps all; of each key, the first ones.
        """
        batches = in_batches([self._entry(message) for message in messages])
        for number, batch in enumerate(batches):
            request = {
                "topic": self._topic,
                "messages": [
                    {"data": each.data, "ordering_key": each.ordering, "attributes": {ATTRIBUTE: each.machine}}
                    for each in batch
                ],
            }
            # Any error ends the loop: a later batch must not overtake a failed one of the same ordering key.
            try:
                with translated(f"publishing to {self._topic}"):
                    self._publisher.publish(request=request, retry=None, timeout=TIMEOUT)
            except UnavailableError as error:
                if number == 0:
                    raise
                # "Unavailable" means that nothing happened, but earlier batches were sent.
                raise OutcomeUnknownError(
                    f"{number} of {len(batches)} requests were answered, and then: {error}"
                ) from error

    def receive(self, limit: int, wait: float = 0.0, machines: Collection[str] | None = None) -> Sequence[Delivery]:
        """Receive as `settled.durable.ports.Queue.receive` says, except that `machines` has no effect.

        Pub/Sub selects by the filter of a subscription, and not by what a pull asks for.
        """
        if limit < 1:
            return ()
        self._clock()  # first: it may need a request, and a failure after the pull would leave messages leased
        request = {"subscription": self.subscription, "max_messages": min(limit, MAX_BATCH_SIZE)}
        timeout = max(wait, self._min_wait)
        with translated(f"pulling from {self.subscription}", repeatable=True):
            try:
                response = self._subscriber.pull(request=request, retry=None, timeout=timeout)
            except Exception as error:
                if status_of(error) == "DEADLINE_EXCEEDED":
                    return ()  # a pull has no wait option: Pub/Sub responds when there is a message
                raise
        return list(self.deliveries(response.received_messages))

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        # Lost leases are ignored: the message is delivered again, and the record detects the duplicate.
        self._call_in_batches("acknowledging in", self._subscriber.acknowledge, deliveries)

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        """Return the deliveries; Pub/Sub delivers the key again after `delay` seconds, and at most after ten minutes.

        The worker that receives a message early sees in the record that it must wait, and releases it again.
        """
        seconds = max(0, min(math.ceil(delay), MAX_LEASE_SECONDS))
        self._call_in_batches(
            "releasing to", self._subscriber.modify_ack_deadline, deliveries, ack_deadline_seconds=seconds
        )

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        """Let the leases end `lease` seconds from now, and at most ten minutes. This has no effect on pushed messages.

        Raises:
            ConflictError: the subscription has exactly-once delivery, and a lease was lost: it ended, even if the
                message was not delivered again, or the message was acknowledged. The other leases were extended.
            UnavailableError: some leases may have been extended; extending again is safe.
        """
        # At least one second: an ack deadline of 0 releases the message.
        seconds = max(1, min(math.ceil(lease), MAX_LEASE_SECONDS))
        call = self._subscriber.modify_ack_deadline
        lost = self._call_in_batches("extending in", call, deliveries, True, ack_deadline_seconds=seconds)
        if lost:
            raise ConflictError(f"the lease of {', '.join(each.message.id for each in lost)} was lost")

    def backlog(self) -> Sequence[Backlog]:
        """Raise UnsupportedError: Pub/Sub counts messages in Cloud Monitoring only."""
        raise UnsupportedError("Pub/Sub does not count messages: see its metrics in Cloud Monitoring")

    def withdraw(self, deliveries: Sequence[Delivery]) -> None:
        """Raise UnsupportedError: Pub/Sub redelivers acknowledged messages with those before them."""
        raise UnsupportedError("Pub/Sub may deliver messages again after they were acknowledged")

    def deliveries(self, received: Iterable[Any]) -> Iterator[Delivery]:
        """Decode what a pull or a stream has just returned. Schedule timers again that are not due yet.

        Messages that are not settled's and name no instance are set aside.
        """
        until = self._clock() + self.lease
        blocked = set[str]()
        for each in received:
            ordering = str(each.message.ordering_key)
            if ordering in blocked:
                continue
            decoded = decode_received(each.message.data, ordering, str(each.message.message_id))
            match decoded:
                case None:
                    if not self._move_away(each) and ordering:
                        blocked.add(ordering)
                    continue
                case Timer(_, message, due):
                    if due > self._clock():
                        if not self._reschedule(decoded, str(each.ack_id)):
                            blocked.add(ordering)  # it is redelivered, and all later messages of its key after it
                        continue
                case Message():
                    message = decoded
                case _:
                    assert_never(decoded)
            attempt = int(each.delivery_attempt) or self._estimated_attempt(each.message)
            yield Delivery(message, str(each.ack_id), attempt, until)

    def _estimated_attempt(self, received: Any) -> int:
        return estimated_attempt(self._clock() - received.publish_time.timestamp(), self.lease)

    def set_aside(self, data: bytes, ordering: str, id: str) -> bool:
        """Publish the Pub/Sub message `id`, which names no instance, to the dead-letter topic.

        Return whether it is there. See `set_aside`.
        """
        return set_aside(self._publisher, self._subscriber, self.subscription, data, ordering, id)

    def _move_away(self, received: Any) -> bool:
        """Set a message aside and acknowledge it. Return whether both succeeded."""
        message = received.message
        if not self.set_aside(message.data, str(message.ordering_key), str(message.message_id)):
            return False
        request = {"subscription": self.subscription, "ack_ids": [str(received.ack_id)]}
        with suppress(SettledError), translated(f"acknowledging in {self.subscription}", repeatable=True):
            self._subscriber.acknowledge(request=request, retry=None, timeout=TIMEOUT)
            return True
        return False

    def _reschedule(self, timer: Timer, receipt: str) -> bool:
        """Schedule `timer` again and acknowledge its message. Return whether both succeeded."""
        if self._reschedule_timer is None:
            return False
        try:
            self._reschedule_timer(timer)
            self.ack([Delivery(timer.message, receipt, 1, 0.0)])
        except SettledError:
            return False
        return True

    def _entry(self, message: Message) -> PublishEntry:
        data, ordering, machine = to_text(message), ordering_key(message.key), machine_attribute(message.key.machine)
        size = len(data) + len(ordering.encode()) + len(machine.encode()) + MESSAGE_OVERHEAD_BYTES
        if size > MAX_REQUEST_BYTES:
            sizes = f"{size:,} bytes; the limit of Pub/Sub is {MAX_REQUEST_BYTES:,}"
            raise TooLargeError(f"{message.key}: the message {message.id} has {sizes}")
        return PublishEntry(ordering, machine, data, size)

    def _call_in_batches(
        self,
        operation: str,
        call: Callable[..., None],
        deliveries: Sequence[Delivery],
        repeatable: bool = False,
        **options: int,
    ) -> Sequence[Delivery]:
        """Call an operation for `deliveries` that were not pushed. Return those whose lease is known to be lost."""
        held = [delivery for delivery in deliveries if delivery.receipt != PUSH_RECEIPT]
        lost: list[Delivery] = []
        for start in range(0, len(held), MAX_BATCH_SIZE):
            some = held[start : start + MAX_BATCH_SIZE]
            receipts = [delivery.receipt for delivery in some]
            request = {"subscription": self.subscription, "ack_ids": receipts, **options}
            with translated(f"{operation} {self.subscription}", repeatable=repeatable):
                try:
                    call(request=request, retry=None, timeout=TIMEOUT)
                except Exception as error:
                    reasons = _reasons_in(error, receipts)
                    if not reasons:
                        raise
                    # Anything but a permanent failure is transient: this ack id may still be valid.
                    if any(not reason.startswith("PERMANENT_FAILURE") for reason in reasons.values()):
                        raise UnavailableError(
                            f"{operation} {self.subscription}: it may be tried again ({error})"
                        ) from error
                    lost += [delivery for delivery in some if delivery.receipt in reasons]
        return lost


def _reasons_in(error: Exception, receipts: Sequence[str]) -> Mapping[str, str]:
    """Return, for each of `receipts` on which the request had no effect, the reason.

    A subscription with exactly-once delivery gives the reasons in the error's metadata, by ack id. The request did have
    an effect on all other ack ids. The metadata of other errors has no ack ids.
    """
    details: Mapping[str, str] = getattr(error, "metadata", None) or {}
    return {receipt: details[receipt] for receipt in receipts if receipt in details}


@define
class PublishEntry:
    """A message of a publish request; `size` is in bytes, `machine` the value of its attribute."""

    ordering: str
    machine: str
    data: bytes
    size: int


@define
class _Batch:
    """The messages of one request."""

    entries: list[PublishEntry] = field(factory=list[PublishEntry])
    size: int = 0

    def has_room(self, entry: PublishEntry) -> bool:
        return len(self.entries) < MAX_BATCH_SIZE and self.size + entry.size <= MAX_REQUEST_BYTES

    def add(self, entry: PublishEntry) -> None:
        self.entries.append(entry)
        self.size += entry.size


def in_batches(entries: Iterable[PublishEntry]) -> Sequence[Sequence[PublishEntry]]:
    """Divide `entries` among as few requests as possible."""
    # Pub/Sub rejects a publish request with several ordering keys.
    batches: list[_Batch] = []
    filling: dict[str, _Batch] = {}
    for entry in entries:
        batch = filling.get(entry.ordering)
        if batch is None or not batch.has_room(entry):
            batch = filling[entry.ordering] = _Batch()
            batches.append(batch)
        batch.add(entry)
    return [batch.entries for batch in batches]
