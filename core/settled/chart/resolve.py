"""Resolve the references in a chart to implementations: the author's, or XState's built-in ones.

All references are resolved when the machine is compiled, so an unknown name is found before anything runs. Only the
actions and guards inside ``enqueue_actions`` are resolved in the step, because they are not known earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, TypeAlias

from attrs import frozen

from settled._fast_frozen import evolve
from settled.chart import actions as built_in
from settled.chart.actions import BuiltInAction
from settled.chart.args import Args, Constant, Expression, NewArgs, expression, with_one_argument, with_params
from settled.chart.builtins import (
    ACTION_NAMES,
    ACTIONS_BY_NAME,
    GUARDS_BY_NAME,
    UnresolvedNameError,
    is_built_in_action,
    make_builtin,
)
from settled.chart.chart import Chart
from settled.chart.config import Inline, Named
from settled.chart.guards import And, BuiltInGuard, Not, Or, StateIn
from settled.chart.implementations import Implementations, is_actor
from settled.chart.literals import check_literals, is_state_value
from settled.chart.problems import did_you_mean, listed
from settled.data import ABSENT, freeze, is_object
from settled.durations import check_duration

Predicate: TypeAlias = Callable[[Args[Any]], object]
"""A guard whose params are bound. It is true if its result is truthy."""


@frozen
class CustomAction:
    """An action of the machine's author. A step only emits an effect that names it; a host runs it."""

    function: Callable[[Any], object]


@frozen
class BoundAction:
    """An action with its implementation, its params, and the `delay` of its implementation if that has one."""

    name: str
    implementation: CustomAction | BuiltInAction
    params: Expression
    delay: Expression | None = None


