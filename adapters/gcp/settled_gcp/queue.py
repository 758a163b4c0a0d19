"""The queue: one topic and one subscription of it, an ordering key for each key.

What one pull hands out of a key is leased together: while any of it is out, Pub/Sub hands out nothing more of that key.
When a message comes again, because its lease ran out or it was given back, all later ones of its key come again behind
it, even those that were acknowledged. So the order holds, and it is the record that tells a repetition.

What Pub/Sub does not do. It knows no ids of ours, so what is sent twice comes twice, and it numbers nothing that we are
told of. Only a subscription with exactly-once delivery says that a lease was lost; without it `extend` is told nothing,
and an old receipt may still acknowledge. Of what was pushed, nobody can ask whether it is still held. Hand-outs are
counted only where the subscription has a dead-letter policy, and a message that waits long is handed out every ten
minutes. So what protects an instance is its version, and what counts failures its record.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, assert_never

from attrs import define, field

from settled.durable.messages import Message, Timer
from settled.durable.ports import Delivery
from settled.errors import ConflictError, OutcomeUnknownError, SettledError, TooLargeError, UnavailableError
from settled_gcp.client_protocols import PublisherClient, SubscriberClient
from settled_gcp.envelope import arrived, to_text
from settled_gcp.errors import status_of, translated
from settled_gcp.names import ordering_key

MOST_AT_ONCE = 1000
"""How many messages one request publishes, pulls, acknowledges or extends."""

LARGEST = 10_000_000
"""How many bytes all of one publish request may have, and with it one message."""

BESIDE_THE_DATA = 64
"""More bytes than a message's framing takes."""

LONGEST_LEASE = 600
"""For how many seconds at a time a message may be held, or kept back."""

TIMEOUT = 10.0
"""How many seconds a request other than a pull may take."""

PUSHED = ""
"""The receipt of what was pushed: the answer to the request acknowledges it, and nothing else can."""


