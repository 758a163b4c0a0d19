"""The arguments of the author's functions, and expressions: literals and functions in one form.

As in XState, a function is called with `Args`, and with the params as a second argument if it takes one. Its signature
is inspected once and not at each call, because inspecting it takes longer than most of these functions.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any, Generic, TypeAlias, TypeVar

from attrs import frozen

from settled._fast_frozen import MutableWhileBuilding
from settled.chart.snapshot import Snapshot
from settled.data import ABSENT

C = TypeVar("C")
E = TypeVar("E")


@frozen
class Args(Generic[C, E]):
    """The argument of a guard, an assigner or a delay: context, event, and the snapshot before the microstep."""

    context: C
    event: E
    state: Snapshot[C]


class NewArgs(MutableWhileBuilding, Args[Any, Any]):
    """A faster constructor of `Args`; see `settled._fast_frozen`."""

    __slots__ = ()

    def __init__(self: Any, context: object, event: object, state: Snapshot[Any]) -> None:
        self.context = context
        self.event = event
        self.state = state
        self.__class__ = Args


Expression: TypeAlias = Callable[[Args[Any, Any], Any], Any]
"""A function of the `Args` and the params; every value that a config may compute is converted to one."""

ValueOrFunction: TypeAlias = Callable[[Args[Any, Any]], Any] | Callable[[Args[Any, Any], Any], Any] | object
"""A literal, or a function that computes it."""


@frozen(eq=False)
class Constant:
    """The expression of a literal."""

    value: Any

    def __call__(self, args: Args[Any, Any], params: Any) -> Any:
        return self.value


def expression(value: ValueOrFunction) -> Expression:
    """Return `value` as an expression; anything but a function is a literal."""
    return accepting_params(value) if callable(value) else Constant(value)


def literal_value(expression: Expression | None) -> Any:
    """Return the value of `expression` if it is a literal, else ABSENT."""
    return expression.value if isinstance(expression, Constant) else ABSENT


def accepting_params(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """Return `function`, whether it takes params or not, as one that takes them."""
    if takes_params(function):
        return function
    return lambda argument, params: function(argument)


def takes_params(function: Callable[..., Any]) -> bool:
    """Return whether `function` takes params.

    They are a second positional argument without a default, or one named ``params``.
    """
    try:
        parameters = signature(function).parameters.values()
    except (TypeError, ValueError):  # some functions written in C have no signature
        return False
    positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    if any(each.kind is Parameter.VAR_POSITIONAL for each in parameters):
        return True
    return len(positional) > 1 and (positional[1].default is Parameter.empty or positional[1].name == "params")
