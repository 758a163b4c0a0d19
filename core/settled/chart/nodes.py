"""The nodes of a chart, their transitions, and the sites where the config refers to an action, a guard or an actor.

They hold structure and names only; `settled.chart.resolve` looks the names up. They are compared by identity, since two
different ones may have equal fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import Factory, define, field, frozen

from settled.chart.config import NodeType, Reference
from settled.data import ABSENT


@frozen(eq=False)
class ActionSite:
    """A reference to an action; `path` is its location in the config."""

    reference: Reference
    path: str


@frozen(eq=False)
class GuardSite:
    """A reference to a guard; `path` is its location in the config."""

    reference: Reference
    path: str


@frozen(eq=False)
class After:
    """A delayed event of a node: scheduled on entry, cancelled on exit. `delay` is a name, or milliseconds."""

    delay: str | float
    event: str
    path: str


@frozen(eq=False)
class InvokeSite:
    """An actor that a node invokes. `sync` is whether the node has an ``onSnapshot``."""

    id: str
    src: str
    reference: Reference
    path: str
    system_id: str | None = None
    input: Any = ABSENT
    sync: bool = False


@frozen(eq=False)
class Transition:
    """A transition. If `targets` is None, it exits and enters nothing.

    `route` is the ``to`` that an ``xstate.route`` event must have to take this transition. `is_forbidding` tells
    whether it has no effect except to keep its event from ancestors.
    """

    source: Node
    descriptor: str
    path: str
    targets: tuple[Node, ...] | None = None
    guard: GuardSite | None = None
    actions: tuple[ActionSite, ...] = ()
    reenter: bool = False
    route: str | None = None
    meta: Any = ABSENT
    description: str | None = None
    is_forbidding: bool = field(
        init=False, default=Factory(lambda own: own.targets is None and not own.actions, takes_self=True)
    )


@frozen(eq=False)
class Initial:
    """The default entry of a compound node."""

    target: Node
    actions: tuple[ActionSite, ...] = ()


@define(eq=False)
class Node:
    """A state node, built in two passes by `settled.chart.compile` and not changed afterwards.

    `order` is its index in document order, `last_order` that of its last descendant. `ancestors` are proper, nearest
    first. `states` are the children that can be active, `histories` the other ones. `history` and `defaults` are set
    for history nodes only: the kind, and the targets of its ``target``; without any, it enters its parent's default.
    """

    key: str
    id: str
    type: NodeType
    order: int
    parent: Node | None
    path: str
    ancestors: tuple[Node, ...]
    last_order: int = 0
    children: Mapping[str, Node] = field(factory=dict[str, "Node"])
    states: tuple[Node, ...] = ()
    histories: tuple[Node, ...] = ()
    initial: Initial | None = None
    history: str | None = None
    defaults: tuple[Node, ...] = ()
    entry: tuple[ActionSite, ...] = ()
    exit: tuple[ActionSite, ...] = ()
    after: tuple[After, ...] = ()
    invoke: tuple[InvokeSite, ...] = ()
    on: Mapping[str, tuple[Transition, ...]] = field(factory=dict[str, tuple[Transition, ...]])
    wildcards: tuple[tuple[str, tuple[Transition, ...]], ...] = ()
    always: tuple[Transition, ...] = ()
    output: Any = ABSENT
    tags: tuple[str, ...] = ()
    meta: Any = ABSENT
    description: str | None = None

    def __repr__(self) -> str:
        return f"Node({self.id!r})"

    @property
    def is_atomic(self) -> bool:
        return self.type in ("atomic", "final")

    @property
    def transitions(self) -> Iterator[Transition]:
        """All transitions whose source is this node; eventless ones come last."""
        yield from (transition for transitions in self.on.values() for transition in transitions)
        yield from self.always

    @property
    def actions(self) -> Iterator[ActionSite]:
        """All action sites of this node and of its transitions."""
        yield from self.entry
        yield from self.exit
        if self.initial:
            yield from self.initial.actions
        for transition in self.transitions:
            yield from transition.actions

    def is_inside(self, other: Node | None) -> bool:
        """Return whether this is a proper descendant of `other`; True if `other` is None."""
        return other is None or other.order < self.order <= other.last_order

    def candidates(self, event: str) -> tuple[Transition, ...]:
        """Return the transitions for an event type, in order: exact descriptors, then wildcards, the longest first."""
        exact = self.on.get(event, ())
        if not self.wildcards:
            return exact
        partial = (found for descriptor, found in self.wildcards if event != descriptor and matches(event, descriptor))
        return exact + tuple(transition for found in partial for transition in found)


def matches(event: str, descriptor: str) -> bool:
    """Return whether `descriptor`, a type, ``*`` or ``some.path.*``, matches the event type `event`."""
    # The dot lets "some.path.*" match "some.path" itself too, as in XState, but not "some.pathway".
    return descriptor == event or (is_wildcard(descriptor) and f"{event}.".startswith(descriptor[:-1]))


def is_wildcard(descriptor: str) -> bool:
    """Return whether `descriptor` is ``*`` or ends in ``.*``.

    One with another ``*`` before that matches only itself.
    """
    *path, last = descriptor.split(".")
    return last == "*" and "*" not in path


def is_final(node: Node, active: Iterable[Node]) -> bool:
    """Return whether `node` is done while exactly the nodes in `active` are active."""
    match node.type:
        case "compound":
            return any(child.type == "final" and child in active for child in node.states)
        case "parallel":
            return all(is_final(child, active) for child in node.states)
        case _:
            return node.type == "final"


def in_document_order(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """Return `nodes` in document order."""
    return tuple(sorted(nodes, key=lambda node: node.order))


def split_path(path: str) -> list[str]:
    """Return the keys in a dotted path. A backslash escapes the next character."""
    keys, characters = [""], iter(path)
    for character in characters:
        if character == ".":
            keys.append("")
        else:
            keys[-1] += next(characters, "") if character == "\\" else character
    return keys


def descend(node: Node, path: Iterable[str]) -> Node:
    """Return the descendant of `node` at `path`; an empty key ends the path.

    Raises:
        LookupError: there is no such node; the message names it.
    """
    for key in path:
        if not key:
            break
        node = child_of(node, key)
    return node


def child_of(node: Node, key: str) -> Node:
    """Return the child of `node` with the key `key`.

    Raises:
        LookupError: there is no such child; the message names it.
    """
    child = node.children.get(key)
    if child is None:
        raise LookupError(f'no state "{key}" in "{node.id}"')
    return child


def history_default(history: Node) -> tuple[Node, ...]:
    """Return the targets of `history` while no history is recorded for it."""
    parent = history.parent
    if history.defaults or parent is None:
        return history.defaults
    return (parent.initial.target,) if parent.type == "compound" and parent.initial else (parent,)


def entered_by_default(node: Node) -> tuple[Node, ...]:
    """Return the nodes that `node` enters by default; for a history, those it enters while none is recorded."""
    match node.type:
        case "history":
            return history_default(node)
        case "compound" if node.initial:
            return (node.initial.target,)
        case "parallel":
            return node.states
        case _:
            return ()
