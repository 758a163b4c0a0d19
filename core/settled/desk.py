"""The desk: where a record is being worked on.

What depends on the moment and not on the record comes from here: whose it is, the time, the delivery, the version.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen

from settled.machine import Machine
from settled.making import evolve
from settled.message import Key
from settled.record import Debt, OpenTurn, Owed, Record, idempotency_key


@frozen
class Desk:
    """Where a record is being worked on: whose it is, when, under which delivery, and for how long it is ours."""

    machine: Machine[Any, Any]
    key: Key
    now: float
    by: str
    lease: float
    version: int

    def name(self, record: Record, index: int) -> str:
        """The idempotency key of effect number `index` of the open turn."""
        return idempotency_key(self.key, record.incarnation, open_turn(record).ordinal, index)

    def owing(self, record: Record, debt: Debt) -> Record:
        """`record`, which owes `debt` too."""
        return evolve(record, outbox=(*record.outbox, Owed(self.by, debt)))


def open_turn(record: Record) -> OpenTurn:
    """The open turn of `record`, where there is one."""
    assert record.turn is not None, "the turn is open"
    return record.turn
