"""Kin: the machines that a machine has started, the one that has started it, and how they find one another.

A machine as an actor is an instance of its own, under a key that is new with each start: the id it was started as,
and the effect that started it. That effect's idempotency key is the child's generation; what it says under another
one is stale. All instances below one root are a system: the root keeps the directory of their system ids, hears of
each one that begins or ends, and passes on what is sent to a system id that the sender does not know itself.

A machine remembers how far it has heard its parent and its living children, however many there are. One that has
ended has said all, because its report comes last; so what still comes from it is a repetition.
"""

from __future__ import annotations

from settled.data import ABSENT, Json
from settled.desk import Desk, open_turn
from settled.effects import Invoke
from settled.errors import LogicError
from settled.making import evolve
from settled.message import (
    CHILD,
    Adopt,
    Enlist,
    Event,
    Forward,
    Key,
    Message,
    Parent,
    Report,
    Stamp,
    Start,
    Stop,
    encode,
    internal_id,
)
from settled.record import ChildInstance, Record
from settled.settle import PARENT


def start_child(desk: Desk, record: Record, effect: Invoke, machine: str) -> Record:
    """`record` with a child of `machine`, which is owed its start."""
    child = _child(desk, record, effect.id, machine, effect.index, effect.system_id)
    return _add_child(desk, record, effect.id, child, Start(effect.input, _parent(desk, record, effect.id, child)))


def adopt_child(
    desk: Desk, record: Record, id: str, machine: str, index: int, system_id: str | None, tree: Json
) -> Record:
    """`record` with a child of `machine` that goes on from `tree`, which is owed to it."""
    child = _child(desk, record, id, machine, index, system_id)
    return _add_child(desk, record, id, child, Adopt(tree, _parent(desk, record, id, child)))


def _child(desk: Desk, record: Record, id: str, machine: str, index: int, system_id: str | None) -> ChildInstance:
    turn = open_turn(record)
    instance = f"{desk.key.instance}{CHILD}{id}.{turn.nonce}.{turn.ordinal}.{index}"
    return ChildInstance(Key(machine, instance), desk.name(record, index), system_id)


def _parent(desk: Desk, record: Record, id: str, child: ChildInstance) -> Parent:
    return Parent(desk.key, id, child.generation, _root(desk, record))


def _add_child(desk: Desk, record: Record, id: str, child: ChildInstance, beginning: Start | Adopt) -> Record:
    record = evolve(record, children={**record.children, id: child})
    record = desk.owing(record, Message(child.key, internal_id(child.generation), encode(beginning)))
    return _enlist(desk, record, child, ended=False)


def stop_child(desk: Desk, record: Record, id: str) -> Record:
    """`record` without its child `id`, which is owed the word to stop; as it is if there is none.

    What it has said before it hears of that is still listened to, while it is among the last senders.
    """
    child = record.children.get(id)
    if child is None:
        return record
    window = record.window.hear(child.key, child.generation, kin_of(record))
    record = _without_child(desk, evolve(record, window=window), id)
    stop = Message(child.key, internal_id(f"{child.generation}/stop"), encode(Stop(child.generation)))
    return desk.owing(record, stop)


def forget_child(desk: Desk, record: Record, id: str) -> Record:
    """`record` without its child `id`, which has ended."""
    window = record.window.forget_sender(record.children[id].key)
    return _without_child(desk, evolve(record, window=window), id)


def _without_child(desk: Desk, record: Record, id: str) -> Record:
    children = dict(record.children)
    child = children.pop(id)
    return _enlist(desk, evolve(record, children=children), child, ended=True)


def kin_of(record: Record) -> frozenset[str]:
    """The senders that `record` remembers for as long as they live."""
    parent = () if record.parent is None else (str(record.parent.key),)
    return frozenset((*parent, *(str(child.key) for child in record.children.values())))


def has_ended(record: Record, stamp: Stamp) -> bool:
    """Whether `stamp` is of a child that has said all."""
    if stamp.generation is None or str(stamp.sender) in record.window.senders:
        return False
    return all(child.generation != stamp.generation for child in record.children.values())


def tell_parent(desk: Desk, record: Record) -> Record:
    """`record`, whose machine has ended; its parent is owed the news, unless it was the parent who stopped it."""
    snapshot, parent = record.live(), record.parent
    if parent is None or snapshot.status == "stopped":
        return record
    done = snapshot.status == "done"
    data = snapshot.output if done else snapshot.error
    report = Report(parent.child, parent.generation, done, None if data is ABSENT else data)
    return desk.owing(record, Message(parent.key, internal_id(f"{parent.generation}/report"), encode(report)))


# Addresses


def addressed(desk: Desk, record: Record, to: str, event: Json, index: int, *, delayed: bool) -> Message | None:
    """The message that brings `event`, effect number `index`, to whoever `to` names.

    None for a function actor, which takes no events, and for a child that has ended. A delayed message may be
    overtaken, so it does not say which step it is from.

    Raises:
        LogicError: nobody has this address.
    """
    id, target = internal_id(desk.name(record, index)), address(record, to)
    if isinstance(target, Key):
        generation = record.parent.generation if record.parent and target == record.parent.key else None
        return Message(target, id, encode(Event(event, None if delayed else stamped(desk, record, generation))))
    if target is None:
        return None
    if record.parent is not None:
        stamp = None if delayed else stamped(desk, record)
        return Message(record.parent.root, id, encode(Forward(target, event, stamp)))
    raise LogicError(
        f"{desk.key}: cannot send to {to!r}: it is no child, no system id, and not the key (MACHINE/INSTANCE) of an "
        "instance"
    )


def stamped(desk: Desk, record: Record, generation: str | None = None) -> Stamp:
    """The stamp of what is about to be owed; `generation` is the sender's, if that is to its parent."""
    return Stamp(desk.key, record.birth or desk.nonce, desk.version, len(record.outbox), generation)


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
    id = internal_id(f"{child.generation}/{'delist' if ended else 'enlist'}")
    return desk.owing(record, Message(record.parent.root, id, encode(word)))


def enlisted(record: Record, word: Enlist) -> Record:
    """The root's `record` after `word`. That somebody ended says nothing of who has the system id since."""
    system = dict(record.system)
    if not word.ended:
        system[word.system_id] = word.key
    elif system.get(word.system_id) == word.key:
        del system[word.system_id]
    return evolve(record, system=system)
