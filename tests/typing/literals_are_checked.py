"""How type checkers see a machine written in Python. This file is checked and never run.

An unknown key, or a value of the wrong type, is an error in mypy and in pyright.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from settled import Args, Call, Machine, MachineDict, StateDict, TransitionDict, and_, assign, raise_, setup, state_in


def is_open(args: Args[Any]) -> bool:
    return bool(args.context["open"])


def send(input: Any, call: Call) -> str:
    return call.idempotency_key


again: TransitionDict = {"target": "sending", "guard": and_(is_open, state_in("failed")), "reenter": True}

failed: StateDict = {"tags": ["settled"], "on": {"AGAIN": again}, "after": {timedelta(hours=1): "given up"}}

LETTER: MachineDict = {
    "id": "letter",
    "version": "2",
    "context": {"open": True},
    "initial": "draft",
    "states": {
        "draft": {"tags": "settled", "on": {"SEND": [{"guard": is_open, "target": "sending"}, "given up"]}},
        "sending": {
            "invoke": {"src": send, "onDone": {"target": "sent", "actions": assign(open=False)}, "onError": "failed"},
            "entry": raise_({"type": "HURRY"}, delay=timedelta(minutes=1)),
        },
        "failed": failed,
        "sent": {"type": "final"},
        "given up": {"type": "final"},
    },
}

letter: Machine[Any] = setup().machine(LETTER)

mistyped: StateDict = {"tgas": "settled"}  # type: ignore[typeddict-unknown-key]  # pyright: ignore[reportAssignmentType]
misfit: TransitionDict = {"reenter": "yes"}  # type: ignore[typeddict-item]  # pyright: ignore[reportAssignmentType]
no_such_type: StateDict = {"type": "atom"}  # type: ignore[typeddict-item]  # pyright: ignore[reportAssignmentType]
