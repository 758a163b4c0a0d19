"""The machine of these tests: a door that is unlocked by a code."""

from __future__ import annotations

import sys
from typing import Any

from attrs import frozen

from settled import Json, setup
from settled_runtime import HostEvent


@frozen
class Unlock:
    code: str


def broken_lock(a: Any) -> bool:
    raise RuntimeError("the lock is broken")


logic = setup(
    events={"UNLOCK": Unlock},
    guards={"isRight": lambda a: a.event.code == "0042", "isBroken": broken_lock},
)
door = logic.machine(
    {
        "id": "door",
        "initial": "shut",
        "states": {
            "shut": {
                "tags": ["settled"],
                "on": {
                    "UNLOCK": [{"guard": "isRight", "target": "open"}, {"target": "alarmed"}],
                    "KICK": {"guard": "isBroken", "target": "open"},
                },
                "after": {"3600000": "alarmed"},
            },
            "open": {"tags": ["resolve"], "on": {"SHUT": "shut"}},
            "alarmed": {"type": "final", "tags": ["reject"]},
        },
    }
)
doors = [door]
door_and_gate = [door, setup().machine({"id": "gate", "initial": "shut", "states": {"shut": {"tags": ["settled"]}}})]
twin = setup().machine({"id": "door", "initial": "shut", "states": {"shut": {"tags": ["settled"]}}})
twins = [door, twin]
no_doors: list[Any] = []


def hide(payload: Json) -> str:
    return "(hidden)"


def see(event: HostEvent) -> None:
    print("saw", type(event).__name__, file=sys.stderr, flush=True)


def see_too(event: HostEvent) -> None:
    print(f"saw {type(event).__name__}, too", file=sys.stderr, flush=True)
