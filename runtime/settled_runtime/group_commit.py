"""Group commit: one thread, the leader, does the work of all threads that wait for the same slow resource.

A commit costs a wait for the disk, and a request a round trip, whatever is in it. Threads that arrive while one is
under way queue up. Then the first of them leads: it takes the tickets of all, does their work in one go, and writes
the results into them. A thread that is alone leads immediately, at the cost of two locks.

Its law: there is at most one leader at a time, and a leader that ends always appoints the next one if threads wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from attrs import define, field


@define(eq=False)
class Ticket:
    """One thread's request. Subclasses add its work and the results that the leader writes into it.

    Attributes:
        leads: whether the thread that waits with this ticket has to lead. If not, its work is done when it wakes.
        wake: held while the thread waits; released by the leader. None for a thread that leads at once.
    """

    leads: bool = field(default=False, kw_only=True)
    wake: threading.Lock | None = field(default=None, init=False)


T = TypeVar("T", bound=Ticket)


class GroupCommit(Generic[T]):
    """The queue of threads at one resource. Its length is the number of tickets that no leader has taken yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tickets: list[T] = []
        self._busy = False

    def __len__(self) -> int:
        return len(self._tickets)

    def join(self, ticket: T, timeout: float = -1.0) -> bool:
        """Wait until this thread has to lead, and return True; or until a leader did its work, and return False.

        A thread that leads calls `take`, does the work of the tickets it gets, and then calls `finish`, also if the
        work raised: otherwise all waiting threads would wait for ever.

        Args:
            ticket: a new ticket.
            timeout: how long to wait until a leader has taken the ticket, in seconds; negative waits for ever.

        Raises:
            TimeoutError: no leader took the ticket in time; the ticket was removed, and none will.
        """
        with self._lock:
            self._tickets.append(ticket)
            if not self._busy:
                self._busy = ticket.leads = True
                return True
            wake = ticket.wake = threading.Lock()
            wake.acquire()
        try:
            if not wake.acquire(timeout=timeout):
                self._raise_unless_taken(ticket)
                # A leader has taken the ticket, and may have done its work already: wait for it, however long it takes.
                # If this thread was appointed to lead instead, it need not wait.
                wake.acquire()
        except TimeoutError:
            raise
        except BaseException:  # KeyboardInterrupt: this thread can neither lead nor read its results any more
            self._abandon(ticket)
            raise
        return ticket.leads

    def take(self, accept: Callable[[Sequence[T]], bool] | None = None) -> Sequence[T]:
        """Remove and return all waiting tickets, oldest first; return none if `accept` is given and returns False."""
        with self._lock:
            if accept is not None and not accept(self._tickets):
                return ()
            tickets, self._tickets = self._tickets, []
        return tickets

    def finish(self, tickets: Sequence[T]) -> None:
        """Wake the threads whose `tickets` were taken, and appoint the next leader. Called by the leader, once."""
        for ticket in tickets:
            if not ticket.leads and ticket.wake is not None:
                ticket.wake.release()
        with self._lock:
            # Under the lock: a thread that joins now either sees a leader that will take its ticket, or leads itself.
            self._busy = bool(self._tickets)
            if self._busy:
                first = self._tickets[0]
                first.leads = True
                assert first.wake is not None, "it joined while another thread was leading"
                first.wake.release()

    def _raise_unless_taken(self, ticket: T) -> None:
        """Remove `ticket` and raise TimeoutError; return if a leader has taken it, or if it leads by now."""
        with self._lock:
            if ticket in self._tickets and not ticket.leads:
                self._tickets.remove(ticket)
                raise TimeoutError("no other thread finished in time")

    def _abandon(self, ticket: T) -> None:
        with self._lock:
            if ticket in self._tickets:
                self._tickets.remove(ticket)
        if ticket.leads:  # appointed in the meantime: appoint another, or no thread would ever lead again
            self.finish(())
