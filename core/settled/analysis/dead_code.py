"""Checks for what is written down and never happens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from settled.analysis.finding import Finding
from settled.analysis.model import AnalysisModel, Shadow, path_of, quoted
from settled.chart.nodes import Node, Transition
from settled.chart.reachability import can_be_done


def unreachable(model: AnalysisModel, node: Node) -> Iterator[Finding]:
    """A node that is never entered. What is inside of one that is never entered is not told too."""
    if node in model.reach.all or node.parent not in model.reach.all:
        return
    if node.type == "history":
        problem, remedy = f"no transition targets the history {quoted(node)}", "Target it, or take it out."
    else:
        problem = f"no transition leads to {quoted(node)}, and it is not initial"
        remedy = f"Target it from a transition, make it the initial state of {quoted(node.parent)}, or take it out."
    yield Finding(code="unreachable", severity="warning", path=node.path, problem=problem, remedy=remedy)


def shadowed(model: AnalysisModel, node: Node) -> Iterator[Finding]:
    """A transition that is never taken, because one before it always is."""
    for shadow in model.shadows:
        if shadow.later.source is not node:
            continue
        alike = _alike(model, shadow)
        if len(alike) < 2:
            has = "has no guard" if shadow.earlier.guard is None else "has the same guard"
            yield Finding(
                code="shadowed",
                severity="warning",
                path=shadow.later.path,
                problem=f"never taken: {shadow.earlier.path} comes first and {has}",
                remedy="Guards are asked in order: guard the earlier one, put it last, or take one of them out.",
            )
        elif shadow is alike[0]:
            yield Finding(
                code="shadowed",
                severity="advice",
                path=shadow.later.path,
                problem=f'the guard "{shadow.name}" was asked before for the same event, here and in '
                f"{len(alike) - 1} more of the transitions: it seems to stand for many",
                remedy="Give each guard a name of its own. If it is one, these transitions are never taken.",
            )


def _alike(model: AnalysisModel, shadow: Shadow) -> list[Shadow]:
    """All that the guard of `shadow` makes look so, if it may be a placeholder.

    Exports call every inline guard by one name. That happens again and again, and only without logic: with it,
    a name has one meaning.
    """
    if model.program is not None or shadow.name is None:
        return []
    return [each for each in model.shadows if each.name == shadow.name]


_DONE = "xstate.done.state."


def never_done(model: AnalysisModel, node: Node) -> Iterator[Finding]:
    """What waits for an end that does not come: of a node, or of a machine that is invoked."""
    for descriptor, transitions in node.on.items():
        if transitions and descriptor.startswith(_DONE) and not descriptor.endswith("*"):
            yield from _never_done(model, descriptor.removeprefix(_DONE), transitions)
    for invocation in node.invoke:
        if model.never_ends(invocation) and node.on.get(f"xstate.done.actor.{invocation.id}"):
            yield Finding(
                code="never-done",
                severity="warning",
                path=f"{path_of(invocation)}.onDone",
                problem=f'never taken: the machine "{invocation.src}" has no end',
                remedy="Give it a final state at its top, or take the onDone out.",
            )


SILENT = frozenset({"function", "machine", "unknown"})
"""The kinds of actors (`Survey.kind`) that tell whoever invokes them nothing before their end."""


def no_snapshots(model: AnalysisModel, node: Node) -> Iterator[Finding]:
    """Find each ``onSnapshot`` of an actor that shows no snapshots."""
    for invocation in node.invoke:
        if invocation.sync and model.kind(invocation) in SILENT:
            yield Finding(
                code="no-snapshots",
                severity="warning",
                path=f"{path_of(invocation)}.onSnapshot",
                problem=f'never taken: "{invocation.id}" shows nothing of itself before its end',
                remedy="Let a machine tell its parent with xstate.sendParent, use onDone, or take the onSnapshot out.",
            )


def _never_done(model: AnalysisModel, id: str, transitions: Sequence[Transition]) -> Iterator[Finding]:
    named = [node for node in model.chart.nodes if node.id == id]
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
                "Put the states of the root into one, and that one's onDone.",
            )
        case "compound":
            return f"no child of {quoted(node)} is final", 'Give one of its children "type": "final".'
        case "parallel":
            return f"not all regions of {quoted(node)} can be done", "Give each region a final child."
        case _:
            return f"{quoted(node)} has no states that could be done", 'Use "always", "after" or an invoke\'s onDone.'


def event_not_taken(model: AnalysisModel, node: Node) -> Iterator[Finding]:
    """An event that the machine sends itself, for nobody."""
    for self_event in model.self_event:
        if self_event.node is node and self_event.type is not None and not _is_taken(model, self_event.type):
            yield Finding(
                code="event-not-taken",
                severity="warning",
                path=self_event.action.path,
                problem=f'the machine sends itself "{self_event.type}" here, which no transition takes',
                remedy=f'Give a state an "on" for "{self_event.type}", or take the action out.',
            )


def declared_event_not_taken(model: AnalysisModel) -> Iterator[Finding]:
    """An event that has a class, and no transition."""
    for type in model.program.implementations.events if model.program else ():
        if not _is_taken(model, type):
            yield Finding(
                code="event-not-taken",
                severity="warning",
                path=f"events.{type}",
                problem=f'setup() declares "{type}", which no transition takes',
                remedy=f'Give a state an "on" for "{type}", or take the declaration out.',
            )


def _is_taken(model: AnalysisModel, type: str) -> bool:
    return any(node.candidates(type) for node in model.chart.nodes)
