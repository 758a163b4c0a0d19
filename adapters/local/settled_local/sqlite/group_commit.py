"""The line of this process's writers, who share their transactions.

A commit costs a wait for the disk, whatever is in it. So those who come while the file is busy line up, and then the
first of them leads: it does the work of all who stand behind it in one transaction, and answers them once that is
committed. Who is alone leads at once, and pays nothing for the line.

This also keeps the threads of a process from waiting for each other at the file's own lock, where they would have to
look again and again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field

from settled.errors import UnavailableError
from settled_local.sqlite.connection import Connection


@define(eq=False)
class Part:
    """One writer's part of a transaction: its `work`, and its `result` or the `error` that it has come to.

    If `durable`, the commit has to wait for the disk. If it `leads`, its writer does the work of all in line. `called`
    is released when there is something to hear.
    """

    work: Callable[[Connection], Any]
    durable: bool
    result: Any = None
    error: BaseException | None = None
    leads: bool = False
    called: threading.Lock = field(factory=threading.Lock)


class Line:
    """The line; whoever has stood there for `timeout` seconds gives up. `path` is the file's, for the error."""

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._lock = threading.Lock()
        self._parts: deque[Part] = deque()
        self._busy = False

    def __len__(self) -> int:
        return len(self._parts)

    def join(self, part: Part) -> bool:
        """Wait until `part` leads, which is True, or was done by another who does.

        Raises:
            Unavailable: nobody came to it in time; it will not be done.
        """
        with self._lock:
            self._parts.append(part)
            if not self._busy:
                self._busy = part.leads = True
                return True
            part.called.acquire()
        if not part.called.acquire(timeout=self._timeout):
            self._give_up(part)
            part.called.acquire()
        return part.leads

    def take(self, durable: bool = True) -> Sequence[Part]:
        """Take out those who stand there; into a transaction that is not `durable`, none who needs it to be."""
        with self._lock:
            if not durable and any(part.durable for part in self._parts):
                return ()
            parts = tuple(self._parts)
            self._parts.clear()
        return parts

    def answer(self, parts: Sequence[Part]) -> None:
        """Call those whose parts are done, and the next who leads."""
        for part in parts:
            if not part.leads:
                part.called.release()
        with self._lock:
            self._busy = bool(self._parts)
            if self._busy:
                self._parts[0].leads = True
                self._parts[0].called.release()

    def _give_up(self, part: Part) -> None:
        with self._lock:
            if part in self._parts and not part.leads:
                self._parts.remove(part)
                raise UnavailableError(f"{self._path}: another thread did not let go of it in {self._timeout} seconds")
