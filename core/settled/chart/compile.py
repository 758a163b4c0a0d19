"""Build the chart of a config. All problems are collected, so an author sees every one of them at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from attrs import define, field

from settled.chart.chart import Chart
from settled.chart.config import MachineConfig, NodeType, StateConfig
from settled.chart.link import link
from settled.chart.nodes import Node, entered_by_default
from settled.chart.problems import join_path
from settled.chart.reachability import reach
from settled.errors import DefinitionProblem

MAX_ITERATIONS = 1000
"""Microsteps one event may cause before they count as an endless loop, unless the config sets ``maxIterations``."""


def build_chart(config: MachineConfig) -> tuple[Chart, list[DefinitionProblem]]:
    """Return the chart of `config` and every problem found; if there is one, the chart is incomplete."""
    builder = _NodeBuilder(config.id)
    builder.add(config.root, config.id, None, "")
    chart = Chart(
        id=config.id,
        nodes=tuple(node for node, _ in builder.nodes),
        ids=builder.ids,
        max_iterations=config.options.max_iterations or MAX_ITERATIONS,
    )
    # A target may be any node, so linking starts only once all nodes exist.
    linking_problems = link(chart, builder.nodes)
    # The checks below walk transitions and initial states, so they come after linking.
    return chart, [*builder.problems, *linking_problems, *_exclusive_targets(chart), *_endless_histories(chart)]


@define
class _NodeBuilder:
    """The nodes added so far, in document order, each with its config.

    `explicit` are the nodes whose id is in the config: only these must be unique, while an id that XState derives from
    keys may coincide with another derived one.
    """

    machine_id: str
    nodes: list[tuple[Node, StateConfig]] = field(factory=list[tuple[Node, StateConfig]])
    ids: dict[str, Node] = field(factory=dict[str, Node])
    explicit: set[Node] = field(factory=set[Node])
    problems: list[DefinitionProblem] = field(factory=list[DefinitionProblem])

    def add(self, config: StateConfig, key: str, parent: Node | None, path: str) -> Node:
        """Add the node of `config` and its descendants."""
        keys = [] if parent is None else [*_keys(parent), key]
        node = Node(
            key=key,
            id=config.id or ".".join([self.machine_id, *keys]),
            type=_type(config),
            order=len(self.nodes),
            parent=parent,
            path=path,
            ancestors=() if parent is None else (parent, *parent.ancestors),
        )
        self._register(node, config)
        # Descendants follow their node directly: `Chart.within` and `Node.is_inside` rely on the range from
        # `order` to `last_order`.
        self.nodes.append((node, config))
        node.children = {
            name: self.add(child, name, node, f"{join_path(path, 'states')}.{name}")
            for name, child in config.states.items()
        }
        node.last_order = len(self.nodes) - 1
        node.states = tuple(child for child in node.children.values() if child.type != "history")
        node.histories = tuple(child for child in node.children.values() if child.type == "history")
        return node

    def _register(self, node: Node, config: StateConfig) -> None:
        other = self.ids.get(node.id)
        if other is not None and (config.id or other in self.explicit):
            problem = f'the id "{node.id}" is taken by {other.path or "the root"}'
            self.problems.append(
                DefinitionProblem(join_path(node.path, "id"), problem, "Give each state a different id.")
            )
        if config.id:
            self.explicit.add(node)
        self.ids[node.id] = node


def _keys(node: Node) -> list[str]:
    return [each.key for each in reversed((node, *node.ancestors)) if each.parent]


def _type(config: StateConfig) -> NodeType:
    if config.type:
        return config.type
    if config.states:
        return "compound"
    return "history" if config.history else "atomic"


def _exclusive_targets(chart: Chart) -> Iterator[DefinitionProblem]:
    """Yield a problem for each transition or history with two targets that are never active together: the first two."""
    exclusive = [
        (node, path, *pair)
        for node in chart.nodes
        for path, targets in _target_sets(node)
        if (pair := _exclusive_pair(targets))
    ]
    # An unreachable node may have such targets; a step that is resumed there raises when it would enter them.
    reachable = reach(chart).all if exclusive else frozenset[Node]()
    for node, path, one, other in exclusive:
        if node in reachable:
            problem = f'"{one.id}" and "{other.id}" are never active together'
            yield DefinitionProblem(path, problem, "Put each target into a different region of a parallel state.")


def _exclusive_pair(targets: Sequence[Node]) -> tuple[Node, Node] | None:
    """Return a target that cannot be active together with an earlier one, after that one; None if there is none.

    They must be in different regions of a parallel node. A history counts as its parent.
    """
    found: dict[Node, Node] = {}  # the earlier target at each node
    inside: dict[Node, tuple[Node, Node]] = {}  # for each ancestor of one, the child that leads to it, and the target
    for target in dict.fromkeys(targets):
        node = _restored(target)
        if node in inside:  # nested: an earlier one is inside it
            return inside[node][1], target
        for child, ancestor in pairwise((node, *node.ancestors)):
            if ancestor in found:
                return found[ancestor], target
            if ancestor not in inside:
                inside[ancestor] = child, target
            elif ancestor.type != "parallel" and inside[ancestor][0] is not child:
                return inside[ancestor][1], target
        if node in found and (node.parent is None or node.parent.type != "parallel"):
            return found[node], target
        found[node] = target
    return None


def _target_sets(node: Node) -> Iterator[tuple[str, tuple[Node, ...]]]:
    yield f"{node.path}.target", node.defaults
    yield from ((f"{transition.path}.target", transition.targets or ()) for transition in node.transitions)


def _restored(node: Node) -> Node:
    return node.parent if node.type == "history" and node.parent else node


def _endless_histories(chart: Chart) -> Iterator[DefinitionProblem]:
    """Yield a problem for each history whose default entry leads back to itself: entering it would never end."""
    for node in chart.nodes:
        if node.type == "history" and node in _default_entry(node):
            remedy = 'Give it another "target", or its parent another "initial".'
            yield DefinitionProblem(node.path, f'the default entry of "{node.id}" leads back to itself', remedy)


def _default_entry(history: Node) -> set[Node]:
    found, new = set[Node](), {history}
    while new:
        new = {inner for node in new for inner in entered_by_default(node)} - found
        found |= new
    return found
