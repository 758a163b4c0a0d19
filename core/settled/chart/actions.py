"""XState's built-in actions, as data. They change the snapshot or become effects; nothing is executed here.

A value may be given as a function of `Args` (and params) instead. Wherever an action is expected, it may be the name of
one, an object with ``type`` and ``params``, or the result of one of these functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Generic, TypeAlias, TypeVar

from attrs import frozen

from settled.chart.args import Args, Expression, ValueOrFunction, accepting_params, expression
from settled.chart.guards import GuardLike
from settled.chart.snapshot import Snapshot
from settled.data import ABSENT

C = TypeVar("C")
E = TypeVar("E")

INTERNAL, PARENT = "#_internal", "#_parent"
"""XState's targets of a ``sendTo`` for the machine itself and for its parent."""

DelayRef: TypeAlias = str | float | timedelta | Callable[[Args[Any, Any]], float | timedelta | None]
"""The name of a delay, milliseconds, a duration, or a function of `Args` that returns one (None: no delay)."""


@frozen
class Assign:
    """Update the context with `changes`, which gives a mapping of new values (or a complete new context)."""

    changes: Expression


@frozen
class RaiseEvent:
    """Raise `event` within the current step, or after `delay`."""

    event: Expression
    id: str | None = None
    delay: DelayRef | None = None


@frozen
class SendTo:
    """Send `event` to the actor `to`; None forwards the current event."""

    to: Expression
    event: Expression | None
    id: str | None = None
    delay: DelayRef | None = None


@frozen
class EmitEvent:
    """Emit `event` to subscribers."""

    event: Expression


@frozen
class LogValue:
    """Log `value`."""

    value: Expression
    label: str | None = None


@frozen
class CancelSend:
    """Cancel the delayed event that was raised or sent with `id`."""

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
    """Execute the actions that `collect` enqueues, in place of this one."""

    collect: Callable[[EnqueueArgs[Any, Any], Any], object]


BuiltInAction: TypeAlias = (
    Assign | RaiseEvent | SendTo | EmitEvent | LogValue | CancelSend | SpawnChild | StopChild | EnqueueActions
)
ActionLike: TypeAlias = "str | Mapping[str, Any] | BuiltInAction"


@frozen
class EnqueueArgs(Generic[C, E]):
    """The argument of a function given to `enqueue_actions`: the fields of `Args`, and `enqueue` and `check`.

    Enqueued actions are executed after the function returns, so `context` and `check` never see their changes.
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
    """Update the context: by keywords, by a mapping, or by a function that returns one, or a complete new context.

    Each value is a literal or a function of `Args`. A context of an attrs class is evolved.
    """
    if callable(update):
        return Assign(accepting_params(update))
    values = {key: expression(value) for key, value in {**(update or {}), **changes}.items()}
    if len(values) == 1:  # the most common case, and a dict display is faster than a comprehension
        ((only, compute),) = values.items()
        return Assign(lambda args, params: {only: compute(args, params)})
    return Assign(lambda args, params: {key: value(args, params) for key, value in values.items()})


def raise_(event: ValueOrFunction, *, id: str | None = None, delay: DelayRef | None = None) -> RaiseEvent:
    """Raise `event` within the current step, before any external event; with a `delay`, later."""
    return RaiseEvent(expression(event), id, delay)


def send_to(
    to: ValueOrFunction, event: ValueOrFunction, *, id: str | None = None, delay: DelayRef | None = None
) -> SendTo:
    """Send `event` to `to`: the id of a child, ``#_internal`` for this machine, or the key of an instance as text."""
    return SendTo(expression(to), expression(event), id, delay)


def send_parent(event: ValueOrFunction, *, id: str | None = None, delay: DelayRef | None = None) -> SendTo:
    """Send `event` to the machine that invoked this one."""
    return send_to(PARENT, event, id=id, delay=delay)


def forward_to(to: ValueOrFunction, *, id: str | None = None, delay: DelayRef | None = None) -> SendTo:
    """Forward the current event to the child `to`."""
    return SendTo(expression(to), None, id, delay)


def emit(event: ValueOrFunction) -> EmitEvent:
    """Emit `event` to the subscribers of this machine."""
    return EmitEvent(expression(event))


def log(value: ValueOrFunction, label: str | None = None) -> LogValue:
    """Log `value`, with `label` if there is one."""
    return LogValue(expression(value), label)


def cancel(id: ValueOrFunction) -> CancelSend:
    """Cancel the delayed event that was raised or sent with `id`."""
    return CancelSend(expression(id))


def spawn_child(
    src: str, *, id: ValueOrFunction = None, input: ValueOrFunction = ABSENT, system_id: str | None = None
) -> SpawnChild:
    """Start the registered actor `src` as the child `id` (by default `src`), until it is stopped."""
    return SpawnChild(src, expression(src if id is None else id), expression(input), system_id)


def stop_child(id: ValueOrFunction) -> StopChild:
    """Stop the child `id`."""
    return StopChild(expression(id))


def enqueue_actions(
    collect: Callable[[EnqueueArgs[Any, Any]], object] | Callable[[EnqueueArgs[Any, Any], Any], object],
) -> EnqueueActions:
    """Choose actions in Python: `collect` is called with `EnqueueArgs`, and the params if it takes them."""
    return EnqueueActions(accepting_params(collect))
