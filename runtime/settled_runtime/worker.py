"""The worker: receives messages in a loop and lets several turns run side by side.

It ends cleanly: on SIGTERM it receives no more, lets running turns end for a while, and then releases the deliveries it
still holds. An actor that was interrupted that way runs again in another worker, under the same idempotency key.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import FrameType
from typing import Any, Self

from settled import Machine, OutcomeUnknownError, Policy, SettledError, UnavailableError
from settled.durable import Backend, ClosedOnExit, Delivery
from settled.durable.commands import ReleaseReason
from settled.durations import in_seconds
from settled_runtime.backend_commands import retried
from settled_runtime.events import ClockSkewed, Observer, log, logger
from settled_runtime.host_context import HostContext
from settled_runtime.joint_commit import commit_together
from settled_runtime.shutdown import StopSignal
from settled_runtime.turn_runner import TurnRunner, by_key, turns_for

MIN_CLOCK_SKEW = 2.0
"""The smallest difference, in seconds, between this machine's clock and the backend's that is reported."""

MESSAGES_PER_THREAD = 4
"""How many messages are received for each thread while turns have actions or actors to run."""


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
        batch: how many messages are received at once, at most; those of one key are applied in one commit. While
            turns have actions or actors to run, fewer are received: a message that waits here for a thread could be
            taken by another worker.
        receive_wait: how long one receive waits for a message.
        shutdown_grace: how long running turns may take to end after `stop`, before they are interrupted.
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
        self._min_batch, self._max_batch = min(batch, MESSAGES_PER_THREAD * concurrency), batch
        self._batch = self._min_batch
        self._free_threads = threading.Semaphore(concurrency)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="settled-turn")
        self._running: set[Future[None]] = set()
        self._stopping = threading.Event()
        self._is_running = threading.RLock()
        self._is_busy = threading.Event()
        self._stop_signal = StopSignal()

    def run(self) -> None:
        """Receive messages and run their turns until `stop` is called; return when everything has ended.

        In the main thread, SIGTERM and SIGINT stop the worker too. A worker runs once: make a new one to run again.

        Raises:
            SettledError: the backend failed for good, such as with AccessDeniedError. While it is merely unavailable,
                the worker keeps trying.
        """
        with self._is_running, _stopped_by_signals(self):
            self._report_clock_skew()
            backlog_thread = threading.Thread(target=self._run_backlog, name="settled-backlog")
            backlog_thread.start()
            try:
                self._run_until_stopped()
            finally:
                # In this order: the other thread checks `_stopping` when `_is_busy` wakes it.
                self._stopping.set()
                self._is_busy.set()
                backlog_thread.join()
                self._finish_turns()

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

    def _run_until_stopped(self) -> None:
        prefetched: Sequence[Delivery] = ()
        while not self._stopping.is_set():
            prefetched = self._run_batch(prefetched or self._receive(self._receive_wait))
            if prefetched:
                self._is_busy.set()
        self._release(prefetched)

    def _run_backlog(self) -> None:
        """Run further batches while there is a backlog, so that one thread computes while the other one commits."""
        prefetched: Sequence[Delivery] = ()
        while self._wait_for_backlog():
            try:
                prefetched = self._run_batch(prefetched or self._receive(0.0))
            except SettledError:
                prefetched = ()  # the main thread gets the same error from its own calls, and raises it to the caller
            if not prefetched:
                self._is_busy.clear()
        self._release(prefetched)

    def _wait_for_backlog(self) -> bool:
        """Wait until there is more than one batch; return False once the worker is stopping."""
        # `_stopping` is checked before the wait too: `run` may have set `_is_busy` just before this thread cleared it,
        # and does not set it again.
        return not self._stopping.is_set() and self._is_busy.wait() and not self._stopping.is_set()

    def _run_batch(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Run the turns of `deliveries` up to their actions and actors, hand those on to the pool, and prefetch.

        Return the deliveries that the joint commit brought with it, to be run next.
        """
        # Every lease is renewed from here on, also while its turn waits for a thread of the pool.
        turns = turns_for(self._context, deliveries, self._stop_signal)
        # Prefetch only while a thread is free: messages that wait here for one could be taken by another worker.
        prefetched = commit_together(self._context, turns, self._batch if self._has_free_thread(0) else 0)
        slow = [turn for turn in turns if turn.end is None]
        for turn in slow:
            future = self._pool.submit(self._run_turn, turn)
            # First added, then discarded when done; the other way round, a quick one would stay in the set for ever.
            self._running.add(future)
            future.add_done_callback(self._running.discard)
        if turns:
            self._batch = self._min_batch if slow else min(2 * self._batch, self._max_batch)
        return prefetched

    def _has_free_thread(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until a thread of the pool is free, and return whether one is."""
        free = self._free_threads.acquire(timeout=timeout)
        if free:
            self._free_threads.release()
        return free

    def _report_clock_skew(self) -> None:
        """Tell the observers if this machine's clock differs from the backend's. Only the log depends on it."""
        with suppress(SettledError):
            skew = time.time() - self._context.clock()
            if abs(skew) > MIN_CLOCK_SKEW + self._context.backend.resolution.total_seconds():
                self._context.observe(ClockSkewed(skew))

    def _receive(self, wait: float) -> Sequence[Delivery]:
        """Return the next deliveries, waiting up to `wait` seconds for a free thread and for the first of them.

        Return none while no thread is free, or while the backend cannot be reached.
        """
        if not self._has_free_thread(wait):
            return ()
        try:
            return retried(self._context.backend.queue.receive, self._batch, wait, self._context.machines)
        except (UnavailableError, OutcomeUnknownError):
            # Messages in an answer that was lost are delivered again when their leases have run out.
            self._stopping.wait(self._receive_wait)
        return ()

    def _release(self, deliveries: Sequence[Delivery]) -> None:
        for group in by_key(deliveries):
            self._context.release(self._context.leases.hold(group), ReleaseReason.STOPPING)

    def _run_turn(self, turn: TurnRunner) -> None:
        with self._free_threads:
            # A turn that has performed no command has done nothing yet: another worker can start it right away.
            if self._stopping.is_set() and not turn.has_acted:
                self._context.release(turn.held, ReleaseReason.STOPPING)
            else:
                turn.run()

    def _finish_turns(self) -> None:
        wait(set(self._running), timeout=self._shutdown_grace)
        # Interrupts actors only: a turn that is committing or acknowledging goes on to its end, which is waited for.
        self._stop_signal.set()
        self._pool.shutdown(wait=True)


@contextmanager
def _stopped_by_signals(worker: Worker) -> Generator[None]:
    """Within this block, SIGTERM and SIGINT stop `worker`. Python allows signal handlers in the main thread only."""
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
