"""The implementations that an author passes to `setup`, by name, and the conversion of declared classes to JSON.

Nothing here knows a chart; `settled.chart.resolve` looks names up. A context or an event that does not fit its declared
class raises an error that says where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, signature
from typing import TYPE_CHECKING, Any, Generic, Literal

from attrs import field, frozen, has
from attrs.validators import optional
from typing_extensions import TypeIs, TypeVar

from settled.chart.args import AnyContext, Args, E, Expression, arity_problem
from settled.chart.frozen_context import freeze_context
from settled.chart.retry import Retry
from settled.chart.snapshot import C
from settled.data import MAX_DEPTH, fault_in, freeze, is_json, is_object, shortened
from settled.durations import check_duration, is_long_duration
from settled.errors import DefinitionProblem, EventError, LogicError
from settled.frozen_data import FrozenDict
from settled.validators import instance_of, one_of

if TYPE_CHECKING:
    from cattrs import Converter

    from settled.key import Key

# The type of a function and not that of the context itself: mypy looks into a function inside `setup` only once the
# other arguments have told it the context.
Input_co = TypeVar("Input_co", bound=Callable[..., Any], covariant=True, default=Expression)


ACTOR_TIMEOUT: timedelta | None = timedelta(minutes=5)
"""The time limit of an attempt at an actor that states none: one that hangs keeps its instance from all workers."""


@frozen
class Call:
    """The attempt that an actor or a custom action is called for.

    `idempotency_key` is the same for all attempts; `deadline` is in seconds since the epoch. A service that stores the
    highest `fence` it has seen can reject calls with a lower one: they come from a worker that lost its lease.
    `lease_lost` returns whether this worker has. `headers` are those of the message that the call is made for.
    """

    key: Key
    idempotency_key: str
    attempt: int
    deadline: float | None
    fence: int
    lease_lost: Callable[[], bool]
    headers: Mapping[str, str] = field(default={}, converter=freeze)


@frozen
class Actor(Generic[Input_co]):
    """A function that a machine may run, and what to do if it fails, hangs, or is interrupted.

    Its type parameter is the type of `input`, and so says for which contexts the actor can be registered.
    """

    function: Callable[[Any, Call], Any]
    retry: Retry = field(default=Retry(), validator=instance_of(Retry, "Retry(attempts=3)"))
    timeout: timedelta | None = field(default=ACTOR_TIMEOUT, validator=optional(is_long_duration))
    interruption: Literal["rerun", "fail"] = field(  # pyright: ignore[reportAssignmentType] (it takes the default for any text)
        default="rerun", validator=one_of("rerun", "fail")
    )
    input: Input_co | None = None


def actor(
    function: Callable[[Any, Call], Any],
    *,
    retry: Retry = Retry(),
    timeout: timedelta | None = ACTOR_TIMEOUT,
    interruption: Literal["rerun", "fail"] = "rerun",
    input: Expression[AnyContext] | None = None,
) -> Actor[Expression[AnyContext]]:
    """Make an actor of `function`, ``def`` or ``async def``, which is called with the input and a `Call`.

    Args:
        function: returns the output, which is JSON.
        retry: when to attempt it again if it raises.
        timeout: the time limit of one attempt, 5 minutes if not stated; None for no limit, and then an attempt that
            hangs keeps its instance for as long as its worker lives. A function that is written with ``def`` cannot be
            stopped: it continues in its thread after its time, and its result is ignored.
        interruption: what to do if the outcome of an attempt was lost: ``rerun`` attempts it again with the same
            idempotency key, ``fail`` reports an error to the machine.
        input: a function that computes the input from `Args`, which a config in JSON cannot. The ``input`` in the
            config is its ``a.params``.
    """
    return Actor(function, retry, timeout, interruption, input)


def is_actor(value: object) -> TypeIs[Actor]:
    """Return whether `value`, registered or in a config, was made by `actor`."""
    return isinstance(value, Actor)


def is_machine(actor: object) -> bool:
    """Return whether `actor`, registered or in a config, is a machine and not a function."""
    # Not isinstance: `settled.machine` is above this package.
    return hasattr(actor, "initial_transition")


@frozen
class ActionArgs(Args[C, E]):
    """The argument of a custom action: `Args` at its position in the step, with its `Call`.

    `state` is the snapshot after the step.
    """

    call: Call


@frozen
class Implementations:
    """The arguments of `setup`."""

    context: type[Any] = dict
    create_context: Callable[[Any], Any] | None = None
    events: Mapping[str, type[Any]] = {}
    guards: Mapping[str, Any] = {}
    actions: Mapping[str, Any] = {}
    actors: Mapping[str, Any] = {}
    delays: Mapping[str, Any] = {}
    migrations: Mapping[str, Any] = {}

    def problems(self) -> list[DefinitionProblem]:
        """Return the problems of the registered functions themselves, whether a config refers to them or not."""
        found = [actor_problem(f"actors.{name}", value) for name, value in self.actors.items()]
        for kind, registry in (("guards", self.guards), ("delays", self.delays)):
            found += [_async_problem(f"{kind}.{name}", value) for name, value in registry.items()]
        for kind, registry in (("guards", self.guards), ("actions", self.actions), ("delays", self.delays)):
            found += [arity_problem(f"{kind}.{name}", value) for name, value in registry.items() if callable(value)]
        found += [_delay_problem(f"delays.{name}", value) for name, value in self.delays.items()]
        return [problem for problem in found if problem]

    def context_to_json(self, context: Any) -> Any:
        """Return the JSON of `context`.

        Raises:
            LogicError: it is not JSON; the message says where in it.
        """
        if context.__class__ is FrozenDict:
            return context
        plain = self.plain_context(context)
        if not is_json(plain):
            raise LogicError(f"the context is not JSON: {fault_in(plain)}")
        return freeze(plain)

    def plain_context(self, context: Any) -> Any:
        """Return `context` with instances of attrs classes converted to mappings. It may still not be JSON."""
        return _converter().unstructure(context) if has(context.__class__) else context

    def read_context(self, plain: Any) -> Any:
        """Return the context whose JSON is `plain`, frozen, as an instance of the declared class."""
        if self.context is dict or isinstance(plain, self.context):
            return freeze_context(plain)
        return freeze_context(_converter().structure(plain, self.context))

    def read_event(self, event: Mapping[str, Any]) -> Any:
        """Return `event` as the author's functions get it: an instance of the class declared for its type, if any."""
        if not self.events:
            return event
        declared = self.events.get(event["type"])
        return event if declared is None else freeze_context(_converter().structure(event, declared))

    def check_event(self, event: Mapping[str, Any]) -> None:
        """Check that `event` fits the class declared for its type.

        Raises:
            EventError: it does not; the message says where.
        """
        try:
            self.read_event(event)
        except Exception as error:
            raise EventError(f"{event['type']}: {'; '.join(reasons(error, 'event'))}") from error

    def event_to_json(self, event: Any, levels: int = MAX_DEPTH) -> Mapping[str, Any]:
        """Return an event, from an author's function or from a caller, as a frozen JSON object with a type.

        Raises:
            EventError: it is neither an object with a type nor of a declared class, or not JSON, or nested more than
                `levels` deep.
        """
        plain: Mapping[str, Any] = freeze(event if is_object(event) else self._plain(event))
        if not isinstance(plain.get("type"), str):
            raise EventError(f"an event is an object with a type, not {shortened(event)}")
        if problem := fault_in(plain, levels=levels):
            raise EventError(f"the event {plain['type']} is not JSON: {problem}")
        return plain

    def _plain(self, event: Any) -> Mapping[str, Any]:
        for name, declared in self.events.items():
            if type(event) is declared:  # not isinstance, as one declared class may derive from another
                try:
                    return {"type": name, **_converter().unstructure(event)}
                except RecursionError:
                    raise EventError(f"the event {name} is too deeply nested to be JSON: flatten it") from None
        raise EventError(f"an event is an object with a type, not {shortened(event)}")


