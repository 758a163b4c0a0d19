"""The hand-written machines of the scenarios: each is small, and together they use every kind of effect.

Every event carries an id, so that no two are equal: a lost event must not be masked by one that was applied twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from settled import Call, Machine, Retry, actor, assign, emit, log, send_parent, send_to
from settled_conformance.simulator.history import HistoryMachine, with_history


class PoisonError(Exception):
    """Raised by the machine's code for a poison event, until the machine is repaired."""


class FaultSwitch:
    """Shared with the code of a machine. Once `repaired` is set, poison events no longer fail."""

    repaired = False


def appender(fault_switch: FaultSwitch) -> HistoryMachine:
    """Return a list-append machine: its context is the list of the ids of its events; some also perform actions."""

    def append(args: Any) -> Mapping[str, Any]:
        if args.event.get("poison") and not fault_switch.repaired:
            raise PoisonError(args.event["id"])
        return {"ids": [*args.context["ids"], args.event["id"]]}

    config: Mapping[str, Any] = {
        "id": "appender",
        "context": {"ids": []},
        "initial": "open",
        "states": {
            "open": {
                "tags": ["settled"],
                "on": {
                    "APPEND": {"actions": ["append"]},
                    "TELL": {"actions": ["append", "tell", "shout"]},
                    "END": "closed",
                },
            },
            "closed": {"type": "final"},
        },
    }
    return with_history(
        config,
        actions={
            "append": assign(append),
            "tell": _done,
            "shout": emit(lambda args: {"type": "appended", "id": args.event["id"]}),
        },
    )


def signup(lease: float) -> HistoryMachine:
    """Return a sign-up machine: a form, an e-mail sent by an actor that may fail, a code to verify, and a timeout."""
    config: Mapping[str, Any] = {
        "id": "signup",
        "context": {"email": None, "tries": 0},
        "initial": "form",
        "states": {
            "form": {"tags": ["settled"], "on": {"SUBMIT": {"target": "sending", "actions": ["remember"]}}},
            "sending": {
                "invoke": {
                    "id": "mail",
                    "src": "send_email",
                    "input": {"template": "code"},
                    "onDone": "waiting",
                    "onError": {"target": "form", "actions": ["complain"]},
                }
            },
            "waiting": {
                "tags": ["settled"],
                "entry": ["note"],
                "after": {"patience": {"target": "expired"}},
                "on": {
                    "VERIFY": [{"guard": "right", "target": "welcome"}, {"actions": ["count"], "target": "again"}],
                    "SUBMIT": {"target": "sending", "actions": ["remember"]},
                },
            },
            "again": {"tags": ["reject"], "always": {"guard": "patient", "target": "waiting"}},
            "welcome": {
                "invoke": {
                    "id": "account",
                    "src": "open_account",
                    "onDone": "active",
                    "onError": "failed",
                }
            },
            "active": {"type": "final", "tags": ["resolve"]},
            "failed": {"tags": ["reject"]},
            "expired": {"type": "final", "entry": ["complain"]},
        },
    }
    return with_history(
        config,
        guards={
            "right": _is_right,
            "patient": _is_patient,
        },
        actions={
            "remember": assign(email=lambda args: args.event["email"]),
            "count": assign(tries=lambda args: args.context["tries"] + 1),
            "note": log("code sent"),
            "complain": _done,
        },
        actors={
            "send_email": actor(_echo, retry=Retry(attempts=2)),
            "open_account": actor(_echo, interruption="fail"),
        },
        delays={"patience": timedelta(seconds=100 * lease)},
    )


def fan(lease: float) -> HistoryMachine:
    """Return a machine of three regions with an actor each; it continues when all are done, or after a timeout."""

    def region(name: str, interruption: str) -> Mapping[str, Any]:
        return {
            "initial": "working",
            "states": {
                "working": {
                    "invoke": {
                        "id": name,
                        "src": f"work_{interruption}",
                        "onDone": {"target": "done", "actions": ["tell"]},
                        "onError": {"target": "done"},
                    }
                },
                "done": {"type": "final"},
            },
        }

    config: Mapping[str, Any] = {
        "id": "fan",
        "context": {"rounds": 0},
        "initial": "resting",
        "states": {
            "resting": {"tags": ["settled"], "on": {"GO": {"target": "busy", "actions": ["count"]}}},
            "busy": {
                "type": "parallel",
                "states": {
                    "left": region("left", "rerun"),
                    "middle": region("middle", "fail"),
                    "right": region("right", "rerun"),
                },
                "onDone": "resting",
                "after": {"patience": {"target": "resting", "actions": ["tell"]}},
            },
        },
    }
    return with_history(
        config,
        actions={"count": assign(rounds=lambda args: args.context["rounds"] + 1), "tell": _done},
        actors={
            "work_rerun": actor(_echo, retry=Retry(attempts=2)),
            "work_fail": actor(_echo, interruption="fail"),
        },
        delays={"patience": timedelta(seconds=1.5 * lease)},
    )


