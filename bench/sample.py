"""A sample: the measured cost of some events."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median, quantiles

from attrs import frozen

IO = Path("/proc/self/io")


@frozen
class Sample:
    """The cost of `count` events. `latencies` are in seconds; `written` is in bytes, None if it is not known."""

    count: int
    seconds: float
    cpu: float
    latencies: tuple[float, ...]
    written: int | None

    @property
    def rate(self) -> float:
        """The rate, in events a second."""
        return self.count / self.seconds


class Meter:
    """Measures from its creation until `read`."""

    def __init__(self) -> None:
        self._written = bytes_written()
        self._cpu = time.process_time()
        self._began = time.perf_counter()

    def read(self, count: int, latencies: Iterable[float]) -> Sample:
        seconds, cpu = time.perf_counter() - self._began, time.process_time() - self._cpu
        now = bytes_written()
        written = None if now is None or self._written is None else now - self._written
        return Sample(count, seconds, cpu, tuple(latencies), written)


def bytes_written() -> int | None:
    """Return how many bytes this process has written to files and sockets; None if the system does not count them."""
    if not IO.exists():
        return None
    return next(int(line.split()[1]) for line in IO.read_text().splitlines() if line.startswith("wchar"))


def summary(samples: Sequence[Sample]) -> dict[str, float | None]:
    """Return the medians over several rounds, and the percentiles of the latencies of all rounds together."""
    latencies = [latency for sample in samples for latency in sample.latencies]
    hundredths = quantiles(latencies, n=100) if len(latencies) > 1 else latencies * 99
    written = [sample.written / sample.count for sample in samples if sample.written is not None]
    return {
        "per_second": median(sample.rate for sample in samples),
        "cpu_us": median(sample.cpu / sample.count for sample in samples) * 1e6,
        "p50_us": hundredths[49] * 1e6,
        "p99_us": hundredths[98] * 1e6,
        "bytes": median(written) if written else None,
    }