def _delay_problem(path: str, value: Any) -> DefinitionProblem | None:
    if callable(value):
        return None
    try:
        check_duration(value, "a delay")
    except (TypeError, ValueError) as error:
        return DefinitionProblem(path, str(error))
    return None


def _async_problem(path: str, value: Any) -> DefinitionProblem | None:
    if not iscoroutinefunction(value):
        return None
    return DefinitionProblem(path, "is async, but a step never waits", "Invoke an actor and use its output.")


_NO_STREAMS = (
    "callbacks and observables cannot be resumed after a crash",
    "Invoke a function that returns one result, and again for the next; or let the source of the events send them.",
)


def actor_problem(path: str, value: Any) -> DefinitionProblem | None:
    """Return why `value`, at `path` in the registry or the config, is not a valid actor; None if it is one."""
    function = value.function if is_actor(value) else value
    if is_machine(function):
        return None
    if is_actor(value) and value.input and (problem := arity_problem(f"{path}.input", value.input)):
        return problem
    if not callable(function):
        return DefinitionProblem(
            path, f"{value!r} is not an actor", "Register a function (input, call) -> output, or a machine."
        )
    if isgeneratorfunction(function) or isasyncgenfunction(function):
        return DefinitionProblem(path, *_NO_STREAMS)
    try:
        signature(function).bind(None, None)
    except TypeError:
        return DefinitionProblem(path, "does not take two arguments", "An actor is called as function(input, call).")
    except ValueError:  # some functions written in C have no signature
        pass
    return None


@cache
def _converter() -> Converter:
    # Importing cattrs takes half of the time of importing settled, and only declared classes need it.
    from cattrs.preconf.json import make_converter  # noqa: PLC0415

    converter = make_converter()
    # cattrs would convert "1" to 1 and 1 to True; here a value of another type is invalid.
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _exactly)
    converter.register_structure_hook(float, _number)
    return converter


def _exactly(value: Any, kind: type[Any]) -> Any:
    if type(value) is not kind:
        raise ValueError(f"expected {kind.__name__}, got {value!r}")
    return value


def _number(value: Any, _: type[Any]) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected a number, got {value!r}")
    return value


def reasons(error: Exception, root: str) -> list[str]:
    """Return why cattrs could not structure a value, each reason with its path from `root`."""
    from cattrs import transform_error  # noqa: PLC0415

    return transform_error(error, path=root)
