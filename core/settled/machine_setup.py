"""`setup`: register the implementations of the names in a config, then compile a config that uses them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Generic, TypeAlias, cast

from attrs import frozen

from settled.chart.actions import BuiltInAction
from settled.chart.args import Args, Expression
from settled.chart.config import MachineConfig
from settled.chart.config_reader import config_from
from settled.chart.config_types import MachineDict
from settled.chart.guards import BuiltInGuard
from settled.chart.implementations import ActionArgs, Actor, Call, Implementations, reasons
from settled.chart.migrations import Migrate, Migration
from settled.chart.program import compile_program
from settled.chart.snapshot import C
from settled.chart.snapshot_text import SnapshotText
from settled.data import freeze, is_object
from settled.errors import DefinitionError, DefinitionProblem, LogicError
from settled.machine import Machine
from settled.step.plan_cache import PlanCache


@frozen
class Setup(Generic[C]):
    """The implementations of a machine, without its config."""

    implementations: Implementations

    def machine(self, config: str | MachineDict | Mapping[str, Any]) -> Machine[C]:
        """Compile `config`, an XState v5 config as JSON text or as a mapping.

        Raises:
            DefinitionError: with every problem in the config and in the implementations it names.
        """
        read_config = config_from(config if isinstance(config, str) else cast("Mapping[str, Any]", config))
        program = compile_program(read_config, self.implementations)
        context = cast("C", _initial_context(read_config, self.implementations))
        return Machine(read_config, PlanCache(program), context, SnapshotText(program.chart, self.implementations))


def _initial_context(config: MachineConfig, implementations: Implementations) -> Any:
    if implementations.create_context is not None:
        return freeze({})  # unused: `create_context` is called at each start
    try:
        context = implementations.read_context(config.context)
    except Exception as error:
        problems = [DefinitionProblem("context", reason, _CONTEXT_REMEDY) for reason in reasons(error, "context")]
        raise DefinitionError(problems) from error
    try:
        plain = implementations.context_to_json(context)
    except LogicError as error:
        raise DefinitionError([DefinitionProblem("context", str(error), _CONTEXT_REMEDY)]) from error
    if not is_object(plain):
        raise DefinitionError([DefinitionProblem("context", f"expected an object, not {plain!r}", _CONTEXT_REMEDY)])
    return context


_CONTEXT_REMEDY = "Give the config a context of the declared class, or setup() a create_context."


GuardImpl: TypeAlias = Callable[[Args[C]], object] | BuiltInGuard | str | Mapping[str, Any]
ActionImpl: TypeAlias = Callable[[ActionArgs[C]], object] | BuiltInAction[C]
DelayImpl: TypeAlias = timedelta | Callable[[Args[C]], timedelta | None]
ActorImpl: TypeAlias = Actor[Expression[C]] | Callable[[Any, Call], Any] | Machine[Any]

_JSON_OBJECT = cast("type[Mapping[str, Any]]", dict)


def setup(
    *,
    # mypy compares a default with every type that `C` may be. It then leaves the contexts of lambdas `Any` in a call
    # without `context`; pyright infers `C` from the default.
    context: type[C] = _JSON_OBJECT,  # type: ignore[assignment]
    create_context: Callable[[Any], C] | None = None,
    events: Mapping[str, type[Any]] | None = None,
    guards: Mapping[str, GuardImpl[C]] | None = None,
    actions: Mapping[str, ActionImpl[C]] | None = None,
    actors: Mapping[str, ActorImpl[C]] | None = None,
    delays: Mapping[str, DelayImpl[C]] | None = None,
    migrations: Mapping[str, Migrate | Migration] | None = None,
) -> Setup[C]:
    """Register implementations by name; ``.machine(config)`` then compiles a config that uses them.

    Args:
        context: a frozen attrs class of the context, converted with cattrs. By default a context is a JSON object.
        create_context: a function that creates the initial context from the input, instead of the config's own.
        events: frozen attrs classes of events, by type; an event of such a type that does not fit its class is invalid.
        guards: functions of `Args`, or results of `and_`, `or_`, `not_` and `state_in`.
        actions: functions of `ActionArgs`, which a host runs, or results of `assign`, `raise_` and others.
        actors: functions of an input and a `Call`, results of `actor`, or machines.
        delays: durations, or functions of `Args` that return one (None: no delay).
        migrations: by version, oldest first: a function or a `Migration` that converts a stored snapshot of that
            version to the next.
    """
    return Setup(
        Implementations(
            context=context,
            create_context=create_context,
            events=events or {},
            guards=guards or {},
            actions=actions or {},
            actors=actors or {},
            delays=delays or {},
            migrations=migrations or {},
        )
    )
