"""What logic is called with, and how.

As in XState, a function is called with one argument that has everything, and with the params as a second one if it
takes one. Which of the two it is, is looked up when the function is handed over and never again.
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
    """What a guard, an assigner or a delay is given: the context and the event, and the snapshot before the step."""

    context: C
    event: E
    state: Snapshot[C]


class NewArgs(MutableWhileBuilding, Args[Any, Any]):
    """Makes `Args`, quickly."""

    __slots__ = ()

    def __init__(self: Any, context: object, event: object, state: Snapshot[Any]) -> None:
        self.context = context
        self.event = event
        self.state = state
        self.__class__ = Args


Expression: TypeAlias = Callable[[Args[Any, Any], Any], Any]
"""What everything a config may compute is turned into: a function of the argument and the params."""


ValueOrFunction: TypeAlias = Callable[[Args[Any, Any]], Any] | Callable[[Args[Any, Any], Any], Any] | object
"""A literal, or a function that computes it."""


@frozen(eq=False)
class Constant:
    """The expression of a value that is known before anything runs."""

    value: Any

    def __call__(self, args: Args[Any, Any], params: Any) -> Any:
        return self.value


def expression(value: ValueOrFunction) -> Expression:
    """`value` as an expression: a function is called, anything else is what it is."""
    return called(value) if callable(value) else Constant(value)


def known_value(expression: Expression | None) -> Any:
    """What `expression` comes to whatever it is called with; ABSENT if only a call can tell."""
    return expression.value if isinstance(expression, Constant) else ABSENT


def called(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """`function`, which takes params or does not, as one that takes them."""
    if takes_params(function):
        return function
    return lambda argument, params: function(argument)


def takes_params(function: Callable[..., Any]) -> bool:
    """Whether `function` wants the params too: a second argument without a default, or one called so."""
    try:
        parameters = signature(function).parameters.values()
    except (TypeError, ValueError):  # some functions written in C do not say
        return False
    positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    if any(each.kind is Parameter.VAR_POSITIONAL for each in parameters):
        return True
    return len(positional) > 1 and (positional[1].default is Parameter.empty or positional[1].name == "params")
