"""A cache of plans: how a machine reacts is computed once and then looked up.

The candidates for an event follow from the configuration and the event's type; a microstep's operations follow from the
configuration, the transitions and, if a history node is involved, the recorded history. Only guards and actions must
run each time. The cache holds the results of `selection` and `microstep` and decides nothing itself, so a machine
behaves the same with it and without it.

All instances of a machine share its cache, across threads and without a lock: entries are never changed once they are
in it, only dropped, and at worst two threads compute the same one.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import define, field, frozen

from settled._fast_frozen import evolve
from settled.chart.chart import Configuration
from settled.chart.nodes import Node, Transition, matches
from settled.chart.program import Program
from settled.chart.snapshot import NO_HISTORY
from settled.step.history import History
from settled.step.microstep import Plan, plan_microstep, plan_start
from settled.step.operations import Operations
from settled.step.selection import CandidateSet, candidate_set, eventless_candidate_set

MAX_PLANS = 10_000
"""How many entries a machine's cache may have. When it is full, all are dropped: those in use are soon back."""

EventKind: TypeAlias = "str | tuple[str, ...] | None"
"""The part of an event's type that matters: the type itself if a descriptor names it, or else the matching wildcards.
None stands for no event."""


@frozen(eq=False)
class Reaction:
    """How a configuration reacts to a kind of event, or to none: the candidates, and the plan for each selection.

    `direct_target` is the configuration after the step if nothing else happens in it: no guard is called, there are no
    operations, and no eventless transitions follow.
    """

    configuration: Configuration
    candidates: CandidateSet
    direct_target: Configuration | None = None
    plans: dict[object, Plan] = field(factory=dict[object, Plan], init=False)


@define(eq=False)
class PlanCache:
    """The plans of `program`, at most `limit` of them. With a limit of 0, nothing is kept.

    All event types that no descriptor names share entries, so a sender of ever new types cannot fill the cache.
    """

    program: Program
    limit: int = MAX_PLANS
    operations: Operations = field(init=False)
    _named: frozenset[str] = field(init=False)
    _wildcards: tuple[str, ...] = field(init=False)
    _reactions: dict[frozenset[Node], dict[EventKind, Reaction]] = field(init=False)
    _start: Plan | None = field(default=None, init=False)
    _count: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        nodes = self.program.chart.nodes
        self.operations = Operations(self.program)
        self._named = frozenset(descriptor for node in nodes for descriptor in node.on)
        self._wildcards = tuple(dict.fromkeys(descriptor for node in nodes for descriptor, _ in node.wildcards))
        self._reactions = {}

    def __len__(self) -> int:
        return self._count

    def reaction(self, configuration: Configuration, type: str | None) -> Reaction:
        """Return how `configuration` reacts to an event of `type`; with None, to no event."""
        kinds = self._reactions.get(configuration.members)
        reaction = None if kinds is None else kinds.get(type)
        return self._reaction_of_kind(configuration, type) if reaction is None else reaction

    def plan(self, reaction: Reaction, transitions: tuple[Transition, ...], history: History) -> Plan:
        """Return the plan for taking `transitions`, one of the selections from the candidates of `reaction`."""
        # Whether the history matters is only known of a plan. So the last one made is kept under the transitions alone,
        # and if it depends on the history, each is also kept under the history it was made for.
        plan = reaction.plans.get(transitions)
        if plan is not None and plan.depends_on_history:
            plan = reaction.plans.get((transitions, tuple(history.items())))
        if plan is None:
            plan = plan_microstep(self.operations, reaction.configuration, transitions, history)
            self._make_room()
            reaction.plans[transitions] = plan
            if plan.depends_on_history:
                reaction.plans[transitions, tuple(history.items())] = plan
        return plan

    def start(self) -> Plan:
        """Return the plan for entering the machine."""
        if self._start is None:
            self._start = plan_start(self.operations)
        return self._start

    def _reaction_of_kind(self, configuration: Configuration, type: str | None) -> Reaction:
        if not self.limit:
            return self._new_reaction(configuration, type)
        kind = self._kind(type)
        reaction = self._reactions.get(configuration.members, {}).get(kind)
        if reaction is None:
            reaction = self._new_reaction(configuration, type)
            reaction = evolve(reaction, direct_target=self._direct_target(reaction, type))
            self._make_room()
            self._reactions.setdefault(configuration.members, {})[kind] = reaction
        return reaction

    def _new_reaction(self, configuration: Configuration, type: str | None) -> Reaction:
        if type is None:
            return Reaction(configuration, eventless_candidate_set(configuration))
        return Reaction(configuration, candidate_set(self.program.chart, configuration, type))

    def _kind(self, type: str | None) -> EventKind:
        if type is None or type in self._named:
            return type
        wildcards = tuple(descriptor for descriptor in self._wildcards if matches(type, descriptor))
        return ("special", *wildcards) if self._is_special(type) else wildcards

    def _is_special(self, type: str) -> bool:
        """Return whether the type matters beyond its candidates.

        It is reserved then, or has a class that events convert to.
        """
        return type == "*" or type.startswith("xstate.") or type in self.program.implementations.events

    def _direct_target(self, reaction: Reaction, type: str | None) -> Configuration | None:
        transitions, after = reaction.candidates.unconditional, reaction.configuration
        # A special type may fail to convert or end the machine, which only the full macrostep does.
        if type is None or transitions is None or self._is_special(type):
            return None
        if transitions:
            plan = self.plan(reaction, transitions, NO_HISTORY)
            if plan.operations or plan.recorded_history or plan.depends_on_history or not plan.configuration.is_legal:
                return None
            after = plan.configuration
        return None if after.has_eventless else after

    def _make_room(self) -> None:
        self._count += 1
        if self._count > self.limit:
            self._reactions.clear()
            self._count = 1
