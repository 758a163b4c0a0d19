"""The cost of an event by the age of its instance, and the memory that idle instances take in a process."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Sequence
from statistics import median
from typing import Any

from bench.durable_runner import DurableRunner
from settled import Machine, setup

EVENTS_PER_AGE = 30
"""How many events are measured at each age of an instance."""

EVENTS_PER_COUNT = 200
"""How many events are measured beside each number of other instances."""

WARM_UP = 3000
"""How many instances fill the caches of a process, so that further ones add nothing."""


def curve(runner: DurableRunner, ages: Sequence[int]) -> dict[str, dict[str, float | None]]:
    """Measure an event of an instance that has processed `ages` events: microseconds of CPU, and bytes written."""
    runner.start(["old"])
    taken, costs = 0, dict[str, dict[str, float | None]]()
    for age in ages:
        if age > taken:
            runner.queued(["old"], age - taken)
        sample = runner.single("old", EVENTS_PER_AGE)
        taken = max(age, taken) + EVENTS_PER_AGE
        written = None if sample.written is None else sample.written / sample.count
        costs[str(age)] = {"cpu_us": sample.cpu / sample.count * 1e6, "bytes": written}
    return costs


def growth(runner: DurableRunner, counts: Sequence[int]) -> dict[str, float]:
    """Measure an event of an instance beside `counts` others: microseconds of wall time, the median."""
    runner.start(["alone"])
    stored, costs = 0, dict[str, float]()
    for count in counts:
        runner.start(f"stored{n}" for n in range(stored, count))
        stored = max(stored, count)
        costs[str(count)] = median(runner.single("alone", EVENTS_PER_COUNT).latencies) * 1e6
    return costs


def idle(runner: DurableRunner, count: int) -> dict[str, float]:
    """Measure how many blocks of memory a process keeps for each of `count` waiting instances, after a warm-up."""
    runner.start(f"warm{n}" for n in range(min(count, WARM_UP)))
    names = [f"idle{n}" for n in range(count)]
    runner.register(names)  # before the measurement: the runner itself keeps these names
    before = _blocks()
    runner.start(names)
    return {"instances": count, "blocks_each": (_blocks() - before) / count}


def _blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def plans(count: int) -> dict[str, float]:
    """Measure the memory that a machine keeps for about `count` plans."""
    machine = _lamps(10)
    before, _ = machine.initial_transition()
    tracemalloc.start()
    for step in range(2**10):
        for lamp in range(10):
            machine.transition(before, {"type": f"T{lamp}"})
        before, _ = machine.transition(before, {"type": f"T{_lowest_bit(step + 1) % 10}"})
        if len(machine.plan_cache) >= count * 0.95:
            break
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"plans": len(machine.plan_cache), "megabytes": size / 1e6}


def _lowest_bit(number: int) -> int:
    """Return which lamp to switch next, so that every combination occurs: a Gray code."""
    return (number & -number).bit_length() - 1


def _lamps(count: int) -> Machine[Any]:
    """Make a machine with ``2 ** count`` configurations."""

    def lamp(n: int) -> dict[str, object]:
        return {"initial": "off", "states": {"off": {"on": {f"T{n}": "on"}}, "on": {"on": {f"T{n}": "off"}}}}

    return setup().machine({"id": "lamps", "type": "parallel", "states": {f"l{n}": lamp(n) for n in range(count)}})
