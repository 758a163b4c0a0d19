"""Checks for machines that cannot come to rest, and for actors that fail or collide.

Where a machine may rest is declared by tags (`settled_tags`), so the first checks concern only machines that use them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from settled.analysis.finding import Finding, Severity
from settled.analysis.model import AnalysisModel, path_of, quoted
from settled.analysis.self_events import SelfEvent, implementation_of
from settled.chart.actions import Assign, SpawnChild, StopChild
from settled.chart.config import name_of
from settled.chart.nodes import ActionSite, InvokeSite, Node, Transition
from settled.chart.settled_tags import has_settled_tag, uses_settled_tags


def hangs(model: AnalysisModel, node: Node) -> Iterator[Finding]:
    """Find a leaf where the machine may not rest and that nothing inside the machine can move it out of."""
    if not _must_move_on(model, node):
        return
    awaited = [invocation for each in (node, *node.ancestors) for invocation in each.invoke]
    if any(map(model.never_ends, awaited)) or _is_moved_by(model, node, _own_events(model, awaited)):
        return
    doubt = _doubt(model, node)
    if awaited:
        yield _result_leads_nowhere(model, node, awaited[-1], doubt)
    else:
        yield Finding(
            code="hangs",
            severity="warning" if doubt else "error",
            path=node.path,
            problem=f"{quoted(node)} is not settled, and nothing inside it moves it on: "
            f"no invoke, no always, no after{doubt}",
            remedy='If the machine waits for the outside world here, tag it "settled"; if it ends here, make it final.',
        )


def _result_leads_nowhere(model: AnalysisModel, node: Node, awaited: InvokeSite, doubt: str) -> Finding:
    severity: Severity = "error" if model.kind(awaited) == "function" and not doubt else "warning"
    return Finding(
        code="result-leads-nowhere",
        severity=severity,
        path=path_of(awaited),
        problem=f'once "{awaited.id}" is done, nothing moves {quoted(node)} on, and it is not settled{doubt}',
        remedy='Give the invoke an "onDone" with a target, or put what comes next into a node tagged "settled".',
    )


def _must_move_on(model: AnalysisModel, node: Node) -> bool:
    """Return whether `node` is a leaf in which the machine may not rest, and nothing will move it on anyway.

    That could be an actor of another region, a timer or an eventless transition.
    """
    if node.type != "atomic" or not uses_settled_tags(model.chart):
        return False
    if any(has_settled_tag(each) for each in (node, *node.ancestors)):
        return False
    if any(each.invoke for each in model.beside(node)):
        return False
    return not any(each.after or each.always for each in model.around(node))


def _own_events(model: AnalysisModel, awaited: Iterable[InvokeSite]) -> Iterator[str]:
    """Yield the types of the events that may come from inside: done events, self-sent ones, results of `awaited`."""
    yield from model.done_events
    yield from (self_event.type for self_event in model.self_events if self_event.type is not None)
    yield from (f"xstate.done.actor.{invocation.id}" for invocation in awaited)


def _is_moved_by(model: AnalysisModel, node: Node, events: Iterable[str]) -> bool:
    return any(transition.targets for event in events for transition in model.takers(node, event))


def _doubt(model: AnalysisModel, node: Node) -> str:
    """Return the clause naming an action that might send an event which moves `node` on; empty if there is none."""
    unknown = next(
        (
            self_event.action
            for self_event in model.self_events
            if self_event.type is None and _may_precede(model, self_event, node)
        ),
        None,
    )
    if unknown is None or not _can_be_moved(model, node):
        return ""
    return f', unless the action "{name_of(unknown.reference)}" sends an event'


def _may_precede(model: AnalysisModel, self_event: SelfEvent, node: Node) -> bool:
    """Return whether the action of `self_event` may run before or while `node` is entered."""
    # A node that only the start enters is preceded only by the actions of the start.
    if node in model.reach.later:
        return True
    initial = self_event.node.initial.actions if self_event.node.initial else ()
    return self_event.node in model.reach.at_start and self_event.action in (*self_event.node.entry, *initial)


def _can_be_moved(model: AnalysisModel, node: Node) -> bool:
    transitions = (transition for each in model.around(node) for transition in each.transitions)
    return any(transition.targets and not _is_reserved(transition.descriptor) for transition in transitions)


def _is_reserved(descriptor: str) -> bool:
    return descriptor.startswith("xstate.") and descriptor != "xstate.*"


def invokes_while_settled(model: AnalysisModel, node: Node) -> Iterator[Finding]:
    """Find a node that is declared settled and invokes a function: the machine is not settled while that runs."""
    # A tag on the root means "wherever nothing runs", and contradicts nothing.
    around = [each for each in node.ancestors if each.parent]
    if not any(map(has_settled_tag, (node, *around))):
        return
    for invocation in node.invoke:
        kind = model.kind(invocation)
        if kind == "machine":
            continue
        named = f'"{invocation.src}"' if kind == "function" else f'"{invocation.src}", if it is a function,'
        yield Finding(
            code="invokes-while-settled",
            severity="error" if kind == "function" and has_settled_tag(node) else "warning",
            path=path_of(invocation),
            problem=f"{quoted(node)} is settled, but while {named} runs the machine cannot rest, and events wait",
            remedy="Invoke it in a node without the tag, and target the settled node from its onDone and onError.",
        )


def error_not_taken(model: AnalysisModel, node: Node) -> Iterator[Finding]:
    """Find actors whose failure ends the machine. That may be intended, so it is only advice."""
    for invocation in node.invoke:
        event = f"xstate.error.actor.{invocation.id}"
        if not model.takers(node, event):
            yield Finding(
                code="error-not-taken",
                severity="advice",
                path=path_of(invocation),
                problem=f'if "{invocation.id}" fails, the machine ends with the status "error": nothing takes {event}',
                remedy=f'Give the invoke an "onError", or {quoted(node)} or an ancestor an "on" for "xstate.error.*".',
            )


def actor_id_taken(model: AnalysisModel, node: Node) -> Iterator[Finding]:
    """Find actors with the id of another one that may run at the same time, which they would replace."""
    if not node.invoke:
        return
    others = [each for each in (node, *node.ancestors, *model.beside(node)) if each.order <= node.order]
    before = {invocation.id: invocation for each in others if each is not node for invocation in each.invoke}
    for invocation in node.invoke:
        if other := before.get(invocation.id):
            yield Finding(
                code="actor-id-taken",
                severity="warning",
                path=path_of(invocation),
                problem=f'the actor at {path_of(other)} has the id "{invocation.id}" too, and both may run at once',
                remedy='Give each its own "id": the later one replaces the earlier.',
            )
        before[invocation.id] = invocation


def system_id_taken(model: AnalysisModel, node: Node) -> Iterator[Finding]:
    """Find actors with the system id of another one that may run at the same time: then they cannot be started."""
    started = list(_started_with_system_id(model, node))
    if not started:
        return
    others = [each for each in (*reversed(node.ancestors), *model.beside(node)) if each.order < node.order]
    before = {id: path for each in others for id, path in _started_with_system_id(model, each)}
    own: dict[str, str] = {}
    for id, path in started:
        if other := own.get(id) or before.get(id):
            is_certain = id in own
            yield Finding(
                code="system-id-taken",
                severity="error" if is_certain else "warning",
                path=path,
                problem=f'the actor at {other} has the system id "{id}" too, and both '
                + ("are started at once" if is_certain else "may run at once"),
                remedy='Give each its own "systemId": while one has it, the other cannot be started.',
            )
        own[id] = path


def _started_with_system_id(model: AnalysisModel, node: Node) -> Iterator[tuple[str, str]]:
    """Yield the system id and the path of each actor that entering `node` starts, in order."""
    actions = [(implementation_of(action, model.program), action.path) for action in node.entry]
    # After an entry action that stops a child it is not known which ones still run.
    if not any(isinstance(each, StopChild) for each, _ in actions):
        yield from ((it.system_id, path) for it, path in actions if isinstance(it, SpawnChild) and it.system_id)
    yield from ((it.system_id, path_of(it)) for it in node.invoke if it.system_id)


# Endless loops: an eventless transition without a guard is certain to be taken where it is the first candidate.


def loops(model: AnalysisModel, node: Node) -> Iterator[Finding]:
    """Find eventless transitions that are certain to lead back to the leaf `node`."""
    cycle = _cycle(model, node)
    # Reported once, at its first leaf in document order.
    if not cycle or any(leaf.order < node.order for leaf, _ in cycle):
        return
    yield Finding(
        code="loops",
        severity="error",
        path=cycle[0][1].path,
        problem=f"endless loop without a guard: {_cycle_text(cycle)}",
        remedy='Guard one of these "always", or wait for an event or a delay on the way.',
    )


_MAX_CYCLE = 200
"""The longest loop that is found: the search from each leaf of a long line would take time for the square of it."""


def _cycle_text(cycle: Sequence[tuple[Node, Transition]]) -> str:
    return " -> ".join(quoted(leaf) for leaf, _ in [*cycle, cycle[0]])


def _cycle(model: AnalysisModel, start: Node) -> list[tuple[Node, Transition]]:
    """Return the leaves from `start` back to it, each with the transition out of it; empty if there is no cycle."""
    found: list[tuple[Node, Transition]] = []
    leaf: Node | None = start
    seen = set[Node]()
    # A cycle is reported at its first leaf, so one through an earlier leaf is of no interest here.
    while leaf is not None and leaf not in seen and leaf.order >= start.order and len(found) < _MAX_CYCLE:
        forced = _forced(leaf)
        if forced is None:
            return []
        seen.add(leaf)
        found.append((leaf, forced))
        leaf = _next_leaf(model, leaf, forced)
    is_change = len(found) > 1 or any(_is_change(model, action) for action in found[0][1].actions)
    return found if leaf is start and is_change else []


def _is_change(model: AnalysisModel, action: ActionSite) -> bool:
    """Return whether `action` makes a new snapshot, even an equal one.

    Only then are eventless transitions selected again.
    """
    return isinstance(implementation_of(action, model.program), Assign | SpawnChild | StopChild)


def _forced(leaf: Node) -> Transition | None:
    """Return the eventless transition that is certain to be taken in `leaf`; None if there is none."""
    # Inside a parallel node another region may win a conflict, or move on itself.
    if not leaf.is_atomic or any(each.type == "parallel" for each in leaf.ancestors):
        return None
    first = next((each.always[0] for each in (leaf, *leaf.ancestors) if each.always), None)
    return first if first is not None and first.guard is None else None


def _next_leaf(model: AnalysisModel, leaf: Node, transition: Transition) -> Node | None:
    """Return the leaf to which `transition` leads from `leaf`; None if that is not certain, or ends the machine."""
    if transition.targets is None:
        return leaf
    if len(transition.targets) != 1:
        return None
    node = transition.targets[0]
    while node.type == "compound" and node.initial:
        node = node.initial.target
    is_end = node.type == "final" and node.parent is model.chart.root
    return node if node.is_atomic and not is_end else None
