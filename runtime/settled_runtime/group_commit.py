"""Group commit: threads that need the same slow resource take turns at leading, and the leader works for all in line.

A commit costs a wait for the disk, and a request a round trip, whatever is in it. So the threads that arrive while one
is under way queue up, and then the first of them leads: it takes the tickets of all, does their work at once, and hands
out the results. A thread that is alone leads immediately, and pays for no more than two locks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from attrs import define, field


@define(eq=False)
class Ticket:
    """A thread's place in line. Subclasses add its work and the results that a leader writes into it.

    Attributes:
        leads: whether the thread has to lead; a thread whose ticket does not lead finds its work done.
    """

    leads: bool = field(default=False, kw_only=True)
    _wake: threading.Lock | None = field(default=None, init=False)


T = TypeVar("T", bound=Ticket)


class GroupCommit(Generic[T]):
    """The line at one resource."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tickets: list[T] = []
        self._busy = False

    def __len__(self) -> int:
        return len(self._tickets)

    def join(self, ticket: T, timeout: float = -1.0) -> bool:
        """Wait until `ticket` leads, and return True, or until a leader did its work, and return False.

        A thread that leads calls `take`, does the work of what it gets, and then calls `finish`, whatever happened.

        Args:
            ticket: a new ticket.
            timeout: how long to wait, in seconds; negative waits for ever.

        Raises:
            TimeoutError: no leader took the ticket in time, and none will.
        """
        with self._lock:
            self._tickets.append(ticket)
            if not self._busy:
                self._busy = ticket.leads = True
                return True
            wake = ticket._wake = threading.Lock()
            wake.acquire()
        try:
            # A leader releases it. Without a leader that has taken the ticket, nobody else ever does.
            if not wake.acquire(timeout=timeout):
                self._give_up(ticket)
                wake.acquire()
        except TimeoutError:
            raise
        except BaseException:  # KeyboardInterrupt: this thread must neither lead nor be waited for
            self._leave(ticket)
            raise
        return ticket.leads

    def take(self, accept: Callable[[Sequence[T]], bool] | None = None) -> Sequence[T]:
        """Remove and return the tickets in line, oldest first; return none if `accept` is given and returns False."""
        with self._lock:
            if accept is not None and not accept(self._tickets):
                return ()
            tickets, self._tickets = self._tickets, []
        return tickets

    def finish(self, tickets: Sequence[T]) -> None:
        """Wake the threads whose `tickets` were worked for, and the thread that leads next."""
        for ticket in tickets:
            if not ticket.leads and ticket._wake is not None:
                ticket._wake.release()
        with self._lock:
            self._busy = bool(self._tickets)
            if self._busy:
                first = self._tickets[0]
                first.leads = True
                assert first._wake is not None, "it joined while another thread was leading"
                first._wake.release()

    def _give_up(self, ticket: T) -> None:
        with self._lock:
            if ticket in self._tickets and not ticket.leads:
                self._tickets.remove(ticket)
                raise TimeoutError("no other thread finished in time")

    def _leave(self, ticket: T) -> None:
        with self._lock:
            if ticket in self._tickets:
                self._tickets.remove(ticket)
        if ticket.leads:
            self.finish(())
