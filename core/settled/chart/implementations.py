"""The registry: the Python that a machine's author hands over, behind names.

It knows no chart: what the names in a config come to is for `settled.chart.resolve`. Declared classes
become JSON here and come back from it, so a context or an event that does not fit is refused with its path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, signature
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from attrs import frozen, has

from settled.chart.args import Args
from settled.chart.snapshot import Snapshot
from settled.data import Json, fault_in, is_json, is_object
from settled.errors import DefinitionProblem, EventError, LogicError

if TYPE_CHECKING:
    from cattrs import Converter

    from settled.key import Key

C = TypeVar("C")
E = TypeVar("E")
Inputs: TypeAlias = Callable[[Args[Any, Any]], Any] | Callable[[Args[Any, Any], Any], Any]
"""A function of `Args`, or of `Args` and params."""


@frozen
class Retry:
    """How often an actor is tried (`attempts`, the first included), and how long the waits between are.

    The first wait is `first`, each next one `factor` times as long, none longer than `longest`.
    """

    attempts: int = 1
    first: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    longest: timedelta = timedelta(minutes=5)

    def wait(self, attempt: int) -> timedelta:
        """The wait before attempt number `attempt`; the first one does not wait."""
        if attempt <= 1:
            return timedelta(0)
        try:
            return min(self.first * self.factor ** (attempt - 2), self.longest)
        except OverflowError:
            return self.longest


@frozen
class Call:
    """What an actor or a custom action is told about the attempt it is.

    `idempotency_key` is the same in all attempts; `deadline` is in seconds since the epoch; a receiver that remembers
    the highest `fence` can refuse a worker that lost its lease, which is also what `lease_lost` asks.
    """

    key: Key
    idempotency_key: str
    attempt: int
    deadline: float | None
    fence: int
    lease_lost: Callable[[], bool]


@frozen
class Actor:
    """A function that a machine may run, and what happens when it fails, hangs, or is interrupted."""

    function: Callable[[Any, Call], Any]
    retry: Retry = Retry()
    timeout: timedelta | None = None
    interruption: Literal["rerun", "fail"] = "rerun"
    input: Inputs | None = None


def actor(
    function: Callable[[Any, Call], Any],
    *,
    retry: Retry = Retry(),
    timeout: timedelta | None = None,
    interruption: Literal["rerun", "fail"] = "rerun",
    input: Inputs | None = None,
) -> Actor:
    """Make an actor of `function`, ``def`` or ``async def``, which is given the input and a `Call`.

    `interruption` says what becomes of an attempt that nobody saw the end of: ``rerun`` runs it again under the same
    idempotency key, ``fail`` tells the machine that it failed. `input` computes the input from `Args`, since a config
    that is JSON cannot; what the config says itself is handed to it as params, if it takes them.
    """
    return Actor(function, retry, timeout, interruption, input)


class ChildMachine(Protocol):
    """A machine that another machine may start."""

    @property
    def id(self) -> str: ...

    def initial_transition(self, input: Json = None, *, first_index: int = 0) -> tuple[Any, Any]: ...


def is_machine(actor: object) -> bool:
    """Whether `actor`, registered or written in a config, is a machine and no function."""
    return hasattr(actor, "initial_transition")


@frozen
class ActionArgs(Generic[C, E]):
    """What a custom action is given: the context and event of its own place in the step, and the call it is."""

    context: C
    event: E
    state: Snapshot[C]
    call: Call


@frozen
class Implementations:
    """All that a machine's author handed to `setup`."""

    context: type[Any] | None = None
    create_context: Callable[[Any], Any] | None = None
    events: Mapping[str, type[Any]] = {}
    guards: Mapping[str, Any] = {}
    actions: Mapping[str, Any] = {}
    actors: Mapping[str, Any] = {}
    delays: Mapping[str, Any] = {}
    migrations: Mapping[str, Any] = {}

    def faults(self) -> list[DefinitionProblem]:
        """What is wrong with the registered functions themselves."""
        found = [actor_fault(f"actors.{name}", value) for name, value in self.actors.items()]
        for kind, registry in (("guards", self.guards), ("delays", self.delays)):
            found += [_asynchronous(f"{kind}.{name}", value) for name, value in registry.items()]
        return [fault for fault in found if fault]

    def context_to_json(self, context: Any) -> Any:
        """`context` as it is stored.

        Raises:
            LogicError: it is not JSON; the message says where in it.
        """
        plain = context if context.__class__ is dict else self.plain_context(context)
        if not is_json(plain):
            raise LogicError(f"the context is not JSON: {fault_in(plain)}")
        return plain

    def plain_context(self, context: Any) -> Any:
        """`context` without classes; whether that is JSON remains to be seen."""
        return _converter().unstructure(context) if has(context.__class__) else context

    def read_context(self, plain: Any) -> Any:
        """The context that `plain` is the JSON of, as the declared class if there is one."""
        if self.context is None or isinstance(plain, self.context):
            return plain
        return _converter().structure(plain, self.context)

    def read_event(self, event: Mapping[str, Any]) -> Any:
        """`event` as logic sees it: an instance of the class that was declared for its type, if one was."""
        if not self.events:
            return event
        declared = self.events.get(event["type"])
        return event if declared is None else _converter().structure(event, declared)

    def admit(self, event: Mapping[str, Any]) -> None:
        """Check `event` against the class that was declared for its type.

        Raises:
            EventError: it does not fit; the message says where.
        """
        try:
            self.read_event(event)
        except Exception as error:
            raise EventError(f"{event['type']}: {'; '.join(reasons(error, 'event'))}") from error

    def event_to_json(self, event: Any) -> Mapping[str, Any]:
        """`event`, which logic made or a caller handed in, as a JSON object with a type.

        Raises:
            EventError: it is neither an object with a type nor of a declared class, or not JSON.
        """
        plain = event if is_object(event) else self._plain(event)
        if not isinstance(plain.get("type"), str):
            raise EventError(f"an event is an object with a type, not {event!r}")
        if fault := fault_in(plain):
            raise EventError(f"the event {plain['type']} is not JSON: {fault}")
        return plain

    def _plain(self, event: Any) -> Mapping[str, Any]:
        for name, declared in self.events.items():
            if type(event) is declared:
                return {"type": name, **_converter().unstructure(event)}
        raise EventError(f"an event is an object with a type, not {event!r}")


