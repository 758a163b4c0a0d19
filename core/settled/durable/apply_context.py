"""The desk: where a record is being worked on.

What depends on the moment and not on the record comes from here: whose it is, the time, the delivery, the version.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen

from settled._fast_frozen import evolve
from settled.durable.record import OpenTurn, OutboxEntry, OutboxItem, Record, idempotency_key
from settled.key import Key
from settled.machine import Machine


@frozen
class ApplyContext:
    """The circumstances of one step: whose record it is, when, for which delivery, and how long its lease lasts.

    `version` and `nonce` are those of the commit that is being prepared. `resolution` is how far `now` may be behind.
    """

    machine: Machine[Any, Any]
    key: Key
    now: float
    delivery_id: str
    lease_until: float
    version: int
    nonce: str
    resolution: float = 0.0

    def effect_key(self, record: Record, index: int) -> str:
        """The idempotency key of effect number `index` of the open turn."""
        turn = open_turn(record)
        return idempotency_key(self.key, turn.nonce, turn.ordinal, index)

    def due_in(self, seconds: float) -> float:
        """When `seconds` will certainly have passed."""
        return self.now + self.resolution + seconds

    def add_to_outbox(self, record: Record, debt: OutboxItem) -> Record:
        """`record`, which owes `debt` too."""
        return evolve(record, outbox=(*record.outbox, OutboxEntry(self.delivery_id, debt)))


def open_turn(record: Record) -> OpenTurn:
    """The open turn of `record`, where there is one."""
    assert record.turn is not None, "the turn is open"
    return record.turn
