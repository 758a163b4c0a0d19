"""The machines of the tests of turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Literal

from settled import Call, Machine, Retry, actor, assign, setup
from tests.support.virtual_world import World

SUBMIT = {"type": "SUBMIT", "email": "ada@example.org"}

SIGNUP: Mapping[str, Any] = {
    "id": "signup",
    "initial": "form",
    "context": {"email": None},
    "states": {
        "form": {"tags": ["settled"], "on": {"SUBMIT": {"target": "sending", "actions": ["remember", "note"]}}},
        "sending": {"invoke": {"id": "mail", "src": "send_email", "onDone": "waiting", "onError": "failed"}},
        "waiting": {"tags": ["settled"], "on": {"VERIFY": "active"}, "after": {"patience": "expired"}},
        "active": {"type": "final", "entry": "welcome"},
        "expired": {"type": "final"},
        "failed": {"type": "final"},
    },
}


def nothing(_input: Any, _call: Call) -> None:
    """An actor that succeeds without doing anything."""


def signup(
    send_email: Callable[[Any, Call], Any] = nothing,
    *,
    retry: Retry = Retry(attempts=3),
    interruption: Literal["rerun", "fail"] = "rerun",
    note: Callable[[Any], object] = lambda a: None,
) -> Machine[Any]:
    return setup(
        actions={"remember": assign(email=lambda a: a.event["email"]), "note": note, "welcome": lambda a: None},
        actors={"send_email": actor(send_email, retry=retry, interruption=interruption)},
        delays={"patience": timedelta(hours=24)},
    ).machine(SIGNUP)


def submitted(machine: Machine[Any]) -> World:
    """Return a world in which the instance ada is started, and its ``SUBMIT`` is queued."""
    world = World(machine)
    world.start()
    world.settle(until=world.now)
    world.send(SUBMIT, id="submit")
    return world


def _append(a: Any) -> list[Any]:
    return [*a.context["applied"], a.event["n"]]


def sound(a: Any) -> bool:
    if a.event.get("boom"):
        raise RuntimeError("boom")
    return True


def appending(report: Callable[[Any], object] = lambda a: None) -> Machine[Any]:
    """Return a machine that keeps the list of applied events in its context; its guard raises for one with ``boom``."""
    return setup(
        guards={"sound": sound},
        actions={"append": assign(applied=_append), "report": report},
    ).machine(
        {
            "id": "list",
            "initial": "open",
            "context": {"applied": []},
            "states": {
                "open": {
                    "tags": ["settled"],
                    "on": {
                        "ADD": {"guard": "sound", "actions": "append"},
                        "TELL": {"guard": "sound", "actions": ["append", "report"]},
                        "CLOSE": "closed",
                    },
                },
                "closed": {"type": "final"},
            },
        }
    )


def add(n: int, **more: Any) -> Mapping[str, Any]:
    return {"type": "ADD", "n": n, **more}


def tell(n: int, **more: Any) -> Mapping[str, Any]:
    return {"type": "TELL", "n": n, **more}


def applied(world: World) -> list[int]:
    return list(world.snapshot().context["applied"])
