"""Checks for unreachable nodes, transitions that are never taken and events that nothing takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from settled.analysis.finding import Finding
from settled.analysis.model import AnalysisModel, Shadow, path_of, quoted
from settled.chart.nodes import Node, Transition
from settled.chart.reachability import can_be_done


def unreachable(model: AnalysisModel, node: Node) -> Iterator[Finding]:
    """Find a node that is never entered; of its descendants nothing is reported."""
    if node in model.reach.all or node.parent not in model.reach.all:
        return
    if node.type == "history":
        problem, remedy = f"no transition targets the history {quoted(node)}", "Target it, or remove it."
    else:
        problem = f"no transition leads to {quoted(node)}, and it is not initial"
        remedy = f"Target it from a transition, make it the initial state of {quoted(node.parent)}, or remove it."
    yield Finding(code="unreachable", severity="warning", path=node.path, problem=problem, remedy=remedy)


def shadowed(model: AnalysisModel, node: Node) -> Iterator[Finding]:
    """Find transitions that are never taken, because an earlier one always is."""
    for shadow in model.shadows.get(node, ()):
        same_name = _shadows_of_same_guard(model, shadow)
        if len(same_name) < 2:
            has = "has no guard" if shadow.earlier.guard is None else "has the same guard"
            yield Finding(
                code="shadowed",
                severity="warning",
                path=shadow.later.path,
                problem=f"never taken: {shadow.earlier.path} comes first and {has}",
                remedy="Transitions are tried in order: guard the earlier one, put it last, or remove one of them.",
            )
        elif shadow is same_name[0]:
            yield Finding(
                code="shadowed",
                severity="advice",
                path=shadow.later.path,
                problem=f'an earlier transition for the same event has the guard "{shadow.name}" too, here and in '
                f"{len(same_name) - 1} more cases: the name seems to stand for several guards",
                remedy="Give each guard a name of its own. If it is one guard, these transitions are never taken.",
            )


def _shadows_of_same_guard(model: AnalysisModel, shadow: Shadow) -> Sequence[Shadow]:
    # XState's exports give all inline guards the same name, so without implementations a name that shadows several
    # transitions is probably such a placeholder. With implementations, a name stands for exactly one guard.
    if model.program is not None or shadow.name is None:
        return []
    return model.shadows_by_name[shadow.name]


_DONE = "xstate.done.state."


def never_done(model: AnalysisModel, node: Node) -> Iterator[Finding]:
    """Find each ``onDone`` of a node or an invoked machine that can never be done."""
    for descriptor, transitions in node.on.items():
        if transitions and descriptor.startswith(_DONE) and not descriptor.endswith("*"):
            yield from _never_done(model, descriptor.removeprefix(_DONE), transitions)
    for invocation in node.invoke:
        if model.never_ends(invocation) and node.on.get(f"xstate.done.actor.{invocation.id}"):
            yield Finding(
                code="never-done",
                severity="warning",
                path=f"{path_of(invocation)}.onDone",
                problem=f'never taken: the machine "{invocation.src}" can never be done',
                remedy="Give it a final state at its top level, or remove the onDone.",
            )


def _never_done(model: AnalysisModel, id: str, transitions: Sequence[Transition]) -> Iterator[Finding]:
    named = model.by_id.get(id, ())
    if any(node.parent and can_be_done(node) for node in named):
        return
    problem, remedy = _why_never_done(id, named[0] if named else None)
    yield Finding(
        code="never-done",
        severity="warning",
        path=transitions[0].path.removesuffix("[0]"),
        problem=f"never taken: {problem}",
        remedy=remedy,
    )


def _why_never_done(id: str, node: Node | None) -> tuple[str, str]:
    if node is None:
        return f'there is no state "{id}"', "Name the id of a state that can be done, or use that state's onDone."
    match node.type:
        case _ if node.parent is None and can_be_done(node):
            return (
                "when the root is done, the machine ends",
                "Nest the states of the root in one state, and use the onDone of that.",
            )
        case "compound":
            return f"no child of {quoted(node)} is final", 'Give one of its children "type": "final".'
        case "parallel":
            return f"not all regions of {quoted(node)} can be done", "Give each region a final child."
        case _:
            return (
                f"{quoted(node)} has no child states that could be done",
                'Use "always", "after" or an invoke\'s onDone.',
            )


def event_not_taken(model: AnalysisModel, node: Node) -> Iterator[Finding]:
    """Find events that the machine sends itself and that no transition takes."""
    for self_event in model.self_events.get(node, ()):
        if self_event.type is not None and not _is_taken(model, self_event.type):
            yield Finding(
                code="event-not-taken",
                severity="warning",
                path=self_event.action.path,
                problem=f'the machine sends itself "{self_event.type}" here, which no transition takes',
                remedy=f'Give a state an "on" for "{self_event.type}", or remove the action.',
            )


def declared_event_not_taken(model: AnalysisModel) -> Iterator[Finding]:
    """Find events that have a declared class and that no transition takes."""
    for type in model.program.implementations.events if model.program else ():
        if not _is_taken(model, type):
            yield Finding(
                code="event-not-taken",
                severity="warning",
                path=f"events.{type}",
                problem=f'setup() declares "{type}", which no transition takes',
                remedy=f'Give a state an "on" for "{type}", or remove the declaration.',
            )


def _is_taken(model: AnalysisModel, type: str) -> bool:
    return any(True for _ in model.all_takers.descriptors(type))
