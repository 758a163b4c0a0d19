"""A program: a chart each of whose names has been given its meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from attrs import field, frozen

from settled.chart.args import Expression, expression
from settled.chart.builtins import Meaningless
from settled.chart.chart import Chart
from settled.chart.compile import build_chart
from settled.chart.config import (
    MachineConfig,
    Named,
)
from settled.chart.implementations import Logic, actor_fault
from settled.chart.nodes import (
    Action,
    After,
    Guard,
    Invocation,
    Node,
)
from settled.chart.resolve import BoundAction, Custom, Lexicon, Predicate
from settled.data import ABSENT
from settled.errors import DefinitionError, Fault

T = TypeVar("T")
P = TypeVar("P", Action, Guard, After, Invocation)


@frozen(eq=False)
class Program:
    """A chart, each of whose names has its meaning."""

    chart: Chart
    logic: Logic
    lexicon: Lexicon
    actions: Mapping[Action, BoundAction]
    guards: Mapping[Guard, Predicate]
    delays: Mapping[After, Expression | None]
    inputs: Mapping[Invocation, Expression]
    outputs: Mapping[Node, Expression]
    actors: Mapping[str, Any]
    customs: Mapping[str, Callable[[Any, Any], object]]


def compile_program(config: MachineConfig, logic: Logic) -> Program:
    """The program of a config and its logic.

    Raises:
        DefinitionError: with every fault: targets, guards, actions, actors and delays.
    """
    chart, faults = build_chart(config)
    program, missing = _bound(chart, logic)
    faults = [*faults, *missing, *logic.faults()]
    if faults:
        raise DefinitionError(faults)
    return program


# The program.


@frozen
class _LookUp:
    """Looks things up at their places in the config, and keeps a fault for what has no meaning."""

    faults: list[Fault] = field(factory=list[Fault])

    def all(self, places: Iterable[P], find: Callable[[P], T]) -> dict[P, T]:
        """What `find` finds for each of `places` that has a meaning."""
        found: dict[P, T] = {}
        for place in places:
            try:
                found[place] = find(place)
            except Meaningless as error:
                self.faults.append(Fault(place.path, error.problem, error.remedy))
            except ValueError as error:
                self.faults.append(Fault(place.path, str(error)))
        return found


def _bound(chart: Chart, logic: Logic) -> tuple[Program, list[Fault]]:
    lexicon, look_up = Lexicon(chart, logic), _LookUp()
    invocations = [invocation for node in chart.nodes for invocation in node.invoke]
    actors = look_up.all(invocations, lambda it: _actor(lexicon, it))
    actions = look_up.all(
        (it for node in chart.nodes for it in node.actions), lambda it: lexicon.action(it.reference, it.path)
    )
    program = Program(
        chart=chart,
        logic=logic,
        lexicon=lexicon,
        actions=actions,
        guards=look_up.all(_all_guards(chart), lambda it: lexicon.guard(it.reference)),
        delays=look_up.all((it for node in chart.nodes for it in node.after), lambda it: lexicon.delay(it.delay)),
        inputs={it: lexicon.input(actors.get(it), expression(it.input)) for it in invocations},
        outputs={node: expression(node.output) for node in chart.nodes if node.output is not ABSENT},
        actors={**logic.actors, **{it.src: found for it, found in actors.items()}},
        customs={**lexicon.customs(), **_inline_customs(actions.values())},
    )
    return program, look_up.faults


def _inline_customs(actions: Iterable[BoundAction]) -> dict[str, Callable[[Any, Any], object]]:
    return {action.name: action.meaning.function for action in actions if isinstance(action.meaning, Custom)}


def _all_guards(chart: Chart) -> Iterator[Guard]:
    return (transition.guard for node in chart.nodes for transition in node.transitions if transition.guard is not None)


def _actor(lexicon: Lexicon, invocation: Invocation) -> Any:
    reference = invocation.reference
    if isinstance(reference, Named):
        return lexicon.actor(reference.type)
    if fault := actor_fault(invocation.path, reference.what):
        raise Meaningless(fault.problem, fault.remedy)
    return reference.what
