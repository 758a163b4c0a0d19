"""A family: a machine and the machines it has started, as XState persists them, one snapshot within the other.

Here each of them is an instance of its own. A family is how they travel together: from Node, where they live in one
actor system, and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from settled.chart.snapshot import Snapshot
from settled.data import Json, is_object, parse, write
from settled.errors import RecordError
from settled.machine import Machine


@frozen
class PersistedTree:
    """A snapshot, and those of the machines that it started and that still run, by the ids it gave them."""

    snapshot: Snapshot[Any]
    children: Mapping[str, PersistedTree] = {}


def to_xstate_json(machine: Machine[Any, Any], family: PersistedTree) -> str:
    """What XState's ``getPersistedSnapshot`` would give, as text.

    Raises:
        LogicError: a context is not JSON; the message says where in it.
    """
    return write(tree_to_json(machine, family))


def from_xstate_json(machine: Machine[Any, Any], text: str) -> PersistedTree:
    """The family that `dump_family`, or XState, has written.

    Raises:
        RecordError: `text` is no JSON, or no snapshot of this machine and its actors; the message says where.
    """
    try:
        data = parse(text)
    except ValueError as error:
        raise RecordError(f"not JSON: {error}") from error
    return tree_from_json(machine, data)


def tree_from_json(machine: Machine[Any, Any], data: Json) -> PersistedTree:
    """The family in `data`, what `family_to_json`, or XState, has made.

    Raises:
        RecordError: it is no snapshot of this machine and its actors; the message says where.
    """
    return _from_json(machine, data, "snapshot")


def tree_to_json(machine: Machine[Any, Any], family: PersistedTree) -> dict[str, Json]:
    """Return what XState's ``getPersistedSnapshot`` would give."""
    data = machine.to_json(family.snapshot)
    plain = data["children"]
    assert is_object(plain), "a persisted snapshot has its children by id"
    children: dict[str, Any] = {id: dict(child) for id, child in plain.items()}
    for id, child in family.children.items():
        children[id]["snapshot"] = tree_to_json(_child_machine(machine, family.snapshot, id), child)
    return {**data, "children": children}


def _from_json(machine: Machine[Any, Any], data: Any, path: str) -> PersistedTree:
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


def _child_machine(machine: Machine[Any, Any], snapshot: Snapshot[Any], id: str) -> Machine[Any, Any]:
    child = snapshot.children.get(id)
    logic = None if child is None else machine.actor(child.src)
    if not isinstance(logic, Machine):
        raise RecordError(f"{machine.id}: its actor {id!r} is no machine")
    return logic
