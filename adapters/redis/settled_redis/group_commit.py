"""The convoy: calls of several threads that travel to a server together.

A round trip costs about the same, whatever is in it. So those who come while one is under way line up, and then the
first of them leads: it sends the commands of all who stand behind it at once, and hands out the answers. Who is alone
leads at once, and pays nothing for the convoy.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from attrs import define, field

from settled.errors import SettledError


@define(eq=False)
class Part:
    """One caller's part: its packed `commands`, how many there are, and what becomes of them.

    If it `leads`, its caller sends the commands of all in line. `called` is released when there is something to hear.
    """

    commands: bytes
    count: int
    changes: bool
    answers: list[Any] = field(factory=list[Any])
    error: SettledError | BaseException | None = None
    leads: bool = False
    called: threading.Lock | None = None


class Convoy:
    """Those who want to speak to one server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parts: list[Part] = []
        self._busy = False

    def __len__(self) -> int:
        return len(self._parts)

    def join(self, part: Part) -> bool:
        """Wait until `part` leads, which is True, or was carried by another who does."""
        with self._lock:
            self._parts.append(part)
            if not self._busy:
                self._busy = part.leads = True
                return True
            part.called = threading.Lock()
            part.called.acquire()
        try:
            part.called.acquire()
        except BaseException:
            self._leave(part)
            raise
        return part.leads

    def _leave(self, part: Part) -> None:
        """Whoever was interrupted while it waited neither leads nor is waited for."""
        with self._lock:
            if part in self._parts:
                self._parts.remove(part)
        if part.leads:
            self.arrive(())

    def depart(self) -> Sequence[Part]:
        """Take out all who stand there."""
        with self._lock:
            parts, self._parts = self._parts, []
        return parts

    def arrive(self, parts: Sequence[Part]) -> None:
        """Call those who were carried, and the next who leads."""
        for part in parts:
            if not part.leads and part.called is not None:
                part.called.release()
        with self._lock:
            self._busy = bool(self._parts)
            if self._busy:
                first = self._parts[0]
                first.leads = True
                assert first.called is not None, "it has come while another one was leading"
                first.called.release()
