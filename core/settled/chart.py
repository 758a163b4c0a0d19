"""A chart: the nodes of a compiled config, in document order, and the configurations they can form.

A chart knows structure and names, never what a name means. It is written once, by ``compile``, and not changed after;
nodes, transitions and actions are compared by identity, because two of them may well look alike.

A configuration is a set of active nodes. There is one object for each set, so what follows from the set alone (its
state value, its tags, its leaves) is worked out once, and whoever wants to remember more may do so by identity.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from attrs import define, field, frozen

from settled.config import NodeType, Reference
from settled.data import ABSENT

StateValue: TypeAlias = "str | Mapping[str, StateValue]"


@frozen(eq=False)
class Action:
    """A place in the chart where an action is asked for; `path` is the place in the config."""

    reference: Reference
    path: str


@frozen(eq=False)
class Guard:
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
class Invocation:
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
    guard: Guard | None = None
    actions: tuple[Action, ...] = ()
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
    actions: tuple[Action, ...] = ()


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
    entry: tuple[Action, ...] = ()
    exit: tuple[Action, ...] = ()
    after: tuple[After, ...] = ()
    invoke: tuple[Invocation, ...] = ()
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
    def actions(self) -> Iterator[Action]:
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


@frozen(eq=False)
class Configuration:
    """The active nodes, in document order, and all that follows from them alone.

    `is_legal` is whether a machine may rest in it: the root is active, and of each active node its parent, one child if
    it is compound, and all its regions if it is parallel. Within a step one may be legal but for parents: from inside a
    parallel node to that node's own, still empty history, XState leaves the parallel and enters only its regions.
    A step ends in the whole one. `is_restless` is whether it may be left without an event.
    """

    nodes: tuple[Node, ...]
    members: frozenset[Node]
    atomic: tuple[Node, ...]
    value: StateValue
    tags: frozenset[str]
    meta: Mapping[str, Any]
    is_legal: bool = True
    is_restless: bool = False

    def __repr__(self) -> str:
        return f"Configuration({self.value!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Configuration):
            return NotImplemented
        return self is other or self.members == other.members

    def __hash__(self) -> int:
        return hash(self.members)

    def is_final(self, node: Node) -> bool:
        """Whether `node` has come to its end."""
        return is_final(node, self.members)


def is_final(node: Node, active: Iterable[Node]) -> bool:
    """Whether `node` has come to its end, of all nodes just those in `active` being active."""
    match node.type:
        case "compound":
            return any(child.type == "final" and child in active for child in node.states)
        case "parallel":
            return all(is_final(child, active) for child in node.states)
        case _:
            return node.type == "final"


MOST_REMEMBERED = 4096
"""How many configurations of one chart are kept. To forget them is safe: they are equal by what they hold."""


@define(eq=False)
class Chart:
    """All nodes of one machine, in document order; `ids` finds them."""

    id: str
    nodes: tuple[Node, ...]
    ids: Mapping[str, Node]
    max_iterations: int
    _configurations: dict[frozenset[Node], Configuration] = field(
        factory=dict[frozenset[Node], Configuration], init=False, repr=False
    )
    _resolved: dict[str, Configuration] = field(factory=dict[str, Configuration], init=False, repr=False)

    @property
    def root(self) -> Node:
        return self.nodes[0]

    def configuration(self, active: Iterable[Node]) -> Configuration:
        """The configuration of just the nodes in `active`."""
        members = frozenset(active)
        known = self._configurations.get(members)
        if known is None:
            if len(self._configurations) >= MOST_REMEMBERED:
                self._configurations.clear()
            known = self._configurations[members] = self._new_configuration(members)
        return known

    def _new_configuration(self, members: frozenset[Node]) -> Configuration:
        nodes = in_order(members)
        return Configuration(
            nodes=nodes,
            members=members,
            atomic=tuple(node for node in nodes if node.is_atomic),
            value=_value(self.root, completed(nodes)),
            tags=frozenset(tag for node in nodes for tag in node.tags),
            meta={node.id: node.meta for node in nodes if node.meta is not ABSENT},
            is_legal=self.root in members and all(_is_in_place(node, members) for node in nodes),
            is_restless=any(node.always for node in nodes),
        )

    def whole(self, configuration: Configuration) -> Configuration:
        """`configuration`, and the parents it lacks."""
        if configuration.is_legal:
            return configuration
        return self.configuration(with_ancestors(configuration.nodes))

    def within(self, node: Node) -> tuple[Node, ...]:
        """`node` and its descendants."""
        return self.nodes[node.order : node.last + 1]

    def resolve(self, value: StateValue) -> Configuration:
        """The configuration that `value` stands for; what it leaves out is entered by default.

        Raises:
            LookupError: there is no such state, or no such set of states; the message names it.
        """
        text = repr(value)
        known = self._resolved.get(text)
        if known is None:
            known = self.configuration(completed(_named(self.root, value)))
            if not known.is_legal:
                raise LookupError(f"{told(known)}: that is no state")
            if len(self._resolved) >= MOST_REMEMBERED:
                self._resolved.clear()
            self._resolved[text] = known
        return known

    def find(self, reference: str) -> Node:
        """The node that ``#id`` or ``#id.path`` names.

        Raises:
            LookupError: there is no such node; the message names it.
        """
        id, *path = split(reference.removeprefix("#"))
        if id not in self.ids:
            raise LookupError(f'no state with the id "{id}"')
        return descend(self.ids[id], path)


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


def completed(nodes: Iterable[Node]) -> set[Node]:
    """`nodes`, what is entered by default wherever they leave a choice, and the ancestors of all these."""
    given = set(nodes)
    default = {each for node in given for region in _undecided(node, given) for each in _by_default(region)}
    return with_ancestors(given | default)


def with_ancestors(nodes: Iterable[Node]) -> set[Node]:
    """`nodes` and the ancestors of all these."""
    return {each for node in nodes for each in (node, *node.ancestors)}


def _is_in_place(node: Node, active: frozenset[Node]) -> bool:
    """Whether what belongs to the active `node` is active too."""
    if node.parent is not None and node.parent not in active:
        return False
    match node.type:
        case "compound":
            return sum(child in active for child in node.states) == 1
        case "parallel":
            return active.issuperset(node.states)
        case _:
            return True


def told(configuration: Configuration) -> str:
    """Name `configuration` in an error message, even if it is an illegal one."""
    return " beside ".join(f'"{node.id}"' for node in configuration.atomic or configuration.nodes)


def default_of(history: Node) -> tuple[Node, ...]:
    """Return the targets of `history` while it remembers nothing."""
    parent = history.parent
    if history.defaults or parent is None:
        return history.defaults
    return (parent.initial.target,) if parent.type == "compound" and parent.initial else (parent,)


def _undecided(node: Node, active: set[Node]) -> tuple[Node, ...]:
    match node.type:
        case "compound" if node.initial and active.isdisjoint(node.states):
            return (node.initial.target,)
        case "parallel":
            return tuple(child for child in node.states if child not in active)
        case _:
            return ()


def _by_default(node: Node) -> Iterator[Node]:
    if node.type != "history":
        yield node
    for inner in entered_by_default(node):
        yield from _by_default(inner)


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


def _value(node: Node, active: set[Node]) -> StateValue:
    inner = [child for child in node.states if child in active]
    if node.type == "compound" and inner and inner[0].is_atomic:
        return inner[0].key
    return {child.key: _value(child, active) for child in inner}


def _named(node: Node, value: StateValue) -> Iterator[Node]:
    yield node
    match value:
        case str():
            yield _can_be_active(child_of(node, value))
        case Mapping():
            for key, inner in value.items():
                yield from _named(_can_be_active(child_of(node, key)), inner)
        case _:
            raise LookupError(f'{value!r} is no state of "{node.id}"')


def _can_be_active(node: Node) -> Node:
    if node.type == "history":
        raise LookupError(f'"{node.id}" is a history and never active')
    return node


def value_matches(wanted: StateValue, value: StateValue) -> bool:
    """Whether the state value `value` is `wanted` or inside it. Texts may be dotted paths."""
    wanted, value = unfolded(wanted), unfolded(value)
    if isinstance(value, str):
        return wanted == value
    if isinstance(wanted, str):
        return wanted in value
    return all(key in value and value_matches(inner, value[key]) for key, inner in wanted.items())


def unfolded(value: StateValue) -> StateValue:
    """`value`, with objects in the place of a dotted path."""
    if not isinstance(value, str):
        return value
    *around, unfolded = split(value)
    result: StateValue = unfolded
    for key in reversed(around):
        result = {key: result}
    return result
