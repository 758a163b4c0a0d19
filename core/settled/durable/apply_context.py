"""The context in which a record is updated: everything that depends on the moment and not on the record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, assert_never

from settled._fast_frozen import evolve
from settled.durable.headers import NO_HEADERS
from settled.durable.limits import MAX_MESSAGE_BYTES, MAX_SENDER_BYTES, is_larger, too_large
from settled.durable.messages import Message, Timer
from settled.durable.record import (
    CancelTimer,
    OpenTurn,
    OutboxEntry,
    OutboxItem,
    PerformAction,
    Record,
    idempotency_key,
)
from settled.key import Key
from settled.machine import Machine


class ApplyContext(NamedTuple):
    """Context for updating a record.

    Attributes:
        machine: the machine of the instance.
        key: the key of the instance.
        now: the backend's time, in seconds since the epoch; it may be behind by `resolution`.
        message_id: the id of the message under which outbox entries are recorded.
        lease_until: when a turn that is opened now may be resumed by another worker.
        version: the version that the commit under preparation will have.
        nonce: the nonce of that commit.
        resolution: by how many seconds `now` may be behind.
        headers: the headers of the message that is applied, which its effects get.
        largest_message: how many bytes the body of a message from outside may have.
    """

    machine: Machine[Any]
    key: Key
    now: float
    message_id: str
    lease_until: float
    version: int
    nonce: str
    resolution: float = 0.0
    headers: Mapping[str, str] = NO_HEADERS
    largest_message: int = MAX_MESSAGE_BYTES

    def effect_key(self, record: Record, index: int) -> str:
        """Return the idempotency key of effect number `index` of the open turn."""
        turn = open_turn(record)
        return idempotency_key(self.key, turn.nonce, turn.ordinal, index)

    def due_in(self, seconds: float) -> float:
        """Return a time at which `seconds` have passed for certain."""
        # `now` may be behind, and a timer that is due by a clock behind the backend's would fire early.
        return self.now + self.resolution + seconds

    def add_to_outbox(self, record: Record, item: OutboxItem) -> Record:
        """Add `item` to the outbox, to be finished before this context's delivery is acknowledged.

        Raises:
            TooLargeError: it is a message that is too large. Sent after the commit, it would be refused for ever.
        """
        if isinstance(item, Message):
            self.check_size(item.key, item.body)
        if self.headers:
            item = _with_headers(item, self.headers)
        return evolve(record, outbox=(*record.outbox, OutboxEntry(self.message_id, item)))

    def check_size(self, target: Key, body: str) -> None:
        """Check that the `body` of a message for `target` is not too large.

        Raises:
            TooLargeError: it is.
        """
        largest = self.largest_message + MAX_SENDER_BYTES
        if is_larger(body, largest):
            raise too_large(f"{self.key}: what it sends to {target}", body, largest)


def _with_headers(item: OutboxItem, headers: Mapping[str, str]) -> OutboxItem:
    match item:
        case Message() | PerformAction():
            return evolve(item, headers=headers)
        case Timer():
            return evolve(item, message=evolve(item.message, headers=headers))
        case CancelTimer():
            return item
        case _:
            assert_never(item)


def open_turn(record: Record) -> OpenTurn:
    """Return the open turn of `record`, which must have one."""
    assert record.turn is not None, "the turn is open"
    return record.turn
