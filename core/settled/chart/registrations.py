"""Check what `setup` was given, by type: most mistakes would otherwise show only in a step, months later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from attrs import fields, has

from settled.chart.args import arity_problem
from settled.chart.builtins import is_built_in_action
from settled.chart.frozen_context import classes_in, is_frozen_class
from settled.chart.guards import And, Not, Or, StateIn
from settled.data import is_object
from settled.errors import DefinitionProblem

if TYPE_CHECKING:
    from settled.chart.implementations import Implementations


def mapping_problems(given: Implementations) -> Iterator[DefinitionProblem]:
    """Yield a problem for each argument that is not a mapping with names as its keys."""
    for name in (field.name for field in fields(type(given)) if field.name not in ("context", "create_context")):
        registry: Any = getattr(given, name)
        if not is_object(registry):
            problem = f"expected a mapping from names, not {registry!r}"
            yield DefinitionProblem(name, problem, f"Write setup({name}={{...}}).")
        else:
            odd = (key for key in cast("Mapping[object, object]", registry) if not isinstance(key, str))
            yield from (DefinitionProblem(name, f"the name {key!r} is not text") for key in odd)


def registration_problems(given: Implementations) -> Iterator[DefinitionProblem]:
    """Yield the problems of classes, guards, actions and migrations. Those of actors and delays are found elsewhere."""
    if given.context is not dict and not has(given.context):
        yield DefinitionProblem("context", f"{given.context!r} is not an attrs class", _CLASS_REMEDY)
    for path, declared in (
        ("context", given.context),
        *((f"events.{name}", each) for name, each in given.events.items()),
    ):
        for part in classes_in(declared):
            if not is_frozen_class(part):
                yield DefinitionProblem(path, f"instances of {part.__qualname__} can be changed", _FROZEN_REMEDY)
    if given.create_context is not None:
        yield from _function_problems("create_context", given.create_context)
    for name, declared in given.events.items():
        if declared is not dict and not has(declared):
            yield DefinitionProblem(f"events.{name}", f"{declared!r} is not an attrs class", _CLASS_REMEDY)
    for name, guard in given.guards.items():
        if not (callable(guard) or is_object(guard) or isinstance(guard, str | And | Or | Not | StateIn)):
            remedy = "Register a function, or the result of and_() and the like."
            yield DefinitionProblem(f"guards.{name}", f"{guard!r} is not a guard", remedy)
    for name, action in given.actions.items():
        if not (callable(action) or is_built_in_action(action)):
            remedy = "Register a function, or the result of assign() and the like."
            yield DefinitionProblem(f"actions.{name}", f"{action!r} is not an action", remedy)
    for name, migration in given.migrations.items():
        yield from _function_problems(f"migrations.{name}", getattr(migration, "function", migration))


_FROZEN_REMEDY = "Decorate it with attrs.frozen: assign() makes a changed copy."
_CLASS_REMEDY = "Leave it out for a JSON object."


def _function_problems(path: str, function: Any) -> Iterator[DefinitionProblem]:
    if not callable(function):
        yield DefinitionProblem(path, f"{function!r} is not a function", "Give a function of one argument.")
    elif problem := arity_problem(path, function):
        yield problem
