"""The actions that XState knows by itself.

They change the snapshot or become effects, and run nothing. Where a value is asked for, there may be a function of
`Args` (and of the params) in its place. Wherever an action is asked for, there may be the name of one, an object with
``type`` and ``params``, or what one of these functions returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Generic, TypeAlias, TypeVar

from attrs import frozen

from settled.chart.args import Args, Expression, ValueOrFunction, called, expression
from settled.chart.guards import GuardLike
from settled.chart.snapshot import Snapshot
from settled.data import ABSENT

C = TypeVar("C")
E = TypeVar("E")

INTERNAL, PARENT = "#_internal", "#_parent"
"""How XState writes the machine itself and its parent as the target of a ``sendTo``."""

DelayRef: TypeAlias = str | float | timedelta | Callable[[Args[Any, Any]], float | timedelta | None]
"""The name of a delay, milliseconds, a duration, or a function of `Args` returning one (None: no delay)."""


@frozen
class Assign:
    """Replace the context by one with `changes`, a mapping (or a whole new context)."""

    changes: Expression


@frozen
class RaiseEvent:
    """Take `event` in this same step, or once `delay` has passed."""

    event: Expression
    id: str | None = None
    delay: DelayRef | None = None


@frozen
class SendTo:
    """Send `event` to the actor `to`; no event means the one that is being taken."""

    to: Expression
    event: Expression | None
    id: str | None = None
    delay: DelayRef | None = None


@frozen
class EmitEvent:
    """Hand `event` to whoever listens."""

    event: Expression


@frozen
class LogValue:
    """Write down `value`."""

    value: Expression
    label: str | None = None


@frozen
class CancelSend:
    """Cancel what was raised or sent with a delay under `id`."""

    id: Expression


@frozen
class SpawnChild:
    """Start the actor `src` as the child `id`."""

    src: str
    id: Expression
    input: Expression
    system_id: str | None = None
    sync: bool = False


@frozen
class StopChild:
    """Stop the child `id`."""

    id: Expression


@frozen
class EnqueueActions:
    """Run what `collect` enqueues, in this action's place."""

    collect: Callable[[EnqueueArgs[Any, Any], Any], object]


BuiltInAction: TypeAlias = (
    Assign | RaiseEvent | SendTo | EmitEvent | LogValue | CancelSend | SpawnChild | StopChild | EnqueueActions
)
ActionLike: TypeAlias = "str | Mapping[str, Any] | BuiltInAction"


@frozen
class EnqueueArgs(Generic[C, E]):
    """What `enqueue_actions` gives its function: `Args`, and `enqueue` and `check`.

    All of it is from before the first enqueued action: what is enqueued runs after the function has returned.
    """

    context: C
    event: E
    state: Snapshot[C]
    enqueue: Callable[[ActionLike], None]
    check: Callable[[GuardLike], bool]


Update: TypeAlias = (
    Mapping[str, ValueOrFunction] | Callable[[Args[Any, Any]], Any] | Callable[[Args[Any, Any], Any], Any]
)


def assign(update: Update | None = None, /, **changes: ValueOrFunction) -> Assign:
    """Change the context: by keywords, by a mapping, or by a function that returns one or a whole new context.

    Each value is a literal or a function of `Args`. An attrs context is replaced by its evolved copy.
    """
    if callable(update):
        return Assign(called(update))
    values = {key: expression(value) for key, value in {**(update or {}), **changes}.items()}
    if len(values) == 1:
        ((only, compute),) = values.items()
        return Assign(lambda args, params: {only: compute(args, params)})
    return Assign(lambda args, params: {key: value(args, params) for key, value in values.items()})


def raise_(event: ValueOrFunction, *, id: str | None = None, delay: DelayRef | None = None) -> RaiseEvent:
    """Raise `event`: it is taken in this same step, before anything from outside; with a `delay`, later."""
    return RaiseEvent(expression(event), id, delay)


def send_to(
    to: ValueOrFunction, event: ValueOrFunction, *, id: str | None = None, delay: DelayRef | None = None
) -> SendTo:
    """Send `event` to the child `to`, to the machine itself (``#_internal``), or to an instance's key as text."""
    return SendTo(expression(to), expression(event), id, delay)


def send_parent(event: ValueOrFunction, *, id: str | None = None, delay: DelayRef | None = None) -> SendTo:
    """Send `event` to the machine that invoked this one."""
    return send_to(PARENT, event, id=id, delay=delay)


def forward_to(to: ValueOrFunction, *, id: str | None = None, delay: DelayRef | None = None) -> SendTo:
    """Send the event that is being taken to the child `to`."""
    return SendTo(expression(to), None, id, delay)


def emit(event: ValueOrFunction) -> EmitEvent:
    """Hand `event` to whoever listens to this machine."""
    return EmitEvent(expression(event))


def log(value: ValueOrFunction, label: str | None = None) -> LogValue:
    """Write down `value`, under `label` if there is one."""
    return LogValue(expression(value), label)


def cancel(id: ValueOrFunction) -> CancelSend:
    """Cancel the delayed event that was raised or sent under `id`."""
    return CancelSend(expression(id))


def spawn_child(
    src: str, *, id: ValueOrFunction = None, input: ValueOrFunction = ABSENT, system_id: str | None = None
) -> SpawnChild:
    """Start the registered actor `src` as the child `id`, by default its own name, until it is stopped."""
    return SpawnChild(src, expression(src if id is None else id), expression(input), system_id)


def stop_child(id: ValueOrFunction) -> StopChild:
    """Stop the child `id`."""
    return StopChild(expression(id))


def enqueue_actions(
    collect: Callable[[EnqueueArgs[Any, Any]], object] | Callable[[EnqueueArgs[Any, Any], Any], object],
) -> EnqueueActions:
    """Decide in Python which actions run: `collect` is given `EnqueueArgs`, and the params if it takes them."""
    return EnqueueActions(called(collect))
