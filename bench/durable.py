"""``python -m bench durable``: events a second through durable instances, compared with a raw loop of writes.

Both alternate in one process, on one file system, with the same settings. A ratio is the rate of a measurement divided
by the mean rate of the raw loops just before and after it; the report has the median of all rounds.
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
from bench.durable_runner import DurableRunner
from bench.raw import Raw, RawRedis, RawSQLite
from bench.sample import Sample, summary
from settled import SettledError
from settled_runtime import Codec, Compression, Encryption, connect, generate_key

WAYS: dict[str, str] = {
    "single": "one instance: send an event and process one, repeatedly",
    "folded": "one instance with all its events queued, and a worker",
    "many": "1,000 instances with 5 events queued for each, and a worker",
    "apart": "1,000 instances with 1 event queued for each, and a worker",
}
EACH = {"many": 5, "apart": 1}
"""How many events are queued for each instance. With one event only commits are shared, and no events are batched."""

CODECS: dict[str, Callable[[], Codec]] = {
    "encryption": lambda: Encryption({"bench": generate_key()}),
    "compression": lambda: Compression(over=300),
    "both": lambda: Encryption({"bench": generate_key()}, compress_over=300),
}


@frozen
class Size:
    """How much is measured. `events`: in `single` and in each raw loop; `folded`: queued for the one instance."""

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
    parser.add_argument("--backend", default="sqlite", help="sqlite; or redis, which starts a server; or redis://HOST")
    parser.add_argument(
        "--fsync", default="always", help="appendfsync of the server that is started: always, everysec or no"
    )
    parser.add_argument("--folder", default="..", help="a folder on the disk to measure, not in memory")
    parser.add_argument("--rounds", type=int, help="how often each measurement is repeated")
    parser.add_argument("--idle", type=int, help="how many instances are idle while memory is measured")
    parser.add_argument("--stored", type=int, help="the largest number of instances beside which an event is measured")
    parser.add_argument("--quick", action="store_true", help="use only a few events, for a test")
    parser.add_argument("--codec", choices=CODECS, help="measure with this codec")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    size = QUICK if options.quick else FULL
    size = evolve(size, rounds=options.rounds or size.rounds, idle=options.idle or size.idle)
    size = evolve(size, stored=options.stored or size.stored)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as name, ExitStack() as opened:
        folder = Path(name)
        codec = CODECS[options.codec]() if options.codec else None
        targets = [on_sqlite(folder, codec)]
        if options.backend != "sqlite":
            own = options.backend == "redis"
            url = opened.enter_context(redis_server(folder, options.fsync)) if own else options.backend
            try:
                targets.append(on_redis(url, folder.name, codec))
            except SettledError as error:
                parser.error(str(error))
        for target in targets:
            opened.callback(target.raw.close)
            opened.callback(target.runner.close)
        report = measure_all(targets, size)
        for target in targets:
            target.runner.check()
    print(json.dumps(report, indent=2) if options.json else table(report))


@frozen
class Target:
    """A backend, in `runner`, and the `raw` loop that it is compared with."""

    name: str
    raw: Raw
    runner: DurableRunner


def on_sqlite(folder: Path, codec: Codec | None) -> Target:
    runner = DurableRunner(connect(f"sqlite:///{folder}/settled.db?lease=600", codec=codec))
    return Target("sqlite", RawSQLite(folder / "raw.db"), runner)


def on_redis(url: str, name: str, codec: Codec | None) -> Target:
    runner = DurableRunner(connect(f"{url}?lease=600&prefix=bench-{name}:&check_durability=no", codec=codec))
    return Target("redis", RawRedis(url, f"bench:{name}"), runner)


@contextmanager
def redis_server(folder: Path, fsync: str) -> Generator[str]:
    """Run a server that keeps its log in `folder` within this block, and yield its URL."""
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


def measure_all(targets: Sequence[Target], size: Size) -> dict[str, Any]:
    """Measure each target, and return the report, with the ratios of all targets in one object."""
    reports = {target.name: _measure(target.raw, target.runner, size) for target in targets}
    ratios = {f"{name}.{way}": ratio for name, report in reports.items() for way, ratio in report.pop("ratios").items()}
    return {
        "python": platform.python_version(),
        "size": asdict(size),
        "ratios": ratios,
        "backends": reports,
        "plans": cost.plans(size.plans),
    }


def _measure(raw: Raw, runner: DurableRunner, size: Size) -> dict[str, Any]:
    names = [str(n) for n in range(size.instances)]
    runner.start([*names, "one"])
    ways: dict[str, Callable[[], Sample]] = {
        "single": lambda: runner.single("one", size.events),
        "folded": lambda: runner.queued(["one"], size.folded),
        **{way: partial(runner.queued, names, each) for way, each in EACH.items()},
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
        "ratios": {way: round(median(several), 3) for way, several in ratios.items()},
        "ways": {"raw": summary(loops), **{way: summary(several) for way, several in samples.items()}},
        "curve": cost.curve(runner, size.ages),
        "growth": cost.growth(runner, [count for n in range(2, 7) if (count := 10**n) < size.stored] + [size.stored]),
        "idle": cost.idle(runner, size.idle),
    }


def table(report: dict[str, Any]) -> str:
    """Format `report` as Markdown."""
    lines = [
        "| backend | measurement | events/s | ratio | CPU us | p50 us | p99 us | bytes |",
        "|---|---|" + "---:|" * 6,
    ]
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
