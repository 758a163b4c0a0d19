"""Kin: the machines that a machine has started, the one that has started it, and how they find one another.

A machine as an actor is an instance of its own, under a key that is new with each start: the id it was started as,
and the effect that started it. That effect's idempotency key is the child's generation; what it says under another
one is stale. All instances below one root are a system: the root keeps the directory of their system ids, hears of
each one that begins or ends, and passes on what is sent to a system id that the sender does not know itself.

A machine remembers how far it has heard its parent and its living children, however many there are. One that has
ended has said all, because its report comes last; so what still comes from it is a repetition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from settled._fast_frozen import evolve
from settled.chart.snapshot import Child, Snapshot
from settled.data import ABSENT, Json
from settled.durable.apply_context import ApplyContext, open_turn
from settled.durable.messages import (
    CHILD_MARKER,
    ChildEnded,
    Event,
    ForwardToSystemId,
    ImportChild,
    Message,
    Parent,
    RegisterSystemId,
    SenderPosition,
    Start,
    StopChildInstance,
    decode,
    encode,
    internal_id,
)
from settled.durable.record import ChildInstance, Record
from settled.errors import LogicError
from settled.key import Key
from settled.progress import PARENT, SNAPSHOT, snapshot_event
from settled.step.effects import Invoke, Send


def start_child(context: ApplyContext, record: Record, effect: Invoke, machine: str) -> Record:
    """`record` with a child of `machine`, which is owed its start."""
    child = _child(context, record, effect.id, machine, effect.index, effect.system_id)
    parent = _parent(context, record, effect.id, child, effect.sync)
    return _add_child(context, record, child, Start(effect.input, parent), parent)


def import_child(
    context: ApplyContext, record: Record, id: str, machine: str, index: int, known: Child, tree: Json
) -> Record:
    """`record` with a child of `machine` that goes on from `tree`, which is owed to it; `known` is what it is here."""
    child = _child(context, record, id, machine, index, known.system_id)
    parent = _parent(context, record, id, child, known.sync)
    return _add_child(context, record, child, ImportChild(tree, parent), parent)


def _child(
    context: ApplyContext, record: Record, id: str, machine: str, index: int, system_id: str | None
) -> ChildInstance:
    turn = open_turn(record)
    instance = f"{context.key.instance}{CHILD_MARKER}{id}.{turn.nonce}.{turn.ordinal}.{index}"
    return ChildInstance(Key(machine, instance), context.effect_key(record, index), system_id)


def _parent(context: ApplyContext, record: Record, id: str, child: ChildInstance, sync: bool) -> Parent:
    return Parent(context.key, id, child.generation, _root(context, record), sync)


def _add_child(
    context: ApplyContext, record: Record, child: ChildInstance, beginning: Start | ImportChild, parent: Parent
) -> Record:
    record = _detach_previous(context, record, parent.child)
    record = evolve(record, children={**record.children, parent.child: child})
    record = context.add_to_outbox(record, Message(child.key, internal_id(child.generation), encode(beginning)))
    return _register_system_id(context, record, child, parent)


def _detach_previous(context: ApplyContext, record: Record, id: str) -> Record:
    """`record`, in which another child is to have the name `id`. Who has it runs on, and its report still counts."""
    child = record.children.get(id)
    if child is None:
        return record
    window = record.window.remember_sender(child.key, child.generation, related_senders(record))
    detached = {**record.detached, child.generation: child.key}
    return _without_child(context, evolve(record, window=window, detached=detached), id)


def stop_child(context: ApplyContext, record: Record, id: str) -> Record:
    """`record` without its child `id`, which is owed the word to stop; as it is if there is none.

    What it has said before it hears of that is still listened to, while it is among the last senders.
    """
    child = record.children.get(id)
    if child is None:
        return record
    window = record.window.remember_sender(child.key, child.generation, related_senders(record))
    record = _without_child(context, evolve(record, window=window), id)
    return context.add_to_outbox(record, _stop_message(child.key, child.generation))


def _stop_message(child: Key, generation: str) -> Message:
    return Message(child, internal_id(f"{generation}/stop"), encode(StopChildInstance(generation)))


def stop_or_detach_child(context: ApplyContext, record: Record, id: str) -> Record:
    """`record` without its child `id`, which the step in hand stops.

    If this is a step that the child itself has caused by the last it did, its report is on the way. As in XState it is
    still listened to, although nothing may wait for it any more.
    """
    child = record.children.get(id)
    if child is None or not _is_last_event(open_turn(record).message, child):
        return stop_child(context, record, id)
    window = record.window.remember_sender(child.key, child.generation, related_senders(record))
    detached = {**record.detached, child.generation: child.key}
    return _without_child(context, evolve(record, window=window, detached=detached), id)


def _is_last_event(message: Message, child: ChildInstance) -> bool:
    content = decode(message.body)
    if not isinstance(content, Event) or content.sender is None:
        return False
    return content.is_last and content.sender.key == child.key


def remove_detached_child(record: Record, generation: str) -> Record:
    """`record`, once it has heard the report of a child that it has parted with."""
    detached = dict(record.detached)
    window = record.window.forget_sender(detached.pop(generation))
    return evolve(record, window=window, detached=detached)


def remove_child(context: ApplyContext, record: Record, id: str) -> Record:
    """`record` without its child `id`, which has ended."""
    window = record.window.forget_sender(record.children[id].key)
    return _without_child(context, evolve(record, window=window), id)


def _without_child(context: ApplyContext, record: Record, id: str) -> Record:
    children = dict(record.children)
    child = children.pop(id)
    return _unregister_system_id(context, evolve(record, children=children), child)


def related_senders(record: Record) -> frozenset[str]:
    """The senders that `record` remembers for as long as they live."""
    parent = () if record.parent is None else (str(record.parent.key),)
    return frozenset((*parent, *(str(child.key) for child in record.children.values())))


def has_said_all(record: Record, sender: SenderPosition) -> bool:
    """Whether `stamp` is of a child that has said all."""
    if sender.generation is None or str(sender.key) in record.window.senders:
        return False
    return all(child.generation != sender.generation for child in record.children.values())


def report_to_parent(context: ApplyContext, record: Record) -> Record:
    """`record`, whose machine has ended; its parent is owed the news, unless it was the parent who stopped it."""
    snapshot, parent = record.readable_snapshot(), record.parent
    if parent is None or snapshot.status == "stopped":
        return record
    done = snapshot.status == "done"
    data = snapshot.output if done else snapshot.error
    report = ChildEnded(parent.child, parent.generation, done, None if data is ABSENT else data)
    return context.add_to_outbox(record, Message(parent.key, internal_id(f"{parent.generation}/ended"), encode(report)))


def send_snapshot_to_parent(context: ApplyContext, record: Record, snapshot: Snapshot[Any]) -> Record:
    """`record`, whose machine has come to `snapshot`; if its parent listens, it is owed that."""
    parent, turn = record.parent, open_turn(record)
    if parent is None or not parent.sync or snapshot.status != "active":
        return record
    event = snapshot_event(parent.child, context.machine.to_json(snapshot))
    id = internal_id(context.effect_key(record, turn.index))
    shown = Event(event, sender_position(context, record, parent.generation))
    record = context.add_to_outbox(record, Message(parent.key, id, encode(shown)))
    return evolve(record, turn=evolve(turn, index=turn.index + 1))


def snapshot_source(content: Event) -> str | None:
    """The child whose snapshot `content` brings; None if it is an event of another kind, or of no instance."""
    type = str(content.event.get("type")) if isinstance(content.event, Mapping) else ""
    return type.removeprefix(SNAPSHOT) if content.sender and type.startswith(SNAPSHOT) else None


def is_from_child(context: ApplyContext, id: str, sender: SenderPosition) -> bool:
    """Whether a snapshot that the sender of `stamp` sends as the actor `id` is one of a child that is, or was, that."""
    return sender.key.instance.startswith(f"{context.key.instance}{CHILD_MARKER}{id}.")


# Addresses


def message_for(context: ApplyContext, record: Record, send: Send) -> Message | None:
    """The message that brings the event of `send` to whoever it is for.

    None for an actor of the machine that takes no events: a function, or a child that has ended. A delayed message may
    be overtaken, so it does not say which step it is from.

    Raises:
        LogicError: nobody has this address.
    """
    id, target = internal_id(context.effect_key(record, send.index)), _target(record, send)
    if isinstance(target, Key):
        return Message(target, id, encode(_event(context, record, send, target)))
    if target is None:
        return None
    if record.parent is not None:
        sender = sender_position(context, record) if send.delay is None else None
        return Message(record.parent.root, id, encode(ForwardToSystemId(target, send.event, sender)))
    raise LogicError(
        f"{context.key}: cannot send to {send.to!r}: it is no child, no system id, and not the key (MACHINE/INSTANCE) "
        "of an instance"
    )


def _target(record: Record, send: Send) -> Key | str | None:
    if send.target_kind == "elsewhere":
        return resolve_address(record, send.to)
    child = record.children.get(send.to)
    return None if child is None else child.key


def _event(context: ApplyContext, record: Record, send: Send, target: Key) -> Event:
    if send.delay is not None:
        return Event(send.event)
    if record.parent is None or target != record.parent.key:
        return Event(send.event, sender_position(context, record))
    is_last = record.readable_snapshot().status in ("done", "error")
    return Event(send.event, sender_position(context, record, record.parent.generation), is_last)


def sender_position(context: ApplyContext, record: Record, generation: str | None = None) -> SenderPosition:
    """The stamp of what is about to be owed; `generation` is the sender's, if that is to its parent."""
    return SenderPosition(context.key, record.birth or context.nonce, context.version, len(record.outbox), generation)


