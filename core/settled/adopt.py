"""Adoption: a family that has lived elsewhere becomes instances here, and instances become a family again.

What a persisted snapshot does not hold begins anew, as XState does it too: function actors that had not ended are
started again, and the delays of active states count from now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from settled.codec import store
from settled.data import ABSENT
from settled.errors import RecordError
from settled.expression import Args
from settled.family import Family
from settled.kin import enlisted
from settled.machine import Machine
from settled.making import evolve
from settled.message import Enlist, Key, Message, Nudge, Parent, Timer, encode
from settled.ports import Write
from settled.record import (
    ChildInstance,
    OpenTurn,
    PendingCall,
    Record,
    RunningTimer,
    delay_in_seconds,
    due_message,
    idempotency_key,
)

MOST_CHILDREN = 1_000_000
"""From which index on the calls of an adopted machine are numbered: clear of its child machines and timers."""


def adopt(machine: Machine[Any, Any], key: Key, family: Family, nonce: str, now: float) -> tuple[Write, ...]:
    """The writes that make instances of `family`, children before their parents, the root under `key` last.

    Each expects that there is no such instance yet; once the last is done, the family lives.
    """
    records = dict(_records(machine, key, family, Record(nonce=nonce), now, key))
    root = records[key][1]
    for other, (_, record) in records.items():
        for child in record.children.values():
            if child.system_id is not None and other != key:
                root = enlisted(root, Enlist(child.system_id, child.key, ended=False))
    records[key] = (machine, root)
    return tuple(_write(machine, key, record, now) for key, (machine, record) in reversed(records.items()))


def _records(
    machine: Machine[Any, Any], key: Key, family: Family, blank: Record, now: float, root: Key
) -> Iterator[tuple[Key, tuple[Machine[Any, Any], Record]]]:
    """The record of `family` under `key`, and then those below it."""
    homes = {id: _home(machine, key, family, id, place) for place, id in enumerate(family.children)}
    record = evolve(
        blank,
        incarnation=1,
        ordinal=1,
        snapshot=family.snapshot,
        children=homes,
        timers=dict(_timers(machine, key, family, len(homes), now)),
        turn=_turn(machine, key, family),
    )
    for home in homes.values():
        if home.system_id is not None and key == root:
            record = enlisted(record, Enlist(home.system_id, home.key, ended=False))
    yield key, (machine, record)
    for id, child in family.children.items():
        logic = machine.actor(family.snapshot.children[id].src)
        assert isinstance(logic, Machine), "a family's children are machines"
        parent = Parent(key, id, homes[id].generation, root)
        yield from _records(logic, homes[id].key, child, evolve(blank, parent=parent), now, root)


def _home(machine: Machine[Any, Any], key: Key, family: Family, id: str, index: int) -> ChildInstance:
    child = family.snapshot.children[id]
    logic = machine.actor(child.src)
    assert isinstance(logic, Machine), "a family's children are machines"
    generation = idempotency_key(key, 1, 0, index)
    return ChildInstance(Key(logic.id, f"{key.instance}/{id}.1.0.{index}"), generation, child.system_id)


def _timers(
    machine: Machine[Any, Any], key: Key, family: Family, index: int, now: float
) -> Iterator[tuple[str, RunningTimer]]:
    snapshot = family.snapshot
    args = Args(snapshot.context, {"type": "xstate.init"}, snapshot)
    places = (after for node in snapshot.configuration.nodes for after in node.after)
    for place, after in enumerate(places, index):
        compute = machine.program.delays[after]
        delay = compute(args, None) if compute else None
        due = now + delay_in_seconds(delay or timedelta())
        yield idempotency_key(key, 1, 0, place), RunningTimer(due, {"type": after.event}, after.event, scheduled=True)


def _turn(machine: Machine[Any, Any], key: Key, family: Family) -> OpenTurn | None:
    """The open turn of a machine that was not settled: whoever is woken goes on with it."""
    calls = tuple(
        PendingCall(id, child.src, None if child.input is ABSENT else child.input, index)
        for index, (id, child) in enumerate(family.snapshot.children.items(), MOST_CHILDREN)
        if child.status == "active" and id not in family.children
    )
    return OpenTurn(_waking(key), 0, MOST_CHILDREN + len(calls), calls=calls) if calls else None


def _waking(key: Key) -> Message:
    return Message(key, f"{key}/adopted", encode(Nudge()))


def _write(machine: Machine[Any, Any], key: Key, record: Record, now: float) -> Write:
    timers = tuple(Timer(token, due_message(key, token), timer.due) for token, timer in record.timers.items())
    return Write(key, store(machine, record, 1, now), 0, sends=(_waking(key),), timers=timers)


def gather(machine: Machine[Any, Any], key: Key, look: Callable[[Machine[Any, Any], Key], Record | None]) -> Family:
    """The family of the instance `key`, whose records `look` finds.

    Raises:
        RecordError: one of them is missing, or cannot be read.
    """
    record = look(machine, key)
    if record is None:
        raise RecordError(f"{key}: there is no such instance")
    snapshot = record.live()
    children: dict[str, Family] = {}
    for id, home in record.children.items():
        logic = machine.actor(snapshot.children[id].src)
        if isinstance(logic, Machine) and look(logic, home.key) is not None:
            children[id] = gather(logic, home.key, look)
    return Family(snapshot, children)
