"""The first step of an imported instance: restore it from a persisted snapshot of XState.

A persisted snapshot has no timers and no running functions. As in XState, function actors that had not ended start
again, and the delays of active states count from now. Each child machine becomes an instance of its own, which receives
its part of the tree in an `ImportChild` message; so a single commit imports the whole tree or none of it.
"""

from __future__ import annotations

from settled._fast_frozen import evolve
from settled.chart.snapshot import Child
from settled.data import ABSENT, Json
from settled.durable.apply_context import ApplyContext, open_turn
from settled.durable.children import import_child
from settled.durable.delays import delay_of, delays_of
from settled.durable.messages import Message
from settled.durable.persisted_tree import PersistedTree, tree_from_json, tree_to_json
from settled.durable.record import ActiveTimer, OpenTurn, PendingActor, Record
from settled.errors import RecordError
from settled.machine import Machine


def restore(context: ApplyContext, record: Record, message: Message, tree: Json) -> Record:
    """Restore the instance from `tree`, with the turn of `message` open.

    Raises:
        RecordError: `tree` is not a snapshot of this machine and its actors; the error message says where.
    """
    persisted = tree_from_json(context.machine, tree)
    record = evolve(
        record,
        start_nonce=context.nonce,
        ordinal=1,
        snapshot=persisted.snapshot,
        turn=OpenTurn(message, 0, 0, context.nonce, lease_until=context.lease_until, since=context.now),
        version=context.machine.version,
        fingerprint=context.machine.fingerprint,
        armed=None,
    )
    for id, child in persisted.snapshot.children.items():
        if child.status == "active":
            record = _restore_child(context, record, id, child, persisted)
    for after in delays_of(persisted.snapshot):
        record, index = _next_index(record)
        timer = ActiveTimer(
            context.due_in(delay_of(context.machine, persisted.snapshot, after)), {"type": after.event}, after.event
        )
        record = evolve(record, timers={**record.timers, context.effect_key(record, index): timer})
    return record


def _restore_child(context: ApplyContext, record: Record, id: str, child: Child, persisted: PersistedTree) -> Record:
    record, index = _next_index(record)
    logic = context.machine.actor(child.src)
    if isinstance(logic, Machine):
        if id not in persisted.children:
            raise RecordError(f"{context.key}: the snapshot of its child {id!r} is missing")
        tree = tree_to_json(logic, persisted.children[id])
        return import_child(context, record, id, logic.id, index, child, tree)
    actor = PendingActor(id, child.src, None if child.input is ABSENT else child.input, index)
    turn = open_turn(record)
    return evolve(record, turn=evolve(turn, actors=(*turn.actors, actor)))


def _next_index(record: Record) -> tuple[Record, int]:
    """Return `record` with one more effect in its open turn, and the index of that effect."""
    turn = open_turn(record)
    return evolve(record, turn=evolve(turn, index=turn.index + 1)), turn.index
