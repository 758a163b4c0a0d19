"""XState's built-in actions, as data. They change the snapshot or become effects; nothing is executed here.

A value may be given as a function of `Args` instead. Wherever an action is expected, it may be the name of
one, an object with ``type`` and ``params``, or the result of one of these functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Generic, TypeAlias

from attrs import frozen

from settled.chart.args import AnyContext, Args, E, Expression, ValueOrFunction, expression, with_one_argument
from settled.chart.guards import GuardLike
from settled.chart.snapshot import C
from settled.data import ABSENT, is_object

INTERNAL, PARENT = "#_internal", "#_parent"
"""XState's targets of a ``sendTo`` for the machine itself and for its parent."""

DelayRef: TypeAlias = str | timedelta | Callable[[Args[AnyContext]], timedelta | None]
"""The name of a delay, a duration, or a function of `Args` that returns one (None: no delay)."""


@frozen
class Assign(Generic[AnyContext]):
    """Update the context with `changes`, which gives a mapping of new values (or a complete new context)."""

    changes: Expression[AnyContext]


@frozen(eq=False)
class FieldChanges:
    """The changes of some fields of a context, each computed by itself."""

    values: Mapping[str, Expression]

    def __call__(self, args: Args[Any]) -> Mapping[str, Any]:
        return {key: value(args) for key, value in self.values.items()}


@frozen
class RaiseEvent(Generic[AnyContext]):
    """Raise `event` within the current step, or after `delay`."""

    event: Expression[AnyContext]
    id: str | None = None
    delay: DelayRef[AnyContext] | None = None


@frozen
class SendTo(Generic[AnyContext]):
    """Send `event` to the actor `to`; None forwards the current event."""

    to: Expression[AnyContext]
    event: Expression[AnyContext] | None
    id: str | None = None
    delay: DelayRef[AnyContext] | None = None


@frozen
class EmitEvent(Generic[AnyContext]):
    """Emit `event` to subscribers."""

    event: Expression[AnyContext]


@frozen
class LogValue(Generic[AnyContext]):
    """Log `value`."""

    value: Expression[AnyContext]
    label: str | None = None


@frozen
class CancelSend(Generic[AnyContext]):
    """Cancel the delayed event that was raised or sent with `id`."""

    id: Expression[AnyContext]


@frozen
class SpawnChild(Generic[AnyContext]):
    """Start the actor `src` as the child `id`."""

    src: str
    id: Expression[AnyContext]
    input: Expression[AnyContext]
    system_id: str | None = None
    sync: bool = False


@frozen
class StopChild(Generic[AnyContext]):
    """Stop the child `id`."""

    id: Expression[AnyContext]


@frozen
class EnqueueActions(Generic[AnyContext]):
    """Execute the actions that `collect` enqueues, in place of this one."""

    collect: Callable[[EnqueueArgs[AnyContext]], object]


BuiltInAction: TypeAlias = (
    Assign[AnyContext]
    | RaiseEvent[AnyContext]
    | SendTo[AnyContext]
    | EmitEvent[AnyContext]
    | LogValue[AnyContext]
    | CancelSend[AnyContext]
    | SpawnChild[AnyContext]
    | StopChild[AnyContext]
    | EnqueueActions[AnyContext]
)
ActionLike: TypeAlias = "str | Mapping[str, Any] | BuiltInAction"


@frozen
class EnqueueArgs(Args[C, E]):
    """The argument of a function given to `enqueue_actions`: `Args` with `enqueue` and `check`.

    Enqueued actions are executed after the function returns, so `context` and `check` never see their changes.
    """

    enqueue: Callable[[ActionLike], None]
    check: Callable[[GuardLike], bool]


Update: TypeAlias = Mapping[str, ValueOrFunction[AnyContext]] | Expression[AnyContext]


def assign(update: Update[AnyContext] | None = None, /, **changes: ValueOrFunction[AnyContext]) -> Assign[AnyContext]:
    """Update the context: by keywords, by a mapping, or by a function that returns one, or a complete new context.

    Each value is a literal or a function of `Args`. A context of an attrs class is evolved.
    """
    if callable(update):
        return Assign(with_one_argument(update))
    if update is not None and not is_object(update):
        raise TypeError(f"assign() takes keywords, a mapping, or a function that returns one, not {update!r}")
    values = {key: expression(value) for key, value in {**(update or {}), **changes}.items()}
    return Assign(FieldChanges(values))


def raise_(
    event: ValueOrFunction[AnyContext], *, id: str | None = None, delay: DelayRef[AnyContext] | None = None
) -> RaiseEvent[AnyContext]:
    """Raise `event` within the current step, before any external event; with a `delay`, later."""
    return RaiseEvent(expression(event), id, delay)


def send_to(
    to: ValueOrFunction[AnyContext],
    event: ValueOrFunction[AnyContext],
    *,
    id: str | None = None,
    delay: DelayRef[AnyContext] | None = None,
) -> SendTo[AnyContext]:
    """Send `event` to `to`: the id of a child, ``#_internal`` for this machine, or the key of an instance as text."""
    return SendTo(expression(to), expression(event), id, delay)


def send_parent(
    event: ValueOrFunction[AnyContext], *, id: str | None = None, delay: DelayRef[AnyContext] | None = None
) -> SendTo[AnyContext]:
    """Send `event` to the machine that invoked this one."""
    return send_to(PARENT, event, id=id, delay=delay)


def forward_to(
    to: ValueOrFunction[AnyContext], *, id: str | None = None, delay: DelayRef[AnyContext] | None = None
) -> SendTo[AnyContext]:
    """Forward the current event to the child `to`."""
    return SendTo(expression(to), None, id, delay)


def emit(event: ValueOrFunction[AnyContext]) -> EmitEvent[AnyContext]:
    """Emit `event` to the subscribers of this machine."""
    return EmitEvent(expression(event))


def log(value: ValueOrFunction[AnyContext], label: str | None = None) -> LogValue[AnyContext]:
    """Log `value`, with `label` if there is one."""
    return LogValue(expression(value), label)


def cancel(id: ValueOrFunction[AnyContext]) -> CancelSend[AnyContext]:
    """Cancel the delayed event that was raised or sent with `id`."""
    return CancelSend(expression(id))


def spawn_child(
    src: str,
    *,
    id: ValueOrFunction[AnyContext] = None,
    input: ValueOrFunction[AnyContext] = ABSENT,
    system_id: str | None = None,
) -> SpawnChild[AnyContext]:
    """Start the registered actor `src` as the child `id` (by default `src`), until it is stopped."""
    return SpawnChild(src, expression(src if id is None else id), expression(input), system_id)


def stop_child(id: ValueOrFunction[AnyContext]) -> StopChild[AnyContext]:
    """Stop the child `id`."""
    return StopChild(expression(id))


def enqueue_actions(collect: Callable[[EnqueueArgs[AnyContext]], object]) -> EnqueueActions[AnyContext]:
    """Choose actions in Python: `collect` is called with `EnqueueArgs`."""
    return EnqueueActions(with_one_argument(collect))
