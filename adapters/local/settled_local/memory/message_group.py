"""A message group: the messages of one key in their order, and the lease on the first of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice

from attrs import define, frozen

from settled.durable.messages import Message
from settled.durable.ports import Delivery, Position
from settled.errors import IdReusedError


class MessageGroup:
    """The messages of one key, by their numbers.

    Attributes:
        waiting: the messages that were not acknowledged, by number.
        seen_ids: the ids that were sent, oldest first, each with its message's number and digest.
        tail: the number of the last message. It only grows: `Position` promises that no number is used twice.
        token: the fencing token, how many times the group was leased.
        leased_to: the number of the last leased message; 0 if none is leased.
    """

    def __init__(self) -> None:
        self.waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self.seen_ids: OrderedDict[str, tuple[int, str]] = OrderedDict()
        self.tail = 0
        self.token = 0
        self.leased_to = 0

    @property
    def leased(self) -> bool:
        return self.leased_to > 0

    def append(self, message: Message, now: float) -> bool:
        """Add `message` at the end, and return whether it was added: a repetition of a seen message is not.

        Another message with a seen id is added, as `Queue.send` allows; the record detects it.
        """
        digest = message.digest
        if self.seen_ids.get(message.id, (0, ""))[1] == digest:
            return False
        self.tail += 1
        self.seen_ids[message.id] = (self.tail, digest)
        self.waiting[self.tail] = _Waiting(message, now)
        return True

    def check(self, message: Message) -> None:
        """Raise `IdReusedError` if another message has the id of `message`."""
        if message.id in self.seen_ids and self.seen_ids[message.id][1] != message.digest:
            raise IdReusedError(f"{message.key}: the id {message.id!r} belongs to another message, with another body")

    def lease(self, epoch: str, limit: int, until: float) -> Sequence[Delivery]:
        """Lease the first messages under a new token: up to `limit` of them, and at least one."""
        self.token += 1
        leased = list(islice(self.waiting.items(), limit))
        self.leased_to = leased[-1][0]
        return [
            Delivery(
                waiting.message, str(Receipt(self.token, number)), waiting.attempts + 1, until, Position(epoch, number)
            )
            for number, waiting in leased
        ]

    def end_lease(self) -> None:
        """End the lease, which counts as one attempt at each leased message. They keep their numbers."""
        for number, waiting in self.waiting.items():
            if number > self.leased_to:
                break
            waiting.attempts += 1
        self.leased_to = 0

    def consume(self, number: int, remember: int) -> None:
        """Remove the message `number`, and all but the `remember` newest ids of acknowledged messages."""
        self.waiting.pop(number, None)
        first = next(iter(self.waiting), self.tail + 1)
        if first > self.leased_to:
            self.leased_to = 0
        while len(self.seen_ids) - len(self.waiting) > remember:
            message_id, (seen_number, _) = next(iter(self.seen_ids.items()))
            # The id of a message that still waits must stay, or a repetition would be queued beside it.
            if seen_number >= first:
                break
            del self.seen_ids[message_id]

    def forget(self, message: Message) -> None:
        """Forget the id of `message`, unless another message with it waits."""
        if all(waiting.message.id != message.id for waiting in self.waiting.values()):
            self.seen_ids.pop(message.id, None)


@frozen
class Receipt:
    """A delivery's receipt: the token of its lease, and the number of its message in the group."""

    token: int
    number: int

    def __str__(self) -> str:
        return f"{self.token}.{self.number}"

    @classmethod
    def of(cls, delivery: Delivery) -> Receipt:
        token, number = delivery.receipt.split(".")
        return cls(int(token), int(number))


@define
class _Waiting:
    """A message that was not acknowledged, when it was sent, and how many of its leases have ended."""

    message: Message
    sent: float
    attempts: int = 0
