"""The machines of the host tests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from settled import Actor, Machine, assign, setup


def nothing(_args: Any) -> None:
    """An action that does nothing."""


def greeter(greet: Callable[[Any, Any], Any] | Actor, note: Callable[[Any], object] = nothing) -> Machine[Any]:
    """Runs `greet` on GREET, and keeps its output or error in the context."""
    return setup(
        actors={"greet": greet},
        actions={"keep": assign(answer=lambda a: a.event["output"]), "note": note},
    ).machine(
        {
            "id": "greeter",
            "initial": "idle",
            "context": {"answer": None},
            "states": {
                "idle": {"tags": ["settled"], "on": {"GREET": "greeting", "NOTE": {"actions": "note"}}},
                "greeting": {
                    "invoke": {
                        "src": "greet",
                        "input": {"name": "ada"},
                        "onDone": {"target": "greeted", "actions": "keep"},
                        "onError": {"target": "refused", "actions": assign(answer=lambda a: a.event["error"])},
                    },
                },
                "greeted": {"tags": ["resolve"], "on": {"GREET": "greeting"}},
                "refused": {"tags": ["reject"], "on": {"GREET": "greeting"}},
            },
        }
    )


def choir(*sing: Callable[[Any, Any], Any] | Actor) -> Machine[Any]:
    """Runs several actors at once, one in each region, and is over when all have ended."""
    regions = {
        f"voice{index}": {
            "initial": "singing",
            "states": {
                "singing": {"invoke": {"src": f"sing{index}", "onDone": "done", "onError": "done"}},
                "done": {"type": "final"},
            },
        }
        for index in range(len(sing))
    }
    return setup(actors={f"sing{index}": each for index, each in enumerate(sing)}).machine(
        {
            "id": "choir",
            "initial": "silent",
            "states": {
                "silent": {"tags": ["settled"], "on": {"SING": "song"}},
                "song": {"type": "parallel", "states": regions, "onDone": "over", "on": {"HUSH": "silent"}},
                "over": {"tags": ["settled"]},
            },
        }
    )


def cooling(cold: timedelta) -> Machine[Any]:
    """Takes notes, but none while it cools, for as long as `cold`; a note below zero fails."""

    def take(a: Any) -> list[Any]:
        if a.event["n"] < 0:
            raise ValueError("a bad note")
        return [*a.context["notes"], a.event["n"]]

    return setup(actions={"take": assign(notes=take)}, delays={"cold": cold}).machine(
        {
            "id": "oven",
            "context": {"notes": []},
            "initial": "ready",
            "states": {
                "ready": {"tags": ["settled"], "on": {"COOL": "cooling", "NOTE": {"actions": "take"}}},
                "cooling": {"after": {"cold": "ready"}},
            },
        }
    )
