"""The machine of the tests that run workers in other processes: its effects leave traces in a file.

Its events say what its guard and its actor do: fail, wait, or end the process.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from settled import Args, Call, Retry, actor, assign, setup

TRACES = Path(os.environ.get("TRACES", "/dev/null"))


def work(input: dict[str, Any], call: Call) -> str:
    """Write a trace, and then take as long as the event says; with `dies`, end the process on the first attempt."""
    with TRACES.open("a", encoding="utf-8") as file:
        file.write(f"{call.idempotency_key} {call.attempt}\n")
    if input.get("dies") and call.attempt == 1:
        os._exit(1)
    time.sleep(input.get("seconds", 0.0))
    return str(input["number"])


def healthy(a: Args[Any]) -> bool:
    """Raise if the event is poison, or as long as the file that it names does not exist."""
    if a.event.get("poison") or ("until" in a.event and not Path(a.event["until"]).exists()):
        raise RuntimeError("poisoned")
    return True


MACHINE = setup(
    guards={"isHealthy": healthy},
    actions={
        "keep": assign(taken=lambda a: [*a.context["taken"], a.event["number"]]),
        "keepOutput": assign(taken=lambda a: [*a.context["taken"], a.event["output"]]),
    },
    actors={"work": actor(work, input=lambda a: a.event, retry=Retry(attempts=1))},
    delays={"soon": timedelta(seconds=1), "late": timedelta(hours=24)},
).machine(
    {
        "id": "jobs",
        "context": {"taken": []},
        "initial": "open",
        "states": {
            "open": {
                "tags": ["settled"],
                "on": {
                    "TAKE": {"guard": "isHealthy", "actions": "keep"},
                    "WORK": "working",
                    "WAIT": "waiting",
                },
            },
            "working": {
                "invoke": {
                    "src": "work",
                    "onDone": {"target": "open", "actions": "keepOutput"},
                    "onError": "open",
                }
            },
            "waiting": {"tags": ["settled"], "after": {"soon": "rung", "late": "open"}},
            "rung": {"tags": ["settled"], "on": {"TAKE": {"actions": "keep"}}},
        },
    }
)
