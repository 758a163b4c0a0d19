"""Measure CPU time and wall time of a run, and take the median of several runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from statistics import median

from attrs import asdict, frozen


@frozen
class Time:
    """Microseconds per event."""

    cpu: float
    wall: float


def timed(run: Callable[[int], object], events: int) -> Time:
    """Call `run` with a number of events, and return the time for each."""
    cpu, wall = time.process_time(), time.perf_counter()
    run(events)
    return Time((time.process_time() - cpu) / events * 1e6, (time.perf_counter() - wall) / events * 1e6)


def median_time(times: Iterable[Time]) -> Time:
    """Return the median of each kind of time in `times`."""
    several = list(times)
    return Time(round(median(each.cpu for each in several), 2), round(median(each.wall for each in several), 2))


def as_json(time: Time) -> dict[str, float]:
    return asdict(time)