def family(lease: float) -> tuple[HistoryMachine, Machine[Any]]:
    """Return a parent and its child machine, which send each other events, immediately and delayed."""
    child = with_history(
        {
            "id": "child",
            "context": {"heard": 0},
            "initial": "waiting",
            "states": {
                "waiting": {
                    "tags": ["settled"],
                    "after": {"childhood": "done"},
                    "on": {"HELLO": {"actions": ["hear", "answer"]}, "BYE": "done"},
                },
                "done": {"type": "final"},
            },
            "output": {"ended": True},
        },
        actions={
            "hear": assign(heard=lambda args: args.context["heard"] + 1),
            "answer": send_parent(lambda args: {"type": "HEARD", "id": args.event["id"]}),
        },
        delays={"childhood": timedelta(seconds=0.7 * lease)},
    )
    parent = with_history(
        {
            "id": "parent",
            "context": {"children": 0, "heard": []},
            "initial": "alone",
            "states": {
                "alone": {"tags": ["settled"], "on": {"GO": "together"}},
                "together": {
                    "tags": ["settled"],
                    "entry": ["count"],
                    "invoke": {
                        "id": "kid",
                        "src": "child",
                        "onDone": {"target": "alone", "actions": ["tell"]},
                        "onError": "alone",
                    },
                    "after": {"a while": {"actions": ["nag"]}, "long": "alone"},
                    "on": {
                        "HELLO": {"actions": ["pass", "later"]},
                        "HEARD": {"actions": ["hear"]},
                        "LEAVE": "alone",
                    },
                },
            },
        },
        actions={
            "count": assign(children=lambda args: args.context["children"] + 1),
            "hear": assign(heard=lambda args: [*args.context["heard"], args.event["id"]]),
            "tell": _done,
            "nag": send_to("kid", lambda args: {"type": "HELLO", "id": f"nag{args.context['children']}"}),
            "pass": send_to("kid", lambda args: {"type": "HELLO", "id": args.event["id"]}),
            "later": send_to(
                "kid", lambda args: {"type": "HELLO", "id": f"{args.event['id']}.later"}, delay="soon", id="later"
            ),
        },
        actors={"child": child},
        delays={
            "soon": timedelta(seconds=0.2 * lease),
            "a while": timedelta(seconds=0.5 * lease),
            "long": timedelta(seconds=1.3 * lease),
        },
    )
    return parent, child


KILLER = "killer"
"""The name of the actor that ends the worker which runs it, if its input says so."""


def reckless() -> HistoryMachine:
    """Return a machine whose actor ends its worker, for an event that is `deadly`."""
    return with_history(
        {
            "id": "reckless",
            "context": {},
            "initial": "resting",
            "states": {
                "resting": {"tags": ["settled"], "on": {"GO": "running"}},
                "running": {
                    "invoke": {
                        "id": "job",
                        "src": KILLER,
                        "onDone": {"target": "resting", "actions": ["tell"]},
                        "onError": "resting",
                    }
                },
            },
        },
        actions={"tell": _done},
        actors={KILLER: actor(_echo, input=lambda args: bool(args.event.get("deadly")))},
    )


def poller(fault_switch: FaultSwitch, lease: float) -> HistoryMachine:
    """Return a machine that asks eight times, with long pauses, before it settles; then it takes notes."""

    def append(args: Any) -> Mapping[str, Any]:
        if args.event.get("poison") and not fault_switch.repaired:
            raise PoisonError(args.event["id"])
        return {"notes": [*args.context["notes"], args.event["id"]]}

    config: Mapping[str, Any] = {
        "id": "poller",
        "context": {"asked": 0, "notes": []},
        "initial": "resting",
        "states": {
            "resting": {
                "tags": ["settled"],
                "on": {"ORDER": "asking", "NOTE": {"actions": ["append", "tell"]}, "END": "closed"},
            },
            "asking": {
                "invoke": {
                    "id": "stock",
                    "src": "ask",
                    "onDone": [
                        {"guard": "done asking", "target": "resting", "actions": ["tell"]},
                        {"target": "pausing", "actions": ["count"]},
                    ],
                    "onError": {"target": "pausing", "actions": ["count"]},
                }
            },
            "pausing": {"after": {"pause": "asking"}},
            "closed": {"type": "final"},
        },
    }
    return with_history(
        config,
        guards={"done asking": _is_done_asking},
        actions={"append": assign(append), "tell": _done, "count": assign(asked=_asked_once_more)},
        actors={"ask": actor(_echo, retry=Retry(attempts=2))},
        delays={"pause": timedelta(seconds=1200 * lease)},
    )


