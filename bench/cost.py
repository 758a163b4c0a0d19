"""What an instance costs as it grows old, and what a process pays for instances that do nothing."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Sequence
from statistics import median
from typing import Any

from bench.durable_runner import Stage
from settled import Machine, setup

AROUND = 30
"""How many events are measured at each age."""

MANY = 200
"""How many are measured beside each number of others."""

ENOUGH = 3000
"""After how many instances a process remembers no more of them."""


def curve(stage: Stage, ages: Sequence[int]) -> dict[str, dict[str, float | None]]:
    """What one event costs when the instance has taken `ages` of them: microseconds of CPU, and bytes."""
    stage.start(["old"])
    taken, costs = 0, dict[str, dict[str, float | None]]()
    for age in ages:
        if age > taken:
            stage.queued(["old"], age - taken)
        sample = stage.single("old", AROUND)
        taken = max(age, taken) + AROUND
        written = None if sample.written is None else sample.written / sample.count
        costs[str(age)] = {"cpu_us": sample.cpu / sample.count * 1e6, "bytes": written}
    return costs


def growth(stage: Stage, counts: Sequence[int]) -> dict[str, float]:
    """What one event of an instance costs beside `counts` of others: microseconds of wall time, the median."""
    stage.start(["alone"])
    stored, costs = 0, dict[str, float]()
    for count in counts:
        stage.start(f"stored{n}" for n in range(stored, count))
        stored = max(stored, count)
        costs[str(count)] = median(stage.single("alone", MANY).latencies) * 1e6
    return costs


def idle(stage: Stage, count: int) -> dict[str, float]:
    """How many blocks of memory a process keeps for each of `count` instances that wait, after enough others."""
    stage.start(f"warm{n}" for n in range(min(count, ENOUGH)))
    names = [f"idle{n}" for n in range(count)]
    stage.note(names)
    before = _blocks()
    stage.start(names)
    return {"instances": count, "blocks_each": (_blocks() - before) / count}


def _blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def plans(count: int) -> dict[str, float]:
    """How much memory a machine keeps for about `count` plans."""
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
    """Which lamp to switch next, so that all combinations come up: a Gray code."""
    return (number & -number).bit_length() - 1


def _lamps(count: int) -> Machine[Any, Any]:
    """A machine with ``2 ** count`` configurations."""

    def lamp(n: int) -> dict[str, object]:
        return {"initial": "off", "states": {"off": {"on": {f"T{n}": "on"}}, "on": {"on": {f"T{n}": "off"}}}}

    return setup().machine({"id": "lamps", "type": "parallel", "states": {f"l{n}": lamp(n) for n in range(count)}})