def _asynchronous(path: str, value: Any) -> DefinitionProblem | None:
    if not iscoroutinefunction(value):
        return None
    return DefinitionProblem(
        path, "is async, but a step computes and never waits", "Invoke an actor and use its output."
    )


_NO_STREAMS = (
    "callbacks and observables cannot be resumed after a crash",
    "Invoke a function that returns one result, and again for the next; or let whoever has the events send them.",
)


def actor_fault(path: str, value: Any) -> DefinitionProblem | None:
    """What keeps `value`, registered or written at `path`, from being an actor, if anything does."""
    function = value.function if isinstance(value, Actor) else value
    if is_machine(function):
        return None
    if not callable(function):
        return DefinitionProblem(
            path, f"{value!r} is no actor", "Register a function (input, call) -> output, or a machine."
        )
    if isgeneratorfunction(function) or isasyncgenfunction(function):
        return DefinitionProblem(path, *_NO_STREAMS)
    try:
        signature(function).bind(None, None)
    except TypeError:
        return DefinitionProblem(path, "does not take two arguments", "An actor is called as function(input, call).")
    except ValueError:  # some functions written in C do not say
        pass
    return None


@cache
def _converter() -> Converter:
    # cattrs is half of what importing settled would cost, and a machine without declared classes never needs it.
    from cattrs.preconf.json import make_converter  # noqa: PLC0415

    converter = make_converter()
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
    """Why something could not be structured, each reason with its path from `root`."""
    from cattrs import transform_error  # noqa: PLC0415

    return transform_error(error, path=root)
