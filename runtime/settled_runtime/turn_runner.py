"""A turn in the hands of a `Host`: driven step by step, until it is over in one way or another.

Whatever ends it, what it held is let go of, and the observers are told, once.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import assert_never

from settled import Key, SettledError, TurnEnd
from settled.durable.commands import (
    ActionsPerformed,
    Answer,
    Command,
    Done,
    Extend,
    Finish,
    Load,
    LoadDeadLetters,
    PerformActions,
    Release,
    RunActors,
)
from settled_runtime.actor_threads import ActorThreads, awaited
from settled_runtime.command_loop import CommandLoop
from settled_runtime.events import TurnFailed, TurnStarted
from settled_runtime.host_context import ERROR_RELEASE_DELAY, HostContext
from settled_runtime.leases import HeldDeliveries
from settled_runtime.shutdown import StopSignal


class TurnRunner:
    """The turn of what is `held` of `key`.

    Attributes:
        end: how it ended, or the error with which it could not go on; None while it is under way.
    """

    def __init__(
        self,
        context: HostContext,
        key: Key,
        held: HeldDeliveries,
        stop_signal: StopSignal,
        deadline: float | None = None,
    ) -> None:
        self.key = key
        self.held = held
        self.end: TurnEnd | Exception | None = None
        self._context = context
        self._stop_signal = stop_signal
        self._deadline = deadline
        self._calls: ActorThreads | None = None
        self._driven = CommandLoop(context.turn(key, held.deliveries))
        context.observe(TurnStarted(key, tuple(delivery.message.id for delivery in held.deliveries)))
        self._move(self._driven.start)

    @property
    def command(self) -> Command | None:
        """What is to be performed next; None once it is over."""
        return None if self.end is not None else self._driven.command

    def step(self) -> None:
        """Perform what is to be performed next."""
        command = self.command
        if command is not None:
            self._move(lambda: self._driven.step(command, self._perform))

    def run(self) -> TurnEnd | Exception:
        """Take it to its end."""
        while self.end is None:
            self.step()
        return self.end

    def resume_after_commit(self, commit: Finish, error: Exception | None) -> None:
        """Go on from `commit`, at which it stands: it was made together with others, or came to `error`."""
        if error is not None:
            self._move(lambda: self._driven.throw(_copy_of(error)))
            return
        self._context.committed(commit, self.held)
        self._move(lambda: self._driven.send(Done(self._context.clock())))

    def _move(self, on: Callable[[], None]) -> None:
        try:
            on()
        except Exception as error:
            self._context.observe(TurnFailed(self.key, error))
            self._context.release(self.held, ERROR_RELEASE_DELAY)
            self.end = error
        else:
            if self._driven.command is None:
                self._context.leases.stop_renewing(self.held)
                self.end = self._context.turn_ended(self.key, self._driven.result)

    def _perform(self, command: Command) -> Answer:
        match command:
            case Load() | LoadDeadLetters() | Finish() | Release() | Extend():
                answer: Answer = self._context.perform(command, self.held)
                return answer
            case PerformActions():
                return self._perform_actions(command)
            case RunActors():
                self._calls = self._calls or ActorThreads(self._context, self.held)
                return self._calls.run(command, self._stop_signal, self._deadline)
            case _:
                assert_never(command)

    def _perform_actions(self, command: PerformActions) -> ActionsPerformed:
        for count, action in enumerate(command.actions):
            error: str | None = None
            try:
                awaited(self._context.action_function(command, action, self.held)())
            except Exception as raised:
                error = f"{type(raised).__name__}: {raised}"
            self._context.action_performed(command, action, error)
            if error is not None:
                return ActionsPerformed(count, self._context.clock(), error)
        return ActionsPerformed(len(command.actions), self._context.clock())


def _copy_of(error: Exception) -> Exception:
    """`error`, for one of several turns that it is to be raised in: an error remembers where it was."""
    if not isinstance(error, SettledError):
        return error  # it ends the turn wherever it is raised, and not all such can be copied
    another = copy(error)
    another.__cause__ = error.__cause__
    return another
