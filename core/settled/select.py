"""Which transitions an event takes, and what each of them leaves.

The rules are SCXML's, as XState reads them. An event is offered from the inside out: a node may take it only if none
of its active descendants did. Everything is in document order, of the nodes as of the transitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from attrs import frozen

from settled.chart import Configuration, Node, Transition, in_order
from settled.compile import Program
from settled.config import Inline, Reference
from settled.errors import LogicError
from settled.expression import Args
from settled.snapshot import Snapshot

History: TypeAlias = Mapping[str, tuple[str, ...]]


@frozen
class Received:
    """An event that is being taken: its type, itself in JSON, and as logic sees it."""

    type: str
    plain: Mapping[str, Any]
    seen: Any


def select(program: Program, snapshot: Snapshot[Any], event: Received) -> list[Transition]:
    """The transitions that `event` takes, before conflicts between them are resolved."""
    args = Args(snapshot.context, event.seen, snapshot)
    active = snapshot.configuration.members

    def taken_in(node: Node) -> list[Transition]:
        inner = [transition for child in node.states if child in active for transition in taken_in(child)]
        return inner or _first(program, node.candidates(event.type), event, args)

    return taken_in(program.chart.root)


def select_eventless(program: Program, snapshot: Snapshot[Any], event: Received) -> list[Transition]:
    """The transitions that are taken without an event; guards and actions still see the last one.

    Each leaf asks for itself, so unlike with an event an ancestor's transition may be taken beside an inner one.
    """
    args = Args(snapshot.context, event.seen, snapshot)
    found: dict[Transition, None] = {}
    for leaf in snapshot.configuration.atomic:
        for node in (leaf, *leaf.ancestors):
            if first := _first(program, node.always, event, args):
                found[first[0]] = None
                break
    return list(found)


def _first(
    program: Program, candidates: Iterable[Transition], event: Received, args: Args[Any, Any]
) -> list[Transition]:
    for transition in candidates:
        if _passes(program, transition, event, args):
            return [transition]
    return []


def _passes(program: Program, transition: Transition, event: Received, args: Args[Any, Any]) -> bool:
    if transition.route is not None and event.plain.get("to") != transition.route:
        return False
    guard = transition.guard
    if guard is None:
        return True
    try:
        return program.guards[guard](args)
    except Exception as error:
        raise raised(program, f'the guard "{name_of(guard.reference)}"', guard.path, error) from error


def raised(program: Program, what: str, path: str, error: Exception) -> LogicError:
    """What to raise when `what`, which stands at `path` in the config, has raised `error`."""
    return LogicError(f"{program.chart.id}: {what} at {path or '(root)'} raised {type(error).__name__}: {error}")


def name_of(reference: Reference) -> str:
    """What to call `reference` in a message to people."""
    if isinstance(reference, Inline):
        return str(getattr(reference.what, "__name__", type(reference.what).__name__))
    return reference.type


def without_conflicts(
    transitions: Sequence[Transition], configuration: Configuration, history: History, program: Program
) -> list[Transition]:
    """`transitions` but for those that would leave a node another one leaves too.

    Of two in conflict the earlier stays, unless the later one's source is inside the earlier one's.
    """
    if len(transitions) < 2:
        return list(transitions)
    kept: dict[Transition, frozenset[Node]] = {}
    for transition in transitions:
        leaves = exit_set(transition, configuration, history, program)
        rivals = [other for other, left in kept.items() if not left.isdisjoint(leaves)]
        if all(transition.source.is_inside(rival.source) for rival in rivals):
            for rival in rivals:
                del kept[rival]
            kept[transition] = leaves
    return list(kept)


def exit_set(
    transition: Transition, configuration: Configuration, history: History, program: Program
) -> frozenset[Node]:
    """The active nodes that `transition` leaves: those inside its domain, which may be its own source."""
    if not transition.targets:
        return frozenset()
    around = domain(transition, history, program)
    return frozenset(node for node in configuration.nodes if node.is_inside(around))


def domain(transition: Transition, history: History, program: Program) -> Node | None:
    """The innermost node that `transition` stays inside of; None if it leaves even the root."""
    source, targets = transition.source, effective_targets(transition.targets or (), history, program)
    if not transition.reenter and all(target is source or target.is_inside(source) for target in targets):
        return source
    head, *others = (*targets, source)
    for ancestor in head.ancestors:
        if all(other.is_inside(ancestor) for other in others):
            return ancestor
    return None if transition.reenter else program.chart.root


def effective_targets(targets: Iterable[Node], history: History, program: Program) -> tuple[Node, ...]:
    """`targets`, with what it remembers, or else its defaults, in the place of each history node."""
    found: dict[Node, None] = {}
    for target in targets:
        inner = recalled(target, history, program) if target.type == "history" else (target,)
        found.update(dict.fromkeys(inner))
    return tuple(found)


def recalled(node: Node, history: History, program: Program) -> tuple[Node, ...]:
    """The nodes that the history `node` stands for: those it remembers, or else its defaults."""
    if node.id in history:
        return in_order(program.chart.ids[id] for id in history[node.id])
    return effective_targets(default_of(node), history, program)


def default_of(node: Node) -> tuple[Node, ...]:
    """Where the history `node` leads while it remembers nothing."""
    parent = node.parent
    if node.defaults or parent is None:
        return node.defaults
    return (parent.initial.target,) if parent.type == "compound" and parent.initial else (parent,)
