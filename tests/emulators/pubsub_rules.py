"""A model of Pub/Sub's subscriptions, as documented: order, leases, redelivery, dead letters.

Of filters it knows ``attributes.NAME = "VALUE"``, joined by OR.

It leaves out seeking and snapshots, retention, schemas, several regions, and everything that is only probable.
A late ack has no effect here; in Pub/Sub it may still have one without exactly-once delivery.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from attrs import define, field

BACKOFF = (0.1, 60.0)
"""The shortest and the longest push backoff without a retry policy, in seconds."""


class State(StrEnum):
    WAITING = "waiting"
    OUTSTANDING = "out"
    ACKED = "acked"


@define(eq=False)
class Copy:
    """A message in one subscription. `attempts` counts deliveries; `holder` has it until `deadline`."""

    message: Any
    state: State = State.WAITING
    attempts: int = 0
    ack_id: str = ""
    holder: object = None
    deadline: float = 0.0
    not_before: float = 0.0


@define(eq=False)
class Subscription:
    """A subscription. `dead_letter` is called with a dead-letter topic and each message for it.

    `repeats_acked`: redelivery of a message also redelivers acknowledged later ones of its key, which Pub/Sub may do.
    """

    config: Any
    clock: Callable[[], float]
    dead_letter: Callable[[str, Copy], None]
    repeats_acked: bool = False
    groups: dict[str, list[Copy]] = field(factory=dict[str, "list[Copy]"])
    outstanding: dict[str, Copy] = field(factory=dict[str, Copy])

    @property
    def is_exactly_once(self) -> bool:
        return bool(self.config.enable_exactly_once_delivery)

    @property
    def counts_attempts(self) -> bool:
        return bool(self.config.dead_letter_policy.dead_letter_topic)

    def add(self, message: Any) -> None:
        if not self._matches(message):
            return  # Pub/Sub acknowledges it for this subscription
        self.groups.setdefault(self._group(message), []).append(Copy(message))

    def _matches(self, message: Any) -> bool:
        terms = re.findall(r'attributes\.(\w+) = "((?:[^"\\]|\\.)*)"(?: OR |$)', self.config.filter)
        return not self.config.filter or any(message.attributes.get(name) == value for name, value in terms)

    def _group(self, message: Any) -> str:
        """Return the group of messages that are ordered among each other: those of a key, or each message alone."""
        is_ordered = self.config.enable_message_ordering and message.ordering_key
        return f"key {message.ordering_key}" if is_ordered else f"message {message.message_id}"

    def deliver(self, holder: object, limit: int, lease: float, one_each: bool = False) -> Sequence[Copy]:
        """Deliver up to `limit` messages to `holder`, none of a key of which another holder has any.

        With `one_each`, as for push, at most one message of a key is outstanding. Keys of delivered messages go to the
        end, so that a long backlog does not starve the others.
        """
        delivered_copies: list[Copy] = []
        for name in list(self.groups):
            delivered = list(self._deliverable(self.groups[name], holder, one_each))[: limit - len(delivered_copies)]
            for copy in delivered:
                copy.state, copy.holder, copy.deadline = State.OUTSTANDING, holder, self.clock() + lease
                copy.attempts += 1
                copy.ack_id = uuid.uuid4().hex
                self.outstanding[copy.ack_id] = copy
            if delivered:
                self.groups[name] = self.groups.pop(name)
            delivered_copies += delivered
        return delivered_copies

    def _deliverable(self, group: Sequence[Copy], holder: object, one_each: bool) -> Iterator[Copy]:
        holders = {id(copy.holder) for copy in group if copy.state is State.OUTSTANDING}
        if holders - {id(holder)} or (one_each and holders):
            return
        for copy in group:
            if copy.state is State.WAITING:
                if copy.not_before > self.clock():
                    return
                yield copy
                if one_each:
                    return

    def ack(self, ack_id: str) -> bool:
        """Acknowledge a delivery. Return whether it was outstanding."""
        copy = self.outstanding.pop(ack_id, None)
        if copy is None:
            return False
        copy.state, copy.holder = State.ACKED, None
        self._trim(copy)
        return True

    def modify(self, ack_id: str, seconds: float) -> bool:
        """Set the deadline of a delivery to `seconds` from now; 0 releases it. Return whether it was outstanding."""
        copy = self.outstanding.get(ack_id)
        if copy is None:
            return False
        if seconds == 0:
            self.rewind(copy)
        else:
            copy.deadline = self.clock() + seconds
        return True

    def expire(self) -> None:
        """Take back deliveries whose deadlines have passed."""
        for copy in sorted(self.outstanding.values(), key=lambda copy: copy.deadline):
            if copy.state is State.OUTSTANDING and copy.deadline <= self.clock():
                self.rewind(copy)

    def rewind(self, copy: Copy) -> None:
        """Redeliver `copy` as the retry policy says, and all later messages of its key after it."""
        group = self.groups[self._group(copy.message)]
        self._return(copy)
        copy.not_before = min(self.clock(), copy.deadline) + self._backoff(copy)
        for later in group[group.index(copy) + 1 :]:
            if later.state is State.OUTSTANDING:
                self._return(later)
            elif later.state is State.ACKED and self.repeats_acked and not self.is_exactly_once:
                later.state = State.WAITING
        policy = self.config.dead_letter_policy
        if self.counts_attempts and copy.attempts >= (policy.max_delivery_attempts or 5):
            copy.state = State.ACKED
            self.dead_letter(policy.dead_letter_topic, copy)
        self._trim(copy)

    def _return(self, copy: Copy) -> None:
        self.outstanding.pop(copy.ack_id, None)
        copy.state, copy.holder, copy.ack_id = State.WAITING, None, ""

    def _backoff(self, copy: Copy) -> float:
        """Return the delay before redelivery: none without a retry policy, except for push."""
        policy = self.config.retry_policy
        is_push = bool(self.config.push_config.push_endpoint)
        if "retry_policy" not in self.config and not is_push:
            return 0.0
        least, most = BACKOFF
        if "retry_policy" in self.config:
            least = policy.minimum_backoff.total_seconds() if policy.minimum_backoff else 10.0
            most = policy.maximum_backoff.total_seconds() if policy.maximum_backoff else 600.0
        return float(min(most, least * 2 ** (copy.attempts - 1)))

    def _trim(self, copy: Copy) -> None:
        """Remove acknowledged messages that no other message precedes."""
        name = self._group(copy.message)
        group = self.groups.get(name, [])
        while group and group[0].state is State.ACKED:
            group.pop(0)
        if not group:
            self.groups.pop(name, None)


def dead_letter_attributes(subscription: str, copy: Copy) -> Mapping[str, str]:
    """Return the attributes that Pub/Sub adds to a dead-lettered message."""
    _, project, _, name = subscription.split("/")
    return {
        **dict(copy.message.attributes),
        "CloudPubSubDeadLetterSourceDeliveryCount": str(copy.attempts),
        "CloudPubSubDeadLetterSourceSubscription": name,
        "CloudPubSubDeadLetterSourceSubscriptionProject": project,
        "CloudPubSubDeadLetterSourceTopicPublishTime": copy.message.publish_time.isoformat(),
    }


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
