"""The core beside the real XState: a step, and the cycle of a stateless worker."""

from __future__ import annotations

import argparse
import cProfile
import json
import platform
import pstats
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from bench import fresh, node
from bench.implementations import machine_of
from bench.measure import Time, as_json, middle, timed
from settled import Machine

MACHINES = ("flat3", "nested4", "parallel10")
MEASURES = ("transition", "step", "cycle")
HERE = Path(__file__).parent

Run = Callable[[int], object]


@cache
def source(name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((HERE / "machines" / f"{name}.json").read_text("utf-8"))
    return found


def events_of(name: str) -> list[Any]:
    return list(source(name)["events"])


def machine_named(name: str) -> Machine[Any, Any]:
    return machine_of(source(name)["config"])


def transitions(machine: Machine[Any, Any], events: list[Any]) -> Run:
    def run(count: int) -> object:
        snapshot, _ = machine.initial_transition()
        for index in range(count):
            snapshot, _ = machine.transition(snapshot, events[index % len(events)])
        return snapshot

    return run


def cycles(machine: Machine[Any, Any], events: list[Any]) -> Run:
    def run(count: int) -> object:
        text = machine.dump(machine.initial_transition()[0])
        for index in range(count):
            snapshot, _ = machine.transition(machine.load(text), events[index % len(events)])
            text = machine.dump(snapshot)
        return text

    return run


def ours(name: str) -> dict[str, Run]:
    """What is run of ours for each of `MEASURES`: our step is our transition, which has nothing around it."""
    machine, events = machine_named(name), events_of(name)
    step = transitions(machine, events)
    return {"transition": step, "step": step, "cycle": cycles(machine, events)}


def final(name: str, events: int) -> Any:
    """Where the machine is after that many events, by steps and by cycles."""
    machine = machine_named(name)
    runs = ours(name)
    stepped: Any = runs["transition"](events)
    cycled = machine.load(str(runs["cycle"](events)))
    if (stepped.value, stepped.context) != (cycled.value, cycled.context):
        raise AssertionError(f"{name}: cycles lead elsewhere than steps")
    return {"value": stepped.value, "context": stepped.context}


def measured(events: int, rounds: int) -> dict[str, Any]:
    """All numbers, ours and XState's in turns."""
    report: dict[str, Any] = {
        "python": platform.python_version(),
        "events": events,
        "rounds": rounds,
        "results": {},
        "ratios": {},
    }
    with ExitStack() as stack:
        try:
            theirs = stack.enter_context(node.xstate())
            report |= theirs.versions()
        except node.Missing as missing:
            theirs, report["skipped"] = None, f"XState: {missing}"
        for name in MACHINES:
            result = report["results"][name] = _compared(name, theirs, events, rounds)
            report["ratios"] |= {
                f"{name}.{measure}": round(result["xstate"][measure]["cpu"] / result["settled"][measure]["cpu"], 2)
                for measure in (MEASURES if theirs else ())
            }
    report["cold_ms"] = {name: _cold(name, theirs is not None, rounds) for name in MACHINES}
    report["import_ms"] = fresh.imports(max(rounds, fresh.FEWEST))
    report["import_ratios"] = {
        statement: round(taken / report["import_ms"]["import attrs"], 2)
        for statement, taken in report["import_ms"].items()
        if "settled" in statement
    }
    return report


def _compared(name: str, theirs: node.XState | None, events: int, rounds: int) -> dict[str, Any]:
    runs = ours(name)
    times: dict[str, dict[str, list[Time]]] = {who: {each: [] for each in MEASURES} for who in ("settled", "xstate")}
    for measure in MEASURES:  # warm up
        runs[measure](min(events, 500))
        if theirs:
            theirs.timed(name, measure, max(events, 2000))
    for _ in range(rounds):
        for measure in MEASURES:
            times["settled"][measure].append(timed(runs[measure], events))
            if theirs:
                times["xstate"][measure].append(theirs.timed(name, measure, events))
    where = final(name, events)
    if theirs and (other := theirs.final(name, events)) != where:
        raise AssertionError(f"{name}: settled ends in {where}, XState in {other}")
    return {
        who: {measure: as_json(middle(taken)) for measure, taken in measures.items() if taken}
        for who, measures in times.items()
    } | {"final": where}


def _cold(name: str, with_xstate: bool, rounds: int) -> dict[str, float]:
    theirs = {"xstate": round(median(node.cold(name) for _ in range(rounds)), 2)} if with_xstate else {}
    return {"settled": fresh.cold(name, rounds)} | theirs


def profile(name: str, events: int) -> None:
    """Print which functions the CPU time of a cycle goes to. The profiler's own share makes calls look dear."""
    run, profiler = ours(name)["cycle"], cProfile.Profile(time.process_time)
    run(500)
    profiler.runcall(run, events)
    pstats.Stats(profiler, stream=sys.stdout).strip_dirs().sort_stats("tottime").print_stats(30)


def table(report: Mapping[str, Any]) -> str:
    """`report` for people."""
    lines = [f"Python {report['python']}, Node {report.get('node')}, XState {report.get('xstate')}; CPU us per event"]
    for name, result in report["results"].items():
        for measure in MEASURES:
            mine, theirs = result["settled"][measure], result["xstate"].get(measure)
            ratio = report["ratios"].get(f"{name}.{measure}")
            beside = f"   XState {theirs['cpu']:8.2f}   {ratio:6.2f} times" if theirs else ""
            lines.append(f"{name:12}{measure:12}{mine['cpu']:8.2f}{beside}")
    lines += [f"cold {name}: {times}" for name, times in report["cold_ms"].items()]
    lines += [f"{statement}: {milliseconds} ms" for statement, milliseconds in report["import_ms"].items()]
    lines += [f"{statement}: {ratio} times import attrs" for statement, ratio in report["import_ratios"].items()]
    return "\n".join([*lines, *([report["skipped"]] if "skipped" in report else [])])


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser("python -m bench core", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--events", type=int, default=2000, help="events in each round")
    parser.add_argument("--rounds", type=int, default=7, help="rounds, of which the median counts")
    parser.add_argument(
        "--profile", metavar="MACHINE", choices=MACHINES, help="only say where the time of a cycle goes"
    )
    given = parser.parse_args(arguments)
    if given.profile:
        profile(given.profile, given.events)
        return
    report = measured(given.events, given.rounds)
    sys.stdout.write((json.dumps(report, indent=1) if given.json else table(report)) + "\n")
