"""The worker: a loop around a host. It receives, and lets several turns go on side by side.

It ends cleanly: on SIGTERM it receives no more, lets the turns that run come to their end for a while, and then hands
back what it still holds. An effect that was interrupted so runs again elsewhere, under the same key.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import FrameType

from settled import Delivery, Key, Unavailable
from settled_runtime.host import Host
from settled_runtime.house import by_key
from settled_runtime.interruption import Interruption
from settled_runtime.leases import Held


class Worker:
    """Takes messages from the host's backend until it is told to stop.

    Args:
        host: who takes them through their turns.
        concurrency: how many keys at the same time.
        batch: how many messages are received at once; those of one key are folded into one commit.
        patience: for how many seconds one receive waits.
        grace: for how many seconds turns may go on after `stop`.
    """

    def __init__(
        self, host: Host, *, concurrency: int = 8, batch: int = 32, patience: float = 1.0, grace: float = 20.0
    ) -> None:
        self._host = host
        self._batch, self._patience, self._grace = batch, patience, grace
        self._free = threading.Semaphore(concurrency)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="settled-turn")
        self._running: set[Future[None]] = set()
        self._stopping = threading.Event()
        self._interruption = Interruption()

    def run(self) -> None:
        """Work until `stop` is called, or until SIGTERM or SIGINT when this is the main thread."""
        with _stopped_by_signals(self):
            while not self._stopping.is_set():
                self._work_once()
            self._wind_up()

    def stop(self) -> None:
        """Receive no more; `run` returns when the turns are over. May be called from anywhere, and again."""
        self._stopping.set()

    def _work_once(self) -> None:
        if not self._free.acquire(timeout=self._patience):
            return
        self._free.release()
        for key, deliveries in by_key(self._receive()).items():
            future = self._pool.submit(self._take, key, self._host.hold(deliveries))
            self._running.add(future)
            future.add_done_callback(self._running.discard)

    def _receive(self) -> list[Delivery]:
        """What there is; nothing from a backend that cannot be reached, after some patience with it."""
        import stamina  # noqa: PLC0415 (only a process that stays needs it)

        try:
            for attempt in stamina.retry_context(on=Unavailable, attempts=3, wait_max=1.0):
                with attempt:
                    return list(self._host.backend.queue.receive(self._batch, self._patience))
        except Unavailable:
            self._stopping.wait(self._patience)
        return []

    def _take(self, key: Key, held: Held) -> None:
        with self._free:
            if self._stopping.is_set():
                self._host.give_back(held)
            else:
                self._host.take(key, held, self._interruption)

    def _wind_up(self) -> None:
        wait(set(self._running), timeout=self._grace)
        self._interruption.set()
        self._pool.shutdown(wait=True)


@contextmanager
def _stopped_by_signals(worker: Worker) -> Generator[None]:
    """Within this block, SIGTERM and SIGINT stop `worker`; only the main thread can listen to them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        worker.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
