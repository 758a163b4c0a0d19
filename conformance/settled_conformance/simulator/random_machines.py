"""Random machines, for combinations of features that no hand-written scenario has.

Each is generated from a number, so that a run can be replayed. They combine regions, actors, timers, delayed events,
cancellation and custom actions, and always come to rest: only external events lead back to an earlier state.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from settled import Call, Retry, actor, assign, cancel, emit, log, raise_
from settled_conformance.simulator.history import HistoryMachine, with_history

EVENTS = ("A", "B", "C")
_ACTIONS = ("tell", "shout", "note", "count", "later", "never mind", "at once")


def random_machine(number: int, lease: float) -> HistoryMachine:
    """Return the machine generated from `number`."""
    source = random.Random(number)
    regions = {f"r{each}": _region(source, f"r{each}") for each in range(source.choice((1, 1, 2, 3)))}
    shape: Mapping[str, Any] = {"type": "parallel", "states": regions} if len(regions) > 1 else regions["r0"]
    return with_history(
        {"id": f"random{number}", "context": {"count": 0}, **shape},
        actions={
            "tell": _tell,
            "shout": emit({"type": "shouted"}),
            "note": log("noted"),
            "count": assign(count=lambda args: args.context["count"] + 1),
            "later": raise_({"type": "LATER"}, id="later", delay="a while"),
            "never mind": cancel("later"),
            "at once": raise_({"type": "AT ONCE"}),
        },
        actors={
            "work": actor(_work, retry=Retry(attempts=2)),
            "pay": actor(_work, interruption="fail"),
        },
        delays={"a while": timedelta(seconds=0.4 * lease), "long": timedelta(seconds=1.4 * lease)},
    )


def random_events(number: int) -> Sequence[Mapping[str, Any]]:
    """Return the events that are sent to the machine of `number`."""
    source = random.Random(f"events {number}")
    return [{"type": source.choice(EVENTS)} for _ in range(5)]


def _region(source: random.Random, name: str) -> Mapping[str, Any]:
    names = [f"{name}s{each}" for each in range(source.randint(2, 4))]
    states = {state: _state(source, names, position) for position, state in enumerate(names)}
    return {"initial": names[0], "states": states}


def _state(source: random.Random, names: Sequence[str], position: int) -> Mapping[str, Any]:
    further = names[position + 1 :]
    state: dict[str, Any] = {
        "on": {
            **{type: _transition(source, names) for type in EVENTS if source.random() < 0.6},
            "LATER": {"actions": ["tell"]},
            "AT ONCE": {"actions": ["count"]},
        }
    }
    if source.random() < 0.5:
        state["entry"] = [source.choice(("tell", "note", "count"))]
    if source.random() < 0.3:
        state["exit"] = ["never mind"]
    if further and source.random() < 0.4:
        state["after"] = {source.choice(("a while", "long")): source.choice(further)}
    if further and source.random() < 0.4:
        ends = {"onDone": {"target": source.choice(further), "actions": ["tell"]}, "onError": source.choice(further)}
        return {**state, "invoke": {"id": names[position], "src": source.choice(("work", "pay")), **ends}}
    return {**state, "tags": ["settled"]}


def _transition(source: random.Random, names: Sequence[str]) -> Mapping[str, Any]:
    actions = source.sample(_ACTIONS, source.randint(0, 2))
    target = {"target": source.choice(names), "reenter": source.random() < 0.5} if source.random() < 0.6 else {}
    return {**target, "actions": actions}


def _tell(_a: Any) -> None:
    """A custom action without a body: the simulation records that it was performed."""


def _work(_input: Any, call: Call) -> Any:
    return {"key": call.idempotency_key}
