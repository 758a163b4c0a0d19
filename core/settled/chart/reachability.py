"""Compute which nodes of a chart can be entered, if any guard may be true and any event may arrive.

The result is an over-approximation, since guards and contexts are ignored: a node found unreachable is never entered,
and one that cannot be done never is, but the converse may be wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from attrs import define, field, frozen

from settled.chart.chart import Chart
from settled.chart.nodes import Node, history_default


@frozen
class Reachability:
    """The nodes that can be entered: `all`, those `at_start`, and those that a transition may enter (`later`).

    A history counts as entered if it is a target.
    """

    all: frozenset[Node]
    at_start: frozenset[Node]
    later: frozenset[Node]


def reach(chart: Chart) -> Reachability:
    """Return the nodes of `chart` that can be entered."""
    found = _Entered()
    found.enter([chart.root])
    at_start = frozenset(found.active)
    # To a fixed point: with every node found, more transitions may be taken.
    while found.new:
        found.enter_from(found.new.pop())
    later = _Entered()
    for node in found.active:
        later.enter_targets_of(node)
        if node.history == "shallow" and node.parent:
            later.enter(child for child in node.parent.states if child in found.active)
    return Reachability(frozenset(found.active), at_start, frozenset(later.active))


@define
class _Entered:
    """Nodes that can be active, and those among them that can be entered by default.

    `new` are the active nodes whose transitions were not followed yet, and `regions` those of each parallel node that
    were not entered by default yet: without these two, the time would grow with the square of the chart.
    """

    active: set[Node] = field(factory=set[Node])
    by_default: set[Node] = field(factory=set[Node])
    new: list[Node] = field(factory=list[Node])
    regions: dict[Node, tuple[Node, ...]] = field(factory=dict[Node, tuple[Node, ...]])

    def enter_from(self, source: Node) -> None:
        """Enter the targets of the transitions of `source`, and the nodes that a shallow history may now restore."""
        self.enter_targets_of(source)
        if source.parent is None:
            return
        # A shallow history restores a child, which then enters its own default.
        if source.history == "shallow":
            self.enter(child for child in source.parent.states if child in self.active)
        elif any(history.history == "shallow" and history in self.active for history in source.parent.histories):
            self.enter([source])

    def enter_targets_of(self, source: Node) -> None:
        """Enter the targets of the transitions of `source`."""
        for transition in source.transitions:
            self.enter(transition.targets or ())

    def enter(self, targets: Iterable[Node]) -> None:
        """Enter `targets`, their ancestors, and the other regions of ancestors that are parallel."""
        entered: dict[Node, set[Node]] = {}  # the regions of each parallel ancestor that a target is in
        for target in targets:
            self.enter_by_default(target)
            region = target
            for ancestor in target.ancestors:
                self._activate(ancestor)
                if ancestor.type == "parallel":
                    entered.setdefault(ancestor, set()).add(region)
                region = ancestor
        for parallel, regions in entered.items():
            self.enter_regions(parallel, regions)

    def enter_regions(self, parallel: Node, entered: Collection[Node]) -> None:
        """Enter the regions of `parallel` that are not among `entered`."""
        left = self.regions.get(parallel, parallel.states)
        for region in left:
            if region not in entered:
                self.enter_by_default(region)
        self.regions[parallel] = tuple(region for region in left if region not in self.by_default)

    def enter_by_default(self, node: Node) -> None:
        """Enter `node` and its default entry."""
        if node in self.by_default:
            return
        self._activate(node)
        self.by_default.add(node)
        match node.type:
            case "compound" if node.initial:
                self.enter_by_default(node.initial.target)
            case "parallel":
                self.enter_regions(node, ())
            case "history":
                self.enter(history_default(node))
            case _:
                pass

    def _activate(self, node: Node) -> None:
        if node not in self.active:
            self.active.add(node)
            self.new.append(node)


def can_be_done(node: Node) -> bool:
    """Return whether `node` can be done, and so raise ``xstate.done.state``."""
    match node.type:
        case "compound":
            return any(child.type == "final" for child in node.states)
        case "parallel":
            return all(child.type == "final" or can_be_done(child) for child in node.states)
        case _:
            return False
