"""Tell the time by AWS's clock, from the Date headers of its responses.

A Date header is the time of the response, truncated to a whole second. When the response arrives, AWS's clock shows
that time or a later one; the monotonic clock counts from there. Each response therefore gives a lower bound of AWS's
time, and the highest of them is the best.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from attrs import define, field, frozen
from botocore.exceptions import ClientError

from settled.errors import SettledError

RESOLUTION = timedelta(seconds=1)
"""How far the time may be behind AWS's, in seconds: a Date header has no fractions."""

MAX_DRIFT = 1e-4
"""By which fraction the monotonic clock may run too fast: more than a quartz and NTP's slewing of it do."""


@frozen
class _Bound:
    """A lower bound: AWS's clock showed at least `date` when the monotonic clock showed `ticks`."""

    date: float
    ticks: float

    def at(self, ticks: float) -> float:
        """Return the lower bound at `ticks`, in seconds since the epoch."""
        # Slowed by the drift: a bound ahead of AWS's time would fire timers early and end leases late.
        return self.date + (ticks - self.ticks) * (1 - MAX_DRIFT)


@define(eq=False)
class AwsClock:
    """The time by the clock of the service whose responses it is given. It is thread-safe.

    If the time is needed before any response, `ask` makes a request. If the response has no date, as an emulator's may
    not, this machine's clock is used.
    """

    ask: Callable[[], object]
    ticks: Callable[[], float] = time.monotonic
    _bound: _Bound | None = field(default=None, init=False)
    _generation: int = field(default=0, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _ask_lock: threading.Lock = field(factory=threading.Lock, init=False)

    def __call__(self) -> float:
        """Return the time in seconds since the epoch.

        Raises:
            UnavailableError, AccessDeniedError, BackendConfigError: there was no response yet, and `ask` failed.
        """
        estimate = self._estimate()
        if estimate is not None:
            return estimate
        with self._ask_lock:
            return self._estimate_or_ask()

    def forget(self) -> None:
        """Use only responses to later requests: this process may have been frozen, and its monotonic clock with it."""
        with self._lock:
            self._generation += 1
            self._bound = None

    def begin_request(self) -> Callable[[Mapping[str, Any]], None]:
        """Return the function to call with the response to a request that starts now."""
        # The generation is read now and not when the response arrives: a response to a request from before `forget` may
        # have waited in a socket while this process was frozen.
        generation = self._generation

        def record(response: Mapping[str, Any]) -> None:
            date = _date(response)
            if date is not None:
                self._record(date, generation)

        return record

    def _record(self, date: float, generation: int) -> None:
        with self._lock:
            ticks = self.ticks()
            if generation == self._generation and (self._bound is None or self._bound.at(ticks) < date):
                self._bound = _Bound(date, ticks)

    def _estimate(self) -> float | None:
        with self._lock:
            return None if self._bound is None else self._bound.at(self.ticks())

    def _estimate_or_ask(self) -> float:
        estimate = self._estimate()  # another thread may have asked meanwhile
        if estimate is not None:
            return estimate
        try:
            self.ask()
        except SettledError:
            estimate = self._estimate()  # an error response has a date, too
            if estimate is None:
                raise
            return estimate
        estimate = self._estimate()
        return time.time() if estimate is None else estimate


def observed_by(client: Any, clock: AwsClock) -> Any:
    """Return `client`, wrapped so that `clock` sees the date of each response."""
    return _ObservedClient(client, clock)


class _ObservedClient:
    def __init__(self, client: Any, clock: AwsClock) -> None:
        self._client, self._clock = client, clock

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._client, name)

        def observed(**request: Any) -> Any:
            record = self._clock.begin_request()
            try:
                response = call(**request)
            except ClientError as error:
                record(error.response)
                raise
            record(response)
            return response

        return observed


def _date(response: Mapping[str, Any]) -> float | None:
    """Return the Date header of `response` in seconds since the epoch, if it has one."""
    try:
        return parsedate_to_datetime(response["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return None
