"""Import a persisted XState actor tree as instances, and export instances as such a tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from settled._fast_frozen import evolve
from settled.data import write
from settled.durable.apply_context import ApplyContext
from settled.durable.limits import check_start
from settled.durable.messages import Message, Wake, encode, internal_id
from settled.durable.persisted_tree import PersistedTree
from settled.durable.ports import Stored, Traits, Write
from settled.durable.record import Record
from settled.durable.record_json import record_from_json, record_from_tombstone, record_to_stored
from settled.durable.restore import restore
from settled.errors import RecordError
from settled.key import Key
from settled.machine import Machine


def import_tree(
    machine: Machine[Any],
    key: Key,
    tree: Any,
    found: Stored | None,
    nonce: str,
    now: float,
    traits: Traits | None = None,
) -> Write:
    """Return the write that imports `tree` as the instance `key` and its child machines.

    It is a single commit that leaves the first turn open, and sends a `Wake`. The turn is resumed by the worker that
    receives this or any other message of the key. Repeating the import sends the `Wake` again if it may have been lost.

    Args:
        machine: the machine of the instance.
        key: the instance.
        tree: a persisted snapshot of XState, as JSON.
        found: the stored state of `key`, if there is one.
        nonce: unique text.
        now: the time, in seconds since the epoch.
        traits: what the backend declares beyond the contract.

    Raises:
        RecordError: `tree` is not a snapshot of this machine and its actors, or the instance exists already.
        EventError: an outsider may not start an instance of this name.
    """
    check_start(key)
    # The digest of the tree in the message id is how a repetition of this import recognises its own commit.
    id_prefix = internal_id(f"import/{Message(key, '', write(tree)).digest}/")
    existing = None if found is None or found.is_deleted else record_from_json(machine, key, found.body)
    if existing is not None and existing.snapshot is not None:
        return _repeat_import(key, existing, id_prefix)
    wake = Message(key, f"{id_prefix}{nonce}", encode(Wake()))
    expected = 0 if found is None else found.version
    version = expected + 1 if expected else (traits or Traits()).first_version(now)
    context = ApplyContext(machine, key, now, wake.id, 0.0, version, f"{nonce}.{version}")
    # Keep the window and the high-water mark of an earlier instance, so that none of its messages is taken again.
    blank = Record() if found is None else record_from_tombstone(key, found.body)
    record = evolve(restore(context, blank, wake, tree), nonce=context.nonce)
    return Write(key, record_to_stored(machine, record, version, now), expected, sends=(wake,))


def _repeat_import(key: Key, record: Record, id_prefix: str) -> Write:
    if record.turn is not None and record.turn.message.id.startswith(id_prefix):
        return Write(key, sends=(record.turn.message,))  # the same message id, so a `Wake` that was not lost is one
    if any(id.startswith(id_prefix) for id in record.window.ids):
        return Write(key)
    raise RecordError(f"{key}: there is such an instance already")


def export_tree(machine: Machine[Any], key: Key, load: Callable[[Machine[Any], Key], Record | None]) -> PersistedTree:
    """Return the persisted tree of the instance `key` and its child machines.

    `load` returns the record of a machine's instance, or None if there is none.

    Raises:
        RecordError: the instance does not exist, or a record cannot be read.
    """
    record = load(machine, key)
    if record is None:
        raise RecordError(f"{key}: there is no such instance")
    snapshot = record.readable_snapshot()
    children: dict[str, PersistedTree] = {}
    for id, child in record.children.items():
        logic = machine.actor(snapshot.children[id].src)
        # A child without a record has not taken its `Start` yet.
        if isinstance(logic, Machine) and load(logic, child.key) is not None:
            children[id] = export_tree(logic, child.key, load)
    return PersistedTree(snapshot, children)
