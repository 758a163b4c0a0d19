"""What Pub/Sub documents of subscriptions, as a model without a wire: order, leases, redelivery, dead letters.

It leaves out: filters, seeking and snapshots, retention, schemas, several regions, and all that is only probable. An
acknowledgement that comes too late does nothing here; there it may still count, without exactly-once delivery.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from attrs import define, field

BACKOFF = (0.1, 60.0)
"""Between which seconds a push that failed is tried again, where the subscription has no retry policy of its own."""


class State(StrEnum):
    WAITING = "waiting"
    OUT = "out"
    ACKED = "acked"


@define(eq=False)
class Copy:
    """A message in one subscription. `attempts` counts hand-outs; `holder` has it until `deadline`."""

    message: Any
    state: State = State.WAITING
    attempts: int = 0
    ack_id: str = ""
    holder: object = None
    deadline: float = 0.0
    not_before: float = 0.0


@define(eq=False)
class Subscription:
    """A subscription. `dead` is called with what goes to its dead-letter topic.

    `repeats_acked`: what was acknowledged behind a message that comes again comes again, too, which Pub/Sub may do.
    """

    config: Any
    clock: Callable[[], float]
    dead: Callable[[str, Copy], None]
    repeats_acked: bool = False
    lines: dict[str, list[Copy]] = field(factory=dict[str, "list[Copy]"])
    out: dict[str, Copy] = field(factory=dict[str, Copy])

    @property
    def is_exactly_once(self) -> bool:
        return bool(self.config.enable_exactly_once_delivery)

    @property
    def counts_attempts(self) -> bool:
        return bool(self.config.dead_letter_policy.dead_letter_topic)

    def add(self, message: Any) -> None:
        self.lines.setdefault(self._line(message), []).append(Copy(message))

    def _line(self, message: Any) -> str:
        """What stands in one order: the messages of a key, or each one alone."""
        is_ordered = self.config.enable_message_ordering and message.ordering_key
        return f"key {message.ordering_key}" if is_ordered else f"message {message.message_id}"

    def hand_out(self, holder: object, limit: int, lease: float, one_each: bool = False) -> Sequence[Copy]:
        """Up to `limit` messages for `holder`. A key of which anybody else holds any is closed.

        `one_each`: of each key no more than one may be out, as with push. What was handed out goes to the end, so that
        a long line does not starve the others.
        """
        found: list[Copy] = []
        for name in list(self.lines):
            taken = list(self._open(self.lines[name], holder, one_each))[: limit - len(found)]
            for copy in taken:
                copy.state, copy.holder, copy.deadline = State.OUT, holder, self.clock() + lease
                copy.attempts += 1
                copy.ack_id = uuid.uuid4().hex
                self.out[copy.ack_id] = copy
            if taken:
                self.lines[name] = self.lines.pop(name)
            found += taken
        return found

    def _open(self, line: Sequence[Copy], holder: object, one_each: bool) -> Iterator[Copy]:
        holders = {id(copy.holder) for copy in line if copy.state is State.OUT}
        if holders - {id(holder)} or (one_each and holders):
            return
        for copy in line:
            if copy.state is State.WAITING:
                if copy.not_before > self.clock():
                    return
                yield copy
                if one_each:
                    return

    def ack(self, ack_id: str) -> bool:
        """Whether this hand-out still counted."""
        copy = self.out.pop(ack_id, None)
        if copy is None:
            return False
        copy.state, copy.holder = State.ACKED, None
        self._trim(copy)
        return True

    def modify(self, ack_id: str, seconds: float) -> bool:
        """Whether this hand-out still counted; it ends `seconds` from now, and with 0 at once."""
        copy = self.out.get(ack_id)
        if copy is None:
            return False
        if seconds == 0:
            self.rewind(copy, self._backoff(copy))
        else:
            copy.deadline = self.clock() + seconds
        return True

    def expire(self) -> None:
        """Take back what was held too long."""
        for copy in sorted(self.out.values(), key=lambda copy: copy.deadline):
            if copy.state is State.OUT and copy.deadline <= self.clock():
                self.rewind(copy)

    def rewind(self, copy: Copy, pause: float = 0.0) -> None:
        """Take `copy` back, to come again after `pause` seconds, and all later ones of its key behind it."""
        line = self.lines[self._line(copy.message)]
        self._return(copy)
        copy.not_before = self.clock() + pause
        for later in line[line.index(copy) + 1 :]:
            if later.state is State.OUT:
                self._return(later)
            elif later.state is State.ACKED and self.repeats_acked and not self.is_exactly_once:
                later.state = State.WAITING
        policy = self.config.dead_letter_policy
        if self.counts_attempts and copy.attempts >= (policy.max_delivery_attempts or 5):
            copy.state = State.ACKED
            self.dead(policy.dead_letter_topic, copy)
        self._trim(copy)

    def _return(self, copy: Copy) -> None:
        self.out.pop(copy.ack_id, None)
        copy.state, copy.holder, copy.ack_id = State.WAITING, None, ""

    def _backoff(self, copy: Copy) -> float:
        """A subscription without a retry policy hands out at once what is given back; to an endpoint it goes slower."""
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
        """Forget what was acknowledged, as soon as nothing stands before it."""
        name = self._line(copy.message)
        line = self.lines.get(name, [])
        while line and line[0].state is State.ACKED:
            line.pop(0)
        if not line:
            self.lines.pop(name, None)


def dead_letter_attributes(subscription: str, copy: Copy) -> Mapping[str, str]:
    """What a message of a dead-letter topic says about its way there."""
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
