"""The lexicon: what the names in one chart mean.

A config is text and names things; a `Lexicon` reads them against what the author registered, and against what XState
knows by itself. All lookups happen when a machine is compiled (only what an ``enqueue_actions`` enqueues is looked up
as it comes), so a name without a meaning is found before anything runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, TypeAlias, get_args

from attrs import frozen

from settled._fast_frozen import evolve
from settled.chart import actions as built_in
from settled.chart.actions import BuiltInAction
from settled.chart.args import Args, Expression, called, expression, takes_params
from settled.chart.builtins import ACTION_NAMES, ACTIONS_BY_NAME, GUARDS_BY_NAME, UnresolvedNameError, make_builtin
from settled.chart.chart import Chart
from settled.chart.config import Inline, Named
from settled.chart.guards import And, BuiltInGuard, Not, Or, StateIn
from settled.chart.implementations import Actor, Implementations
from settled.data import ABSENT, is_object

Predicate: TypeAlias = Callable[[Args[Any, Any]], object]
"""A guard that has its params already. It holds if what it returns is true to Python."""


@frozen
class CustomAction:
    """An action of the machine's author: the step only names it, and a host runs it."""

    function: Callable[[Any, Any], object]


@frozen
class BoundAction:
    """An action with its meaning. `delay` is the meaning's own, if it has one."""

    name: str
    implementation: CustomAction | BuiltInAction
    params: Expression
    delay: Expression | None = None


@frozen
class Resolver:
    """What the names of `chart` mean. Each method raises `Meaningless` for a name that means nothing."""

    chart: Chart
    implementations: Implementations

    def guard(self, wanted: Any) -> Predicate:
        """`wanted`, anything that may stand for a guard, as a predicate."""
        match wanted:
            case Inline():
                return self.guard(wanted.implementation)
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
                raise UnresolvedNameError(
                    f"{wanted!r} is no guard", "Give a name, a function, or what and_() and the like make."
                )

    def _named_guard(self, named: Named) -> Predicate:
        if named.type in self.implementations.guards:
            meaning = self.implementations.guards[named.type]
        elif named.type in GUARDS_BY_NAME:
            meaning = make_builtin(GUARDS_BY_NAME, named)
        else:
            raise _unknown("guard", named.type, self.implementations.guards)
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
            raise UnresolvedNameError(str(error.args[0]), f"Ids: {', '.join(self.chart.ids)}.") from error
        return lambda args: node in args.state.configuration.members

    def action(self, wanted: Any, inline: str | None = None) -> BoundAction:
        """`wanted`, anything that may stand for an action, with its meaning; `inline` names a bare function."""
        match wanted:
            case Inline():
                return self.action(wanted.implementation, inline)
            case Named():
                return self._named_action(wanted)
            case str():
                return self._named_action(Named(wanted))
            case _ if is_object(wanted):
                return self._named_action(_named(wanted))
            case _ if isinstance(wanted, get_args(BuiltInAction)):
                return self._bound(ACTION_NAMES[type(wanted)], wanted, ABSENT)
            case _ if callable(wanted) and inline is not None:
                return self._bound(inline, CustomAction(called(wanted)), ABSENT)
            case _:
                raise UnresolvedNameError(
                    f"{wanted!r} is no action here", "Give a registered name, or what assign() and the like make."
                )

    def _named_action(self, named: Named) -> BoundAction:
        if named.type in self.implementations.actions:
            meaning = self.implementations.actions[named.type]
            if isinstance(meaning, get_args(BuiltInAction)):
                return self._bound(named.type, meaning, named.params)
            if callable(meaning):
                return self._bound(named.type, CustomAction(called(meaning)), named.params)
            raise UnresolvedNameError(
                f"{meaning!r} is no action", "Register a function, or what assign() and the like make."
            )
        if named.type in ACTIONS_BY_NAME:
            return self._bound(named.type, make_builtin(ACTIONS_BY_NAME, named), ABSENT)
        raise _unknown("action", named.type, self.implementations.actions)

    def _bound(self, name: str, meaning: Any, params: Any) -> BoundAction:
        if isinstance(meaning, built_in.SpawnChild):
            meaning = evolve(meaning, input=self.input(self.actor(meaning.src), meaning.input))
        delay = self.delay(getattr(meaning, "delay", None))
        return BoundAction(name, meaning, expression(None if params is ABSENT else params), delay)

    def customs(self) -> dict[str, Callable[[Any, Any], object]]:
        """The registered custom actions by name."""
        return {
            name: called(value)
            for name, value in self.implementations.actions.items()
            if callable(value) and not isinstance(value, get_args(BuiltInAction))
        }

    def actor(self, name: str) -> Any:
        """The actor or machine that is registered as `name`."""
        if name not in self.implementations.actors:
            raise _unknown("actor", name, self.implementations.actors)
        return self.implementations.actors[name]

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
            if wanted not in self.implementations.delays:
                raise _unknown("delay", wanted, self.implementations.delays)
            wanted = self.implementations.delays[wanted]
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
        raise UnresolvedNameError(f"{wanted!r} has no type", 'Write {"type": ..., "params": ...}.')
    return Named(wanted["type"], wanted.get("params", ABSENT))


def _unknown(kind: str, name: str, known: Mapping[str, Any]) -> UnresolvedNameError:
    from difflib import get_close_matches  # noqa: PLC0415 (only when something is wrong)

    close = get_close_matches(name, known, n=1)
    hint = f'Did you mean "{close[0]}"? ' if close else ""
    return UnresolvedNameError(
        f'no {kind} is registered as "{name}"', f"{hint}Register it: setup({kind}s={{{name!r}: ...}})."
    )
