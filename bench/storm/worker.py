"""``python -m bench.storm.worker VERSION SKEW``: a worker whose clock is wrong by `SKEW` seconds.

It writes down what it receives. It is otherwise what ``settled worker`` is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, cast

if __name__ == "__main__":
    # Before anything of settled is imported, which may keep `time.time`.
    right_time, skew = time.time, float(sys.argv[2])
    time.time = lambda: right_time() + skew

import logging
import os

from bench.storm.journals import Received, now
from bench.storm.machine import journals, version_1, version_2
from bench.storm.settings import Settings
from settled_runtime import Worker, connect, log

if TYPE_CHECKING:
    from settled.durable import Backend, Delivery, FinishResult, Queue, Write


class WatchedQueue:
    """A queue whose deliveries are written to the journal."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def receive(self, *arguments: Any) -> Sequence[Delivery]:
        return _noted(self._queue.receive(*arguments))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


class WatchedBackend:
    """A backend whose deliveries are written to the journal."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.queue = WatchedQueue(backend.queue)

    def finish_all(
        self, writes: Sequence[Write], receive: int = 0, machines: Collection[str] | None = None
    ) -> FinishResult:
        result = self._backend.finish_all(writes, receive, machines)
        _noted(result.deliveries)
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


def _noted(deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
    for instance in {delivery.message.key.instance for delivery in deliveries}:
        journals().write(Received(now(), instance, os.getpid()))
    return deliveries


def main(version: str) -> None:
    settings = Settings.from_environment()
    machine = version_1 if version == "1" else version_2
    logging.basicConfig(format="%(asctime)s %(process)d %(levelname)s %(message)s")
    with connect(settings.url) as backend:
        watched = cast("Backend", WatchedBackend(backend))
        with Worker([machine], watched, observers=(log,)) as worker:
            settings.serving(os.getpid()).touch()
            worker.run()


if __name__ == "__main__":
    main(sys.argv[1])
