"""Adopt and gather: a family that has lived elsewhere becomes instances here, and instances become a family again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from settled._fast_frozen import evolve
from settled.data import write
from settled.durable.apply_context import ApplyContext
from settled.durable.messages import Message, Wake, check_start, encode, internal_id
from settled.durable.persisted_tree import PersistedTree
from settled.durable.ports import Stored, Write
from settled.durable.record import Record
from settled.durable.record_json import record_from_json, record_from_tombstone, record_to_stored
from settled.durable.restore import restore
from settled.errors import RecordError
from settled.key import Key
from settled.machine import Machine


def import_tree(machine: Machine[Any, Any], key: Key, tree: Any, found: Stored | None, nonce: str, now: float) -> Write:
    """The write that makes of `tree`, what XState has persisted, the instance `key` and those below it.

    It is one commit, with the turn open in which the instance begins: whoever is woken by the message that is sent
    along, or comes by for any other reason, goes on from there. If that message was lost with the answer, the same
    adoption once more sends it again.

    Args:
        tree: JSON.
        found: what is stored under `key`.
        nonce: text that nothing else was given.

    Raises:
        RecordError: it is no snapshot of this machine and its actors, or there is such an instance already.
        EventError: an outsider may not start an instance of this name.
    """
    check_start(key)
    begun = internal_id(f"import/{Message(key, '', write(tree)).digest}/")
    before = None if found is None or found.is_deleted else record_from_json(machine, key, found.body)
    if before is not None and before.snapshot is not None:
        return _repeated(key, before, begun)
    waking = Message(key, f"{begun}{nonce}", encode(Wake()))
    version = 1 if found is None else found.version + 1
    context = ApplyContext(machine, key, now, waking.id, 0.0, version, f"{nonce}.{version}")
    blank = Record() if found is None else record_from_tombstone(key, found.body)
    record = evolve(restore(context, blank, waking, tree), nonce=context.nonce)
    return Write(key, record_to_stored(machine, record, version, now), version - 1, sends=(waking,))


def _repeated(key: Key, record: Record, begun: str) -> Write:
    """Finish an adoption that was committed before: wake the instance if it has not begun, else do nothing."""
    if record.turn is not None and record.turn.message.id.startswith(begun):
        return Write(key, sends=(record.turn.message,))
    if any(id.startswith(begun) for id in record.window.ids):
        return Write(key)
    raise RecordError(f"{key}: there is such an instance already")


def export_tree(
    machine: Machine[Any, Any], key: Key, look: Callable[[Machine[Any, Any], Key], Record | None]
) -> PersistedTree:
    """The family of the instance `key`, whose records `look` finds.

    Raises:
        RecordError: one of them is missing, or cannot be read.
    """
    record = look(machine, key)
    if record is None:
        raise RecordError(f"{key}: there is no such instance")
    snapshot = record.readable_snapshot()
    children: dict[str, PersistedTree] = {}
    for id, home in record.children.items():
        logic = machine.actor(snapshot.children[id].src)
        if isinstance(logic, Machine) and look(logic, home.key) is not None:
            children[id] = export_tree(logic, home.key, look)
    return PersistedTree(snapshot, children)
