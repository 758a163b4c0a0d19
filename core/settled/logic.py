"""The registry: what the names in a config mean.

A config is text and names things; `Logic` holds the Python behind the names, and a `Lexicon` reads one chart's names
against it. All lookups happen when a machine is compiled (only what an ``enqueue_actions`` enqueues is looked up as it
comes), so a name without a meaning is found before anything runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import cache
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, signature
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias, TypeVar, cast, get_args

from attrs import frozen, has

from settled import actions as built_in
from settled.actions import BuiltInAction
from settled.chart import Chart
from settled.config import Inline, Named, Reference
from settled.data import ABSENT, Json, fault_in, is_json, is_object
from settled.errors import EventError, Fault, LogicError
from settled.expression import Args, Expression, called, expression, takes_params
from settled.guards import And, BuiltInGuard, GuardLike, Not, Or, StateIn, and_, not_, or_, state_in
from settled.making import evolve
from settled.snapshot import Snapshot

if TYPE_CHECKING:
    from cattrs import Converter

    from settled.message import Key

C = TypeVar("C")
E = TypeVar("E")
Predicate: TypeAlias = Callable[[Args[Any, Any]], object]
"""A guard that has its params already. It holds if what it returns is true to Python."""
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
class Custom:
    """An action of the machine's author: the step only names it, and a host runs it."""

    function: Callable[[Any, Any], object]


@frozen
class BoundAction:
    """An action with its meaning. `delay` is the meaning's own, if it has one."""

    name: str
    meaning: Custom | BuiltInAction
    params: Expression
    delay: Expression | None = None


class Meaningless(LookupError):
    """A name in a config that logic does not know."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem, self.remedy = problem, remedy


@frozen
class Logic:
    """All that a machine's author handed to `setup`."""

    context: type[Any] | None = None
    create_context: Callable[[Any], Any] | None = None
    events: Mapping[str, type[Any]] = {}
    guards: Mapping[str, Any] = {}
    actions: Mapping[str, Any] = {}
    actors: Mapping[str, Any] = {}
    delays: Mapping[str, Any] = {}
    migrations: Mapping[str, Callable[[Any], Any]] = {}

    def faults(self) -> list[Fault]:
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