def resolve_address(record: Record, to: str) -> Key | str:
    """Return the key that `to` stands for; a system id if only the root can know."""
    if to == PARENT and record.parent is not None:
        return record.parent.key
    if to in record.children:
        return record.children[to].key
    by_system_id = (child.key for child in record.children.values() if child.system_id == to)
    return next(by_system_id, None) or record.system.get(to) or (Key.parse(to) if "/" in to else to)


def _root(context: ApplyContext, record: Record) -> Key:
    return context.key if record.parent is None else record.parent.root


def _register_system_id(context: ApplyContext, record: Record, child: ChildInstance, parent: Parent) -> Record:
    """The root's directory, told of a child's system id; at the root itself, changed."""
    if child.system_id is None:
        return record
    word = RegisterSystemId(child.system_id, child.key, False, parent)
    if record.parent is None:
        return with_system_id(context, record, word)
    return context.add_to_outbox(
        record, Message(parent.root, internal_id(f"{child.generation}/register"), encode(word))
    )


def _unregister_system_id(context: ApplyContext, record: Record, child: ChildInstance) -> Record:
    if child.system_id is None:
        return record
    word = RegisterSystemId(child.system_id, child.key, True)
    if record.parent is None:
        return with_system_id(context, record, word)
    return context.add_to_outbox(
        record, Message(record.parent.root, internal_id(f"{child.generation}/unregister"), encode(word))
    )


def with_system_id(context: ApplyContext, record: Record, word: RegisterSystemId) -> Record:
    """The root's `record` after `word`. That somebody ended says nothing of who has the system id since.

    Who comes second to a system id cannot have it: it is stopped, and has failed for the machine that started it.
    """
    system, holder = dict(record.system), record.system.get(word.system_id)
    if word.ended:
        if holder == word.key:
            del system[word.system_id]
    elif word.parent is None or holder in (None, word.key):
        system[word.system_id] = word.key
    else:
        return _stop_second_holder(context, record, word, word.parent)
    return evolve(record, system=system)


def _stop_second_holder(context: ApplyContext, record: Record, word: RegisterSystemId, parent: Parent) -> Record:
    message = f"the system id {word.system_id!r} is that of another actor already"
    error: Json = {"name": "SystemIdTaken", "message": message}
    report = encode(ChildEnded(parent.child, parent.generation, False, error))
    record = context.add_to_outbox(record, Message(parent.key, internal_id(f"{parent.generation}/taken"), report))
    return context.add_to_outbox(record, _stop_message(word.key, parent.generation))
