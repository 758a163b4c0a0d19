"""``python -m bench durable``: events a second through instances that survive anything, beside a raw loop of writes.

The raw loop and ours take turns, in one process, on one file system, with the same settings, and each time ours is
measured a raw loop has just been; a ratio is the median of ours divided by the median of the raw ones of its rounds.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from attrs import asdict, evolve, frozen

from bench import cost
from bench.raw import Raw, RawRedis, RawSQLite
from bench.sample import Sample, summary
from bench.stage import Stage
from settled_runtime import connect

WAYS: dict[str, str] = {
    "single": "one instance: send an event and process it, again and again",
    "folded": "one instance, its events queued up, a worker",
    "many": "1,000 instances, 5 events each queued up, a worker",
    "apart": "1,000 instances, 1 event each queued up, a worker",
}
EACH = {"many": 5, "apart": 1}
"""How many events each of many instances has queued. With one there is nothing to fold: only commits are shared."""


@frozen
class Size:
    """How much is measured. `events`: of `single` and of each raw loop; `folded`: how many one instance has queued."""

    rounds: int
    events: int
    folded: int
    instances: int
    ages: tuple[int, ...]
    idle: int
    plans: int


FULL = Size(rounds=7, events=400, folded=4000, instances=1000, ages=(10, 100, 1000, 10_000), idle=3000, plans=10_000)
QUICK = Size(rounds=1, events=5, folded=40, instances=10, ages=(5, 50), idle=20, plans=100)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench durable", description=__doc__)
    parser.add_argument("--backend", default="sqlite", help="sqlite, or the URL of a Redis: redis://HOST")
    parser.add_argument("--place", default="..", help="a folder on the disk to measure; not one in memory")
    parser.add_argument("--rounds", type=int, help="how often each way is measured")
    parser.add_argument("--idle", type=int, help="how many instances wait while memory is measured")
    parser.add_argument("--quick", action="store_true", help="a few events, to see that it works")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    size = QUICK if options.quick else FULL
    size = evolve(size, rounds=options.rounds or size.rounds, idle=options.idle or size.idle)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.place) as folder, ExitStack() as opened:
        name, raw, stage = _opened(options.backend, Path(folder))
        opened.callback(raw.close)
        opened.callback(stage.close)
        report = measured(name, raw, stage, size)
        stage.check()
    print(json.dumps(report, indent=2) if options.json else table(report))


def _opened(backend: str, folder: Path) -> tuple[str, Raw, Stage]:
    if backend == "sqlite":
        return "sqlite", RawSQLite(folder / "raw.db"), Stage(connect(f"sqlite:///{folder}/settled.db?lease=600"))
    name = backend.partition(":")[0]
    return name, RawRedis(backend, f"bench:{folder.name}"), Stage(connect(backend))


def measured(name: str, raw: Raw, stage: Stage, size: Size) -> dict[str, Any]:
    """The report."""
    names = [str(n) for n in range(size.instances)]
    stage.start([*names, "one"])
    ways: dict[str, Callable[[], Sample]] = {
        "single": lambda: stage.single("one", size.events),
        "folded": lambda: stage.queued(["one"], size.folded),
        **{way: partial(stage.queued, names, each) for way, each in EACH.items()},
    }
    loops, samples, ratios = (
        [raw.run(size.events)],
        {way: list[Sample]() for way in ways},
        {way: list[float]() for way in ways},
    )
    for _ in range(size.rounds):
        for way, run in ways.items():
            samples[way].append(run())
            loops.append(raw.run(size.events))
            ratios[way].append(samples[way][-1].rate / ((loops[-2].rate + loops[-1].rate) / 2))
    return {
        "python": platform.python_version(),
        "size": asdict(size),
        "ratios": {f"{name}.{way}": round(median(found), 3) for way, found in ratios.items()},
        "ways": {"raw": summary(loops), **{way: summary(found) for way, found in samples.items()}},
        "curve": cost.curve(stage, size.ages),
        "memory": {"idle": cost.idle(stage, size.idle), "plans": cost.plans(size.plans)},
    }


def table(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    (name,) = {ratio.partition(".")[0] for ratio in report["ratios"]}
    lines = ["| way | events/s | ratio | CPU us | p50 us | p99 us | bytes |", "|---|---|---|---|---|---|---|"]
    for way, found in report["ways"].items():
        ratio = report["ratios"].get(f"{name}.{way}", 1)
        cells = (found[column] for column in ("cpu_us", "p50_us", "p99_us", "bytes"))
        lines.append(f"| {way} | {found['per_second']:,.0f} | {ratio} | {' | '.join(map(_cell, cells))} |")
    lines += ["", "| event number | CPU us | bytes |", "|---|---|---|"]
    for age, found in report["curve"].items():
        lines.append(f"| {int(age):,} | {_cell(found['cpu_us'])} | {_cell(found['bytes'])} |")
    idle, plans = report["memory"]["idle"], report["memory"]["plans"]
    lines += ["", f"Each of {idle['instances']:,} idle instances: {idle['blocks_each']:.2f} blocks of memory."]
    lines += [f"{plans['plans']:,} plans: {plans['megabytes']:.1f} MB."]
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"
