"""The machine of a storm, in two versions: it keeps the numbers of the events that it took, in order.

Each event has one effect, which is written to a journal with its idempotency key: that of an action or of an actor. One
actor ends the process of its worker, one hangs until its timeout, and one guard hangs until the worker is a mended one.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta
from functools import cache
from typing import Any

from attrs import frozen

from bench.storm.journals import Journals, Performed, now
from bench.storm.settings import Settings
from settled import ActionArgs, Args, Call, Machine, MachineDict, Retry, StateDict, actor, assign, setup

MACHINE_ID = "account"
TYPES = ("TAKE", "WORK", "WAIT", "KILL", "HANG", "ASK")

MENDED = "SETTLED_STORM_MENDED"
"""The environment variable that tells a worker that its guards do not hang."""

EXIT_KILLED_BY_ACTOR = 99
"""The exit code of a worker whose process an actor has ended."""

FOR_EVER = 1e6
"""How long a function that hangs sleeps, in seconds."""


@cache
def journals() -> Journals:
    """Return the journals of the storm that this worker is part of."""
    return Settings.from_environment().journals


@frozen
class Numbered:
    """An event of any type, with its number."""

    n: int


def note(a: ActionArgs[Any]) -> None:
    _note(a.call, a.context["taken"][-1])


def _note(call: Call, n: int) -> None:
    journals().write(Performed(now(), call.key.instance, n, call.idempotency_key))


def do_work(n: int, call: Call) -> int:
    _note(call, n)
    time.sleep(0.01)
    return n


def end_the_process(n: int, call: Call) -> None:
    _note(call, n)
    os._exit(EXIT_KILLED_BY_ACTOR)


def hang(n: int, call: Call) -> None:
    _note(call, n)
    time.sleep(FOR_EVER)


def guard_that_hangs(a: Args[Any, Numbered]) -> bool:
    if MENDED not in os.environ:
        time.sleep(FOR_EVER)
    return True


def last_number(a: Args[Any]) -> int:
    number: int = a.context["taken"][-1]
    return number


def one_more(a: Args[Any, Numbered]) -> list[int]:
    return [*a.context["taken"], a.event.n]


def one_more_failure(a: Args[Any]) -> list[Any]:
    return [*a.context["failures"], [a.context["taken"][-1], a.event["error"]["name"]]]


def to_2(snapshot: dict[str, Any]) -> dict[str, Any]:
    """Rename the two states that version 2 names otherwise, and keep how many events version 1 took."""
    names = {"open": "ready", "working": "charging"}
    context = {**snapshot["context"], "takenBefore": len(snapshot["context"]["taken"])}
    return {**snapshot, "value": names.get(snapshot["value"], snapshot["value"]), "context": context}


def _calling(src: str, rest: str) -> StateDict:
    """Return a state that calls the actor `src`, and then goes on to `rest`."""
    on_error: Any = {"target": rest, "actions": "saveFailure"}
    return {"invoke": {"id": src, "src": src, "onDone": rest, "onError": on_error}}


def _account(version: str, rest: str, work: str, states: dict[str, StateDict], context: dict[str, Any]) -> Machine[Any]:
    """Return the machine that rests in the state `rest`, and whose event WORK leads to `work`, one of `states`."""
    after_pause: dict[str, Any] = {"pause": {"target": rest, "actions": "note"}}
    config: MachineDict = {
        "id": MACHINE_ID,
        "version": version,
        "context": {"taken": [], "failures": [], **context},
        "initial": rest,
        "states": {
            rest: {
                "tags": ["settled"],
                "on": {
                    "TAKE": {"actions": ["take", "note"]},
                    "ASK": {"guard": "hangs", "actions": ["take", "note"]},
                    "WORK": {"target": work, "actions": "take"},
                    "WAIT": {"target": "waiting", "actions": "take"},
                    "KILL": {"target": "killing", "actions": "take"},
                    "HANG": {"target": "hanging", "actions": "take"},
                },
            },
            "waiting": {"after": after_pause},
            "killing": _calling("kill", rest),
            "hanging": _calling("hang", rest),
            **states,
        },
    }
    return setup(
        events=dict.fromkeys(TYPES, Numbered),
        guards={"hangs": guard_that_hangs},
        actions={"take": assign(taken=one_more), "note": note, "saveFailure": assign(failures=one_more_failure)},
        actors={
            "work": actor(do_work, input=last_number, retry=Retry(attempts=5)),
            "kill": actor(end_the_process, input=last_number, retry=Retry(attempts=2)),
            "hang": actor(hang, input=last_number, timeout=timedelta(seconds=1)),
        },
        delays={"pause": timedelta(milliseconds=50)},
        migrations={"1": to_2} if version == "2" else {},
    ).machine(config)


version_1 = _account("1", "open", "working", {"working": _calling("work", "open")}, {})
version_2 = _account(
    "2",
    "ready",
    "checking",
    {"checking": {"always": "charging"}, "charging": _calling("work", "ready")},
    {"takenBefore": 0},
)
