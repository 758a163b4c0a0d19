"""Performs the commands of a turn that call the backend, with retries, and answers them with the backend's time.

Its law: this is the only place where a turn's calls to the backend are made, and so the only one that blocks on it (the
asynchronous host calls it in threads) and the only one that retries. Only `UnavailableError` is retried: it says that
nothing happened. The time in the answers is the backend's, never this machine's, because the clocks of many workers
disagree.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import ParamSpec, TypeAlias, TypeVar, assert_never

from attrs import frozen

from settled import ConflictError, LeaseLostError, SettledError, UnavailableError
from settled.durable import Backend, Delivery, FinishResult
from settled.durable.commands import (
    Commands,
    DeadLettersLoaded,
    Done,
    EndIsolation,
    Extend,
    Finish,
    Isolate,
    Load,
    LoadDeadLetters,
    Loaded,
    PerformActions,
    Release,
    RunActors,
)
from settled_runtime.events import Observer, Released, observe_commit

T = TypeVar("T")
P = ParamSpec("P")
BackendCommand: TypeAlias = Load | LoadDeadLetters | Finish | Release | Extend


@frozen
class BackendCommands:
    """Performs commands on `backend`, and tells `observe` what was committed or released."""

    backend: Backend
    observe: Observer

    def run(self, commands: Commands[T]) -> T:
        """Run `commands`, all of which call the backend, to their end, and return their result."""
        try:
            command = next(commands)
            while True:
                assert not isinstance(command, PerformActions | RunActors | Isolate | EndIsolation)
                try:
                    answer = self.perform(command)
                except SettledError as error:
                    command = commands.throw(error)
                else:
                    command = commands.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def perform(self, command: BackendCommand) -> Loaded | DeadLettersLoaded | Done:
        """Perform `command`, and return its answer.

        Raises:
            ConflictError: another commit came first (`Finish`).
            LeaseLostError: the lease of the key was lost (`Finish`, `Extend`).
            UnavailableError: the backend could not be reached, in several attempts; nothing happened.
            OutcomeUnknownError, TooLargeError, AccessDeniedError, BackendConfigError: as the backend raised it.
        """
        backend = self.backend
        match command:
            case Finish():
                # The backend does a write's parts in the order that the guarantees rest on: commit, then messages and
                # timers, then acknowledgements. So a write goes to it as a whole. Actions are not part of it: the turn
                # asks for them with a command of their own, after this one, and acknowledges their messages with a
                # `Finish` after that.
                retried(backend.finish, command.write)
                observe_commit(self.observe, command)
            case Load(key):
                return Loaded(retried(backend.store.load, key), backend.now())
            case LoadDeadLetters(key):
                return DeadLettersLoaded(tuple(retried(backend.store.dead_letters, key)), backend.now())
            case Release(deliveries, delay, reason, detail):
                retried(backend.queue.release, deliveries, delay)
                if deliveries:
                    self.observe(Released(deliveries[0].message.key, delay, reason, detail))
            case Extend(deliveries):
                self._extend(deliveries)
            case _:
                assert_never(command)
        return Done(backend.now())

    def finish_all(self, commits: Sequence[Finish], receive: int, machines: Collection[str]) -> FinishResult:
        """Finish `commits`, of distinct keys, in one round trip, and receive up to `receive` messages of `machines`.

        Return the errors of the refused ones by key.

        Raises:
            UnavailableError: the backend could not be reached, in several attempts; none of them was made.
            OutcomeUnknownError, AccessDeniedError, BackendConfigError: as the backend raised it, for all of them.
        """
        writes = [commit.write for commit in commits]
        finished = retried(self.backend.finish_all, writes, receive, machines)
        for commit in commits:
            if commit.write.key not in finished.errors:
                observe_commit(self.observe, commit)
        return finished

    def _extend(self, deliveries: Sequence[Delivery]) -> None:
        try:
            retried(self.backend.queue.extend, deliveries, self.backend.lease.total_seconds())
        except ConflictError as error:
            # A queue has only ConflictError for this. In a turn that would mean "compute again", but another
            # worker may have the deliveries.
            raise LeaseLostError(str(error)) from error


def refuse_in_event_loop() -> None:
    """Raise RuntimeError in a thread that runs an event loop: nothing else in the loop would go on meanwhile."""
    asyncio = sys.modules.get("asyncio")  # not imported here: without it, there is no loop
    if asyncio is not None and asyncio._get_running_loop() is not None:
        raise RuntimeError("a Client blocks, and this thread runs an event loop: use an AsyncClient")


def retried(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of `call`; retry it with growing waits while it raises UnavailableError.

    No other error is retried: after UnavailableError nothing has happened, after any other something may have.

    Raises:
        UnavailableError: the first call and six further ones failed, or 20 seconds have passed.
    """
    with suppress(UnavailableError):  # the usual case, without the cost of a retry library
        return call(*args, **kwargs)
    import stamina  # noqa: PLC0415 (needed only if something is wrong)

    for attempt in stamina.retry_context(
        on=UnavailableError, attempts=6, timeout=20.0, wait_initial=0.05, wait_max=5.0
    ):
        with attempt:
            return call(*args, **kwargs)
    raise AssertionError("stamina raises the last error")
