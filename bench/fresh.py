"""The cost of a new process: the import, and the first event. Each number is the median of several processes."""

from __future__ import annotations

import json
import subprocess
import sys
from statistics import median

IMPORTS = (
    "pass",
    "import attrs",
    "import settled",
    "from settled import setup",
    "import settled_runtime",
    "from settled_runtime import Host",
)

MIN_PROCESSES = 11
"""The least number of processes for the median of an import, because a busy machine always slows some of them."""

# The child measures itself, so the start of Python is not included; what an import statement loads is.
_IMPORT = "import time; begin = time.process_time(); {}; print((time.process_time() - begin) * 1e3)"
_COLD = """
import sys, time
from bench.core import machine_named, events_of
machine_named("flat3").initial_transition()  # loads what only the first machine of a process needs
begin = time.process_time()
machine = machine_named(sys.argv[1])
snapshot, _ = machine.initial_transition()
machine.transition(snapshot, events_of(sys.argv[1])[0])
print((time.process_time() - begin) * 1e3)
"""


def imports(rounds: int) -> dict[str, float]:
    """Measure each of `IMPORTS` alternately, in milliseconds of CPU time."""
    taken: dict[str, list[float]] = {statement: [] for statement in IMPORTS}
    for _ in range(rounds):
        for statement in IMPORTS:
            taken[statement].append(_child(_IMPORT.format(statement)))
    return {statement: round(median(times), 2) for statement, times in taken.items()}


def cold(machine: str, rounds: int) -> float:
    """Measure the CPU time from a config to the snapshot after its first event, in milliseconds."""
    return round(median(_child(_COLD, machine) for _ in range(rounds)), 2)


def _child(code: str, *arguments: str) -> float:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, encoding="utf-8", check=True)
    return float(json.loads(done.stdout))