@frozen
class Lexicon:
    """What the names of `chart` mean. Each method raises `Meaningless` for a name that means nothing."""

    chart: Chart
    logic: Logic

    def guard(self, wanted: Any) -> Predicate:
        """`wanted`, anything that may stand for a guard, as a predicate."""
        match wanted:
            case Inline():
                return self.guard(wanted.what)
            case Named():
                return self._named_guard(wanted)
            case str():
                return self._named_guard(Named(wanted))
            case _ if is_object(wanted):
                return self._named_guard(_named(wanted))
            case And() | Or() | Not() | StateIn():
                return self._built_in_guard(wanted)
            case _ if callable(wanted):
                return _with_params(wanted, None)
            case _:
                raise Meaningless(
                    f"{wanted!r} is no guard", "Give a name, a function, or what and_() and the like make."
                )

    def _named_guard(self, named: Named) -> Predicate:
        if named.type in self.logic.guards:
            meaning = self.logic.guards[named.type]
        elif named.type in _GUARDS_BY_NAME:
            meaning = _made(_GUARDS_BY_NAME, named)
        else:
            raise _unknown("guard", named.type, self.logic.guards)
        return _with_params(meaning, named.params) if callable(meaning) else self.guard(meaning)

    def _built_in_guard(self, guard: BuiltInGuard) -> Predicate:
        match guard:
            case And():
                parts = [self.guard(part) for part in guard.guards]
                return _all(parts)
            case Or():
                parts = [self.guard(part) for part in guard.guards]
                return _any(parts)
            case Not():
                inner = self.guard(guard.guard)
                return lambda args: not inner(args)
            case StateIn():
                return self._state_in(guard)

    def _state_in(self, guard: StateIn) -> Predicate:
        value = guard.value
        if not isinstance(value, str) or not value.startswith("#"):
            return lambda args: args.state.matches(value)
        try:
            node = self.chart.find(value)
        except LookupError as error:
            raise Meaningless(str(error.args[0]), f"Ids: {', '.join(self.chart.ids)}.") from error
        return lambda args: node in args.state.configuration.members

    def action(self, wanted: Any, inline: str | None = None) -> BoundAction:
        """`wanted`, anything that may stand for an action, with its meaning; `inline` names a bare function."""
        match wanted:
            case Inline():
                return self.action(wanted.what, inline)
            case Named():
                return self._named_action(wanted)
            case str():
                return self._named_action(Named(wanted))
            case _ if is_object(wanted):
                return self._named_action(_named(wanted))
            case _ if isinstance(wanted, get_args(BuiltInAction)):
                return self._bound(_ACTION_NAMES[type(wanted)], wanted, ABSENT)
            case _ if callable(wanted) and inline is not None:
                return self._bound(inline, Custom(called(wanted)), ABSENT)
            case _:
                raise Meaningless(
                    f"{wanted!r} is no action here", "Give a registered name, or what assign() and the like make."
                )

    def _named_action(self, named: Named) -> BoundAction:
        if named.type in self.logic.actions:
            meaning = self.logic.actions[named.type]
            if isinstance(meaning, get_args(BuiltInAction)):
                return self._bound(named.type, meaning, named.params)
            if callable(meaning):
                return self._bound(named.type, Custom(called(meaning)), named.params)
            raise Meaningless(f"{meaning!r} is no action", "Register a function, or what assign() and the like make.")
        if named.type in _ACTIONS_BY_NAME:
            return self._bound(named.type, _made(_ACTIONS_BY_NAME, named), ABSENT)
        raise _unknown("action", named.type, self.logic.actions)

    def _bound(self, name: str, meaning: Any, params: Any) -> BoundAction:
        if isinstance(meaning, built_in.SpawnChild):
            meaning = evolve(meaning, input=self.input(self.actor(meaning.src), meaning.input))
        delay = self.delay(getattr(meaning, "delay", None))
        return BoundAction(name, meaning, expression(None if params is ABSENT else params), delay)

    def customs(self) -> dict[str, Callable[[Any, Any], object]]:
        """The registered custom actions by name."""
        return {
            name: called(value)
            for name, value in self.logic.actions.items()
            if callable(value) and not isinstance(value, get_args(BuiltInAction))
        }

    def actor(self, name: str) -> Any:
        """The actor or machine that is registered as `name`."""
        if name not in self.logic.actors:
            raise _unknown("actor", name, self.logic.actors)
        return self.logic.actors[name]

    def input(self, actor: Any, given: Expression) -> Expression:
        """What `actor` is started with, where the config or an action has `given`."""
        if not isinstance(actor, Actor) or actor.input is None:
            return given
        compute = called(actor.input)

        def computed(args: Args[Any, Any], params: Any) -> Any:
            said = given(args, params)
            return compute(args, None if said is ABSENT else said)

        return computed

    def delay(self, wanted: Any) -> Expression | None:
        """`wanted`, a name, milliseconds, a duration or a function, as an expression for a duration or None."""
        if wanted is None:
            return None
        if isinstance(wanted, str):
            if wanted not in self.logic.delays:
                raise _unknown("delay", wanted, self.logic.delays)
            wanted = self.logic.delays[wanted]
        if not callable(wanted):
            fixed = duration(wanted)
            return lambda args, params: fixed
        computed = called(wanted)
        return lambda args, params: duration(computed(args, params))


def duration(value: Any) -> timedelta | None:
    """`value`, milliseconds or a duration already, as a duration; None stays None and means no delay.

    Raises:
        ValueError: it is neither, or not finite, or negative.
    """
    match value:
        case None:
            return None
        case timedelta():
            result = value
        case bool():
            raise ValueError(f"{value!r} is no delay: give milliseconds or a timedelta")
        case int() | float() if value - value == 0:  # finite
            result = timedelta(milliseconds=value)
        case _:
            raise ValueError(f"{value!r} is no delay: give milliseconds or a timedelta")
    if result < timedelta(0):
        raise ValueError(f"{value!r} is no delay: it is negative")
    return result


def _all(parts: Iterable[Predicate]) -> Predicate:
    def check(args: Args[Any, Any]) -> bool:
        for part in parts:  # noqa: SIM110 (a generator would cost more than most guards)
            if not part(args):
                return False
        return True

    return check


def _any(parts: Iterable[Predicate]) -> Predicate:
    def check(args: Args[Any, Any]) -> bool:
        for part in parts:  # noqa: SIM110 (a generator would cost more than most guards)
            if part(args):
                return True
        return False

    return check


def _with_params(function: Callable[..., Any], params: Any) -> Predicate:
    given = None if params is ABSENT else params
    if not takes_params(function):
        return function
    if callable(given):
        computed = called(given)
        return lambda args: function(args, computed(args, None))
    return lambda args: function(args, given)


def _named(wanted: Mapping[str, Any]) -> Named:
    if not isinstance(wanted.get("type"), str):
        raise Meaningless(f"{wanted!r} has no type", 'Write {"type": ..., "params": ...}.')
    return Named(wanted["type"], wanted.get("params", ABSENT))


