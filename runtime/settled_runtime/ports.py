"""The commands of a turn that only a backend can perform, performed: with retries, and with the time.

`Unavailable` means that nothing happened, so it is tried again here, and nowhere else. Everything a backend blocks on
is in this module: the asynchronous host calls it in threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeAlias, TypeVar

from attrs import frozen

from settled import Backend, Finished, Unavailable, Write
from settled.commands import Done, Finish, Letters, Load, Loaded, Lying, Release
from settled_runtime.observe import Committed, Observer, Released, SetAside

T = TypeVar("T")
PortCommand: TypeAlias = Load | Letters | Finish | Release


@frozen
class Ports:
    """A backend as turns see it. `clock` is the time in seconds since the epoch."""

    backend: Backend
    clock: Callable[[], float]
    observe: Observer

    def perform(self, command: PortCommand) -> Loaded | Lying | Done:
        """Perform `command`.

        Raises:
            Conflict, Unknown, TooLarge, Denied, Unavailable: as the backend did, the last after several attempts.
        """
        match command:
            case Load(key):
                return Loaded(retried(lambda: self.backend.store.load(key)), self.clock())
            case Letters(key):
                return Lying(tuple(retried(lambda: self.backend.store.dead_letters(key))), self.clock())
            case Finish():
                return self._finish(command)
            case Release(deliveries, delay):
                retried(lambda: self.backend.queue.release(deliveries, delay))
                if deliveries:
                    self.observe(Released(deliveries[0].message.key, delay))
                return Done(self.clock())

    def finish_all(self, writes: Sequence[Write], receive: int) -> Finished:
        """Finish all of `writes` in one round trip, and hand out up to `receive` deliveries.

        Raises:
            Unknown, Denied, Unavailable: as the backend did, the last after several attempts; it is true of all.
        """
        finished = retried(lambda: self.backend.finish_all(writes, receive))
        for write in writes:
            if write.key not in finished.refused:
                self._tell(write)
        return finished

    def _finish(self, command: Finish) -> Done:
        retried(lambda: self.backend.finish(command.write))
        self._tell(command.write)
        return Done(self.clock())

    def _tell(self, write: Write) -> None:
        if write.stored is not None:
            self.observe(Committed(write.key, write.stored.version))
        for letter in write.bury:
            self.observe(SetAside(write.key, letter))


def retried(call: Callable[[], T], attempts: int = 6) -> T:
    """The result of `call`, tried again while the backend is unavailable, for some seconds."""
    with suppress(Unavailable):  # Nearly always this is all, and it costs nothing.
        return call()
    import stamina  # noqa: PLC0415 (only when something is wrong)

    for attempt in stamina.retry_context(
        on=Unavailable, attempts=attempts, timeout=20.0, wait_initial=0.05, wait_max=5.0
    ):
        with attempt:
            return call()
    raise AssertionError("stamina raises the last error")
