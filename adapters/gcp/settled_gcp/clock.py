"""Tell the time by Firestore's clock, as far as its answers have shown it.

Each answer says when it was given, to the microsecond, so hardly ever does anybody ask for the time. What has passed
since is counted by this machine's monotonic clock, at the slowest rate that it can really have had: that way every
answer is a bound below the true time for ever, and the best of them is the time. It is behind by what the quickest of
the last answers took to come here, and by some ten milliseconds at most for the rest; never is it ahead.

Google's other clocks are the same one, to some milliseconds, and a message takes longer to come here than an answer. So
a timer that is published when it is due is not taken to be early, and nothing need be put off: `RESOLUTION` is 0.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from settled.errors import SettledError, UnavailableError
from settled_gcp.client_protocols import FirestoreClient
from settled_gcp.documents import Collection
from settled_gcp.errors import translated

RESOLUTION = 0.0
"""By how many seconds what is scheduled is put off because the time may be behind."""

DRIFT = 1e-4
"""By how much a machine's clock may run fast, as a fraction. Quartz is better by half."""

FRESH = 60.0
"""For how many seconds after an answer nobody asks for the time."""


class ServerTime:
    """The time by Firestore's clock, in seconds since the epoch, when it is called.

    Several threads may share it. `clock`, if there is one, is believed instead of Firestore; `ticks` counts seconds
    from anywhere; `timeout`, in seconds, is how long a request may take.
    """

    def __init__(
        self,
        client: FirestoreClient,
        collection: Collection,
        clock: Callable[[], float] | None = None,
        *,
        ticks: Callable[[], float] = time.monotonic,
        timeout: float = 10.0,
    ) -> None:
        self._client = client
        self._collection = collection
        self._given = clock
        self._ticks = ticks
        self._timeout = timeout
        self._best: tuple[float, float] | None = None
        self._fresh_until = 0.0
        self._is_doubted = True
        self._lock = threading.Lock()

    @classmethod
    def of(cls, client: FirestoreClient, collection: Collection, clock: Callable[[], float] | None) -> ServerTime:
        """`clock` itself if it is one of these, or else a new one."""
        return clock if isinstance(clock, ServerTime) else cls(client, collection, clock)

    def __call__(self) -> float:
        """The time: never ahead of Firestore's.

        It asks, at the price of one read, only if there was no answer for a minute, or none since `doubt`.

        Raises:
            Denied, Unavailable: it had to ask, and nothing is known at all.
        """
        if self._given is not None:
            return self._given()
        if self._is_old():
            try:
                self._ask()
            except SettledError:
                # What is known is still a bound, and a turn that has performed something must get as far as its commit.
                if self._best is None:
                    raise
        return self._bound()

    def at_least(self) -> float:
        """A time that has come for sure, however old what is known is. It asks only if that is nothing at all.

        Raises:
            Denied, Unavailable: it had to ask.
        """
        if self._given is not None:
            return self._given()
        if self._best is None:
            self._ask()
        return self._bound()

    def doubt(self) -> None:
        """Ask for the time before it is told again: this machine may have stood still, and its clock with it."""
        with self._lock:
            self._is_doubted = True

    def heard(self, moment: datetime | None) -> None:
        """An answer has come that was given at `moment`, if it says so."""
        if not moment:
            return
        ticks, given = self._ticks(), moment.timestamp()
        with self._lock:
            self._is_doubted, self._fresh_until = False, ticks + FRESH
            if self._best is None or given >= _later(self._best, ticks):
                self._best = (given, ticks)

    def heard_in(self, answers: Iterable[Any]) -> Iterator[Any]:
        """`answers`, each of which says when it was given."""
        for answer in answers:
            self.heard(answer.read_time)
            yield answer

    def _is_old(self) -> bool:
        with self._lock:
            return self._is_doubted or self._ticks() > self._fresh_until

    def _bound(self) -> float:
        with self._lock:
            if self._best is None:
                raise UnavailableError("Firestore has not said what time it is")
            return _later(self._best, self._ticks())

    def _ask(self) -> None:
        """Look for a document that is not there: the answer says when."""
        request = {
            "database": self._collection.database,
            "documents": [self._collection.nobody],
            "mask": {"field_paths": ["__name__"]},
        }
        with translated("asking Firestore for the time", repeatable=True):
            answers = self._client.batch_get_documents(request=request, retry=None, timeout=self._timeout)
            for _ in self.heard_in(answers):
                pass


def _later(known: tuple[float, float], ticks: float) -> float:
    """The time at `ticks`, if it was `known` at others."""
    moment, then = known
    return moment + (ticks - then) * (1 - DRIFT)