def _unknown(kind: str, name: str, known: Mapping[str, Any]) -> Meaningless:
    from difflib import get_close_matches  # noqa: PLC0415 (only when something is wrong)

    close = get_close_matches(name, known, n=1)
    hint = f'Did you mean "{close[0]}"? ' if close else ""
    return Meaningless(f'no {kind} is registered as "{name}"', f"{hint}Register it: setup({kind}s={{{name!r}: ...}}).")


# What XState knows by itself needs no registration. The params are called as XState calls them.


@frozen
class _Maker:
    """How XState's own `make` is called by name: its params in order, and those that may be left out."""

    make: Callable[..., Any]
    params: tuple[str, ...]
    optional: Mapping[str, str] = {}


def _all_of(guards: Iterable[GuardLike]) -> BuiltInGuard:
    return and_(*guards)


def _one_of(guards: Iterable[GuardLike]) -> BuiltInGuard:
    return or_(*guards)


_LATER = {"id": "id", "delay": "delay"}
_GUARDS_BY_NAME: Mapping[str, _Maker] = {
    "xstate.and": _Maker(_all_of, ("guards",)),
    "xstate.or": _Maker(_one_of, ("guards",)),
    "xstate.not": _Maker(not_, ("guard",)),
    "xstate.stateIn": _Maker(state_in, ("stateValue",)),
}
_ACTIONS_BY_NAME: Mapping[str, _Maker] = {
    "xstate.assign": _Maker(built_in.assign, ("assignment",)),
    "xstate.raise": _Maker(built_in.raise_, ("event",), _LATER),
    "xstate.sendTo": _Maker(built_in.send_to, ("to", "event"), _LATER),
    "xstate.sendParent": _Maker(built_in.send_parent, ("event",), _LATER),
    "xstate.forwardTo": _Maker(built_in.forward_to, ("to",), _LATER),
    "xstate.emit": _Maker(built_in.emit, ("event",)),
    "xstate.log": _Maker(built_in.log, ("value",), {"label": "label"}),
    "xstate.cancel": _Maker(built_in.cancel, ("sendId",)),
    "xstate.spawnChild": _Maker(
        built_in.spawn_child, ("src",), {"id": "id", "input": "input", "systemId": "system_id"}
    ),
    "xstate.stopChild": _Maker(built_in.stop_child, ("id",)),
}
_ACTION_NAMES: Mapping[type[Any], str] = {
    built_in.Assign: "xstate.assign",
    built_in.RaiseEvent: "xstate.raise",
    built_in.SendTo: "xstate.sendTo",
    built_in.EmitEvent: "xstate.emit",
    built_in.LogValue: "xstate.log",
    built_in.CancelSend: "xstate.cancel",
    built_in.SpawnChild: "xstate.spawnChild",
    built_in.StopChild: "xstate.stopChild",
    built_in.EnqueueActions: "xstate.enqueueActions",
}


def known_action(reference: Reference) -> BuiltInAction | None:
    """What `reference` means without any logic; None if it is for logic to say."""
    match reference:
        case Inline(what) if isinstance(what, get_args(BuiltInAction)):
            return cast("BuiltInAction", what)
        case Named(type) if type in _ACTIONS_BY_NAME:
            try:
                return cast("BuiltInAction", _made(_ACTIONS_BY_NAME, reference))
            except Meaningless:
                return None
        case _:
            return None


def _made(makers: Mapping[str, _Maker], named: Named) -> Any:
    maker = makers[named.type]
    known = (*maker.params, *maker.optional)
    params: Any = {} if named.params is ABSENT else named.params
    if not is_object(params) or not set(maker.params) <= set(params) <= set(known):
        raise Meaningless(f"{named.type} cannot be made from {params!r}", f"Its params are: {', '.join(known)}.")
    optional = {maker.optional[name]: value for name, value in params.items() if name in maker.optional}
    return maker.make(*(params[name] for name in maker.params), **optional)


def _asynchronous(path: str, value: Any) -> Fault | None:
    if not iscoroutinefunction(value):
        return None
    return Fault(path, "is async, but a step computes and never waits", "Invoke an actor and use its output.")


_NO_STREAMS = (
    "callbacks and observables cannot be resumed after a crash",
    "Invoke a function that returns one result, and again for the next; or let whoever has the events send them.",
)


def actor_fault(path: str, value: Any) -> Fault | None:
    """What keeps `value`, registered or written at `path`, from being an actor, if anything does."""
    function = value.function if isinstance(value, Actor) else value
    if is_machine(function):
        return None
    if not callable(function):
        return Fault(path, f"{value!r} is no actor", "Register a function (input, call) -> output, or a machine.")
    if isgeneratorfunction(function) or isasyncgenfunction(function):
        return Fault(path, *_NO_STREAMS)
    try:
        signature(function).bind(None, None)
    except TypeError:
        return Fault(path, "does not take two arguments", "An actor is called as function(input, call).")
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