@frozen
class Resolver:
    """A resolver of the references in `chart`. Its methods raise UnresolvedNameError if nothing valid is found.

    With `allows_unknown_names`, a name that is not registered is not an error, and stands for a function that does
    nothing: this is how a config is checked without its implementations.
    """

    chart: Chart
    implementations: Implementations
    allows_unknown_names: bool = False

    def guard(self, reference: Any) -> Predicate:
        """Return the predicate of a guard, which may be given in any form of `GuardLike`."""
        match reference:
            case Inline():
                return self.guard(reference.implementation)
            case Named():
                return self._named_guard(reference)
            case str():
                return self._named_guard(Named(reference))
            case _ if is_object(reference):
                return self._named_guard(_named_from(reference))
            case And() | Or() | Not() | StateIn():
                return self._built_in_guard(reference)
            case _ if callable(reference):
                return with_one_argument(reference)
            case _:
                remedy = "Give a name, a function, or the result of and_() and the like."
                raise UnresolvedNameError(f"{reference!r} is not a guard", remedy)

    def _named_guard(self, named: Named) -> Predicate:
        if named.type in self.implementations.guards:
            implementation = self.implementations.guards[named.type]
        elif named.type in GUARDS_BY_NAME:
            implementation = make_builtin(GUARDS_BY_NAME, named)
        else:
            implementation = self._unknown("guard", named.type, self.implementations.guards)
        if not callable(implementation):
            return self.guard(implementation)
        return with_params(implementation, _params(named.params))

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
        if not is_state_value(value):
            raise UnresolvedNameError(f"{value!r} is not a state value", 'Write "a.b", {"a": "b"} or "#id".')
        if not isinstance(value, str) or not value.startswith("#"):
            return lambda args: args.state.matches(value)
        try:
            node = self.chart.find(value)
        except LookupError as error:
            raise UnresolvedNameError(str(error.args[0]), f"Ids: {listed(self.chart.ids)}.") from error
        return lambda args: node in args.state.configuration.members

    def action(self, reference: Any, inline: str | None = None) -> BoundAction:
        """Return the action of `reference`, which may be given in any form of `ActionLike`.

        A bare function becomes a custom action named `inline`. Without that name it is invalid, because an effect
        refers to its action by name.
        """
        match reference:
            case Inline():
                return self.action(reference.implementation, inline)
            case Named():
                return self._named_action(reference)
            case str():
                return self._named_action(Named(reference))
            case _ if is_object(reference):
                return self._named_action(_named_from(reference))
            case _ if is_built_in_action(reference):
                return self._bind(ACTION_NAMES[type(reference)], reference, ABSENT)
            case _ if callable(reference) and inline is not None:
                return self._bind(inline, CustomAction(with_one_argument(reference)), ABSENT)
            case _:
                remedy = "Give a registered name, or the result of assign() and the like."
                raise UnresolvedNameError(f"{reference!r} is not an action here", remedy)

    def _named_action(self, named: Named) -> BoundAction:
        if named.type in self.implementations.actions:
            implementation = self.implementations.actions[named.type]
            if is_built_in_action(implementation):
                return self._bind(named.type, implementation, named.params)
            if callable(implementation):
                return self._bind(named.type, CustomAction(implementation), named.params)
            raise UnresolvedNameError(
                f"{implementation!r} is not an action", "Register a function, or the result of assign() and the like."
            )
        if named.type in ACTIONS_BY_NAME:
            return self._bind(named.type, make_builtin(ACTIONS_BY_NAME, named), ABSENT)
        unknown = self._unknown("action", named.type, self.implementations.actions)
        return self._bind(named.type, CustomAction(unknown), named.params)

    def _bind(self, name: str, implementation: CustomAction | BuiltInAction, params: Any) -> BoundAction:
        if is_built_in_action(implementation):
            check_literals(implementation)
        if isinstance(implementation, built_in.SpawnChild):
            child = self.actor(implementation.src)
            implementation = evolve(implementation, input=self.input(child, implementation.input))
        delay = self.delay(getattr(implementation, "delay", None))
        return BoundAction(name, implementation, _params(params), delay)

    def custom_actions(self) -> dict[str, Callable[[Any], object]]:
        """Return the registered custom actions by name."""
        return {
            name: value
            for name, value in self.implementations.actions.items()
            if callable(value) and not is_built_in_action(value)
        }

    def actor(self, name: str) -> Any:
        """Return the actor or machine that is registered as `name`."""
        if name not in self.implementations.actors:
            return self._unknown("actor", name, self.implementations.actors)
        return self.implementations.actors[name]

    def _unknown(self, kind: str, name: str, known: Mapping[str, Any]) -> Callable[[Any], None]:
        """Return the function that an unknown `name` stands for, or raise UnresolvedNameError."""
        if self.allows_unknown_names:
            return lambda args: None
        register = f"Register it: setup({kind}s={{{name!r}: ...}})."
        suggestion = did_you_mean(name, known)
        remedy = f"{suggestion} {register}" if suggestion else register
        raise UnresolvedNameError(f'no {kind} is registered as "{name}"', remedy)

    def input(self, actor: Any, given: Expression) -> Expression:
        """Return the input of `actor`: its own function's, called with `given` as params, or else `given`."""
        compute = actor.input if is_actor(actor) else None
        if compute is None:
            return given

        def computed(args: Args[Any]) -> Any:
            params = given(args)
            return compute(NewArgs(args.context, args.event, None if params is ABSENT else freeze(params), args.state))

        return computed

    def delay(self, reference: Any) -> Expression | None:
        """Return a delay, given in any form of `DelayRef`, as an expression of a timedelta or None."""
        match reference:
            case None:
                return None
            case str() if reference in self.implementations.delays:
                given = self.implementations.delays[reference]  # `Implementations.problems` checks it
            case str():
                given = self._unknown("delay", reference, self.implementations.delays)
            case _:
                given = with_one_argument(reference) if callable(reference) else check_duration(reference, "a delay")
        return (lambda args: _checked_delay(given(args))) if callable(given) else Constant(given)


def _checked_delay(delay: object) -> timedelta | None:
    """Return a computed delay; a negative one is none, as JavaScript's timers fire at once then."""
    is_negative = isinstance(delay, timedelta) and delay < timedelta()
    return None if delay is None else timedelta() if is_negative else check_duration(delay, "a delay")


def _all(parts: Iterable[Predicate]) -> Predicate:
    def check(args: Args[Any]) -> bool:
        for part in parts:  # noqa: SIM110 (a generator would cost more than most guards)
            if not part(args):
                return False
        return True

    return check


def _any(parts: Iterable[Predicate]) -> Predicate:
    def check(args: Args[Any]) -> bool:
        for part in parts:  # noqa: SIM110 (a generator would cost more than most guards)
            if part(args):
                return True
        return False

    return check


def _params(given: Any) -> Expression:
    return expression(None if given is ABSENT else given)  # XState's undefined params are None to Python


def _named_from(reference: Mapping[str, Any]) -> Named:
    if not isinstance(reference.get("type"), str):
        raise UnresolvedNameError(f"{reference!r} has no type", 'Write {"type": ..., "params": ...}.')
    return Named(reference["type"], reference.get("params", ABSENT))
