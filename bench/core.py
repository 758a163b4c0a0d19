"""Benchmark of the core, compared with the real XState: a step, and the cycle of a stateless worker."""

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
from bench.measure import Time, as_json, median_time, timed
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


def machine_named(name: str) -> Machine[Any]:
    return machine_of(source(name)["config"])


def transitions(machine: Machine[Any], events: list[Any]) -> Run:
    def run(count: int) -> object:
        snapshot, _ = machine.initial_transition()
        for index in range(count):
            snapshot, _ = machine.transition(snapshot, events[index % len(events)])
        return snapshot

    return run


def cycles(machine: Machine[Any], events: list[Any]) -> Run:
    def run(count: int) -> object:
        text = machine.dump(machine.initial_transition()[0])
        for index in range(count):
            snapshot, _ = machine.transition(machine.load(text), events[index % len(events)])
            text = machine.dump(snapshot)
        return text

    return run


def runs_of(name: str) -> dict[str, Run]:
    """Return the function to measure for each of `MEASURES`; our step is our transition, which wraps nothing."""
    machine, events = machine_named(name), events_of(name)
    step = transitions(machine, events)
    return {"transition": step, "step": step, "cycle": cycles(machine, events)}


def final(name: str, events: int) -> Any:
    """Return the state value and the context after that many events, checked to be the same by steps and by cycles."""
    machine = machine_named(name)
    runs = runs_of(name)
    stepped: Any = runs["transition"](events)
    cycled = machine.load(str(runs["cycle"](events)))
    if (stepped.value, stepped.context) != (cycled.value, cycled.context):
        raise AssertionError(f"{name}: cycles and steps end in different states")
    return {"value": stepped.value, "context": stepped.context}


def measure_all(events: int, rounds: int) -> dict[str, Any]:
    """Measure settled and XState alternately, and return the report."""
    report: dict[str, Any] = {
        "python": platform.python_version(),
        "events": events,
        "rounds": rounds,
        "results": {},
        "ratios": {},
    }
    with ExitStack() as stack:
        try:
            xstate = stack.enter_context(node.xstate())
            report |= xstate.versions()
        except node.XStateMissingError as missing:
            xstate, report["skipped"] = None, f"XState: {missing}"
        for name in MACHINES:
            result = report["results"][name] = _compare(name, xstate, events, rounds)
            report["ratios"] |= {
                f"{name}.{measure}": round(result["xstate"][measure]["cpu"] / result["settled"][measure]["cpu"], 2)
                for measure in (MEASURES if xstate else ())
            }
    report["cold_ms"] = {name: _cold(name, xstate is not None, rounds) for name in MACHINES}
    report["import_ms"] = fresh.imports(max(rounds, fresh.MIN_PROCESSES))
    report["import_ratios"] = {
        statement: round(taken / report["import_ms"]["import attrs"], 2)
        for statement, taken in report["import_ms"].items()
        if "settled" in statement
    }
    return report


def _compare(name: str, xstate: node.XState | None, events: int, rounds: int) -> dict[str, Any]:
    runs = runs_of(name)
    times: dict[str, dict[str, list[Time]]] = {
        engine: {each: [] for each in MEASURES} for engine in ("settled", "xstate")
    }
    for measure in MEASURES:  # warm up
        runs[measure](min(events, 500))
        if xstate:
            xstate.timed(name, measure, max(events, 2000))
    for _ in range(rounds):
        for measure in MEASURES:
            times["settled"][measure].append(timed(runs[measure], events))
            if xstate:
                times["xstate"][measure].append(xstate.timed(name, measure, events))
    end = final(name, events)
    if xstate and (other := xstate.final(name, events)) != end:
        raise AssertionError(f"{name}: settled ends in {end}, XState in {other}")
    return {
        engine: {measure: as_json(median_time(taken)) for measure, taken in measures.items() if taken}
        for engine, measures in times.items()
    } | {"final": end}


def _cold(name: str, with_xstate: bool, rounds: int) -> dict[str, float]:
    xstate = {"xstate": round(median(node.cold(name) for _ in range(rounds)), 2)} if with_xstate else {}
    return {"settled": fresh.cold(name, rounds)} | xstate


def profile(name: str, events: int) -> None:
    """Print the functions that take the CPU time of a cycle. The profiler makes calls look slower than they are."""
    run, profiler = runs_of(name)["cycle"], cProfile.Profile(time.process_time)
    run(500)
    profiler.runcall(run, events)
    pstats.Stats(profiler, stream=sys.stdout).strip_dirs().sort_stats("tottime").print_stats(30)


def table(report: Mapping[str, Any]) -> str:
    """Format `report` as a table."""
    lines = [f"Python {report['python']}, Node {report.get('node')}, XState {report.get('xstate')}; CPU us per event"]
    for name, result in report["results"].items():
        for measure in MEASURES:
            ours, xstate = result["settled"][measure], result["xstate"].get(measure)
            ratio = report["ratios"].get(f"{name}.{measure}")
            beside = f"   XState {xstate['cpu']:8.2f}   {ratio:6.2f} times" if xstate else ""
            lines.append(f"{name:12}{measure:12}{ours['cpu']:8.2f}{beside}")
    lines += [f"cold {name}: {times}" for name, times in report["cold_ms"].items()]
    lines += [f"{statement}: {milliseconds} ms" for statement, milliseconds in report["import_ms"].items()]
    lines += [f"{statement}: {ratio} times import attrs" for statement, ratio in report["import_ratios"].items()]
    return "\n".join([*lines, *([report["skipped"]] if "skipped" in report else [])])


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser("python -m bench core", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--events", type=int, default=2000, help="events in each round")
    parser.add_argument("--rounds", type=int, default=7, help="rounds; the report has their median")
    parser.add_argument(
        "--profile", metavar="MACHINE", choices=MACHINES, help="profile the cycle of one machine instead"
    )
    given = parser.parse_args(arguments)
    if given.profile:
        profile(given.profile, given.events)
        return
    report = measure_all(given.events, given.rounds)
    sys.stdout.write((json.dumps(report, indent=1) if given.json else table(report)) + "\n")
