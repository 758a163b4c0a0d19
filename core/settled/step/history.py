"""History, and the nodes each transition exits: both depend on what the history nodes have recorded.

These are SCXML's ``getTransitionDomain``, ``computeExitSet``, ``getEffectiveTargetStates`` and
``removeConflictingTransitions``, with XState v5's differences, each explained at its line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from attrs import define

from settled.chart.chart import Chart, Configuration
from settled.chart.nodes import Node, Transition, history_default, in_document_order

History: TypeAlias = Mapping[str, tuple[str, ...]]


@define
class HistoryView:
    """Read access to the recorded `history` of `chart`. `was_read` is whether anything has asked for it.

    A plan whose making read no history is valid for every history; so all reads must go through `recorded`.
    """

    chart: Chart
    history: History
    was_read: bool = False

    def recorded(self, node: Node) -> tuple[Node, ...] | None:
        """Return the nodes that the history `node` has recorded, in document order; None if it has not."""
        self.was_read = True
        ids = self.history.get(node.id)
        return None if ids is None else in_document_order(self.chart.ids[id] for id in ids)


def without_conflicts(
    transitions: Sequence[Transition], configuration: Configuration, view: HistoryView
) -> Sequence[Transition]:
    """Return `transitions` without those that would exit a node which another one exits too.

    Of two in conflict the earlier stays, unless the later one's source is inside the earlier one's.
    """
    if len(transitions) < 2:
        return transitions
    kept: dict[Transition, frozenset[Node]] = {}
    for transition in transitions:
        exits = exit_set(transition, configuration, view)
        conflicting = [other for other, others in kept.items() if not others.isdisjoint(exits)]
        # Only if it wins over all of them: one rival that is not further out is enough to drop this transition, and
        # then the others must stay. Removing them one by one would lose them.
        if all(transition.source.is_inside(other.source) for other in conflicting):
            for other in conflicting:
                del kept[other]
            kept[transition] = exits
    return list(kept)


def exit_set(transition: Transition, configuration: Configuration, view: HistoryView) -> frozenset[Node]:
    """Return the active nodes that `transition` exits: those inside its domain."""
    if not transition.targets:  # A transition without targets runs its actions and exits nothing.
        return frozenset()
    around = domain(transition, view)
    # Descendants only. A reentering transition exits its source because its domain is then further out; that of the
    # root has the domain None, of which even the root is a descendant.
    return frozenset(node for node in configuration.nodes if node.is_inside(around))


def domain(transition: Transition, view: HistoryView) -> Node | None:
    """Return the innermost node that stays active throughout `transition`; None if even the root is exited."""
    source, targets = transition.source, effective_targets(transition.targets or (), view)
    # In SCXML a transition is external unless declared internal, and an internal one needs a compound source and
    # targets inside of it. In XState v5 it is internal unless it says `reenter`, of any source, even to itself.
    if not transition.reenter and all(target is source or target.is_inside(source) for target in targets):
        return source
    # SCXML only lets compound nodes be the common ancestor. XState takes any, so the domain may be a parallel node:
    # its regions are exited and entered, and it stays. `_EntrySet.add_targets` depends on it.
    head, *others = (*targets, source)
    for ancestor in head.ancestors:
        if all(other.is_inside(ancestor) for other in others):
            return ancestor
    return None if transition.reenter else view.chart.root


def effective_targets(targets: Iterable[Node], view: HistoryView) -> tuple[Node, ...]:
    """Return `targets` with each history node replaced by its recorded nodes, or else its defaults."""
    found: dict[Node, None] = {}
    for target in targets:
        inner = history_targets(target, view) if target.type == "history" else (target,)
        found.update(dict.fromkeys(inner))
    return tuple(found)


def history_targets(node: Node, view: HistoryView) -> tuple[Node, ...]:
    """Return the nodes that the history `node` stands for: those recorded, or else its defaults."""
    recorded = view.recorded(node)
    # A default may itself be a history node; recorded nodes never are.
    return effective_targets(history_default(node), view) if recorded is None else recorded
