"""A program: a chart, and the implementations that its references were resolved to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from attrs import field, frozen

from settled._fast_frozen import evolve
from settled.chart.args import Expression, expression
from settled.chart.builtins import UnresolvedNameError
from settled.chart.chart import Chart
from settled.chart.compile import build_chart
from settled.chart.config import MachineConfig, Named
from settled.chart.config_reader import config_from
from settled.chart.implementations import Implementations, actor_problem
from settled.chart.nodes import ActionSite, After, GuardSite, InvokeSite, Node
from settled.chart.registrations import mapping_problems, registration_problems
from settled.chart.resolve import BoundAction, CustomAction, Predicate, Resolver
from settled.data import ABSENT
from settled.durations import from_milliseconds
from settled.errors import DefinitionError, DefinitionProblem

T = TypeVar("T")
S = TypeVar("S", ActionSite, GuardSite, After, InvokeSite, Node)


@frozen(eq=False)
class Program:
    """A chart, and the implementation of each of its sites.

    `actors` are those registered and those in the config, by the name that an `Invoke` effect has; `custom_actions`
    are those by the name that an `Execute` effect has.
    """

    chart: Chart
    implementations: Implementations
    resolver: Resolver
    actions: Mapping[ActionSite, BoundAction]
    guards: Mapping[GuardSite, Predicate]
    delays: Mapping[After, Expression | None]
    inputs: Mapping[InvokeSite, Expression]
    outputs: Mapping[Node, Expression]
    actors: Mapping[str, Any]
    custom_actions: Mapping[str, Callable[[Any], object]]


def compile_chart(source: str | Mapping[str, Any] | MachineConfig) -> Chart:
    """Return the chart of a config, without implementations.

    Raises:
        DefinitionError: the config is invalid; the error lists every problem but the names that are not registered.
    """
    config = source if isinstance(source, MachineConfig) else config_from(source)
    chart, problems = build_chart(config)
    _, unresolved = _bind(Resolver(chart, Implementations(), allows_unknown_names=True))
    if problems := [*problems, *unresolved]:
        raise DefinitionError(problems)
    return chart


def compile_program(config: MachineConfig, implementations: Implementations) -> Program:
    """Return the program of a config and its implementations.

    Raises:
        DefinitionError: the error lists every problem: of targets, guards, actions, actors and delays.
    """
    if unusable := list(mapping_problems(implementations)):
        raise DefinitionError(unusable)
    chart, problems = build_chart(config)
    # A chart with problems is bound as well, so that the error also lists the names that cannot be resolved.
    program, unresolved = _bind(Resolver(chart, implementations))
    problems = [*problems, *unresolved, *registration_problems(implementations), *implementations.problems()]
    if problems:
        raise DefinitionError(problems)
    return program


@frozen
class _Binder:
    """The problems of the sites that could not be resolved so far."""

    problems: list[DefinitionProblem] = field(factory=list[DefinitionProblem])

    def bind(self, sites: Iterable[S], resolve: Callable[[S], T]) -> dict[S, T]:
        """Return the result of `resolve` for each of `sites`; add a problem for each that it raises for."""
        bound: dict[S, T] = {}
        for site in sites:
            try:
                bound[site] = resolve(site)
            except UnresolvedNameError as error:
                self.problems.append(DefinitionProblem(site.path, error.problem, error.remedy))
            except DefinitionError as error:
                self.problems.extend(evolve(problem, path=site.path) for problem in error.problems)
            except (TypeError, ValueError) as error:
                self.problems.append(DefinitionProblem(site.path, str(error)))
            except RecursionError:
                remedy = "Register a function under one of the names."
                self.problems.append(DefinitionProblem(site.path, "refers to itself, or to too many others", remedy))
        return bound


def _bind(resolver: Resolver) -> tuple[Program, list[DefinitionProblem]]:
    chart, implementations, binder = resolver.chart, resolver.implementations, _Binder()
    invoke_sites = [site for node in chart.nodes for site in node.invoke]
    action_sites = (site for node in chart.nodes for site in node.actions)
    after_sites = (site for node in chart.nodes for site in node.after)
    actors = binder.bind(invoke_sites, lambda site: _actor(resolver, site))
    actions = binder.bind(action_sites, lambda site: resolver.action(site.reference, site.path))
    program = Program(
        chart=chart,
        implementations=implementations,
        resolver=resolver,
        actions=actions,
        guards=binder.bind(_guard_sites(chart), lambda site: resolver.guard(site.reference)),
        delays=binder.bind(after_sites, lambda site: resolver.delay(from_milliseconds(site.delay))),
        inputs=binder.bind(invoke_sites, lambda site: resolver.input(actors.get(site), expression(site.input))),
        outputs=binder.bind(
            (node for node in chart.nodes if node.output is not ABSENT), lambda node: expression(node.output)
        ),
        actors={**implementations.actors, **{site.src: actor for site, actor in actors.items()}},
        custom_actions={**resolver.custom_actions(), **_inline_custom_actions(actions.values())},
    )
    return program, binder.problems


def _inline_custom_actions(actions: Iterable[BoundAction]) -> dict[str, Callable[[Any], object]]:
    return {
        action.name: action.implementation.function
        for action in actions
        if isinstance(action.implementation, CustomAction)
    }


def _guard_sites(chart: Chart) -> Iterator[GuardSite]:
    return (transition.guard for node in chart.nodes for transition in node.transitions if transition.guard is not None)


def _actor(resolver: Resolver, site: InvokeSite) -> Any:
    reference = site.reference
    if isinstance(reference, Named):
        return resolver.actor(reference.type)
    if problem := actor_problem(site.path, reference.implementation):
        raise UnresolvedNameError(problem.problem, problem.remedy)
    return reference.implementation
