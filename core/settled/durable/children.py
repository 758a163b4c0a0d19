"""Child machines, parents, and the addresses by which actors send to each other.

A machine that runs as an actor is an instance of its own. Its key contains the id under which it was started and the
effect that started it, so each start has a new key. The idempotency key of that effect is the child's generation; a
message with another generation is stale. All instances below one root form an actor system. The root keeps the
directory of system ids: it is notified when an actor that has one starts or ends, and forwards events sent to a
system id that the sender does not know.

The dedup window keeps the positions of the parent and of all living children, however many there are. A child's
`ChildEnded` is its last message, so anything that arrives from it later is a repetition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from settled._fast_frozen import evolve
from settled.chart.actions import PARENT
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
from settled.progress import SNAPSHOT, snapshot_event
from settled.step.effects import Invoke, Send


def start_child(context: ApplyContext, record: Record, effect: Invoke, machine: str) -> Record:
    """Add a child of `machine` to `record`, with its `Start` in the outbox."""
    child = _child(context, record, effect.id, machine, effect.index, effect.system_id)
    parent = _parent(context, record, effect.id, child, effect.sync)
    return _add_child(context, record, child, Start(effect.input, parent), parent)


def import_child(
    context: ApplyContext, record: Record, id: str, machine: str, index: int, known: Child, tree: Json
) -> Record:
    """Add a child that continues from `tree`, with its `ImportChild` in the outbox.

    `known` is the child as the parent's snapshot has it.
    """
    child = _child(context, record, id, machine, index, known.system_id)
    parent = _parent(context, record, id, child, known.sync)
    return _add_child(context, record, child, ImportChild(tree, parent), parent)


def _child(
    context: ApplyContext, record: Record, id: str, machine: str, index: int, system_id: str | None
) -> ChildInstance:
    turn = open_turn(record)
    # Keys are never reused: the record of an earlier child would ignore the `Start` of a new one. The nonce keeps them
    # unique even after this instance is deleted and started again.
    instance = f"{context.key.instance}{CHILD_MARKER}{id}.{turn.nonce}.{turn.ordinal}.{index}"
    return ChildInstance(Key(machine, instance), context.effect_key(record, index), system_id)


def _parent(context: ApplyContext, record: Record, id: str, child: ChildInstance, sync: bool) -> Parent:
    root = context.key if record.parent is None else record.parent.root
    return Parent(context.key, id, child.generation, root, sync)


def _add_child(
    context: ApplyContext, record: Record, child: ChildInstance, beginning: Start | ImportChild, parent: Parent
) -> Record:
    previous = record.children.get(parent.child_id)
    if previous is not None:  # as in XState, it runs on, and its report still counts
        record = _detach_child(context, record, parent.child_id, previous)
    record = evolve(record, children={**record.children, parent.child_id: child})
    record = context.add_to_outbox(record, Message(child.key, internal_id(child.generation), encode(beginning)))
    return _register_system_id(context, record, child, parent)


def _detach_child(context: ApplyContext, record: Record, id: str, child: ChildInstance) -> Record:
    # The sender must be in the window even if it has never sent anything: `has_ended` takes a child that is neither
    # there nor among the children for one that has ended, and would drop its last events.
    window = record.window.add_sender(child.key, child.generation, related_senders(record))
    detached = {**record.detached, child.generation: child.key}
    return _without_child(context, evolve(record, window=window, detached=detached), id)


def stop_child(context: ApplyContext, record: Record, id: str) -> Record:
    """Remove the child `id`, if there is one, and add a `StopChildInstance` for it to the outbox.

    Events that it sent before it was stopped are still taken, for as long as the window has it as a sender.
    """
    child = record.children.get(id)
    if child is None:
        return record
    window = record.window.add_sender(child.key, child.generation, related_senders(record))
    record = _without_child(context, evolve(record, window=window), id)
    return context.add_to_outbox(record, _stop_message(child.key, child.generation))


def _stop_message(child: Key, generation: str) -> Message:
    return Message(child, internal_id(f"{generation}/stop"), encode(StopChildInstance(generation)))


def stop_or_detach_child(context: ApplyContext, record: Record, id: str) -> Record:
    """Remove the child `id`, which the current step stops.

    The child is detached instead of stopped if its own last event caused this step: it has ended already and its
    `ChildEnded` is on the way, which XState also delivers.
    """
    child = record.children.get(id)
    if child is None or not _is_last_event(open_turn(record).message, child):
        return stop_child(context, record, id)
    return _detach_child(context, record, id, child)


def _is_last_event(message: Message, child: ChildInstance) -> bool:
    content = decode(message.body)
    if not isinstance(content, Event) or content.sender is None:
        return False
    return content.is_last and content.sender.key == child.key


def remove_detached_child(record: Record, generation: str) -> Record:
    """Remove a detached child whose report has arrived."""
    detached = dict(record.detached)
    window = record.window.remove_sender(detached.pop(generation))
    return evolve(record, window=window, detached=detached)


def remove_child(context: ApplyContext, record: Record, id: str) -> Record:
    """Remove the child `id`, which has ended."""
    window = record.window.remove_sender(record.children[id].key)
    return _without_child(context, evolve(record, window=window), id)


def _without_child(context: ApplyContext, record: Record, id: str) -> Record:
    children = dict(record.children)
    child = children.pop(id)
    return _unregister_system_id(context, evolve(record, children=children), child)


def related_senders(record: Record) -> frozenset[str]:
    """Return the keys of the parent and the children, whose positions are never evicted from the window."""
    parent = () if record.parent is None else (str(record.parent.key),)
    return frozenset((*parent, *(str(child.key) for child in record.children.values())))


def has_ended(record: Record, sender: SenderPosition) -> bool:
    """Return whether `sender` was a child of this machine from which nothing new can come."""
    # A child that is stopped or detached stays among the senders until its report arrives or newer senders evict it.
    if sender.generation is None or str(sender.key) in record.window.senders:
        return False
    return all(child.generation != sender.generation for child in record.children.values())


def report_to_parent(context: ApplyContext, record: Record) -> Record:
    """Add a `ChildEnded` for the parent to the outbox, unless the parent stopped this machine."""
    snapshot, parent = record.readable_snapshot(), record.parent
    if parent is None or snapshot.status == "stopped":
        return record
    done = snapshot.status == "done"
    data = snapshot.output if done else snapshot.error
    report = ChildEnded(parent.child_id, parent.generation, done, None if data is ABSENT else data)
    return context.add_to_outbox(record, Message(parent.key, internal_id(f"{parent.generation}/ended"), encode(report)))


def send_snapshot_to_parent(context: ApplyContext, record: Record, snapshot: Snapshot[Any]) -> Record:
    """Add `snapshot` for the parent to the outbox, if the parent listens to snapshots and the machine is active."""
    parent, turn = record.parent, open_turn(record)
    if parent is None or not parent.sync or snapshot.status != "active":
        return record
    event = snapshot_event(parent.child_id, context.machine.to_json(snapshot))
    id = internal_id(context.effect_key(record, turn.index))
    content = Event(event, sender_position(context, record, parent.generation))
    record = context.add_to_outbox(record, Message(parent.key, id, encode(content)))
    return evolve(record, turn=evolve(turn, index=turn.index + 1))


def snapshot_source(content: Event) -> str | None:
    """Return the id of the child whose snapshot `content` is; None if it is another event or not from an instance."""
    type = str(content.event.get("type")) if isinstance(content.event, Mapping) else ""
    return type.removeprefix(SNAPSHOT) if content.sender and type.startswith(SNAPSHOT) else None


def is_from_child(context: ApplyContext, id: str, sender: SenderPosition) -> bool:
    """Return whether `sender` is or was the child `id` of this instance."""
    # Compare the key only: a detached child is no longer in `children`. Only its parent can start such an instance.
    return sender.key.instance.startswith(f"{context.key.instance}{CHILD_MARKER}{id}.")


# Addresses


def message_for(context: ApplyContext, record: Record, send: Send) -> Message | None:
    """Return the message with the event of `send`.

    Returns None if the target is an actor that takes no events: a function, or a child that has ended.

    Raises:
        LogicError: no actor has this address.
    """
    id, target = internal_id(context.effect_key(record, send.index)), _target(record, send)
    if isinstance(target, Key):
        return Message(target, id, encode(_event(context, record, send, target)))
    if target is None:
        return None
    if record.parent is not None:
        # A delayed message can be overtaken by later ones. With a position it would then be dropped as a repetition.
        sender = sender_position(context, record) if send.delay is None else None
        return Message(record.parent.root, id, encode(ForwardToSystemId(target, send.event, sender)))
    raise LogicError(
        f"{context.key}: cannot send to {send.to!r}: it is not a child, a system id or the key of an instance "
        "(MACHINE/INSTANCE)"
    )


def _target(record: Record, send: Send) -> Key | str | None:
    if send.target_kind == "external":
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
    """Return the position of the next message; `generation` is the sender's own, if the message is for its parent."""
    # The length of the outbox is the message's index within its commit. So the position must be taken immediately
    # before the message is added to the outbox.
    return SenderPosition(
        context.key, record.start_nonce or context.nonce, context.version, len(record.outbox), generation
    )


