"""A lane: the messages of one key in their order, and who may speak for them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice

from attrs import define, frozen

from settled.durable.messages import Message
from settled.durable.ports import Delivery, Position
from settled.errors import IdReusedError


class MessageGroup:
    """The messages of one key by their place; those up to `through` are leased, and none if it is 0.

    `known` are the ids that were sent, each with its message's place and digest. A place is never given twice.
    """

    def __init__(self) -> None:
        self.waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self.known: OrderedDict[str, tuple[int, str]] = OrderedDict()
        self.tail = 0
        self.token = 0
        self.through = 0

    @property
    def leased(self) -> bool:
        return self.through > 0

    def append(self, message: Message) -> bool:
        """Put `message` at the end, unless it is known. One that only has the id of another is not."""
        digest = message.digest
        if self.known.get(message.id, (0, ""))[1] == digest:
            return False
        self.tail += 1
        self.known[message.id] = (self.tail, digest)
        self.waiting[self.tail] = _Waiting(message)
        return True

    def check(self, message: Message) -> None:
        """Raise `IdReused` if another message has the id of `message`."""
        if message.id in self.known and self.known[message.id][1] != message.digest:
            raise IdReusedError(f"{message.key}: the id {message.id!r} is that of another message, with another body")

    def lease(self, epoch: str, limit: int, until: float) -> Sequence[Delivery]:
        """Hand out the first messages, up to `limit` of them and at least one, under a new token."""
        self.token += 1
        leased = list(islice(self.waiting.items(), limit))
        self.through = leased[-1][0]
        return [
            Delivery(
                waiting.message, str(Receipt(self.token, place)), waiting.attempts + 1, until, Position(epoch, place)
            )
            for place, waiting in leased
        ]

    def end_lease(self) -> None:
        """Let the leased messages stand where they stood; this hand-out of them has been one attempt."""
        for place, waiting in self.waiting.items():
            if place > self.through:
                break
            waiting.attempts += 1
        self.through = 0

    def consume(self, place: int, remember: int) -> None:
        """Forget the message at `place`, and the oldest ids beyond the `remember` newest consumed ones."""
        self.waiting.pop(place, None)
        first = next(iter(self.waiting), self.tail + 1)
        if first > self.through:
            self.through = 0
        while len(self.known) - len(self.waiting) > remember:
            message_id, (known_place, _) = next(iter(self.known.items()))
            if known_place >= first:
                break
            del self.known[message_id]


@frozen
class Receipt:
    """Which hand-out of its lane, and which place in the lane."""

    token: int
    place: int

    def __str__(self) -> str:
        return f"{self.token}.{self.place}"

    @classmethod
    def of(cls, delivery: Delivery) -> Receipt:
        token, place = delivery.receipt.split(".")
        return cls(int(token), int(place))


@define
class _Waiting:
    """A message that was not acknowledged, and how many of its hand-outs have ended."""

    message: Message
    attempts: int = 0
