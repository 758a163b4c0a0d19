"""A chart: the nodes of a compiled config, in document order, and the configurations they can form.

A chart knows structure and names, never what a name means. It is written once, by ``compile``, and not changed after;
nodes, transitions and actions are compared by identity, because two of them may well look alike.

A configuration is a set of active nodes. There is one object for each set, so what follows from the set alone (its
state value, its tags, its leaves) is worked out once, and whoever wants to remember more may do so by identity.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import define, field, frozen

from settled.chart.nodes import Node, child_of, descend, entered_by_default, in_order, is_final, split
from settled.chart.state_value import StateValue
from settled.data import ABSENT


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
    has_eventless: bool = False

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


MAX_CONFIGURATIONS = 4096
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
            if len(self._configurations) >= MAX_CONFIGURATIONS:
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
            has_eventless=any(node.always for node in nodes),
        )

    def with_missing_parents(self, configuration: Configuration) -> Configuration:
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
            known = self.configuration(completed(_nodes_of(self.root, value)))
            if not known.is_legal:
                raise LookupError(f"{describe_configuration(known)}: that is no state")
            if len(self._resolved) >= MAX_CONFIGURATIONS:
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


def describe_configuration(configuration: Configuration) -> str:
    """Name `configuration` in an error message, even if it is an illegal one."""
    return " beside ".join(f'"{node.id}"' for node in configuration.atomic or configuration.nodes)


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


def _value(node: Node, active: set[Node]) -> StateValue:
    inner = [child for child in node.states if child in active]
    if node.type == "compound" and inner and inner[0].is_atomic:
        return inner[0].key
    return {child.key: _value(child, active) for child in inner}


def _nodes_of(node: Node, value: StateValue) -> Iterator[Node]:
    yield node
    match value:
        case str():
            yield _can_be_active(child_of(node, value))
        case Mapping():
            for key, inner in value.items():
                yield from _nodes_of(_can_be_active(child_of(node, key)), inner)
        case _:
            raise LookupError(f'{value!r} is no state of "{node.id}"')


def _can_be_active(node: Node) -> Node:
    if node.type == "history":
        raise LookupError(f'"{node.id}" is a history and never active')
    return node
