"""The worker: receives messages in a loop and lets several turns run side by side.

It ends cleanly: on SIGTERM it receives no more, lets running turns end for a while, and then releases the deliveries it
still holds. An actor that was interrupted that way runs again in another worker, under the same idempotency key. Code
that hangs even then is ended with the process, if the process is the worker's: if `Worker.run` was called in the main
thread, and a signal has stopped it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import FrameType
from typing import Any, Self, TypeAlias

from settled import (
    AccessDeniedError,
    BackendConfigError,
    Machine,
    OutcomeUnknownError,
    Policy,
    SettledError,
    UnavailableError,
)
from settled.durable import Backend, ClosedOnExit, Delivery
from settled.durable.commands import ReleaseReason
from settled.durable.release_delays import release_delay
from settled.durations import in_seconds
from settled_runtime.backend_commands import retried
from settled_runtime.events import ClockSkewed, Observer, ReceiveFailed, log, logger
from settled_runtime.held_deliveries import HeldDeliveries
from settled_runtime.host_context import HostContext
from settled_runtime.joint_commit import commit_together
from settled_runtime.shutdown import StopSignal
from settled_runtime.turn_runner import TurnRunner, by_key, turns_for
from settled_runtime.turn_threads import BatchThreads, TurnThreads

MIN_CLOCK_SKEW = 2.0
"""The smallest difference, in seconds, between this machine's clock and the backend's that is reported."""

INTERRUPTION_GRACE = 5.0
"""For how many seconds after the shutdown grace turns may release their deliveries, before the process is ended."""

EXIT_HANGING = 70
"""The exit code of a process that was ended because code of a machine hangs (``EX_SOFTWARE`` of ``sysexits.h``)."""

EXIT_INTERRUPTED = 130
"""The exit code of a process that was ended at once, by a second SIGINT."""

MAX_RECEIVE_DELAY = 60.0
"""The longest wait, in seconds, until a worker that cannot receive tries again: what was not received costs nothing."""

SIGNAL_INTERVAL = 0.25
"""How soon, in seconds, the main thread acts on a signal that has stopped the worker."""

_Batch: TypeAlias = "tuple[Sequence[Delivery], BatchThreads] | None"
"""Deliveries, and the threads that are reserved for their turns; None if there is nothing to run."""


class Worker(ClosedOnExit):
    """Receives the messages of a backend and runs their turns until it is stopped.

    Any number of workers, in any number of processes, may serve the same backend. Call `run` in a process of its own,
    or use `running` beside other code. Used as a context manager, the worker is closed at the end.

    Args:
        machines: the machines to serve. Their child machines are served too, and need not be listed.
        backend: the store, queue and timers that the instances live in. It stays open.
        policy: retries, dead-lettering and windows; `Policy.lease` is replaced by the backend's lease.
        observers: functions that are called with each `HostEvent`, in the thread in which it happens. By default one
            that writes to the logger ``settled``.
        concurrency: how many turns with actions or actors to run may run at the same time, each in a thread. All other
            turns run in the worker's own two threads and commit together, if the backend declares
            `Capability.JOINT_FINISH`; if not, these count too.
        batch: how many messages are received at once, at most; those of one key are applied in one commit. Fewer are
            received if more turns would have actions or actors to run than there are free threads.
        receive_wait: how long one receive waits for a message.
        shutdown_grace: how long running turns may take to end after `stop`, before their actors are interrupted.
    """

    def __init__(
        self,
        machines: Iterable[Machine[Any]],
        backend: Backend,
        *,
        policy: Policy | None = None,
        observers: Iterable[Observer] = (log,),
        concurrency: int = 8,
        batch: int = 128,
        receive_wait: timedelta = timedelta(seconds=1),
        shutdown_grace: timedelta = timedelta(seconds=20),
    ) -> None:
        self._context = HostContext.of(machines, backend, policy, observers)
        self._receive_wait = in_seconds(receive_wait, "receive_wait")
        self._shutdown_grace = in_seconds(shutdown_grace, "shutdown_grace")
        self._threads = TurnThreads(concurrency, batch)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="settled-turn")
        self._running: set[Future[None]] = set()
        self._stopping = threading.Event()
        self._is_running = threading.RLock()
        self._is_busy = threading.Event()
        self._stop_signal = StopSignal()
        self._has_received = False
        self._failed_receives = 0  # in a row; two threads count, and a lost count does no harm

    def run(self) -> None:
        """Receive messages and run their turns until `stop` is called; return when everything has ended.

        In the main thread, SIGTERM and SIGINT stop the worker too, and a second SIGINT ends the process at once, with
        exit code 130. If code of a machine still hangs 5 seconds after `shutdown_grace`, what hangs is observed, and
        the process ends with exit code 70, as in a crash: the messages come back when their leases have run out. In any
        other thread, or stopped by `stop`, the worker waits for that code. A worker runs once: make a new one to run
        again.

        Raises:
            SettledError: the backend refused the first receive, such as with AccessDeniedError; or it was replaced or
                closed. While it is merely unavailable, or refuses what it has allowed, the worker keeps trying, once a
                minute at least (`ReceiveFailed`).
        """
        with self._is_running:
            if threading.current_thread() is threading.main_thread():
                self._run_beside_main_thread()
            else:
                self._run()

    def stop(self) -> None:
        """Stop receiving; `run` returns when its turns have ended. May be called from any thread, more than once."""
        self._stopping.set()

    @contextmanager
    def running(self) -> Generator[Self]:
        """Within this block, run the worker in a thread of its own. At the end, stop it and wait for its turns.

        Raises:
            SettledError: as `run` does, at the end of the block.
        """
        # In its own thread and not in a daemon's: turns must not be cut off when the main thread has ended.
        with self, ThreadPoolExecutor(1, thread_name_prefix="settled-worker") as pool:
            ended = pool.submit(self._run_and_log)
            try:
                yield self
            except BaseException as error:
                self.stop()
                if failure := ended.exception():
                    error.add_note(f"the worker had ended with {type(failure).__name__}: {failure}")
                raise
            self.stop()
            ended.result()

    def _run_and_log(self) -> None:
        try:
            self.run()
        except Exception:
            # At once: whoever waits for this worker's results learns of it only at the end of the block.
            logger.exception("the worker has ended with an error")
            raise

    def close(self) -> None:
        """Stop the worker, wait until `run` has returned, and end its threads. The backend stays open."""
        self.stop()
        with self._is_running:  # or turns that `run` has begun would find no thread
            self._pool.shutdown()
        self._context.leases.close()

    def _run_beside_main_thread(self) -> None:
        """Run the worker in another thread, so that the main thread can handle signals, whatever hangs."""
        ended = Future[None]()
        with _stopped_by_signals(self) as signals:
            threading.Thread(target=_complete, args=(ended, self._run), name="settled-worker", daemon=True).start()
            try:
                while not ended.done() and not self._stopping.is_set():
                    # With a timeout, as a signal does not end the wait. And for the worker, not for `_stopping`: a
                    # signal handler, which runs in this thread, must not set an event that this thread waits for.
                    wait([ended], timeout=SIGNAL_INTERVAL)
                if signals:
                    self._end_in_time(ended)
            finally:
                self.stop()
                wait([ended])
        ended.result()

    def _end_in_time(self, ended: Future[None]) -> None:
        """Wait for the worker, and end the process if code of a machine keeps it from ending."""
        if wait([ended], timeout=self._shutdown_grace).done:
            return
        self._stop_signal.set()
        if wait([ended], timeout=INTERRUPTION_GRACE).done:
            return
        self._context.leases.report_running()
        logger.error("the worker does not end: its process is ended, with exit code %d", EXIT_HANGING)
        os._exit(EXIT_HANGING)

    def _run(self) -> None:
        self._report_clock_skew()
        backlog_thread = threading.Thread(target=self._run_backlog, name="settled-backlog", daemon=True)
        backlog_thread.start()
        try:
            self._run_until_stopped()
        finally:
            # In this order: the other thread checks `_stopping` when `_is_busy` wakes it.
            self._stopping.set()
            self._is_busy.set()
            backlog_thread.join()
            self._finish_turns()

    def _run_until_stopped(self) -> None:
        prefetched: _Batch = None
        while not self._stopping.is_set():
            prefetched = self._run_batch(prefetched or self._receive(self._receive_wait))
            if prefetched:
                self._is_busy.set()
        self._release(prefetched)

    def _run_backlog(self) -> None:
        """Run further batches while there is a backlog, so that one thread computes while the other one commits."""
        prefetched: _Batch = None
        while self._wait_for_backlog():
            try:
                prefetched = self._run_batch(prefetched or self._receive(0.0))
            except SettledError:
                prefetched = None  # the first thread gets the same error from its own calls, and raises it
            if not prefetched:
                self._is_busy.clear()
        self._release(prefetched)

    def _wait_for_backlog(self) -> bool:
        """Wait until there is more than one batch; return False once the worker is stopping."""
        # `_stopping` is checked before the wait too: `run` may have set `_is_busy` just before this thread cleared it,
        # and does not set it again.
        return not self._stopping.is_set() and self._is_busy.wait() and not self._stopping.is_set()

    def _run_batch(self, batch: _Batch) -> _Batch:
        """Run the turns of `batch` up to their actions and actors, hand those on to the pool, and prefetch.

        Return the batch that the joint commit brought with it, to be run next.
        """
        if batch is None:
            return None
        deliveries, threads = batch
        turns, gate = turns_for(self._context, deliveries, self._stop_signal), self._context.gate
        if not gate.admit(turns):
            threads.close()
            for turn in turns:
                turn.put_back()
            return None
        following: BatchThreads | None = None

        def receive() -> int:
            nonlocal following
            if not gate.wait_until_open(0.0):
                return 0
            if following is None:
                threads.give_back_rest()
                following = self._threads.reserve(0.0)
            return following.limit

        slow: Sequence[TurnRunner] = ()
        prefetched: Sequence[Delivery] = ()
        try:
            prefetched = commit_together(self._context, turns, receive, threads.take_one)
            slow = [turn for turn in turns if turn.end is None and self._has_thread(turn, threads)]
            for turn in slow:
                future = self._pool.submit(self._run_turn, turn)
                # First added, then discarded when done; the other way round, a quick one would stay for ever.
                self._running.add(future)
                future.add_done_callback(self._running.discard)
        finally:
            threads.close(len(deliveries), len(slow))
            if following is not None and not prefetched:
                following.close()
        return (prefetched, following) if following is not None and prefetched else None

    def _has_thread(self, turn: TurnRunner, threads: BatchThreads) -> bool:
        """Take a thread for `turn`, if that was not done when it committed. Put it back if none is free."""
        if turn.command is not None or threads.take_one():
            return True
        turn.put_back()
        return False

    def _report_clock_skew(self) -> None:
        """Tell the observers if this machine's clock differs from the backend's. Only the log depends on it."""
        with suppress(SettledError):
            skew = time.time() - self._context.clock()
            if abs(skew) > MIN_CLOCK_SKEW + self._context.backend.resolution.total_seconds():
                self._context.observe(ClockSkewed(skew))

    def _receive(self, timeout: float) -> _Batch:
        """Return the next batch, waiting up to `timeout` seconds for a free thread and for its first message.

        Return None while no thread is free, while a turn keeps others from beginning, or while the backend cannot be
        reached.
        """
        if not self._context.gate.wait_until_open(timeout):
            return None
        threads = self._threads.reserve(timeout)
        deliveries: Sequence[Delivery] = ()
        try:
            if threads.limit:
                deliveries = self._received(threads.limit, timeout)
                self._failed_receives = 0
        except (UnavailableError, OutcomeUnknownError) as error:
            self._wait_after(error)
        finally:
            if not deliveries:
                threads.close()
        return (deliveries, threads) if deliveries else None

    def _wait_after(self, error: SettledError) -> None:
        """Wait after a receive that has failed, longer each time."""
        # Messages in an answer that was lost count as received, and are delivered again when their leases have run out.
        self._failed_receives += 1
        delay = min(release_delay(ReleaseReason.ERROR, self._failed_receives, error), MAX_RECEIVE_DELAY)
        self._context.observe(ReceiveFailed(error, delay))
        self._stopping.wait(delay)

    def _received(self, limit: int, timeout: float) -> Sequence[Delivery]:
        """Return what the queue delivers.

        Raises:
            SettledError: as the queue raised it; but UnavailableError for a refusal, if it did not refuse before.
        """
        queue, machines = self._context.backend.queue, self._context.machines
        try:
            deliveries = retried(queue.receive, limit, timeout, machines)
        except (AccessDeniedError, BackendConfigError) as error:
            if not self._has_received:
                raise
            # What has worked for this worker can be mended while it waits: a policy, a key, a password, a queue.
            raise UnavailableError(f"refused, after it was allowed: {error}") from error
        self._has_received = True
        return deliveries

    def _release(self, batch: _Batch) -> None:
        if batch is not None:
            deliveries, threads = batch
            threads.close()
            for group in by_key(deliveries):
                self._context.release(HeldDeliveries.of(group), ReleaseReason.STOPPING)

    def _run_turn(self, turn: TurnRunner) -> None:
        try:
            turn.run()
        finally:
            self._threads.give_back()

    def _finish_turns(self) -> None:
        wait(set(self._running), timeout=self._shutdown_grace)
        # Interrupts actors only: a turn that is committing or acknowledging goes on to its end, which is waited for.
        self._stop_signal.set()
        self._pool.shutdown(wait=True)


def _complete(future: Future[None], function: Callable[[], None]) -> None:
    try:
        function()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(None)


@contextmanager
def _stopped_by_signals(worker: Worker) -> Generator[Sequence[int]]:
    """Within this block of the main thread, SIGTERM and SIGINT stop `worker`; yield the numbers of those that came."""
    signals: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and number in signals:
            os._exit(EXIT_INTERRUPTED)
        signals.append(number)
        worker.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
