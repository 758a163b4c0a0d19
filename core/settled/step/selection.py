"""Select the transitions that an event takes.

The rules are SCXML's as XState v5 reads them: candidates are tried from the innermost active nodes outwards, and a node
is only tried if none of its active descendants took the event.

Which transitions are candidates, and in which order, follows from the configuration and the event's type alone, so it
is computed once and cached (`plan_cache`). Only the guards are called each time.
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
    """The transitions that may take an event: those in `inner` sets, and if none of these does, `own` in order.

    `unconditional` is the selection if it does not depend on any guard, and None if guards have to be called.
    """

    inner: tuple[CandidateSet, ...]
    own: tuple[Transition, ...]
    unconditional: tuple[Transition, ...] | None

    @property
    def is_empty(self) -> bool:
        """Whether there are no candidates at all."""
        return not self.inner and not self.own


def candidate_set(chart: Chart, configuration: Configuration, type: str) -> CandidateSet:
    """Return the candidates for an event of `type`.

    XState differs from SCXML in two ways. A node is not tried once any node inside it has taken the event, whereas in
    SCXML each leaf searches its own ancestors, so that a region which has not taken the event would still reach them.
    And within a node exact descriptors come before wildcards, whatever their order.
    """
    active = configuration.members

    def inside(node: Node) -> CandidateSet:
        # `states` is in document order, and so is the selection: it decides which of two conflicting transitions wins.
        return _combine([inside(child) for child in node.states if child in active], node.candidates(type))

    return inside(chart.root)


def eventless_candidate_set(configuration: Configuration) -> CandidateSet:
    """Return the candidates for moving on without an event.

    Here XState does as SCXML does: each leaf searches its own ancestors, so an ancestor's transition may be selected
    beside one of another leaf. Do not unify this with `candidate_set`.
    """
    chains = (
        tuple(transition for node in (leaf, *leaf.ancestors) for transition in node.always)
        for leaf in configuration.atomic
    )
    return _combine([_combine([], chain) for chain in chains], ())


def _combine(inner: list[CandidateSet], own: tuple[Transition, ...]) -> CandidateSet:
    """Return the candidate set without anything that is never tried."""
    nonempty = tuple(each for each in inner if not each.is_empty)
    if len(nonempty) == 1:
        # A single inner set tried before `own` is the same as one longer list.
        nonempty, own = nonempty[0].inner, nonempty[0].own + own
    if not nonempty and not own:
        return _NO_CANDIDATES
    # Nothing after the first unconditional candidate can be selected.
    guarded = sum(1 for _ in takewhile(lambda candidate: not _is_unconditional(candidate), own))
    tried = own[: guarded + 1]
    return CandidateSet(nonempty, tried, _unconditional(nonempty, tried))


def _unconditional(inner: tuple[CandidateSet, ...], own: tuple[Transition, ...]) -> tuple[Transition, ...] | None:
    if any(each.unconditional is None for each in inner):
        return None
    # Two leaves may select the same transition of a common ancestor; it is taken once.
    if selected := dict.fromkeys(transition for each in inner for transition in each.unconditional or ()):
        return tuple(selected)
    return own if all(map(_is_unconditional, own)) else None


_NO_CANDIDATES = CandidateSet((), (), ())


def _is_unconditional(transition: Transition) -> bool:
    return transition.guard is None and transition.route is None


def select(
    program: Program, candidates: CandidateSet, event: Mapping[str, Any], args: Args[Any]
) -> tuple[Transition, ...]:
    """Return the transitions that `event` takes, before conflicts are resolved. Guards are called with `args`.

    Raises:
        LogicError: a guard raised. SCXML would treat it as false; XState fails, and so does this.
    """
    if candidates.unconditional is not None:
        return candidates.unconditional
    if candidates.inner:
        # Each region selects for itself, so all inner sets are tried; a transition selected twice is taken once.
        selected = dict.fromkeys(taken for each in candidates.inner for taken in select(program, each, event, args))
        if selected:
            return tuple(selected)
    for transition in candidates.own:
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
    """Return the error to raise when `what`, at `path` in the config, has raised `error`."""
    return LogicError(f"{program.chart.id}: {what} at {path or '(root)'} raised {type(error).__name__}: {error}")