def notifier() -> HistoryMachine:
    """Return a machine that sends the instance ada of `poller` a note for each event."""
    return with_history(
        {
            "id": "notifier",
            "context": {},
            "initial": "open",
            "states": {"open": {"tags": ["settled"], "on": {"GO": {"actions": ["pass"]}}}},
        },
        actions={"pass": send_to("poller/ada", lambda args: {"type": "NOTE", "id": args.event["id"]})},
    )


def _is_done_asking(args: Any) -> bool:
    return int(args.context["asked"]) % 8 == 7


def _asked_once_more(args: Any) -> int:
    return int(args.context["asked"]) + 1


def patient(lease: float) -> HistoryMachine:
    """Return a machine that has a timer from its start; the timer leads to a state that has none."""
    return with_history(
        {
            "id": "patient",
            "context": {},
            "initial": "waiting",
            "states": {
                "waiting": {
                    "tags": ["settled"],
                    "after": {"patience": {"target": "tired", "actions": ["tell"]}},
                    "on": {"GO": {"actions": ["tell"]}},
                },
                "tired": {"tags": ["settled"], "on": {"GO": {"actions": ["tell"]}}},
            },
        },
        actions={"tell": _done},
        delays={"patience": timedelta(seconds=0.5 * lease)},
    )


def actor_first() -> HistoryMachine:
    """Return a machine that invokes an actor at its start, and settles when the actor has ended."""
    return with_history(
        {
            "id": "actor-first",
            "context": {},
            "initial": "working",
            "states": {
                "working": {"invoke": {"id": "job", "src": "work", "onDone": "resting", "onError": "resting"}},
                "resting": {"tags": ["settled"], "on": {"GO": "working"}},
            },
        },
        actors={"work": actor(_echo, retry=Retry(attempts=2))},
    )


def nursery() -> tuple[HistoryMachine, HistoryMachine]:
    """Return a parent that invokes its child machine at its start, and that child, which reports its end."""
    kid = with_history(
        {
            "id": "kid",
            "context": {"ticks": 0},
            "initial": "living",
            "states": {
                "living": {"tags": ["settled"], "on": {"TICK": {"actions": ["count"]}, "BYE": "gone"}},
                "gone": {"type": "final"},
            },
            "output": {"ended": True},
        },
        actions={"count": assign(ticks=lambda args: args.context["ticks"] + 1)},
    )
    mother = with_history(
        {
            "id": "mother",
            "context": {},
            "initial": "caring",
            "states": {
                "caring": {
                    "tags": ["settled"],
                    "invoke": {"id": "kid", "src": "kid", "onDone": "alone"},
                    "on": {"TICK": {"actions": ["pass"]}, "BYE": {"actions": ["pass"]}, "NOTE": {}},
                },
                "alone": {"tags": ["settled"], "on": {"NOTE": {}, "TICK": {}, "BYE": {}}},
            },
        },
        actions={"pass": send_to("kid", lambda args: dict(args.event))},
        actors={"kid": kid},
    )
    return mother, kid


def gathering() -> tuple[HistoryMachine, HistoryMachine]:
    """Return a hub, and a spoke: each spoke sends an event to the hub and performs an action."""
    hub = with_history(
        {
            "id": "hub",
            "context": {"heard": 0},
            "initial": "open",
            "states": {"open": {"tags": ["settled"], "on": {"HEAR": {"actions": ["hear"]}}}},
        },
        actions={"hear": assign(heard=lambda args: args.context["heard"] + 1)},
    )
    spoke = with_history(
        {
            "id": "spoke",
            "context": {},
            "initial": "open",
            "states": {"open": {"tags": ["settled"], "on": {"GO": {"actions": ["pass", "tell"]}}}},
        },
        actions={"pass": send_to("hub/all", lambda args: {"type": "HEAR", "id": args.event["id"]}), "tell": _done},
    )
    return hub, spoke


def priced(version: str) -> HistoryMachine:
    """Return a machine whose version 2 has a price in cents where version 1 has whole coins."""
    return with_history(
        {
            "id": "priced",
            "version": version,
            "context": {"price": 10},
            "initial": "open",
            "states": {"open": {"tags": ["settled"], "on": {"GO": {"actions": ["tell"]}}}},
        },
        actions={"tell": _done},
        migrations={"1": _to_cents} if version == "2" else {},
    )


def _to_cents(data: dict[str, Any]) -> Mapping[str, Any]:
    return {**data, "context": {**data["context"], "price": data["context"]["price"] * 100}}


def _is_right(args: Any) -> bool:
    return bool(args.event["code"] == 1)


def _is_patient(args: Any) -> bool:
    return bool(args.context["tries"] < 3)


def _done(_a: Any) -> None:
    """A custom action without a body: the simulation records that it was performed."""


def _echo(input: Any, call: Call) -> Any:
    return {"key": call.idempotency_key}
