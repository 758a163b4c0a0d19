"""One turn of a `Host`: runs it in the calling thread, step by step, and cleans up however it ends.

The turn (`settled.turn`) is a generator of commands that fixes the order of everything that happens: commit, then
messages and timers, then actions, then the remaining acknowledgements. A crash between two of them leaves the message
in the queue and the outbox in the record, so that the next delivery repeats what is missing.

Its law: keep that order. Perform exactly the command that the turn waits for, answer it only when it is done, and never
perform anything ahead of it. The leases of the deliveries are renewed for as long as the turn runs, and not longer.
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
    ReleaseReason,
    RunActors,
)
from settled_runtime.actor_threads import ActorThreads, awaited
from settled_runtime.command_loop import CommandLoop
from settled_runtime.events import TurnFailed, TurnStarted
from settled_runtime.host_context import ERROR_RELEASE_DELAY, HostContext
from settled_runtime.leases import HeldDeliveries
from settled_runtime.shutdown import StopSignal


class TurnRunner:
    """Runs one turn for the deliveries `held` of one key.

    It starts at the turn's first command. No two threads may use it at a time, but one may hand it to another.

    Args:
        context: the host's machines, backend and observers.
        key: the instance whose turn it is.
        held: the deliveries, whose leases are being renewed already.
        stop_signal: once it is set, running actors are abandoned and their messages released.
        deadline: when to do so even if the signal is not set, in seconds since the epoch by the backend's clock.

    Attributes:
        end: how the turn ended, or the error that ended it; None while it is running.
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
        self._actors: ActorThreads | None = None
        self._loop = CommandLoop(context.turn(key, held.deliveries))
        context.observe(TurnStarted.of(key, held.deliveries))
        self._advance(self._loop.start)

    @property
    def command(self) -> Command | None:
        """The command to be performed next; None once the turn is over."""
        return None if self.end is not None else self._loop.command

    def step(self) -> None:
        """Perform the next command, if the turn is not over."""
        command = self.command
        if command is not None:
            self._advance(lambda: self._loop.step(command, self._perform))

    def run(self) -> TurnEnd | Exception:
        """Run the turn to its end, and return how it ended or the error that ended it."""
        while self.end is None:
            self.step()
        return self.end

    def resume_after_commit(self, commit: Finish, error: Exception | None) -> None:
        """Resume after `commit`, the next command, which was performed together with others or failed with `error`."""
        if error is not None:
            self._advance(lambda: self._loop.throw(_copy_of(error)))
            return
        # As `HostContext.perform` does after a commit, and before the turn goes on: what was acknowledged must not be
        # extended any more, or its missing lease would look like a lost one.
        self._context.committed(commit, self.held)
        self._advance(lambda: self._loop.send(Done(self._context.clock())))

    def _advance(self, resume: Callable[[], None]) -> None:
        """Resume the turn with `resume`, and clean up if it ends."""
        try:
            resume()
        except Exception as error:
            self._context.observe(TurnFailed(self.key, error))
            # With a delay: whatever failed would most likely fail again at once, in a busy loop over all workers.
            self._context.release(self.held, ReleaseReason.ERROR, ERROR_RELEASE_DELAY)
            self.end = error
        else:
            if self._loop.command is None:
                # Only now: until its last command is done the turn may commit or acknowledge, and for that its leases
                # must not run out. A delivery that it did not acknowledge was released, or belongs to another worker.
                self._context.leases.stop_renewing(self.held)
                self.end = self._context.turn_ended(self.key, self._loop.result)

    def _perform(self, command: Command) -> Answer:
        match command:
            case Load() | LoadDeadLetters() | Finish() | Release() | Extend():
                answer: Answer = self._context.perform(command, self.held)
                return answer
            case PerformActions():
                # The turn asks for this after the `Finish` that committed these actions, and acknowledges their
                # messages with another `Finish` after the answer. So a crash in here repeats them, and loses none.
                return self._perform_actions(command)
            case RunActors():
                # One object for the whole turn: actors that are still running from the last command go on.
                self._actors = self._actors or ActorThreads(self._context, self.held)
                return self._actors.run(command, self._stop_signal, self._deadline)
            case _:
                assert_never(command)

    def _perform_actions(self, command: PerformActions) -> ActionsPerformed:
        for count, action in enumerate(command.actions):
            error: str | None = None
            try:
                awaited(self._context.action_function(command, action, self.held)())
            except Exception as raised:
                # An answer and not an error of the command: the turn counts it as a failure of the message.
                error = f"{type(raised).__name__}: {raised}"
            self._context.action_performed(command, action, error)
            if error is not None:
                # Stop at the first failure: the machine expects its actions in order. The count says which to repeat.
                return ActionsPerformed(count, self._context.clock(), error)
        return ActionsPerformed(len(command.actions), self._context.clock())


def _copy_of(error: Exception) -> Exception:
    """Return a copy of `error`, which is thrown into several turns: they would share its traceback and context."""
    if not isinstance(error, SettledError):
        return error  # it ends each turn at once, and not every such error can be copied
    another = copy(error)
    another.__cause__ = error.__cause__
    return another
