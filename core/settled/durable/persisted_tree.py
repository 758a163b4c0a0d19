"""The persisted snapshot of a machine with those of its child machines nested in it, as XState writes it.

In settled each of these machines is an instance of its own. The tree is the exchange format with XState, where they
run in one actor system and are persisted together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from settled.chart.snapshot import Snapshot
from settled.data import MAX_DEPTH, Json, fault_in, is_object, parse_strictly, write
from settled.errors import RecordError
from settled.machine import Machine


@frozen
class PersistedTree:
    """A snapshot, and the trees of its active child machines by id."""

    snapshot: Snapshot[Any]
    children: Mapping[str, PersistedTree] = {}


def to_xstate_json(machine: Machine[Any], tree: PersistedTree) -> str:
    """Return the JSON text of what XState's ``getPersistedSnapshot`` returns.

    Raises:
        LogicError: a context is not JSON; the error message says where.
    """
    return write(tree_to_json(machine, tree))


def from_xstate_json(machine: Machine[Any], text: str) -> PersistedTree:
    """Return the tree in `text`, which `to_xstate_json` or XState wrote.

    Raises:
        RecordError: `text` is not JSON, too deeply nested, or not a snapshot of this machine and its actors; the error
            message says where.
    """
    try:
        data = parse_strictly(text)
    except ValueError as error:
        raise RecordError(f"not JSON: {error}") from error
    # A context may have `MAX_DEPTH` levels; the snapshots around it have some more.
    if fault := fault_in(data, levels=2 * MAX_DEPTH):
        raise RecordError(fault)
    return tree_from_json(machine, data)


def tree_from_json(machine: Machine[Any], data: Json) -> PersistedTree:
    """Return the tree in `data`, which `tree_to_json` or XState made.

    Raises:
        RecordError: `data` is not a snapshot of this machine and its actors; the error message says where.
    """
    return _from_json(machine, data, "snapshot")


def tree_to_json(machine: Machine[Any], tree: PersistedTree) -> dict[str, Json]:
    """Return what XState's ``getPersistedSnapshot`` returns, as JSON."""
    data = machine.to_json(tree.snapshot)
    own_children = data["children"]
    assert is_object(own_children), "a persisted snapshot has its children by id"
    children: dict[str, Any] = {id: dict(child) for id, child in own_children.items()}
    for id, child in tree.children.items():
        children[id]["snapshot"] = tree_to_json(_child_machine(machine, tree.snapshot, id), child)
    return {**data, "children": children}


def _from_json(machine: Machine[Any], data: Any, path: str) -> PersistedTree:
    if not is_object(data):
        raise RecordError(f"{path}: expected an object, not {type(data).__name__}")
    snapshot = machine.from_json(data)
    nested = data.get("children", {})
    children = {
        id: _from_json(_child_machine(machine, snapshot, id), nested[id]["snapshot"], f"{path}.children.{id}.snapshot")
        for id, child in snapshot.children.items()
        if child.status == "active" and isinstance(machine.actor(child.src), Machine)
    }
    return PersistedTree(snapshot, children)


def _child_machine(machine: Machine[Any], snapshot: Snapshot[Any], id: str) -> Machine[Any]:
    child = snapshot.children.get(id)
    logic = None if child is None else machine.actor(child.src)
    if not isinstance(logic, Machine):
        raise RecordError(f"{machine.id}: its actor {id!r} is not a machine")
    return logic
