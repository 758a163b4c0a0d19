"""A chart: the nodes of a compiled config, in document order, and the configurations they can form.

`settled.chart.compile` builds a chart once; nothing changes it afterwards. A chart knows structure and names only.

A configuration is a set of active nodes. A chart keeps one object for each set, so anything that follows from the set
alone (its state value, tags, atomic nodes) is computed once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import define, field, frozen

from settled.chart.nodes import Node, child_of, descend, entered_by_default, in_document_order, is_final, split_path
from settled.chart.state_value import StateValue
from settled.data import ABSENT, freeze


@frozen(eq=False)
class Configuration:
    """The active nodes, in document order, and everything that follows from them alone.

    `is_legal` is SCXML's term: the root is active, and so is, for each active node, its parent, one child if it is
    compound, and all regions if it is parallel. Within a step a configuration may lack parents: on a transition from
    inside a parallel node to that node's own, still empty history, XState exits the parallel node and enters only its
    regions. A step always ends in a legal one. `has_eventless` is whether an active node has an ``always``.
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
        """Return whether `node` is done."""
        return is_final(node, self.members)


MAX_CONFIGURATIONS = 4096
"""Configurations cached for each chart. Clearing the cache is safe, because they are compared by their nodes."""


@define(eq=False)
class Chart:
    """All nodes of one machine, in document order; `ids` holds them by id."""

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
        """Return the configuration in which exactly the nodes in `active` are active."""
        members = frozenset(active)
        cached = self._configurations.get(members)
        if cached is None:
            if len(self._configurations) >= MAX_CONFIGURATIONS:
                self._configurations.clear()
            cached = self._configurations[members] = self._new_configuration(members)
        return cached

    def _new_configuration(self, members: frozenset[Node]) -> Configuration:
        nodes = in_document_order(members)
        return Configuration(
            nodes=nodes,
            members=members,
            atomic=tuple(node for node in nodes if node.is_atomic),
            value=freeze(_value(self.root, with_defaults(nodes))),
            tags=frozenset(tag for node in nodes for tag in node.tags),
            meta=freeze({node.id: node.meta for node in nodes if node.meta is not ABSENT}),
            is_legal=self.root in members and all(_is_legal(node, members) for node in nodes),
            has_eventless=any(node.always for node in nodes),
        )

    def with_missing_parents(self, configuration: Configuration) -> Configuration:
        """Return `configuration` with all ancestors of its nodes."""
        if configuration.is_legal:
            return configuration
        return self.configuration(with_ancestors(configuration.nodes))

    def subtree(self, node: Node) -> tuple[Node, ...]:
        """Return `node` and its descendants."""
        return self.nodes[node.order : node.last_order + 1]

    def resolve(self, value: StateValue) -> Configuration:
        """Return the configuration of a state value; what it leaves out is entered by default.

        Raises:
            LookupError: there is no such state, or no such set of states; the message names it.
        """
        text = repr(value)  # a state value may be a dict, which has no hash
        cached = self._resolved.get(text)
        if cached is None:
            cached = self.configuration(with_defaults(_nodes_of(self.root, value)))
            if not cached.is_legal:
                raise LookupError(f"{describe_configuration(cached)} is not a state")
            if len(self._resolved) >= MAX_CONFIGURATIONS:
                self._resolved.clear()
            self._resolved[text] = cached
        return cached

    def find(self, reference: str) -> Node:
        """Return the node that ``#id`` or ``#id.path`` names.

        Raises:
            LookupError: there is no such node; the message names it.
        """
        id, *path = split_path(reference.removeprefix("#"))
        if id not in self.ids:
            raise LookupError(f'no state with the id "{id}"')
        return descend(self.ids[id], path)


def with_defaults(nodes: Iterable[Node]) -> set[Node]:
    """Return `nodes`, the nodes entered by default inside them where they leave a choice, and all ancestors."""
    given = set(nodes)
    defaults = {each for node in given for child in _missing_children(node, given) for each in _default_entry(child)}
    return with_ancestors(given | defaults)


def with_ancestors(nodes: Iterable[Node]) -> set[Node]:
    """Return `nodes` and all their ancestors."""
    return {each for node in nodes for each in (node, *node.ancestors)}


def _is_legal(node: Node, active: frozenset[Node]) -> bool:
    """Return whether the parent of the active `node`, and as many children as its type demands, are active too."""
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
    """Return the text for `configuration`, legal or not, in an error message."""
    return " beside ".join(f'"{node.id}"' for node in configuration.atomic or configuration.nodes)


def _missing_children(node: Node, active: set[Node]) -> tuple[Node, ...]:
    match node.type:
        case "compound" if node.initial and active.isdisjoint(node.states):
            return (node.initial.target,)
        case "parallel":
            return tuple(child for child in node.states if child not in active)
        case _:
            return ()


def _default_entry(node: Node) -> Iterator[Node]:
    if node.type != "history":
        yield node
    for inner in entered_by_default(node):
        yield from _default_entry(inner)


def _value(node: Node, active: set[Node]) -> StateValue:
    children = [child for child in node.states if child in active]
    if node.type == "compound" and children and children[0].is_atomic:
        return children[0].key
    return {child.key: _value(child, active) for child in children}


def _nodes_of(node: Node, value: StateValue) -> Iterator[Node]:
    yield node
    match value:
        case str():
            yield _not_history(child_of(node, value))
        case Mapping():
            for key, inner in value.items():
                yield from _nodes_of(_not_history(child_of(node, key)), inner)
        case _:
            raise LookupError(f'{value!r} is not a state of "{node.id}"')


def _not_history(node: Node) -> Node:
    if node.type == "history":
        raise LookupError(f'"{node.id}" is a history node, which is never active')
    return node
