"""Calls the machine's own code: its custom actions and its function actors.

Both hosts perform actions here. They differ in how they wait for an ``async`` one, and in how they run actors.
"""

from __future__ import annotations

import inspect
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from traceback import walk_tb
from typing import Any, TypeAlias, assert_never

from settled import Call, Json, Machine, RecordError
from settled.durable.commands import ActionsPerformed, ActorCall, PerformActions, RunActors
from settled.durable.record import PerformAction
from settled.step.effects import Emit, Execute, Log
from settled_runtime.events import ActionPerformed, ActorStarted, Emitted, Logged
from settled_runtime.held_deliveries import HeldDeliveries
from settled_runtime.host_context import HostContext

Attempt: TypeAlias = tuple[str, int]
"""The idempotency key of an actor call and the number of the attempt."""


def attempt_of(call: ActorCall) -> Attempt:
    """Return what tells `call` apart from every other attempt of the turn."""
    return (call.idempotency_key, call.attempt)


def is_failure(error: BaseException) -> bool:
    """Return whether `error`, raised by the machine's code, is its failure and not the end of the task or process.

    `SystemExit` and `CancelledError` may be either. In the main thread, KeyboardInterrupt is taken to be Ctrl-C.
    """
    asyncio = sys.modules.get("asyncio")  # without it there is no such error
    if asyncio is not None and isinstance(error, asyncio.CancelledError):
        task = _current_task(asyncio)
        return task is None or not task.cancelling()
    if threading.current_thread() is not threading.main_thread():
        return True
    if isinstance(error, SystemExit):
        return not _is_from_signal_handler(error)
    return not isinstance(error, KeyboardInterrupt)


def _current_task(asyncio: Any) -> Any:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        return None


def _is_from_signal_handler(error: BaseException) -> bool:
    # Python runs a signal handler wherever the main thread is, so its SystemExit may come out of the machine's code.
    handlers = [getattr(signal.getsignal(number), "__code__", None) for number in signal.valid_signals()]
    return any(frame.f_code in handlers for frame, _ in walk_tb(error.__traceback__))


def doing_of(command: RunActors, deadlines: Mapping[Attempt, float | None]) -> str | None:
    """Return which actors of `command` may hang, as their attempts have no deadline; None if all have one."""
    names = [each.src for each in command.calls if deadlines.get(attempt_of(each)) is None]
    return f"the actor {' and '.join(names)}" if names else None


async def perform_actions(
    context: HostContext,
    command: PerformActions,
    held: HeldDeliveries,
    wait_for: Callable[[Awaitable[object]], Awaitable[object]],
) -> ActionsPerformed:
    """Perform the actions of `command` in order, up to the first that fails.

    Args:
        context: the host's machines and observers.
        command: the actions. The turn asks for them after the `Finish` that committed them, and acknowledges their
            messages with another `Finish` after the answer. So a crash in here repeats them, and loses none.
        held: the deliveries of the turn, for `Call.lease_lost`.
        wait_for: waits for the result of an ``async`` action.
    """
    for count, action in enumerate(command.actions):
        error: str | None = None
        if isinstance(action.effect, Execute):
            held.doing, held.steps = f"the action {action.effect.type}", held.steps + 1
        try:
            result = _perform(context, command, action, held)
            if result is not None and inspect.isawaitable(result):
                await wait_for(result)
        except BaseException as raised:
            if not is_failure(raised):
                raise
            # An answer and not an error of the command: the turn counts it as a failure of the message.
            error = f"{type(raised).__name__}: {raised}"
        if isinstance(action.effect, Execute):
            context.observe(ActionPerformed(command.key, action.effect.type, action.idempotency_key, error))
        if error is not None:
            # Stop at the first failure: the machine expects its actions in order. The count says which to repeat.
            return ActionsPerformed(count, context.clock(), error)
    return ActionsPerformed(len(command.actions), context.clock())


def perform_actions_blocking(context: HostContext, command: PerformActions, held: HeldDeliveries) -> ActionsPerformed:
    """Perform the actions of `command` like `perform_actions`, in this thread."""
    performing = perform_actions(context, command, held, _wait_in_this_thread)
    try:
        performing.send(None)
    except StopIteration as end:
        performed: ActionsPerformed = end.value
        return performed
    raise AssertionError("it waits for nothing but `_wait_in_this_thread`, which never suspends it")


async def _wait_in_this_thread(result: Awaitable[object]) -> object:
    return wait_in_this_thread(result)


def wait_in_this_thread(value: Any) -> Any:
    """Return `value`, or its result if it is a coroutine. No event loop may run in this thread."""
    if not inspect.iscoroutine(value):
        return value
    from asyncio import run  # noqa: PLC0415 (half of the time that importing this package would take)

    return run(value)


def _perform(context: HostContext, command: PerformActions, action: PerformAction, held: HeldDeliveries) -> object:
    match action.effect:
        case Execute() as effect:
            call = Call(command.key, action.idempotency_key, 1, None, command.fence, held.is_lost, action.headers)
            return context.machines[command.key.machine].bind(effect, command.snapshot, call)()
        case Emit(_, event):
            context.observe(Emitted(command.key, event, action.idempotency_key))
        case Log(_, value, label):
            context.observe(Logged(command.key, value, label))
        case _:
            assert_never(action.effect)
    return None


def start_actor(
    context: HostContext, command: RunActors, actor_call: ActorCall, held: HeldDeliveries
) -> tuple[Callable[..., Any], Call]:
    """Return the function of `actor_call` and the `Call` to pass to it besides its input; observe its start."""
    actor = context.machines[command.key.machine].actor(actor_call.src)
    if isinstance(actor, Machine):
        raise RecordError(f"{command.key}: the actor {actor_call.src!r} is a machine, not a function")
    deadline = None if actor.timeout is None else context.clock() + actor.timeout.total_seconds()
    key, attempt = actor_call.idempotency_key, actor_call.attempt
    context.observe(ActorStarted(command.key, actor_call.src, key, attempt))
    return actor.function, Call(command.key, key, attempt, deadline, command.fence, held.is_lost, actor_call.headers)


def error_json(error: BaseException) -> Json:
    """Return `error` as the JSON that the machine gets in an ``xstate.error.actor`` event."""
    return {"name": type(error).__name__, "message": str(error)}
