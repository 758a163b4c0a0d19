"""The one argument of the author's functions, and expressions: literals and functions in one form.

Every function of a machine's author that a step or a host calls takes exactly one argument: `Args`, or a class derived
from it that adds to it. Whether it can be called with one is checked when it is registered, not when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from inspect import signature
from typing import Any, Generic, TypeAlias

from attrs import frozen
from typing_extensions import TypeVar

from settled._fast_frozen import MutableWhileBuilding
from settled.chart.snapshot import C, Snapshot
from settled.data import ABSENT, freeze
from settled.errors import DefinitionError, DefinitionProblem

E = TypeVar("E", default=Any)
AnyContext = TypeVar("AnyContext", bound=Any, default=Any)
"""The context of functions that may be written outside of `setup`: a type checker that cannot infer it takes Any."""


@frozen
class Args(Generic[C, E]):
    """The argument of a guard, an assigner, a delay, an input or an output.

    None of it can be changed in place, because others share it: to try raises TypeError. Return new values instead.

    Attributes:
        context: the context at this position of the step.
        event: the event being taken, an instance of the class declared for its type if there is one.
        params: the ``params`` that the config gives where it names the function, computed if they are a function
            themselves; None where it gives none. For the ``input`` of an actor: the ``input`` in the config.
        state: the snapshot before the microstep.
    """

    context: C
    event: E
    params: Any
    state: Snapshot[C]


class NewArgs(MutableWhileBuilding, Args[Any]):
    """A faster constructor of `Args`; see `settled._fast_frozen`."""

    __slots__ = ()

    def __init__(self: Any, context: object, event: object, params: object, state: Snapshot[Any]) -> None:
        self.context = context
        self.event = event
        self.params = params
        self.state = state
        self.__class__ = Args


Expression: TypeAlias = Callable[[Args[AnyContext]], Any]
"""A function of `Args`; every value that a config may compute is converted to one."""

ValueOrFunction: TypeAlias = Expression[AnyContext] | Hashable | Collection[Any]
"""A literal, or a function that computes it. With `object` for the literal, mypy would not look at the function."""


@frozen(eq=False)
class Constant:
    """The expression of a literal."""

    value: Any

    def __call__(self, args: Args[Any]) -> Any:
        return self.value


def expression(value: ValueOrFunction) -> Expression:
    """Return `value` as an expression; anything but a function is a literal.

    Raises:
        DefinitionError: it is a function that cannot be called with one argument.
    """
    return with_one_argument(value) if callable(value) else Constant(freeze(value))


def literal_value(expression: Expression | None) -> Any:
    """Return the value of `expression` if it is a literal, else ABSENT."""
    return expression.value if isinstance(expression, Constant) else ABSENT


def with_params(compute: Expression, params: Expression) -> Expression:
    """Return `compute` with `params` as the params of its argument."""
    known = literal_value(params)
    if known is None:  # the params that `Args` has by default
        return compute
    if known is ABSENT:
        return lambda args: compute(NewArgs(args.context, args.event, freeze(params(args)), args.state))

    def compute_with_known(args: Args[Any]) -> Any:
        # `NewArgs(...)`, inlined: most guards with params take less time than its call.
        own: Any = object.__new__(NewArgs)
        own.context = args.context
        own.event = args.event
        own.params = known
        own.state = args.state
        own.__class__ = Args
        return compute(own)

    return compute_with_known


def with_one_argument(function: Callable[..., Any]) -> Callable[[Any], Any]:
    """Return `function`.

    Raises:
        DefinitionError: it cannot be called with one argument; the problem's path is the function's name.
    """
    if problem := arity_problem(getattr(function, "__qualname__", repr(function)), function):
        raise DefinitionError([problem])
    return function


def arity_problem(path: str, function: Callable[..., Any]) -> DefinitionProblem | None:
    """Return the problem, at `path`, of a `function` that cannot be called with one argument; None if it can."""
    try:
        signature(function).bind(None)
    except TypeError:
        return DefinitionProblem(path, "cannot be called with one argument", "Take one argument a, and read a.params.")
    except ValueError:  # some functions written in C have no signature
        pass
    return None
