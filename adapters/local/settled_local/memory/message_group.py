"""A message group: the messages of one key in their order, and the lease on the first of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice

from attrs import define

from settled.durable.messages import Message
from settled.durable.ports import Delivery, Position
from settled.errors import IdReusedError


class MessageGroup:
    """The messages of one key, by their numbers.

    Attributes:
        waiting: the messages that were not acknowledged, by number.
        seen_ids: the ids that were sent, oldest first, each with its message's number and digest.
        tail: the number of the last message. It only grows: `Position` promises that no number is used twice.
        token: the fencing token, how many times the group was leased. A receipt is the token of its lease, a dot, and
            the number of its message.
        leased_to: the number of the last leased message; 0 if none is leased.
        leased_until: when the lease ends, in seconds since the epoch.
        receipts: the receipts of the lease, each with the number of its message.
    """

    def __init__(self) -> None:
        self.waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self.seen_ids: OrderedDict[str, tuple[int, str]] = OrderedDict()
        self.tail = 0
        self.token = 0
        self.leased_to = 0
        self.leased_until = 0.0
        self.receipts: dict[str, int] = {}

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
        self.leased_until = until
        deliveries: list[Delivery] = []
        for number, waiting in islice(self.waiting.items(), limit):
            self.leased_to = number
            receipt = f"{self.token}.{number}"
            self.receipts[receipt] = number
            attempt, position = waiting.attempts + 1, Position(epoch, number)
            deliveries.append(Delivery(waiting.message, receipt, attempt, until, position))
        return deliveries

    def end_lease(self) -> None:
        """End the lease, which counts as one attempt at each leased message. They keep their numbers."""
        for number, waiting in self.waiting.items():
            if number > self.leased_to:
                break
            waiting.attempts += 1
        self._free()

    def consume(self, number: int, remember: int) -> None:
        """Remove the message `number`, and all but the `remember` newest ids of acknowledged messages."""
        self.waiting.pop(number, None)
        self.receipts.pop(f"{self.token}.{number}", None)
        first = next(iter(self.waiting), self.tail + 1)
        if first > self.leased_to:
            self._free()
        while len(self.seen_ids) - len(self.waiting) > remember:
            message_id, (seen_number, _) = next(iter(self.seen_ids.items()))
            # The id of a message that still waits must stay, or a repetition would be queued beside it.
            if seen_number >= first:
                break
            del self.seen_ids[message_id]

    def _free(self) -> None:
        self.leased_to = 0
        self.receipts.clear()

    def forget(self, message: Message) -> None:
        """Forget the id of `message`, unless another message with it waits."""
        if all(waiting.message.id != message.id for waiting in self.waiting.values()):
            self.seen_ids.pop(message.id, None)


@define
class _Waiting:
    """A message that was not acknowledged, when it was sent, and how many of its leases have ended."""

    message: Message
    sent: float
    attempts: int = 0
