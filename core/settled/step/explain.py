"""Explain why a machine does not take an event.

Nothing here is part of a step. It is asked afterwards, about events that have changed nothing, and calls their guards
again: guards are pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from typing import Any

from settled.chart.args import NewArgs
from settled.chart.chart import Configuration, describe_configuration
from settled.chart.guard_text import guard_text
from settled.chart.nodes import GuardSite, Transition, matches
from settled.chart.program import Program
from settled.chart.snapshot import Snapshot
from settled.data import ABSENT, FROZEN, freeze, write
from settled.step.macrostep import ERROR, STOP
from settled.step.plan_cache import PlanCache
from settled.step.selection import CandidateSet, candidate_set, select
from settled.step.state import read_event


def explain(plans: PlanCache, snapshot: Snapshot[Any], event: Mapping[str, Any]) -> str | None:
    """Return why `event` changes nothing in `snapshot`; None if it has an effect.

    It has one if a transition takes it, other than one that only forbids it, or if an eventless transition follows: its
    guard sees the event, too.

    Raises:
        LogicError: a guard raised.
    """
    if snapshot.status != "active":
        return how_it_ended(snapshot)
    event = event if event.__class__ in FROZEN else freeze(event)
    program, here, type = plans.program, snapshot.configuration, event["type"]
    candidates = plans.reaction(here, type).candidates
    # An event is also explained after a transition that only assigned something, so this must be quick.
    for transition in candidates.unconditional or ():
        if not transition.is_forbidding:
            return None
    args = NewArgs(snapshot.context, read_event(program, event), None, snapshot)
    selected = select(program, candidates, event, args)
    if _has_effect(selected) or type == STOP or (type.startswith(ERROR) and not selected):
        return None
    if here.has_eventless and _has_effect(select(program, plans.reaction(here, None).candidates, event, args)):
        return None
    tried = [guard for tried in _tried(candidates, selected) for guard in _false_guards(tried, event, selected)]
    reasons = [*_guards_text(tried), *(f'"{transition.source.id}" forbids it' for transition in selected)]
    why = f": {', '.join(reasons)}" if reasons else ""
    taken = ", ".join(_types_taken(program, here, type))
    others = f"events taken here: {taken}" if taken else "no event is taken here"
    return f"no transition takes {type} in {describe_configuration(here)}{why}; {others}"


def guards_passed_over(plans: PlanCache, snapshot: Snapshot[Any], event: Mapping[str, Any]) -> str | None:
    """Return which guards answered false before `event` was taken by a later transition; None if there were none."""
    event = freeze(event)
    args = NewArgs(snapshot.context, read_event(plans.program, event), None, snapshot)
    candidates = plans.reaction(snapshot.configuration, event["type"]).candidates
    selected = select(plans.program, candidates, event, args)
    taken = (tried for tried in _tried(candidates, selected) if any(each in selected for each in tried))
    return next(iter(_guards_text(guard for tried in taken for guard in _false_guards(tried, event, selected))), None)


def error_text(error: Any) -> str:
    """Return an error of a machine or an actor, which is JSON, as text: ``NAME: MESSAGE`` where it has both."""
    match error:
        case {"name": str(name), "message": str(message)}:
            return f"{name}: {message}"
        case str():
            return error
        case _:
            try:
                return write(error)
            except (TypeError, ValueError):  # not JSON, because it was never stored
                return str(error)


def how_it_ended(snapshot: Snapshot[Any]) -> str:
    """Return how the machine has ended, which it must have."""
    match snapshot.status:
        case "error" if snapshot.error is not ABSENT:
            return f"the machine has failed: {error_text(snapshot.error)}"
        case "error":
            return "the machine has failed"
        case "stopped":
            return "the machine was stopped"
        case _:
            return f"the machine is done, in {describe_configuration(snapshot.configuration)}"


def _has_effect(selected: Iterable[Transition]) -> bool:
    return any(not transition.is_forbidding for transition in selected)


def _tried(candidates: CandidateSet, selected: tuple[Transition, ...]) -> Iterator[tuple[Transition, ...]]:
    """Yield each list of candidates that was tried: none around a list of which one was selected."""
    inner = [tried for each in candidates.inner for tried in _tried(each, selected)]
    yield from inner
    if not any(transition in selected for tried in inner for transition in tried):
        yield candidates.own


def _false_guards(
    tried: tuple[Transition, ...], event: Mapping[str, Any], selected: tuple[Transition, ...]
) -> Iterator[GuardSite]:
    """Yield the guards in the list `tried` that answered false: those before the selected transition."""
    for transition in takewhile(lambda each: each not in selected, tried):
        if transition.guard is not None and transition.route in (None, event.get("to")):
            yield transition.guard


def _guards_text(guards: Iterable[GuardSite]) -> list[str]:
    """Return a list of one text about `guards`, which answered false; an empty one if there are none."""
    names = list(dict.fromkeys(map(_name, guards)))
    word = "guard" if len(names) == 1 else "guards"
    return [f"the {word} {', '.join(names)} answered false"] if names else []


def _name(guard: GuardSite) -> str:
    text = guard_text(guard.reference)
    # The name of a lambda says nothing; its place in the config does.
    return f'"{guard.path}"' if "<lambda>" in text else f'"{text}"'


def _types_taken(program: Program, here: Configuration, type: str) -> Iterator[str]:
    """Yield the other types, and wildcards, that `here` has transitions for, of inner nodes first."""
    for descriptor in dict.fromkeys(descriptor for node in reversed(here.nodes) for descriptor in node.on):
        if descriptor.startswith("xstate.") or matches(type, descriptor):
            continue
        candidates = candidate_set(program.chart, here, descriptor)
        if _has_effect(_all(candidates)):
            yield descriptor


def _all(candidates: CandidateSet) -> Iterator[Transition]:
    for inner in candidates.inner:
        yield from _all(inner)
    yield from candidates.own
