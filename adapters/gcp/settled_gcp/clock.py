"""Tell the time by Firestore's clock, from the read and commit times of its responses.

Each response has its time, in microseconds, so a request for the time alone is rare. The monotonic clock counts from
there, slowed by the most that it can run fast. Each response therefore gives a lower bound of Firestore's time that
stays valid, and the highest bound is the time. It is never ahead; it is behind by the latency of the quickest recent
response, and by at most some ten milliseconds of drift.

Google synchronizes the clocks of its services to within milliseconds, and a message takes longer to arrive than a
response. So a timer published when it is due never looks early here, and need not be delayed: `RESOLUTION` is 0.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from settled.durations import in_seconds
from settled.errors import SettledError, UnavailableError
from settled_gcp.client_protocols import FirestoreClient
from settled_gcp.documents import Collection
from settled_gcp.errors import translated

RESOLUTION = timedelta()
"""How many seconds later timers are scheduled because the time may be behind."""

MAX_DRIFT = 1e-4
"""By which fraction the monotonic clock may run too fast: twice the error of a quartz."""

MAX_AGE = 60.0
"""How many seconds after a response the time is known without a request."""


class ServerTime:
    """The time by Firestore's clock, in seconds since the epoch. It is called like a function, and thread-safe.

    Args:
        client: for requests for the time.
        collection: whose database is asked.
        clock: used instead of Firestore's, if given.
        ticks: a monotonic clock, in seconds.
        timeout: of a request.
    """

    def __init__(
        self,
        client: FirestoreClient,
        collection: Collection,
        clock: Callable[[], float] | None = None,
        *,
        ticks: Callable[[], float] = time.monotonic,
        timeout: timedelta = timedelta(seconds=10),
    ) -> None:
        self._client = client
        self._collection = collection
        self._override = clock
        self._ticks = ticks
        self._timeout = in_seconds(timeout, "timeout")
        self._best_bound: tuple[float, float] | None = None
        self._fresh_until = 0.0
        self._is_invalidated = True
        self._lock = threading.Lock()

    @classmethod
    def of(cls, client: FirestoreClient, collection: Collection, clock: Callable[[], float] | None) -> ServerTime:
        """Return `clock` if it is a `ServerTime` already, otherwise a new one."""
        return clock if isinstance(clock, ServerTime) else cls(client, collection, clock)

    def __call__(self) -> float:
        """Return the time, which is never ahead of Firestore's.

        This takes a request, billed as one read, only if there was no response for a minute, or since `invalidate`.

        Raises:
            AccessDeniedError, BackendConfigError, UnavailableError: the request failed, and there was no response ever.
        """
        if self._override is not None:
            return self._override()
        if self._is_old():
            try:
                self._ask()
            except SettledError:
                # The last bound still holds, and a turn that has performed actions should get as far as its commit.
                if self._best_bound is None:
                    raise
        return self._bound()

    def lower_bound(self) -> float:
        """Return a time that has passed for certain, however old. This takes a request only before any response.

        Raises:
            AccessDeniedError, BackendConfigError, UnavailableError: the request failed.
        """
        if self._override is not None:
            return self._override()
        if self._best_bound is None:
            self._ask()
        return self._bound()

    def invalidate(self) -> None:
        """Make the next call ask Firestore: this machine, and its monotonic clock, may have been suspended."""
        with self._lock:
            self._is_invalidated = True

    def observe(self, moment: datetime | None) -> None:
        """Take the time of a response; do nothing if it has none."""
        if not moment:
            return
        ticks, time_of_response = self._ticks(), moment.timestamp()
        with self._lock:
            self._is_invalidated, self._fresh_until = False, ticks + MAX_AGE
            if self._best_bound is None or time_of_response >= _extrapolated(self._best_bound, ticks):
                self._best_bound = (time_of_response, ticks)

    def observe_each(self, responses: Iterable[Any]) -> Iterator[Any]:
        """Yield `responses`, and take the read time of each."""
        for response in responses:
            self.observe(response.read_time)
            yield response

    def _is_old(self) -> bool:
        with self._lock:
            return self._is_invalidated or self._ticks() > self._fresh_until

    def _bound(self) -> float:
        with self._lock:
            if self._best_bound is None:
                raise UnavailableError("Firestore's time is not known yet")
            return _extrapolated(self._best_bound, self._ticks())

    def _ask(self) -> None:
        """Read a document that does not exist, for the time of the response."""
        request = {
            "database": self._collection.database,
            "documents": [self._collection.absent_document],
            "mask": {"field_paths": ["__name__"]},
        }
        with translated("asking Firestore for the time", repeatable=True):
            responses = self._client.batch_get_documents(request=request, retry=None, timeout=self._timeout)
            for _ in self.observe_each(responses):
                pass


def _extrapolated(bound: tuple[float, float], ticks: float) -> float:
    """Return the lower bound at `ticks`, from a bound and the ticks at which it was taken."""
    moment, then = bound
    # Slowed by the drift: a bound ahead of Firestore's time would fire timers early.
    return moment + (ticks - then) * (1 - MAX_DRIFT)
