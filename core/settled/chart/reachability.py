"""What a chart can come to, whatever its guards say and whatever events arrive.

Everything here errs to one side: a node that is called unreachable is never entered, and one that cannot be done
never is; the converse may be wrong, since guards and contexts are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import define, field, frozen

from settled.chart.chart import Chart
from settled.chart.nodes import Node, default_of


@frozen
class Reachability:
    """The nodes that can be entered (histories: asked): all, those the start enters, and those a transition may."""

    all: frozenset[Node]
    at_start: frozenset[Node]
    later: frozenset[Node]


def reach(chart: Chart) -> Reachability:
    """How far `chart` reaches."""
    found = _Entered()
    found.enter([chart.root])
    at_start = frozenset(found.active)
    before = -1
    while before != (before := found.size):
        found.enter_from(tuple(found.active))
    later = _Entered()
    later.enter_from(found.active)
    return Reachability(frozenset(found.active), at_start, frozenset(later.active))


@define
class _Entered:
    """Nodes that can be active, and those among them that can be entered by default."""

    active: set[Node] = field(factory=set[Node])
    by_default: set[Node] = field(factory=set[Node])

    @property
    def size(self) -> int:
        return len(self.active) + len(self.by_default)

    def enter_from(self, sources: Iterable[Node]) -> None:
        """Enter what the transitions of `sources` lead to, and what the histories among these may stand for."""
        known = set(sources)
        for source in known:
            for transition in source.transitions:
                self.enter(transition.targets or ())
            if source.history == "shallow" and source.parent:
                # What it remembers is entered anew, and so by default.
                self.enter(child for child in source.parent.states if child in known)

    def enter(self, targets: Iterable[Node]) -> None:
        """`targets`, their ancestors, and the other regions of those that are parallel."""
        targets = tuple(targets)
        for target in targets:
            self.enter_by_default(target)
            for ancestor in target.ancestors:
                self.active.add(ancestor)
                if ancestor.type == "parallel":
                    self.enter_regions(ancestor, targets)

    def enter_regions(self, parallel: Node, targets: Iterable[Node]) -> None:
        """The regions of `parallel` that none of `targets` is in."""
        for region in parallel.states:
            if not any(target is region or target.is_inside(region) for target in targets):
                self.enter_by_default(region)

    def enter_by_default(self, node: Node) -> None:
        """`node`, and what is entered inside it."""
        if node in self.by_default:
            return
        self.active.add(node)
        self.by_default.add(node)
        match node.type:
            case "compound" if node.initial:
                self.enter_by_default(node.initial.target)
            case "parallel":
                self.enter_regions(node, ())
            case "history":
                self.enter(default_of(node))
            case _:
                pass


def parallel_nodes(chart: Chart, node: Node) -> Iterator[Node]:
    """The nodes that may be active along with `node` in other regions."""
    for ancestor in node.ancestors:
        if ancestor.type == "parallel":
            for region in ancestor.states:
                if region is not node and not node.is_inside(region):
                    yield from chart.within(region)


def can_be_done(node: Node) -> bool:
    """Whether `node` can come to its end, and then says so."""
    match node.type:
        case "compound":
            return any(child.type == "final" for child in node.states)
        case "parallel":
            return all(child.type == "final" or can_be_done(child) for child in node.states)
        case _:
            return False
