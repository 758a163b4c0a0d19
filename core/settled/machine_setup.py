"""`setup`: what the names in a config mean; and what makes a machine of the two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, cast, overload

from attrs import frozen

from settled.chart.actions import BuiltInAction
from settled.chart.args import Args
from settled.chart.config import MachineConfig
from settled.chart.config_reader import config_from
from settled.chart.config_types import MachineDict
from settled.chart.guards import BuiltInGuard
from settled.chart.implementations import ActionArgs, Actor, Call, Implementations, reasons
from settled.chart.migrations import Migrate, Migration
from settled.chart.program import compile_program
from settled.chart.snapshot_text import SnapshotText
from settled.errors import DefinitionError, DefinitionProblem
from settled.step.plan_cache import PlanCache

if TYPE_CHECKING:
    pass

from settled.machine import C, E, Machine


@frozen
class Setup(Generic[C, E]):
    """Logic that waits for its config."""

    implementations: Implementations

    def machine(self, config: str | MachineDict | Mapping[str, Any]) -> Machine[C, E]:
        """Compile `config`, an XState v5 config as JSON text or as a mapping.

        Raises:
            DefinitionError: with every fault in the config and in the logic it names.
        """
        read_config = config_from(config if isinstance(config, str) else cast("Mapping[str, Any]", config))
        program = compile_program(read_config, self.implementations)
        context = cast("C", _own_context(read_config, self.implementations))
        return Machine(read_config, PlanCache(program), context, SnapshotText(program.chart, self.implementations))


def _own_context(config: MachineConfig, logic: Implementations) -> Any:
    if logic.create_context is not None:
        return {}
    try:
        return logic.read_context(config.context)
    except Exception as error:
        faults = [DefinitionProblem("context", reason, _CONTEXT) for reason in reasons(error, "context")]
        raise DefinitionError(faults) from error


_CONTEXT = "Give the config a context of the declared class, or setup() a create_context."


GuardImpl: TypeAlias = (
    Callable[[Args[C, Any]], object] | Callable[[Args[C, Any], Any], object] | BuiltInGuard | str | Mapping[str, Any]
)
ActionImpl: TypeAlias = (
    Callable[[ActionArgs[C, Any]], object] | Callable[[ActionArgs[C, Any], Any], object] | BuiltInAction
)
DelayImpl: TypeAlias = timedelta | float | Callable[[Args[C, Any]], timedelta | float | None]
ActorImpl: TypeAlias = Actor | Callable[[Any, Call], Any] | Machine[Any, Any]


@overload
def setup(
    *,
    context: type[C],
    create_context: Callable[[Any], C] | None = None,
    events: Mapping[str, type[Any]] | None = None,
    guards: Mapping[str, GuardImpl[C]] | None = None,
    actions: Mapping[str, ActionImpl[C]] | None = None,
    actors: Mapping[str, ActorImpl] | None = None,
    delays: Mapping[str, DelayImpl[C]] | None = None,
    migrations: Mapping[str, Migrate | Migration] | None = None,
) -> Setup[C, Any]: ...


@overload
def setup(
    *,
    context: None = None,
    create_context: Callable[[Any], Mapping[str, Any]] | None = None,
    events: Mapping[str, type[Any]] | None = None,
    guards: Mapping[str, GuardImpl[Mapping[str, Any]]] | None = None,
    actions: Mapping[str, ActionImpl[Mapping[str, Any]]] | None = None,
    actors: Mapping[str, ActorImpl] | None = None,
    delays: Mapping[str, DelayImpl[Mapping[str, Any]]] | None = None,
    migrations: Mapping[str, Migrate | Migration] | None = None,
) -> Setup[Mapping[str, Any], Any]: ...


def setup(
    *,
    context: type[Any] | None = None,
    create_context: Callable[[Any], Any] | None = None,
    events: Mapping[str, type[Any]] | None = None,
    guards: Mapping[str, GuardImpl[Any]] | None = None,
    actions: Mapping[str, ActionImpl[Any]] | None = None,
    actors: Mapping[str, ActorImpl] | None = None,
    delays: Mapping[str, DelayImpl[Any]] | None = None,
    migrations: Mapping[str, Migrate | Migration] | None = None,
) -> Setup[Any, Any]:
    """Give names their meaning; ``.machine(config)`` then compiles a config that uses them.

    Args:
        context: an attrs class of the context, which cattrs reads and writes. Without it, a context is a JSON object.
        create_context: makes the first context from the input, in the place of the config's own.
        events: attrs classes of events, by type; such an event is refused unless it fits.
        guards: functions of `Args` (and params), or what `and_` and the like make.
        actions: functions of `ActionArgs` (and params), which a host runs, or what `assign` and the like make.
        actors: functions of an input and a `Call`, what `actor` makes of them, or machines.
        delays: durations, milliseconds, or functions of `Args` that return one.
        migrations: by version, from the oldest on: what makes of a stored snapshot of that version one of the next, a
            function or a `Migration`.
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
