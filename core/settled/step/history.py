"""History, and what each transition leaves: its exit set follows from what the history nodes remember."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from attrs import define

from settled.chart.chart import Chart, Configuration
from settled.chart.nodes import Node, Transition, default_of, in_order

History: TypeAlias = Mapping[str, tuple[str, ...]]


@define
class HistoryView:
    """What the history nodes of `chart` stand for. `is_asked` is whether anybody wanted to know."""

    chart: Chart
    history: History
    was_read: bool = False

    def remembered(self, node: Node) -> tuple[Node, ...] | None:
        """What the history `node` remembers, if it does."""
        self.was_read = True
        ids = self.history.get(node.id)
        return None if ids is None else in_order(self.chart.ids[id] for id in ids)


def without_conflicts(
    transitions: Sequence[Transition], configuration: Configuration, view: HistoryView
) -> Sequence[Transition]:
    """`transitions` but for those that would leave a node another one leaves too.

    Of two in conflict the earlier stays, unless the later one's source is inside the earlier one's.
    """
    if len(transitions) < 2:
        return transitions
    kept: dict[Transition, frozenset[Node]] = {}
    for transition in transitions:
        leaves = exit_set(transition, configuration, view)
        rivals = [other for other, left in kept.items() if not left.isdisjoint(leaves)]
        if all(transition.source.is_inside(rival.source) for rival in rivals):
            for rival in rivals:
                del kept[rival]
            kept[transition] = leaves
    return list(kept)


def exit_set(transition: Transition, configuration: Configuration, view: HistoryView) -> frozenset[Node]:
    """The active nodes that `transition` leaves: those inside its domain, which may be its own source."""
    if not transition.targets:
        return frozenset()
    around = domain(transition, view)
    return frozenset(node for node in configuration.nodes if node.is_inside(around))


def domain(transition: Transition, view: HistoryView) -> Node | None:
    """The innermost node that `transition` stays inside of; None if it leaves even the root."""
    source, targets = transition.source, effective_targets(transition.targets or (), view)
    if not transition.reenter and all(target is source or target.is_inside(source) for target in targets):
        return source
    head, *others = (*targets, source)
    for ancestor in head.ancestors:
        if all(other.is_inside(ancestor) for other in others):
            return ancestor
    return None if transition.reenter else view.chart.root


def effective_targets(targets: Iterable[Node], view: HistoryView) -> tuple[Node, ...]:
    """`targets`, with what it remembers, or else its defaults, in the place of each history node."""
    found: dict[Node, None] = {}
    for target in targets:
        inner = history_targets(target, view) if target.type == "history" else (target,)
        found.update(dict.fromkeys(inner))
    return tuple(found)


def history_targets(node: Node, view: HistoryView) -> tuple[Node, ...]:
    """The nodes that the history `node` stands for: those it remembers, or else its defaults."""
    remembered = view.remembered(node)
    return effective_targets(default_of(node), view) if remembered is None else remembered
