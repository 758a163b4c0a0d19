"""Kin: the machines that a machine has started, the one that has started it, and how they find one another.

A machine as an actor is an instance of its own, under a key that is new with each start: the id it was started as,
and the effect that started it. That effect's idempotency key is the child's generation; what it says under another
one is stale. All instances below one root are a system: the root keeps the directory of their system ids, hears of
each one that begins or ends, and passes on what is sent to a system id that the sender does not know itself.
"""

from __future__ import annotations

from settled.data import ABSENT, Json
from settled.desk import Desk, open_turn
from settled.effects import Invoke
from settled.errors import LogicError
from settled.making import evolve
from settled.message import Enlist, Event, Forward, Key, Message, Parent, Report, Stamp, Start, Stop, encode
from settled.record import ChildInstance, Record
from settled.settle import PARENT


def start_child(desk: Desk, record: Record, effect: Invoke, machine: str) -> Record:
    """`record` with a child of `machine`, which is owed its start."""
    turn, generation = open_turn(record), desk.name(record, effect.index)
    suffix = f"{effect.id}.{record.incarnation}.{turn.ordinal}.{effect.index}"
    child = ChildInstance(Key(machine, f"{desk.key.instance}/{suffix}"), generation, effect.system_id)
    start = Start(effect.input, Parent(desk.key, effect.id, generation, _root(desk, record)))
    record = evolve(record, children={**record.children, effect.id: child})
    record = desk.owing(record, Message(child.key, generation, encode(start)))
    return _enlist(desk, record, child, ended=False)


def stop_child(desk: Desk, record: Record, id: str) -> Record:
    """`record` without its child `id`, which is owed the word to stop; as it is if there is none."""
    child = record.children.get(id)
    if child is None:
        return record
    record = forget_child(desk, record, id)
    return desk.owing(record, Message(child.key, f"{child.generation}/stop", encode(Stop(child.generation))))


def forget_child(desk: Desk, record: Record, id: str) -> Record:
    """`record` without its child `id`, which has ended."""
    children = dict(record.children)
    child = children.pop(id)
    return _enlist(desk, evolve(record, children=children), child, ended=True)


def tell_parent(desk: Desk, record: Record) -> Record:
    """`record`, whose machine has ended; its parent is owed the news, unless it was the parent who stopped it."""
    snapshot, parent = record.live(), record.parent
    if parent is None or snapshot.status == "stopped":
        return record
    done = snapshot.status == "done"
    data = snapshot.output if done else snapshot.error
    report = Report(parent.child, parent.generation, done, None if data is ABSENT else data)
    return desk.owing(record, Message(parent.key, f"{parent.generation}/report", encode(report)))


# Addresses


def addressed(desk: Desk, record: Record, to: str, event: Json, index: int, *, delayed: bool) -> Message | None:
    """The message that brings `event`, effect number `index`, to whoever `to` names.

    None for a function actor, which takes no events, and for a child that has ended. A delayed message may be
    overtaken, so it does not say which step it is from.

    Raises:
        LogicError: nobody has this address.
    """
    name, target = desk.name(record, index), address(record, to)
    if isinstance(target, Key):
        stamp = None if delayed else Stamp(desk.key, record.incarnation, open_turn(record).ordinal, index)
        return Message(target, name, encode(Event(event, stamp)))
    if target is None:
        return None
    if record.parent is not None:
        return Message(record.parent.root, name, encode(Forward(target, event)))
    raise LogicError(
        f"{desk.key}: cannot send to {to!r}: it is no child, no system id, and not the key (MACHINE/INSTANCE) of an "
        "instance"
    )


def address(record: Record, to: str) -> Key | str | None:
    """Where `to` lives; text if only the root can know; None for what takes no events."""
    if to == PARENT and record.parent is not None:
        return record.parent.key
    if to in record.children:
        return record.children[to].key
    if to in record.live().children:
        return None
    by_system_id = (child.key for child in record.children.values() if child.system_id == to)
    return next(by_system_id, None) or record.system.get(to) or (Key.parse(to) if "/" in to else to)


def _root(desk: Desk, record: Record) -> Key:
    return desk.key if record.parent is None else record.parent.root


def _enlist(desk: Desk, record: Record, child: ChildInstance, *, ended: bool) -> Record:
    """The root's directory, told of a child's system id; at the root itself, changed."""
    if child.system_id is None:
        return record
    word = Enlist(child.system_id, child.key, ended)
    if record.parent is None:
        return enlisted(record, word)
    id = f"{child.generation}/{'delist' if ended else 'enlist'}"
    return desk.owing(record, Message(record.parent.root, id, encode(word)))


def enlisted(record: Record, word: Enlist) -> Record:
    """The root's `record` after `word`. That somebody ended says nothing of who has the system id since."""
    system = dict(record.system)
    if not word.ended:
        system[word.system_id] = word.key
    elif system.get(word.system_id) == word.key:
        del system[word.system_id]
    return evolve(record, system=system)
