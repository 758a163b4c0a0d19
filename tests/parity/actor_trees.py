"""The machines of ``travel.mjs``, in Python: one of them has the other as its child."""

from __future__ import annotations

from typing import Any

from settled import Machine, assign, send_to, setup


def family() -> Machine[Any]:
    child = setup(actions={"note": assign(heard=lambda a: [*a.context["heard"], a.event["type"]])}).machine(
        {
            "id": "child",
            "context": {"heard": []},
            "initial": "idle",
            "states": {
                "idle": {"on": {"PING": {"target": "pinged", "actions": "note"}}},
                "pinged": {"on": {"PING": {"actions": "note"}}},
            },
        }
    )
    return setup(actors={"child": child}, actions={"ping": send_to("kid", {"type": "PING"})}).machine(
        {
            "id": "parent",
            "initial": "alone",
            "states": {
                "alone": {"on": {"MARRY": "together"}},
                "together": {
                    "invoke": {"id": "kid", "src": "child", "systemId": "the-kid"},
                    "on": {"PING": {"actions": "ping"}},
                },
            },
        }
    )
