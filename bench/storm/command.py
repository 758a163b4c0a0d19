"""``python -m bench storm``: workers are killed, frozen and misled, clients are hostile, and then all is audited."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from attrs import evolve

from bench.durable import redis_server
from bench.storm.audit import Remains, violations, waits
from bench.storm.settings import Settings
from bench.storm.supervisor import run

QUICK = Settings(
    url="",
    folder="",
    events=400,
    seconds=8.0,
    lease=1.0,
    healthy=20,
    killers=1,
    hangers=2,
    guarded=1,
    clients=2,
    workers=4,
    patience=2.0,
)

SHOWN = 5
"""How many violations of a kind are printed."""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench storm", description=__doc__)
    parser.add_argument("--backend", choices=("sqlite", "redis"), default="sqlite", help="redis starts a server")
    parser.add_argument("--events", type=int, help="how many events the healthy instances get")
    parser.add_argument("--seconds", type=float, help="for how long they are sent, and workers struck")
    parser.add_argument("--lease", type=float, help="in seconds")
    parser.add_argument("--seed", type=int, default=0, help="another one leads to other accidents")
    parser.add_argument("--folder", help="where to keep the journals and logs; by default they are deleted")
    parser.add_argument("--quick", action="store_true", help="a small storm, for a test")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    settings = QUICK if options.quick else Settings(url="", folder="")
    given = {name: getattr(options, name) for name in ("events", "seconds", "lease", "seed")}
    settings = evolve(settings, **{name: value for name, value in given.items() if value is not None})
    with ExitStack() as opened:
        folder = options.folder or opened.enter_context(tempfile.TemporaryDirectory(prefix="storm-"))
        Path(folder).mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{Path(folder).resolve()}/storm.db"
        if options.backend == "redis":
            url = opened.enter_context(redis_server(Path(folder), "everysec"))
        settings = evolve(settings, url=f"{url}?lease={settings.lease:g}", folder=folder)
        report = report_of(run(settings), settings)
    print(json.dumps(report, indent=2) if options.json else text_of(report))
    if report["violations"]:
        sys.exit(1)


def report_of(remains: Remains, settings: Settings) -> dict[str, Any]:
    """Return what happened, and what must not have happened, as JSON."""
    all = list(waits(remains))
    apart = [wait for wait in all if not wait.locked]
    totals = [wait.total for wait in all]
    found: dict[str, list[str]] = {}
    for violation in violations(remains):
        found.setdefault(violation.what, []).append(violation.where)
    ends = Counter(attempt.end.partition(":")[0] for attempt in remains.attempted)
    return {
        "backend": settings.url.partition(":")[0],
        "seed": settings.seed,
        "lease": settings.lease,
        "events": len(remains.plan),
        "instances": len(remains.instances),
        "seconds": max((entry.at for entry in remains.performed), default=remains.began) - remains.began,
        "strikes": dict(Counter(entry.what for entry in remains.struck)),
        "frozen with the lock of the file": sum(entry.locked for entry in remains.struck),
        "ends of workers": dict(remains.ends),
        "start of a worker": {"median": median(remains.starts), "longest": max(remains.starts)},
        "hostile": dict(ends),
        "wait": {
            "median": quantiles(totals, n=100)[49],
            "p99": quantiles(totals, n=100)[98],
            "longest": max(totals),
            "longest outside the deploy": max((wait.total for wait in apart if not wait.deploy), default=None),
            "longest without a receive": max(wait.longest for wait in apart),
            "longest that is judged": max(wait.judged for wait in apart),
            "limit without a receive": remains.limit,
            "longest while the file was locked": max((wait.total for wait in all if wait.locked), default=None),
        },
        "violations": found,
    }


def text_of(report: dict[str, Any]) -> str:
    """Format `report` for people, with the first violations of each kind."""
    lines = [f"{name}: {value}" for name, value in report.items() if name != "violations"]
    for what, places in report["violations"].items():
        shown = ", ".join(places[:SHOWN]) + (", ..." if len(places) > SHOWN else "")
        lines.append(f"{what.upper()}: {len(places)}: {shown}")
    return "\n".join(lines if report["violations"] else [*lines, "nothing happened that must not happen"])
