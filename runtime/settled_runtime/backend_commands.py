"""The commands of a turn that only a backend can perform, performed: with retries, and with the time.

`Unavailable` means that nothing happened, so it is tried again here, and nowhere else. Everything a backend blocks on
is in this module: the asynchronous host calls it in threads. The time is the backend's, because machines are many and
their clocks disagree; a clock here that disagrees with it is told of, and used for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeAlias, TypeVar

from attrs import frozen

from settled import ConflictError, LeaseLostError, UnavailableError
from settled.durable import Backend, Finished
from settled.durable.commands import DeadLettersLoaded, Done, Extend, Finish, Load, LoadDeadLetters, Loaded, Release
from settled_runtime.events import Committed, DeadLettered, Observer, RecordAdjusted, Released

T = TypeVar("T")
BackendCommand: TypeAlias = Load | LoadDeadLetters | Finish | Release | Extend


@frozen
class BackendCommands:
    """A backend as turns see it."""

    backend: Backend
    observe: Observer

    @property
    def clock(self) -> Callable[[], float]:
        """The time, in seconds since the epoch."""
        return self.backend.now

    def perform(self, command: BackendCommand) -> Loaded | DeadLettersLoaded | Done:
        """Perform `command`.

        Raises:
            Conflict, LeaseLost, Unknown, TooLarge, Denied: as the backend did.
            Unavailable: likewise, after several attempts.
        """
        match command:
            case Load(key):
                return Loaded(retried(lambda: self.backend.store.load(key)), self.clock())
            case LoadDeadLetters(key):
                return DeadLettersLoaded(tuple(retried(lambda: self.backend.store.dead_letters(key))), self.clock())
            case Finish():
                return self._finish(command)
            case Release(deliveries, delay, warning):
                retried(lambda: self.backend.queue.release(deliveries, delay))
                if deliveries:
                    self.observe(Released(deliveries[0].message.key, delay, warning))
                return Done(self.clock())
            case Extend():
                return self._extend(command)

    def finish_all(self, commits: Sequence[Finish], receive: int) -> Finished:
        """Finish all of `commits` in one round trip, and hand out up to `receive` deliveries.

        Raises:
            Unknown, Denied, Unavailable: as the backend did, the last after several attempts; it is true of all.
        """
        writes = [commit.write for commit in commits]
        finished = retried(lambda: self.backend.finish_all(writes, receive))
        for commit in commits:
            if commit.write.key not in finished.refused:
                self._tell(commit)
        return finished

    def _finish(self, command: Finish) -> Done:
        retried(lambda: self.backend.finish(command.write))
        self._tell(command)
        return Done(self.clock())

    def _extend(self, command: Extend) -> Done:
        try:
            retried(lambda: self.backend.queue.extend(command.deliveries, self.backend.lease))
        except ConflictError as error:
            raise LeaseLostError(str(error)) from error
        return Done(self.clock())

    def _tell(self, commit: Finish) -> None:
        write = commit.write
        if write.stored is not None:
            self.observe(Committed(write.key, write.stored.version))
        for note in commit.notes:
            self.observe(RecordAdjusted(write.key, note))
        for letter in write.bury:
            self.observe(DeadLettered(write.key, letter))


def retried(call: Callable[[], T], attempts: int = 6) -> T:
    """The result of `call`, tried again while the backend is unavailable, for some seconds."""
    with suppress(UnavailableError):  # Nearly always this is all, and it costs nothing.
        return call()
    import stamina  # noqa: PLC0415 (only when something is wrong)

    for attempt in stamina.retry_context(
        on=UnavailableError, attempts=attempts, timeout=20.0, wait_initial=0.05, wait_max=5.0
    ):
        with attempt:
            return call()
    raise AssertionError("stamina raises the last error")
