"""Plans, kept: how a machine reacts is worked out once, and looked up after that.

To whom an event is offered follows from the configuration and the event's type; what a microstep consists of follows
from the configuration, the transitions and, where a history node takes part, what the histories remember. Only guards
and actions have to run each time. `Plans` holds the answers of ``select`` and ``microstep`` to these questions. It
gives none of its own, so a machine does the same with it and without it.

All instances of a machine share its plans, in whatever threads they run: what is kept is never changed, only dropped.
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
"""How many plans a machine keeps. When there are as many, it drops them all: those in use are soon back."""

EventKind: TypeAlias = "str | tuple[str, ...] | None"
"""What matters of an event's type: itself, if a descriptor names it; or else the wildcards that do. None: no event."""


@frozen(eq=False)
class Reaction:
    """What a configuration makes of an event, or of no event: whom it is offered to, and what follows each choice.

    `quiet` is the configuration that a step leads to, if that is all there is to it: no guard is asked, nothing is
    done, and the machine comes to rest at once.
    """

    configuration: Configuration
    candidates: CandidateSet
    direct_target: Configuration | None = None
    plans: dict[object, Plan] = field(factory=dict[object, Plan], init=False)


@define(eq=False)
class PlanCache:
    """The plans of `program`, at most `limit` of them. With a limit of 0, each is made when it is needed.

    Events whose types no descriptor names are kept as one, however many types there are: a sender cannot fill it up.
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
        """What `configuration` makes of an event of `type`; None asks what it does without an event."""
        kinds = self._reactions.get(configuration.members)
        reaction = None if kinds is None else kinds.get(type)
        return self._reaction_of_kind(configuration, type) if reaction is None else reaction

    def plan(self, reaction: Reaction, transitions: tuple[Transition, ...], history: History) -> Plan:
        """The microstep that takes `transitions`, one choice of those who were asked."""
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
        """The microstep that enters the machine."""
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
        """Whether there may be more to an event of `type` than whom it is offered to."""
        return type == "*" or type.startswith("xstate.") or type in self.program.implementations.events

    def _direct_target(self, reaction: Reaction, type: str | None) -> Configuration | None:
        transitions, after = reaction.candidates.unconditional, reaction.configuration
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