def resolve_address(record: Record, to: str) -> Key | str:
    """Return the key of the actor with the address `to`, or `to` itself if it may be a system id known to the root."""
    if to == PARENT and record.parent is not None:
        return record.parent.key
    if to in record.children:
        return record.children[to].key
    by_system_id = (child.key for child in record.children.values() if child.system_id == to)
    return next(by_system_id, None) or record.system_ids.get(to) or (Key.parse(to) if "/" in to else to)


def _register_system_id(context: ApplyContext, record: Record, child: ChildInstance, parent: Parent) -> Record:
    if child.system_id is None:
        return record
    content = RegisterSystemId(child.system_id, child.key, False, parent)
    if record.parent is None:
        return with_system_id(context, record, content)
    return context.add_to_outbox(
        record, Message(parent.root, internal_id(f"{child.generation}/register"), encode(content))
    )


def _unregister_system_id(context: ApplyContext, record: Record, child: ChildInstance) -> Record:
    if child.system_id is None:
        return record
    content = RegisterSystemId(child.system_id, child.key, True)
    if record.parent is None:
        return with_system_id(context, record, content)
    return context.add_to_outbox(
        record, Message(record.parent.root, internal_id(f"{child.generation}/unregister"), encode(content))
    )


def with_system_id(context: ApplyContext, record: Record, content: RegisterSystemId) -> Record:
    """Update the directory of the root's `record`.

    A child whose system id is already taken is stopped, and its parent is notified that it failed.
    """
    system, holder = dict(record.system_ids), record.system_ids.get(content.system_id)
    if content.ended:
        if holder == content.key:  # another actor may have registered the system id in the meantime
            del system[content.system_id]
    elif content.parent is None or holder in (None, content.key):
        system[content.system_id] = content.key
    else:
        return _fail_registration(context, record, content, content.parent)
    return evolve(record, system_ids=system)


def _fail_registration(context: ApplyContext, record: Record, content: RegisterSystemId, parent: Parent) -> Record:
    message = f"the system id {content.system_id!r} is already in use by another actor"
    error: Json = {"name": "SystemIdTaken", "message": message}
    report = encode(ChildEnded(parent.child_id, parent.generation, False, error))
    record = context.add_to_outbox(record, Message(parent.key, internal_id(f"{parent.generation}/taken"), report))
    return context.add_to_outbox(record, _stop_message(content.key, parent.generation))
