"""The input of the checks: a chart, its implementations as far as they are known, and what follows from both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

from attrs import frozen

from settled.analysis.lookups import Marked, Takers, marked, takers
from settled.analysis.self_events import SelfEvent, done_events, implementation_of, self_events
from settled.chart.actions import SpawnChild, StopChild
from settled.chart.chart import Chart
from settled.chart.config import Named
from settled.chart.implementations import is_machine
from settled.chart.nodes import ActionSite, InvokeSite, Node, Transition
from settled.chart.program import Program
from settled.chart.reachability import Reachability, can_be_done, reach

K = TypeVar("K")
V = TypeVar("V")


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

    Attributes:
        self_events: the events that the machine may send itself in its actions, by the node of the action.
        shadows: the transitions that are never taken, by their source.
        shadows_by_name: the same, by the name of their guard.
        by_id: the nodes with each id: several may have one that is derived from their keys.
        all_takers: which nodes have transitions for which events.
        takers: which nodes that can be entered have transitions for which events.
        movers: the same, of transitions with a target.
        own_movers: the nodes that an event from inside the machine, other than the result of an actor, may move on.
        outside_movers: the nodes that an event with a name of the machine's author may move on.
        automatic: the nodes that have an ``always`` or an ``after``.
        invoking: the nodes that invoke an actor.
        invoked: the last invoke with each id, of each node that has any.
        system_ids: the paths of the actors with each system id, of each node that starts any.
        unknown: an action that may send any event; None if there is none.
        unknown_at_start: the same, of those that run at the start.
    """

    chart: Chart
    program: Program | None
    reach: Reachability
    self_events: Mapping[Node, Sequence[SelfEvent]]
    shadows: Mapping[Node, Sequence[Shadow]]
    shadows_by_name: Mapping[str | None, Sequence[Shadow]]
    by_id: Mapping[str, Sequence[Node]]
    all_takers: Takers
    takers: Takers
    movers: Takers
    own_movers: Marked[None]
    outside_movers: Marked[None]
    automatic: Marked[None]
    invoking: Marked[None]
    invoked: Mapping[str, Marked[InvokeSite]]
    system_ids: Mapping[str, Marked[str]]
    unknown: ActionSite | None
    unknown_at_start: ActionSite | None

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
    nodes = [node for node in chart.nodes if node in reached.all]
    shadows = [shadow for node in nodes for shadow in _shadows(node)]
    sent = self_events(chart, program)
    unknown = [each for each in sent if each.type is None]
    own = (*done_events(chart), *(each.type for each in sent if each.type is not None))
    moving = takers((name, node) for node in nodes for name, found in node.on.items() if any(map(_moves, found)))
    return AnalysisModel(
        chart=chart,
        program=program,
        reach=reached,
        self_events=_grouped((each.node, each) for each in sent),
        shadows=_grouped((each.later.source, each) for each in shadows),
        shadows_by_name=_grouped((each.name, each) for each in shadows),
        by_id=_grouped((node.id, node) for node in chart.nodes),
        all_takers=_takers(chart.nodes),
        takers=_takers(nodes),
        movers=moving,
        own_movers=moving.of_any(own),
        outside_movers=_marked_if(nodes, lambda node: any(map(_is_moved_from_outside, node.transitions))),
        automatic=_marked_if(nodes, lambda node: bool(node.after or node.always)),
        invoking=_marked_if(nodes, lambda node: bool(node.invoke)),
        invoked=_marked_by((each.id, node, each) for node in nodes for each in node.invoke),
        system_ids=_marked_by((id, node, path) for node in nodes for id, path in started_with_system_id(program, node)),
        unknown=next((each.action for each in unknown), None),
        unknown_at_start=next((each.action for each in unknown if _runs_at_start(reached, each)), None),
    )


def _takers(nodes: Iterable[Node]) -> Takers:
    return takers((descriptor, node) for node in nodes for descriptor, found in node.on.items() if found)


def _grouped(pairs: Iterable[tuple[K, V]]) -> Mapping[K, Sequence[V]]:
    groups: dict[K, list[V]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


def _marked_if(nodes: Iterable[Node], condition: Callable[[Node], bool]) -> Marked[None]:
    return marked((node, None) for node in nodes if condition(node))


def _marked_by(values: Iterable[tuple[str, Node, V]]) -> Mapping[str, Marked[V]]:
    groups = _grouped((name, (node, value)) for name, node, value in values)
    return {name: marked(found) for name, found in groups.items()}


def _moves(transition: Transition) -> bool:
    return bool(transition.targets)


def _is_moved_from_outside(transition: Transition) -> bool:
    return _moves(transition) and not _is_reserved(transition.descriptor)


def _is_reserved(descriptor: str) -> bool:
    return descriptor.startswith("xstate.") and descriptor != "xstate.*"


def _runs_at_start(reached: Reachability, self_event: SelfEvent) -> bool:
    initial = self_event.node.initial.actions if self_event.node.initial else ()
    return self_event.node in reached.at_start and self_event.action in (*self_event.node.entry, *initial)


def started_with_system_id(program: Program | None, node: Node) -> Iterator[tuple[str, str]]:
    """Yield the system id and the path of each actor that entering `node` starts, in order."""
    actions = [(implementation_of(action, program), action.path) for action in node.entry]
    # After an entry action that stops a child it is not known which ones still run.
    if not any(isinstance(each, StopChild) for each, _ in actions):
        yield from ((it.system_id, path) for it, path in actions if isinstance(it, SpawnChild) and it.system_id)
    yield from ((it.system_id, path_of(it)) for it in node.invoke if it.system_id)


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
