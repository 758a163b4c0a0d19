"""The time by AWS's own clock, taken from the dates of its answers.

An answer's date is when it was given, cut to a whole second. So when the answer has arrived it is that late at least,
and from then on later by what has passed since. Such a bound is never ahead of AWS; of several, the highest holds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from attrs import define, field, frozen
from botocore.exceptions import ClientError

from settled.errors import SettledError

RESOLUTION = 1.0
"""By how many seconds the time may be behind: a date has no parts of a second."""

STRAY = 1e-4
"""By which part the monotonic clock may be too fast: a quartz is not, nor what keeps it in step with others."""


@frozen
class _Bound:
    """It was `date` or later when the monotonic clock stood at `ticks`."""

    date: float
    ticks: float

    def at(self, ticks: float) -> float:
        """Return the earliest time it can be, in seconds since the epoch, when that clock stands at `ticks`."""
        return self.date + (ticks - self.ticks) * (1 - STRAY)


@define(eq=False)
class AwsClock:
    """The time by whoever gives the answers that it hears. It may be called from any thread.

    Before it has heard one, `ask` lets one be given. If that has no date, the clock of this machine is all there is.
    """

    ask: Callable[[], object]
    ticks: Callable[[], float] = time.monotonic
    _bound: _Bound | None = field(default=None, init=False)
    _era: int = field(default=0, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _asking: threading.Lock = field(factory=threading.Lock, init=False)

    def __call__(self) -> float:
        """The time in seconds since the epoch.

        Raises:
            Unavailable, Denied: no answer was heard yet, and none could be had.
        """
        known = self._known()
        if known is not None:
            return known
        with self._asking:
            return self._asked()

    def forget(self) -> None:
        """Go by answers to later requests only: the monotonic clock may have stood still for some time."""
        with self._lock:
            self._era += 1
            self._bound = None

    def listen(self) -> Callable[[Mapping[str, Any]], None]:
        """Note that a request is made now; return the function to call with the headers of its answer."""
        era = self._era

        def hear(answer: Mapping[str, Any]) -> None:
            date = _date(answer)
            if date is not None:
                self._hear(date, era)

        return hear

    def _hear(self, date: float, era: int) -> None:
        with self._lock:
            ticks = self.ticks()
            if era == self._era and (self._bound is None or self._bound.at(ticks) < date):
                self._bound = _Bound(date, ticks)

    def _known(self) -> float | None:
        with self._lock:
            return None if self._bound is None else self._bound.at(self.ticks())

    def _asked(self) -> float:
        known = self._known()  # somebody else may have asked meanwhile
        if known is not None:
            return known
        try:
            self.ask()
        except SettledError:
            known = self._known()  # an answer that refuses has a date, too
            if known is None:
                raise
            return known
        known = self._known()
        return time.time() if known is None else known


def listening(client: Any, clock: AwsClock) -> Any:
    """`client`, each of whose answers tells `clock` how late it is."""
    return _Listening(client, clock)


class _Listening:
    def __init__(self, client: Any, clock: AwsClock) -> None:
        self._client, self._clock = client, clock

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._client, name)

        def answered(**request: Any) -> Any:
            hear = self._clock.listen()
            try:
                answer = call(**request)
            except ClientError as error:
                hear(error.response)
                raise
            hear(answer)
            return answer

        return answered


def _date(answer: Mapping[str, Any]) -> float | None:
    """When `answer` was given, in seconds since the epoch, if it says so."""
    try:
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return None
