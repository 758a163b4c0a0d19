"""Checks for machines that cannot come to rest, and for actors that fail or collide.

Where a machine may rest is declared by tags (`settled_tags`), so the first checks concern only machines that use them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from settled.analysis.finding import Finding, Severity
from settled.analysis.lookups import Marked
from settled.analysis.model import AnalysisModel, path_of, quoted, started_with_system_id
from settled.analysis.self_events import implementation_of
from settled.chart.actions import Assign, SpawnChild, StopChild
from settled.chart.config import name_of
from settled.chart.nodes import ActionSite, InvokeSite, Node, Transition
from settled.chart.settled_tags import has_settled_tag, uses_settled_tags

V = TypeVar("V")


def hangs(model: AnalysisModel, node: Node) -> Iterator[Finding]:
    """Find a leaf where the machine may not rest and that nothing inside the machine can move it out of."""
    if not _must_move_on(model, node):
        return
    awaited = [invocation for each in (node, *node.ancestors) for invocation in each.invoke]
    if any(map(model.never_ends, awaited)) or _is_moved_from_inside(model, node, awaited):
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
    return not model.invoking.beside(node) and not model.automatic.around(node)


def _is_moved_from_inside(model: AnalysisModel, node: Node, awaited: Iterable[InvokeSite]) -> bool:
    """Return whether a done event, a self-sent event or the result of one of `awaited` may move `node` on."""
    events = (f"xstate.done.actor.{invocation.id}" for invocation in awaited)
    return model.own_movers.around(node) or any(model.movers.around(node, event) for event in events)


def _doubt(model: AnalysisModel, node: Node) -> str:
    """Return the clause naming an action that might send an event which moves `node` on; empty if there is none."""
    # A node that only the start enters is preceded only by the actions of the start.
    unknown = model.unknown if node in model.reach.later else model.unknown_at_start
    if unknown is None or not model.outside_movers.around(node):
        return ""
    return f', unless the action "{name_of(unknown.reference)}" sends an event'


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
        if not model.takers.around(node, event):
            yield Finding(
                code="error-not-taken",
                severity="advice",
                path=path_of(invocation),
                problem=f'if "{invocation.id}" fails, the machine ends with the status "error": nothing takes {event}',
                remedy=f'Give the invoke an "onError", or {quoted(node)} or an ancestor an "on" for "xstate.error.*".',
            )


def actor_id_taken(model: AnalysisModel, node: Node) -> Iterator[Finding]:
    """Find actors with the id of another one that may run at the same time, which they would replace."""
    own: dict[str, InvokeSite] = {}
    for invocation in node.invoke:
        if other := own.get(invocation.id) or _value_before(model.invoked[invocation.id], node, node.ancestors[::-1]):
            yield Finding(
                code="actor-id-taken",
                severity="warning",
                path=path_of(invocation),
                problem=f'the actor at {path_of(other)} has the id "{invocation.id}" too, and both may run at once',
                remedy='Give each its own "id": the later one replaces the earlier.',
            )
        own[invocation.id] = invocation


def _value_before(found: Marked[V], node: Node, ancestors: Iterable[Node]) -> V | None:
    """Return the value of one of `found` in an earlier region beside `node`, or else of the first of `ancestors`."""
    beside = found.value_beside_before(node)
    if beside is not None:
        return beside
    return next((found.values[each.order] for each in ancestors if each.order in found.values), None)


def system_id_taken(model: AnalysisModel, node: Node) -> Iterator[Finding]:
    """Find actors with the system id of another one that may run at the same time: then they cannot be started."""
    own: dict[str, str] = {}
    for id, path in started_with_system_id(model.program, node):
        if other := own.get(id) or _value_before(model.system_ids[id], node, node.ancestors):
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
