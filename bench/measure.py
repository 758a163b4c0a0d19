"""How times are taken: CPU time and wall time of the same run, the median of several."""

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
    """`run` with a number of events."""
    cpu, wall = time.process_time(), time.perf_counter()
    run(events)
    return Time((time.process_time() - cpu) / events * 1e6, (time.perf_counter() - wall) / events * 1e6)


def middle(times: Iterable[Time]) -> Time:
    """The medians of `times`."""
    several = list(times)
    return Time(round(median(each.cpu for each in several), 2), round(median(each.wall for each in several), 2))


def as_json(time: Time) -> dict[str, float]:
    return asdict(time)
