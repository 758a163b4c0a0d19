"""Restore an instance from what XState has persisted: the first step of one that is adopted.

What a persisted snapshot does not hold begins anew, as XState does it too: function actors that had not ended are
started again, and the delays of active states count from now. Each child machine becomes an instance of its own, whose
part of the snapshot is sent to it; so one commit adopts the whole family, or nothing of it.
"""

from __future__ import annotations

from settled._fast_frozen import evolve
from settled.chart.snapshot import Child
from settled.data import ABSENT, Json
from settled.durable.apply_context import Desk, open_turn
from settled.durable.children import adopt_child
from settled.durable.delays import delay_of, delays_of
from settled.durable.messages import Message
from settled.durable.persisted_tree import Family, family_from_json, family_to_json
from settled.durable.record import OpenTurn, PendingCall, Record, RunningTimer
from settled.errors import RecordError
from settled.machine import Machine


def restore(desk: Desk, record: Record, message: Message, tree: Json) -> Record:
    """Open the turn of `message` in `record`, from which the instance goes on with the persisted snapshot `tree`.

    Raises:
        RecordError: it is no snapshot of this machine and its actors; the message says where.
    """
    family = family_from_json(desk.machine, tree)
    record = evolve(
        record,
        birth=desk.nonce,
        ordinal=1,
        snapshot=family.snapshot,
        turn=OpenTurn(message, 0, 0, desk.nonce, lease=desk.lease),
        version=desk.machine.version,
        fingerprint=desk.machine.fingerprint,
        armed=None,
    )
    for id, child in family.snapshot.children.items():
        if child.status == "active":
            record = _take_up_child(desk, record, id, child, family)
    for after in delays_of(family.snapshot):
        record, index = _next_index(record)
        timer = RunningTimer(
            desk.due_in(delay_of(desk.machine, family.snapshot, after)), {"type": after.event}, after.event
        )
        record = evolve(record, timers={**record.timers, desk.name(record, index): timer})
    return record


def _take_up_child(desk: Desk, record: Record, id: str, child: Child, family: Family) -> Record:
    record, index = _next_index(record)
    logic = desk.machine.actor(child.src)
    if isinstance(logic, Machine):
        if id not in family.children:
            raise RecordError(f"{desk.key}: the snapshot of its child {id!r} is missing")
        tree = family_to_json(logic, family.children[id])
        return adopt_child(desk, record, id, logic.id, index, child, tree)
    call = PendingCall(id, child.src, None if child.input is ABSENT else child.input, index)
    turn = open_turn(record)
    return evolve(record, turn=evolve(turn, calls=(*turn.calls, call)))


def _next_index(record: Record) -> tuple[Record, int]:
    """The number of the open turn's next effect, and `record` once it was given away."""
    turn = open_turn(record)
    return evolve(record, turn=evolve(turn, index=turn.index + 1)), turn.index
