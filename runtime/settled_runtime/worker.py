"""The worker: a loop around a host. It receives, and lets several turns go on side by side.

It ends cleanly: on SIGTERM it receives no more, lets the turns that run come to their end for a while, and then hands
back what it still holds. An effect that was interrupted so runs again elsewhere, under the same key.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from types import FrameType

from settled import OutcomeUnknownError, SettledError, UnavailableError
from settled.durable import Delivery
from settled.durable.commands import Load
from settled_runtime.backend_commands import retried
from settled_runtime.events import ClockSkewed
from settled_runtime.host import Host, turns_of
from settled_runtime.host_context import by_key
from settled_runtime.shutdown import StopSignal
from settled_runtime.turn_runner import TurnRunner

MIN_CLOCK_SKEW = 2.0
"""By how many seconds two clocks differ before that is told."""

MESSAGES_PER_THREAD = 4
"""How many messages are received for each thread, while turns have something to perform."""


class Worker:
    """Takes messages from the host's backend until it is told to stop.

    Args:
        host: who takes them through their turns.
        concurrency: how many turns that have something to perform go on at the same time, each in a thread; the others
            commit together (see `HostTurns.commit_together`).
        batch: how many messages are received at once, at most; those of one key are folded into one commit. It is
            less while turns have something to perform: who waits here for a thread could go on in another worker.
        patience: for how many seconds one receive waits.
        grace: for how many seconds turns may go on after `stop`.
    """

    def __init__(
        self,
        host: Host,
        *,
        concurrency: int = 8,
        batch: int = 128,
        receive_wait: float = 1.0,
        shutdown_grace: float = 20.0,
    ) -> None:
        self._turns = turns_of(host)
        self._receive_wait, self._shutdown_grace = receive_wait, shutdown_grace
        self._min_batch, self._max_batch = min(batch, MESSAGES_PER_THREAD * concurrency), batch
        self._batch = self._min_batch
        self._free = threading.Semaphore(concurrency)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="settled-turn")
        self._running: set[Future[None]] = set()
        self._stopping = threading.Event()
        self._backlog = threading.Event()
        self._stop_signal = StopSignal()

    def run(self) -> None:
        """Work until `stop` is called, or until SIGTERM or SIGINT when this is the main thread."""
        with _stopped_by_signals(self):
            self._compare_clocks()
            helper = threading.Thread(target=self._help, name="settled-helper")
            helper.start()
            try:
                self._work()
            finally:
                self._stopping.set()
                self._backlog.set()
                helper.join()
                self._finish_turns()

    def stop(self) -> None:
        """Receive no more; `run` returns when the turns are over. May be called from anywhere, and again."""
        self._stopping.set()

    def _work(self) -> None:
        ahead: Sequence[Delivery] = ()
        while not self._stopping.is_set():
            ahead = self._work_once(ahead or self._receive(self._receive_wait))
            if ahead:
                self._backlog.set()
        self._release(ahead)

    def _help(self) -> None:
        """Take what is left over, while there is more than one batch: one thread computes while the other commits."""
        ahead: Sequence[Delivery] = ()
        while self._wait_for_backlog():
            try:
                ahead = self._work_once(ahead or self._receive(0.0))
            except SettledError:
                ahead = ()  # the other thread meets it too, and its caller hears of it
            if not ahead:
                self._backlog.clear()
        self._release(ahead)

    def _wait_for_backlog(self) -> bool:
        """Wait until there is more than one batch; False once the worker stops.

        That is looked at before, too: the call that says so may have come before the last one was forgotten.
        """
        return not self._stopping.is_set() and self._backlog.wait() and not self._stopping.is_set()

    def _work_once(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Take `deliveries` through their turns, or hand these to other threads; what was received meanwhile."""
        groups = by_key(deliveries).items()
        turns = [self._turns.start(key, self._turns.hold(group), self._stop_signal) for key, group in groups]
        ahead = self._turns.commit_together(turns, self._batch if self._has_room(0) else 0)
        slow = [turn for turn in turns if turn.end is None]
        for turn in slow:
            future = self._pool.submit(self._run_turn, turn)
            self._running.add(future)
            future.add_done_callback(self._running.discard)
        if turns:
            self._batch = self._min_batch if slow else min(2 * self._batch, self._max_batch)
        return ahead

    def _has_room(self, patience: float) -> bool:
        """Whether another turn may go on in a thread, within `patience` seconds."""
        free = self._free.acquire(timeout=patience)
        if free:
            self._free.release()
        return free

    def _compare_clocks(self) -> None:
        """Tell once if this machine's clock is not the backend's. Nothing here goes by it, but its logs do."""
        with suppress(SettledError):
            skew = time.time() - self._turns.backend.now()
            if abs(skew) > MIN_CLOCK_SKEW + self._turns.backend.resolution:
                self._turns.observe(ClockSkewed(skew))

    def _receive(self, patience: float) -> Sequence[Delivery]:
        """What there is, within `patience` seconds; nothing while no thread is free.

        Nothing, too, from a backend that cannot be reached, after some patience with it.
        """
        if not self._has_room(patience):
            return ()
        try:
            return retried(lambda: self._turns.backend.queue.receive(self._batch, patience), attempts=3)
        except (UnavailableError, OutcomeUnknownError):
            # What was handed out in an answer that was lost is handed out again when its lease is over.
            self._stopping.wait(self._receive_wait)
        return ()

    def _release(self, deliveries: Sequence[Delivery]) -> None:
        for group in by_key(deliveries).values():
            self._turns.release(self._turns.hold(group))

    def _run_turn(self, turn: TurnRunner) -> None:
        with self._free:
            if self._stopping.is_set() and isinstance(turn.command, Load):
                self._turns.release(turn.held)
            else:
                turn.run()

    def _finish_turns(self) -> None:
        wait(set(self._running), timeout=self._shutdown_grace)
        self._stop_signal.set()
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
