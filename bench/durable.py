"""``python -m bench durable``: events a second through instances that survive anything, beside a raw loop of writes.

The raw loop and ours take turns, in one process, on one file system, with the same settings, and each time ours is
measured a raw loop has just been; a ratio is the median of ours divided by the median of the raw ones of its rounds.
"""

from __future__ import annotations

import argparse
import json
import platform
import socket
import subprocess
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import stamina
from attrs import asdict, evolve, frozen

from bench import cost
from bench.durable_runner import Stage
from bench.raw import Raw, RawRedis, RawSQLite
from bench.sample import Sample, summary
from settled import SettledError
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
    stored: int
    plans: int


FULL = Size(
    rounds=7,
    events=400,
    folded=4000,
    instances=1000,
    ages=(10, 100, 1000, 10_000),
    idle=3000,
    stored=3000,
    plans=10_000,
)
QUICK = Size(rounds=1, events=5, folded=40, instances=10, ages=(5, 50), idle=20, stored=20, plans=100)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench durable", description=__doc__)
    parser.add_argument("--backend", default="sqlite", help="sqlite; or redis, a server of our own, or redis://HOST")
    parser.add_argument("--fsync", default="always", help="how our own Redis is set: always, everysec or no")
    parser.add_argument("--place", default="..", help="a folder on the disk to measure; not one in memory")
    parser.add_argument("--rounds", type=int, help="how often each way is measured")
    parser.add_argument("--idle", type=int, help="how many instances wait while memory is measured")
    parser.add_argument("--stored", type=int, help="beside how many instances an event is measured, at most")
    parser.add_argument("--quick", action="store_true", help="a few events, to see that it works")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    size = QUICK if options.quick else FULL
    size = evolve(size, rounds=options.rounds or size.rounds, idle=options.idle or size.idle)
    size = evolve(size, stored=options.stored or size.stored)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.place) as name, ExitStack() as opened:
        folder = Path(name)
        places = [on_sqlite(folder)]
        if options.backend != "sqlite":
            own = options.backend == "redis"
            url = opened.enter_context(redis_server(folder, options.fsync)) if own else options.backend
            try:
                places.append(on_redis(url, folder.name))
            except SettledError as error:
                parser.error(str(error))
        for place in places:
            opened.callback(place.raw.close)
            opened.callback(place.stage.close)
        report = measured(places, size)
        for place in places:
            place.stage.check()
    print(json.dumps(report, indent=2) if options.json else table(report))


@frozen
class Place:
    """A backend, as `stage`, and the `raw` loop beside it."""

    name: str
    raw: Raw
    stage: Stage


def on_sqlite(folder: Path) -> Place:
    return Place("sqlite", RawSQLite(folder / "raw.db"), Stage(connect(f"sqlite:///{folder}/settled.db?lease=600")))


def on_redis(url: str, name: str) -> Place:
    stage = Stage(connect(f"{url}?lease=600&prefix=bench-{name}:"))
    return Place("redis", RawRedis(url, f"bench:{name}"), stage)


@contextmanager
def redis_server(folder: Path, fsync: str) -> Generator[str]:
    """The URL of a server that keeps its log in `folder`, for as long as this block lasts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = ["--appendonly", "no"] if fsync == "no" else ["--appendonly", "yes", "--appendfsync", fsync]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder), *log]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        for attempt in stamina.retry_context(on=OSError, wait_initial=0.05, wait_max=0.2):
            with attempt:
                socket.create_connection(("127.0.0.1", port)).close()
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def measured(places: Sequence[Place], size: Size) -> dict[str, Any]:
    """The report: of each place, and the ratios of all of them in one object."""
    reports = {place.name: _measured(place.raw, place.stage, size) for place in places}
    ratios = {f"{name}.{way}": ratio for name, report in reports.items() for way, ratio in report.pop("ratios").items()}
    return {
        "python": platform.python_version(),
        "size": asdict(size),
        "ratios": ratios,
        "backends": reports,
        "plans": cost.plans(size.plans),
    }


def _measured(raw: Raw, stage: Stage, size: Size) -> dict[str, Any]:
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
        "ratios": {way: round(median(found), 3) for way, found in ratios.items()},
        "ways": {"raw": summary(loops), **{way: summary(found) for way, found in samples.items()}},
        "curve": cost.curve(stage, size.ages),
        "growth": cost.growth(stage, [count for n in range(2, 7) if (count := 10**n) < size.stored] + [size.stored]),
        "idle": cost.idle(stage, size.idle),
    }


def table(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    lines = ["| backend | way | events/s | ratio | CPU us | p50 us | p99 us | bytes |", "|---|---|" + "---:|" * 6]
    for name, backend in report["backends"].items():
        for way, found in backend["ways"].items():
            ratio = report["ratios"].get(f"{name}.{way}", 1)
            cells = (found[column] for column in ("cpu_us", "p50_us", "p99_us", "bytes"))
            lines.append(f"| {name} | {way} | {found['per_second']:,.0f} | {ratio} | {' | '.join(map(_cell, cells))} |")
    lines += ["", "| backend | event number | CPU us | bytes |", "|---|---:|---:|---:|"]
    for name, backend in report["backends"].items():
        for age, found in backend["curve"].items():
            lines.append(f"| {name} | {int(age):,} | {_cell(found['cpu_us'])} | {_cell(found['bytes'])} |")
    lines += ["", "| backend | instances beside it | p50 us |", "|---|---:|---:|"]
    for name, backend in report["backends"].items():
        lines += [f"| {name} | {int(count):,} | {_cell(found)} |" for count, found in backend["growth"].items()]
    idle, plans = report["backends"]["sqlite"]["idle"], report["plans"]
    lines += ["", f"Each of {idle['instances']:,} idle instances: {idle['blocks_each']:.2f} blocks of memory."]
    lines += [f"{plans['plans']:,} plans: {plans['megabytes']:.1f} MB."]
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"
