"""The nodes of a chart, their transitions, and the places where the config names an action, a guard or an actor.

They know structure and names, never what a name means. They are compared by identity, because two of them may well
look alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import define, field, frozen

from settled.chart.config import NodeType, Reference
from settled.data import ABSENT


@frozen(eq=False)
class ActionSite:
    """A place in the chart where an action is asked for; `path` is the place in the config."""

    reference: Reference
    path: str


@frozen(eq=False)
class GuardSite:
    """A place in the chart where a guard is asked for."""

    reference: Reference
    path: str


@frozen(eq=False)
class After:
    """A delayed event of a node: raised on entry, cancelled on exit. `delay` is a name, or milliseconds."""

    delay: str | float
    event: str
    path: str


@frozen(eq=False)
class InvokeSite:
    """An actor that a node invokes. `sync` says whether the node listens to its snapshots."""

    id: str
    src: str
    reference: Reference
    path: str
    system_id: str | None = None
    input: Any = ABSENT
    sync: bool = False


@frozen(eq=False)
class Transition:
    """A transition. Without targets (None) it exits and enters nothing.

    `route` is the ``to`` that an event must carry to be routed by this transition.
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

    @property
    def is_forbidding(self) -> bool:
        """Whether it does nothing but keep its event from others."""
        return self.targets is None and not self.actions


@frozen(eq=False)
class Initial:
    """The default entry of a compound node."""

    target: Node
    actions: tuple[ActionSite, ...] = ()


@define(eq=False)
class Node:
    """A state node. `order` is its place in document order and `last` that of its last descendant.

    `ancestors` are proper, nearest first; `states` are the children that can be active, `histories` those that
    remember. `history` and `defaults` are of a history node: without defaults it falls back on its parent's own.
    """

    key: str
    id: str
    type: NodeType
    order: int
    parent: Node | None
    path: str
    ancestors: tuple[Node, ...]
    last: int = 0
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
        """All transitions whose source this is; those without an event come last."""
        yield from (transition for transitions in self.on.values() for transition in transitions)
        yield from self.always

    @property
    def actions(self) -> Iterator[ActionSite]:
        """All places of this node and its transitions where an action is asked for."""
        yield from self.entry
        yield from self.exit
        if self.initial:
            yield from self.initial.actions
        for transition in self.transitions:
            yield from transition.actions

    def is_inside(self, other: Node | None) -> bool:
        """Whether this is a proper descendant of `other`; None stands for what is around the root."""
        return other is None or other.order < self.order <= other.last

    def candidates(self, event: str) -> tuple[Transition, ...]:
        """What may take an event of this type: exact descriptors first, then wildcards, the longest first."""
        exact = self.on.get(event, ())
        if not self.wildcards:
            return exact
        partial = (found for descriptor, found in self.wildcards if event != descriptor and matches(event, descriptor))
        return exact + tuple(transition for found in partial for transition in found)


def matches(event: str, descriptor: str) -> bool:
    """Whether an event of the type `event` is one that `descriptor` names: itself, ``*``, or ``some.path.*``."""
    return descriptor == event or (is_wildcard(descriptor) and f"{event}.".startswith(descriptor[:-1]))


def is_wildcard(descriptor: str) -> bool:
    """Whether `descriptor` names more than itself. One with a ``*`` before its end does not."""
    *path, last = descriptor.split(".")
    return last == "*" and "*" not in path


def is_final(node: Node, active: Iterable[Node]) -> bool:
    """Whether `node` has come to its end, of all nodes just those in `active` being active."""
    match node.type:
        case "compound":
            return any(child.type == "final" and child in active for child in node.states)
        case "parallel":
            return all(is_final(child, active) for child in node.states)
        case _:
            return node.type == "final"


def in_order(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """`nodes` in document order."""
    return tuple(sorted(nodes, key=_order))


def _order(node: Node) -> int:
    return node.order


def split(path: str) -> list[str]:
    """The keys in a dotted path. A backslash takes the next character as it is."""
    keys, characters = [""], iter(path)
    for character in characters:
        if character == ".":
            keys.append("")
        else:
            keys[-1] += next(characters, "") if character == "\\" else character
    return keys


def descend(node: Node, path: Iterable[str]) -> Node:
    """The descendant of `node` at `path`; an empty key ends the path.

    Raises:
        LookupError: there is no such node; the message names it.
    """
    for key in path:
        if not key:
            break
        node = child_of(node, key)
    return node


def child_of(node: Node, key: str) -> Node:
    """The child of `node` under `key`.

    Raises:
        LookupError: there is no such child; the message names it.
    """
    child = node.children.get(key)
    if child is None:
        raise LookupError(f'no state "{key}" in "{node.id}"')
    return child


def default_of(history: Node) -> tuple[Node, ...]:
    """Return the targets of `history` while it remembers nothing."""
    parent = history.parent
    if history.defaults or parent is None:
        return history.defaults
    return (parent.initial.target,) if parent.type == "compound" and parent.initial else (parent,)


def entered_by_default(node: Node) -> tuple[Node, ...]:
    """Return the nodes entered with `node` when nothing inside it is chosen; of a history, while it remembers none."""
    match node.type:
        case "history":
            return default_of(node)
        case "compound" if node.initial:
            return (node.initial.target,)
        case "parallel":
            return node.states
        case _:
            return ()