class PubSubQueue:
    """The queue over `topic` and `subscription`, which are full names such as ``projects/PROJECT/topics/TOPIC``.

    Args:
        publisher: a generated client; all that publish should ask the same region.
        subscriber: a generated client.
        topic: where messages go in; its subscription must have message ordering.
        subscription: where they come out.
        lease: the subscription's ack deadline, in whole seconds from 10 to 600.
        rearm: what schedules a timer that comes before it is due; without it such a timer stays where it is.
        shortest_wait: for how many seconds a pull waits at least. One that is broken off earlier than an answer takes
            leaves messages leased to nobody.
        clock: the time in seconds since the epoch, or one that is over for sure.
    """

    def __init__(
        self,
        publisher: PublisherClient,
        subscriber: SubscriberClient,
        topic: str,
        subscription: str,
        lease: int = 60,
        *,
        rearm: Callable[[Timer], None] | None = None,
        shortest_wait: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.lease = lease
        self._publisher = publisher
        self._subscriber = subscriber
        self._topic = topic
        self.subscription = subscription
        self._rearm = rearm
        self._shortest_wait = shortest_wait
        self._clock = clock

    def send(self, messages: Sequence[Message]) -> None:
        """Put `messages` into the queue, each key's in this order; durable on return.

        Raises:
            TooLarge: none of them was sent.
            Unknown: some of them were sent, perhaps all; of each key, none before one that stood in front of it.
        """
        batches = in_batches([self._entry(message) for message in messages])
        for number, batch in enumerate(batches):
            request = {
                "topic": self._topic,
                "messages": [{"data": entry.data, "ordering_key": entry.ordering} for entry in batch],
            }
            try:
                with translated(f"publishing to {self._topic}"):
                    self._publisher.publish(request=request, retry=None, timeout=TIMEOUT)
            except UnavailableError as error:
                if number == 0:
                    raise
                raise OutcomeUnknownError(
                    f"{number} of {len(batches)} requests were answered, and then: {error}"
                ) from error

    def receive(self, limit: int, wait: float = 0.0) -> Sequence[Delivery]:
        if limit < 1:
            return ()
        self._clock()  # Whom it has to ask may fail, and that must come before anything is leased.
        request = {"subscription": self.subscription, "max_messages": min(limit, MOST_AT_ONCE)}
        timeout = max(wait, self._shortest_wait)
        with translated(f"pulling from {self.subscription}", repeatable=True):
            try:
                answer = self._subscriber.pull(request=request, retry=None, timeout=timeout)
            except Exception as error:
                if status_of(error) == "DEADLINE_EXCEEDED":
                    return ()  # Pub/Sub waits until there is something, or nobody listens any more.
                raise
        return list(self.deliveries(answer.received_messages))

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._each("acknowledging in", self._subscriber.acknowledge, deliveries)

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        """Give the leases back; the key is handed out again once `delay` seconds have passed.

        Pub/Sub keeps nothing back for longer than ten minutes: then it comes earlier, and whoever receives it finds in
        the record that it must wait on.
        """
        seconds = max(0, min(math.ceil(delay), LONGEST_LEASE))
        self._each("releasing to", self._subscriber.modify_ack_deadline, deliveries, ack_deadline_seconds=seconds)

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        """Let the leases end `lease` seconds from now, and at most ten minutes. For what was pushed this does nothing.

        Raises:
            Conflict: the subscription has exactly-once delivery, and a lease was lost: it has run out, whether or not
                the message was handed out again, or the message was acknowledged. The others were extended.
            Unavailable: it may be that some were extended; doing it again is safe.
        """
        seconds = max(1, min(math.ceil(lease), LONGEST_LEASE))
        call = self._subscriber.modify_ack_deadline
        lost = self._each("extending in", call, deliveries, True, ack_deadline_seconds=seconds)
        if lost:
            raise ConflictError(f"the lease of {', '.join(each.message.id for each in lost)} was lost")

    def deliveries(self, received: Iterable[Any]) -> Iterator[Delivery]:
        """What a pull or a stream has just handed out. A timer that is not due yet is scheduled again.

        What is not settled's is left to the subscription's dead-letter policy.
        """
        until = self._clock() + self.lease
        blocked = set[str]()
        for each in received:
            ordering = str(each.message.ordering_key)
            found = arrived(each.message.data, ordering)
            if found is None or ordering in blocked:
                continue
            match found:
                case Timer(_, message, due):
                    if due > self._clock():
                        if not self._is_rearmed(found, str(each.ack_id)):
                            blocked.add(ordering)
                        continue
                case Message():
                    message = found
                case _:
                    assert_never(found)
            yield Delivery(message, str(each.ack_id), max(1, int(each.delivery_attempt)), until)

    def _is_rearmed(self, timer: Timer, receipt: str) -> bool:
        """Whether `timer` is scheduled, and what carried it is gone. If not, it comes again when its lease is over."""
        if self._rearm is None:
            return False
        try:
            self._rearm(timer)
            self.ack([Delivery(timer.message, receipt, 1, 0.0)])
        except SettledError:
            return False
        return True

    def _entry(self, message: Message) -> PublishEntry:
        data, ordering = to_text(message), ordering_key(message.key)
        size = len(data) + len(ordering.encode()) + BESIDE_THE_DATA
        if size > LARGEST:
            sizes = f"{size:,} bytes, and Pub/Sub takes {LARGEST:,}"
            raise TooLargeError(f"{message.key}: the message {message.id} has {sizes}")
        return PublishEntry(ordering, data, size)

    def _each(
        self,
        what: str,
        call: Callable[..., None],
        deliveries: Sequence[Delivery],
        repeatable: bool = False,
        **options: int,
    ) -> Sequence[Delivery]:
        """Call for all of `deliveries` but those that were pushed; the ones whose lease was known to be lost."""
        held = [delivery for delivery in deliveries if delivery.receipt != PUSHED]
        lost: list[Delivery] = []
        for start in range(0, len(held), MOST_AT_ONCE):
            some = held[start : start + MOST_AT_ONCE]
            receipts = [delivery.receipt for delivery in some]
            request = {"subscription": self.subscription, "ack_ids": receipts, **options}
            with translated(f"{what} {self.subscription}", repeatable=repeatable):
                try:
                    call(request=request, retry=None, timeout=TIMEOUT)
                except Exception as error:
                    reasons = _reasons_in(error, receipts)
                    if not reasons:
                        raise
                    if any(not reason.startswith("PERMANENT_FAILURE") for reason in reasons.values()):
                        raise UnavailableError(
                            f"{what} {self.subscription}: it may be tried again ({error})"
                        ) from error
                    lost += [delivery for delivery in some if delivery.receipt in reasons]
        return lost


def _reasons_in(error: Exception, receipts: Sequence[str]) -> Mapping[str, str]:
    """For which of `receipts` nothing was done, and why, as a subscription with exactly-once delivery says it.

    For all others of the request it was done. Other errors have details, too, which are about no receipt.
    """
    details: Mapping[str, str] = getattr(error, "metadata", None) or {}
    return {receipt: details[receipt] for receipt in receipts if receipt in details}


@define
class PublishEntry:
    """A message as it is published. `size` is in bytes."""

    ordering: str
    data: bytes
    size: int


@define
class _Batch:
    """What one request publishes."""

    entries: list[PublishEntry] = field(factory=list[PublishEntry])
    size: int = 0

    def has_room(self, entry: PublishEntry) -> bool:
        return len(self.entries) < MOST_AT_ONCE and self.size + entry.size <= LARGEST

    def add(self, entry: PublishEntry) -> None:
        self.entries.append(entry)
        self.size += entry.size


def in_batches(entries: Iterable[PublishEntry]) -> Sequence[Sequence[PublishEntry]]:
    """`entries` in as few requests as may be: all messages of a request must have the same ordering key."""
    batches: list[_Batch] = []
    filling: dict[str, _Batch] = {}
    for entry in entries:
        batch = filling.get(entry.ordering)
        if batch is None or not batch.has_room(entry):
            batch = filling[entry.ordering] = _Batch()
            batches.append(batch)
        batch.add(entry)
    return [batch.entries for batch in batches]
