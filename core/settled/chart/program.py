"""A program: a chart each of whose names has been given its meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from attrs import field, frozen

from settled.chart.args import Expression, expression
from settled.chart.builtins import UnresolvedNameError
from settled.chart.chart import Chart
from settled.chart.compile import build_chart
from settled.chart.config import (
    MachineConfig,
    Named,
)
from settled.chart.implementations import Implementations, actor_fault
from settled.chart.nodes import (
    ActionSite,
    After,
    GuardSite,
    InvokeSite,
    Node,
)
from settled.chart.resolve import BoundAction, CustomAction, Predicate, Resolver
from settled.data import ABSENT
from settled.errors import DefinitionError, DefinitionProblem

T = TypeVar("T")
P = TypeVar("P", ActionSite, GuardSite, After, InvokeSite)


@frozen(eq=False)
class Program:
    """A chart, each of whose names has its meaning."""

    chart: Chart
    implementations: Implementations
    resolver: Resolver
    actions: Mapping[ActionSite, BoundAction]
    guards: Mapping[GuardSite, Predicate]
    delays: Mapping[After, Expression | None]
    inputs: Mapping[InvokeSite, Expression]
    outputs: Mapping[Node, Expression]
    actors: Mapping[str, Any]
    customs: Mapping[str, Callable[[Any, Any], object]]


def compile_program(config: MachineConfig, logic: Implementations) -> Program:
    """The program of a config and its logic.

    Raises:
        DefinitionError: with every fault: targets, guards, actions, actors and delays.
    """
    chart, faults = build_chart(config)
    program, missing = _bind(chart, logic)
    faults = [*faults, *missing, *logic.faults()]
    if faults:
        raise DefinitionError(faults)
    return program


# The program.


@frozen
class _Binder:
    """Looks things up at their places in the config, and keeps a fault for what has no meaning."""

    faults: list[DefinitionProblem] = field(factory=list[DefinitionProblem])

    def all(self, places: Iterable[P], find: Callable[[P], T]) -> dict[P, T]:
        """What `find` finds for each of `places` that has a meaning."""
        found: dict[P, T] = {}
        for place in places:
            try:
                found[place] = find(place)
            except UnresolvedNameError as error:
                self.faults.append(DefinitionProblem(place.path, error.problem, error.remedy))
            except ValueError as error:
                self.faults.append(DefinitionProblem(place.path, str(error)))
        return found


def _bind(chart: Chart, logic: Implementations) -> tuple[Program, list[DefinitionProblem]]:
    resolver, binder = Resolver(chart, logic), _Binder()
    invocations = [invocation for node in chart.nodes for invocation in node.invoke]
    actors = binder.all(invocations, lambda it: _actor(resolver, it))
    actions = binder.all(
        (it for node in chart.nodes for it in node.actions), lambda it: resolver.action(it.reference, it.path)
    )
    program = Program(
        chart=chart,
        implementations=logic,
        resolver=resolver,
        actions=actions,
        guards=binder.all(_all_guards(chart), lambda it: resolver.guard(it.reference)),
        delays=binder.all((it for node in chart.nodes for it in node.after), lambda it: resolver.delay(it.delay)),
        inputs={it: resolver.input(actors.get(it), expression(it.input)) for it in invocations},
        outputs={node: expression(node.output) for node in chart.nodes if node.output is not ABSENT},
        actors={**logic.actors, **{it.src: found for it, found in actors.items()}},
        customs={**resolver.customs(), **_inline_customs(actions.values())},
    )
    return program, binder.faults


def _inline_customs(actions: Iterable[BoundAction]) -> dict[str, Callable[[Any, Any], object]]:
    return {
        action.name: action.implementation.function
        for action in actions
        if isinstance(action.implementation, CustomAction)
    }


def _all_guards(chart: Chart) -> Iterator[GuardSite]:
    return (transition.guard for node in chart.nodes for transition in node.transitions if transition.guard is not None)


def _actor(resolver: Resolver, invocation: InvokeSite) -> Any:
    reference = invocation.reference
    if isinstance(reference, Named):
        return resolver.actor(reference.type)
    if fault := actor_fault(invocation.path, reference.implementation):
        raise UnresolvedNameError(fault.problem, fault.remedy)
    return reference.implementation
