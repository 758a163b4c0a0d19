"""What the checks look at: a chart, what its names mean as far as that is known, and what follows from both."""

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
    """`later` is not taken where `earlier` is, and that one always is when `later` could be."""

    earlier: Transition
    later: Transition

    @property
    def name(self) -> str | None:
        """The name of the guard that the two have in common."""
        reference = self.earlier.guard.reference if self.earlier.guard else None
        return reference.type if isinstance(reference, Named) else None


@frozen
class AnalysisModel:
    """A chart, looked over once. `program` is None where only the config is at hand.

    `told` is what the machine may tell itself in its actions, `done_events` by which its nodes say that they are done,
    and `shadows` the transitions that are never taken.
    """

    chart: Chart
    program: Program | None
    reach: Reachability
    self_event: tuple[SelfEvent, ...]
    done_events: frozenset[str]
    shadows: tuple[Shadow, ...]

    def around(self, node: Node) -> tuple[Node, ...]:
        """All nodes that may be active along with `node`: itself, its ancestors, and what is in other regions."""
        return (node, *node.ancestors, *self.beside(node))

    def beside(self, node: Node) -> tuple[Node, ...]:
        """The nodes that may be active along with `node` in other regions."""
        return tuple(each for each in parallel_nodes(self.chart, node) if each in self.reach.all)

    def takers(self, node: Node, event: str) -> tuple[Transition, ...]:
        """The transitions that may take `event` while `node` is active."""
        return tuple(transition for each in self.around(node) for transition in each.candidates(event))

    def kind(self, invocation: InvokeSite) -> Literal["function", "machine", "unknown"]:
        """What `invocation` runs."""
        if self.program is None:
            return "unknown"
        return "machine" if is_machine(self.program.actors[invocation.src]) else "function"

    def never_ends(self, invocation: InvokeSite) -> bool:
        """Whether `invocation` surely runs a machine that cannot come to its end."""
        if self.program is None or self.kind(invocation) != "machine":
            return False
        child: Any = self.program.actors[invocation.src]
        return not can_be_done(child.chart.root)


def analysis_model(chart: Chart, program: Program | None) -> AnalysisModel:
    """Look over `chart`."""
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
    return later.guard is not None and earlier.guard.reference == later.guard.reference


def quoted(node: Node) -> str:
    """What to call `node` in a message to people."""
    return f'"{node.id}"'


def path_of(invocation: InvokeSite) -> str:
    """Where `invocation` stands in the config."""
    return invocation.path.removesuffix(".src")
