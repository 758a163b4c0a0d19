"""The input of the checks: a chart, its implementations as far as they are known, and what follows from both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from attrs import frozen

from settled.analysis.self_events import SelfEvent, done_events, self_events
from settled.chart.chart import Chart
from settled.chart.config import Named
from settled.chart.implementations import is_machine
from settled.chart.nodes import InvokeSite, Node, Transition
from settled.chart.program import Program
from settled.chart.reachability import Reachability, can_be_done, parallel_nodes, reach


@frozen
class Shadow:
    """Two transitions for the same event, of which `earlier` is always taken whenever `later` could be."""

    earlier: Transition
    later: Transition

    @property
    def name(self) -> str | None:
        """The name of the guard that both have, if they have one."""
        reference = self.earlier.guard.reference if self.earlier.guard else None
        return reference.type if isinstance(reference, Named) else None


@frozen
class AnalysisModel:
    """A chart and what the checks need to know of it. `program` is None if only the config is known.

    `self_events` are the events that the machine may send itself in its actions, `done_events` the types of the done
    events of its nodes, and `shadows` the transitions that are never taken.
    """

    chart: Chart
    program: Program | None
    reach: Reachability
    self_events: tuple[SelfEvent, ...]
    done_events: frozenset[str]
    shadows: tuple[Shadow, ...]

    def around(self, node: Node) -> tuple[Node, ...]:
        """Return all nodes that may be active together with `node`: itself, its ancestors, and those `beside` it."""
        return (node, *node.ancestors, *self.beside(node))

    def beside(self, node: Node) -> tuple[Node, ...]:
        """Return the nodes in other regions that may be active together with `node`."""
        return tuple(each for each in parallel_nodes(self.chart, node) if each in self.reach.all)

    def takers(self, node: Node, event: str) -> tuple[Transition, ...]:
        """Return the transitions that may take `event` while `node` is active."""
        return tuple(transition for each in self.around(node) for transition in each.candidates(event))

    def kind(self, invocation: InvokeSite) -> Literal["function", "machine", "unknown"]:
        """Return the kind of actor that `invocation` starts."""
        if self.program is None:
            return "unknown"
        return "machine" if is_machine(self.program.actors[invocation.src]) else "function"

    def never_ends(self, invocation: InvokeSite) -> bool:
        """Return whether `invocation` certainly starts a machine that can never be done."""
        if self.program is None or self.kind(invocation) != "machine":
            return False
        child: Any = self.program.actors[invocation.src]
        return not can_be_done(child.chart.root)


def analysis_model(chart: Chart, program: Program | None) -> AnalysisModel:
    """Build the model of `chart`."""
    reached = reach(chart)
    shadows = tuple(shadow for node in chart.nodes if node in reached.all for shadow in _shadows(node))
    return AnalysisModel(chart, program, reached, self_events(chart, program), done_events(chart), shadows)


def _shadows(node: Node) -> Iterator[Shadow]:
    for transitions in (*node.on.values(), node.always):
        for index, later in enumerate(transitions):
            earlier = next((each for each in transitions[:index] if _is_taken_instead(each, later)), None)
            if earlier is not None:
                yield Shadow(earlier, later)


def _is_taken_instead(earlier: Transition, later: Transition) -> bool:
    if earlier.route != later.route:
        return False
    if earlier.guard is None:
        return True
    # The same guard with the same params sees the same arguments, so both hold or neither.
    return later.guard is not None and earlier.guard.reference == later.guard.reference


def quoted(node: Node) -> str:
    """Return how messages name `node`."""
    return f'"{node.id}"'


def path_of(invocation: InvokeSite) -> str:
    """Return the path of `invocation` in the config."""
    return invocation.path.removesuffix(".src")
