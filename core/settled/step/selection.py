"""Which transitions an event takes, and what each of them leaves.

The rules are SCXML's, as XState reads them. An event is offered from the inside out: a node may take it only if none
of its active descendants did. Everything is in document order, of the nodes as of the transitions.

To whom it is offered follows from the configuration and the event's type alone; only the guards have to be asked each
time.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from attrs import frozen

from settled.chart.args import Args
from settled.chart.chart import Chart, Configuration
from settled.chart.config import name_of
from settled.chart.nodes import Node, Transition
from settled.chart.program import Program
from settled.errors import LogicError


@frozen(eq=False)
class CandidateSet:
    """Whom an event is offered to: each of `inner`, and then, if none of them takes it, `candidates` in their order.

    `sure` is what is taken whatever the guards say, or None where they have to be asked.
    """

    inner: tuple[CandidateSet, ...]
    candidates: tuple[Transition, ...]
    unconditional: tuple[Transition, ...] | None

    @property
    def is_empty(self) -> bool:
        """Whether there is nobody who could take it."""
        return not self.inner and not self.candidates


def candidate_set(chart: Chart, configuration: Configuration, type: str) -> CandidateSet:
    """Whom an event of `type` is offered to."""
    active = configuration.members

    def inside(node: Node) -> CandidateSet:
        return _joined([inside(child) for child in node.states if child in active], node.candidates(type))

    return inside(chart.root)


def eventless_candidate_set(configuration: Configuration) -> CandidateSet:
    """Who may move on without an event.

    Each leaf asks for itself, so unlike with an event an ancestor's transition may be taken beside an inner one.
    """
    chains = (
        tuple(transition for node in (leaf, *leaf.ancestors) for transition in node.always)
        for leaf in configuration.atomic
    )
    return _joined([_joined([], chain) for chain in chains], ())


def _joined(inner: list[CandidateSet], candidates: tuple[Transition, ...]) -> CandidateSet:
    """An offer without those who are never asked: they have nothing, or come after one that is sure to take it."""
    some = tuple(each for each in inner if not each.is_empty)
    if len(some) == 1:
        some, candidates = some[0].inner, some[0].candidates + candidates
    if not some and not candidates:
        return _NO_CANDIDATES
    asked = sum(1 for _ in takewhile(lambda candidate: not _is_unconditional(candidate), candidates))
    own = candidates[: asked + 1]
    return CandidateSet(some, own, _unconditional(some, own))


def _unconditional(
    inner: tuple[CandidateSet, ...], candidates: tuple[Transition, ...]
) -> tuple[Transition, ...] | None:
    if any(each.unconditional is None for each in inner):
        return None
    if taken := dict.fromkeys(transition for each in inner for transition in each.unconditional or ()):
        return tuple(taken)
    return candidates if all(map(_is_unconditional, candidates)) else None


_NO_CANDIDATES = CandidateSet((), (), ())


def _is_unconditional(transition: Transition) -> bool:
    return transition.guard is None and transition.route is None


def select(
    program: Program, offer: CandidateSet, event: Mapping[str, Any], args: Args[Any, Any]
) -> tuple[Transition, ...]:
    """The transitions that `event` takes, before conflicts between them are resolved; `args` is for their guards."""
    if offer.unconditional is not None:
        return offer.unconditional
    if offer.inner:
        inner = dict.fromkeys(taken for each in offer.inner for taken in select(program, each, event, args))
        if inner:
            return tuple(inner)
    for transition in offer.candidates:
        if transition.route is not None and event.get("to") != transition.route:
            continue
        guard = transition.guard
        if guard is None:
            return (transition,)
        try:
            if program.guards[guard](args):
                return (transition,)
        except Exception as error:
            raise logic_error(program, f'the guard "{name_of(guard.reference)}"', guard.path, error) from error
    return ()


def logic_error(program: Program, what: str, path: str, error: Exception) -> LogicError:
    """What to raise when `what`, which stands at `path` in the config, has raised `error`."""
    return LogicError(f"{program.chart.id}: {what} at {path or '(root)'} raised {type(error).__name__}: {error}")
