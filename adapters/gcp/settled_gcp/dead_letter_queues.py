"""The dead-letter queue of Pub/Sub: a subscription of the topic to which a dead-letter policy moves messages.

Pub/Sub moves messages one by one, and keeps their order only if the subscription has message ordering. Each has the
time when it was published first, by which those of a key are put in order here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from attrs import frozen

from settled.durable.malformed import is_malformed
from settled.durable.messages import Message, Timer
from settled_gcp.client_protocols import PublisherClient, SubscriberClient
from settled_gcp.envelope import decode_received
from settled_gcp.errors import status_of, translated
from settled_gcp.queue import MAX_BATCH_SIZE, TIMEOUT
from settled_runtime.dead_letter_queue import DeadLetterQueue, DroppedMessage

HIDDEN_SECONDS = 600
"""For how long what is received here is hidden: Pub/Sub's limit, because there may be much of it."""

PULL_TIMEOUT = 5.0
"""How many seconds a pull waits for a message before the subscription is taken to be empty."""

MAX_MESSAGES = 10_000
"""How many messages are received before they are put in order."""

SHOWN_CHARACTERS = 200
"""How much of a message is shown to people."""

PUBLISHED = "CloudPubSubDeadLetterSourceTopicPublishTime"
"""The attribute with the time at which a message was published first, which Pub/Sub adds when it moves the message."""


@frozen
class PubSubDeadLetterQueue:
    """The dead-letter queue that `subscription`, a full name, delivers."""

    subscriber: SubscriberClient
    subscription: str
    has_timers_only: bool = False

    @property
    def name(self) -> str:
        return self.subscription.rpartition("/")[2]

    def receive(self) -> Sequence[DroppedMessage]:
        received: list[Any] = []
        while len(received) < MAX_MESSAGES and (some := self._pull()):
            received += some
        received.sort(key=_published)
        return [_dropped(each) for each in received]

    def delete(self, messages: Sequence[DroppedMessage]) -> None:
        for start in range(0, len(messages), MAX_BATCH_SIZE):
            receipts = [each.receipt for each in messages[start : start + MAX_BATCH_SIZE]]
            request = {"subscription": self.subscription, "ack_ids": receipts}
            # Repeatable: what is not acknowledged is received again, and known by then.
            with translated(f"acknowledging in {self.subscription}", repeatable=True):
                self.subscriber.acknowledge(request=request, retry=None, timeout=TIMEOUT)

    def _pull(self) -> Sequence[Any]:
        request = {"subscription": self.subscription, "max_messages": MAX_BATCH_SIZE}
        with translated(f"pulling from {self.subscription}", repeatable=True):
            try:
                response = self.subscriber.pull(request=request, retry=None, timeout=PULL_TIMEOUT)
            except Exception as error:
                if status_of(error) == "DEADLINE_EXCEEDED":
                    return ()
                raise
        found = list(response.received_messages)
        if found:
            hidden = {"ack_ids": [each.ack_id for each in found], "ack_deadline_seconds": HIDDEN_SECONDS}
            request = {"subscription": self.subscription, **hidden}
            with translated(f"extending in {self.subscription}", repeatable=True):
                self.subscriber.modify_ack_deadline(request=request, retry=None, timeout=TIMEOUT)
        return found


def find_dead_letter_queues(
    publisher: PublisherClient, subscriber: SubscriberClient, subscription: str, named: str | None
) -> Sequence[DeadLetterQueue]:
    """Return the dead-letter queue of `subscription`, if it has one.

    Args:
        publisher: a generated client.
        subscriber: a generated client.
        subscription: the subscription that delivers the messages.
        named: the subscription that delivers what was moved away; without it, the first one of the topic that the
            dead-letter policy names.
    """
    if named is not None:
        return [PubSubDeadLetterQueue(subscriber, named)]
    with translated(f"looking at {subscription}", repeatable=True):
        found = subscriber.get_subscription(request={"subscription": subscription}, retry=None, timeout=TIMEOUT)
    topic = found.dead_letter_policy.dead_letter_topic
    if not topic:
        return []
    with translated(f"looking at {topic}", repeatable=True):
        names = publisher.list_topic_subscriptions(request={"topic": topic}, retry=None, timeout=TIMEOUT)
    return [PubSubDeadLetterQueue(subscriber, each) for each in sorted(names)[:1]]


def _published(received: Any) -> float:
    try:
        return datetime.fromisoformat(received.message.attributes[PUBLISHED]).timestamp()
    except (KeyError, ValueError):
        return float(received.message.publish_time.timestamp())


def _dropped(received: Any) -> DroppedMessage:
    message, at = received.message, float(received.message.publish_time.timestamp())
    text = message.data.decode(errors="replace")[:SHOWN_CHARACTERS]
    return DroppedMessage(_message(message), str(message.message_id), str(received.ack_id), at, text)


def _message(message: Any) -> Message | None:
    decoded = decode_received(message.data, str(message.ordering_key), str(message.message_id))
    found = decoded.message if isinstance(decoded, Timer) else decoded
    return None if found is None or is_malformed(found) else found
