"""Set aside what is not settled's and names no instance: publish it to the dead-letter topic of its subscription.

Pub/Sub does that by itself, but only when it has delivered the message as often as the dead-letter policy says, and
until then it delivers nothing else with that ordering key.
"""

from __future__ import annotations

from typing import Any

from settled_gcp.client_protocols import PublisherClient, SubscriberClient
from settled_gcp.errors import translated
from settled_runtime.move_away import move_away

TIMEOUT = 10.0
"""The timeout of a request, in seconds."""


def set_aside(
    publisher: PublisherClient, subscriber: SubscriberClient, subscription: str, data: bytes, ordering: str, id: str
) -> bool:
    """Publish the Pub/Sub message `id` to the dead-letter topic of `subscription`, and return whether it is there.

    The caller then acknowledges it. Whatever happens is logged as an error, for an operator to see.

    Args:
        publisher: a generated client.
        subscriber: a generated client.
        subscription: the full name of the subscription that has delivered the message.
        data: the data of the message.
        ordering: its ordering key; empty if it has none.
        id: its id.
    """
    return move_away(
        f"{subscription}: the message {id}",
        "dead-letter topic",
        lambda: _dead_letter_topic(subscriber, subscription),
        lambda topic: _publish(publisher, topic, data, ordering),
    )


def _dead_letter_topic(subscriber: SubscriberClient, subscription: str) -> str:
    """Return the full name of the dead-letter topic of `subscription`; empty if it has none."""
    with translated(f"reading {subscription}", repeatable=True):
        found = subscriber.get_subscription(request={"subscription": subscription}, retry=None, timeout=TIMEOUT)
    return str(found.dead_letter_policy.dead_letter_topic)


def _publish(publisher: PublisherClient, topic: str, data: bytes, ordering: str) -> None:
    message: dict[str, Any] = {"data": data, "ordering_key": ordering}
    # Repeatable: if the answer is lost, the message is set aside again when it is delivered again.
    with translated(f"publishing to {topic}", repeatable=True):
        publisher.publish(request={"topic": topic, "messages": [message]}, retry=None, timeout=TIMEOUT)
