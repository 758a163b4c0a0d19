"""Records with every kind of part, as they are in a store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve

from settled import Key, Machine, RecordError, setup
from settled.durable import Message, Record
from settled.durable.messages import Event, Parent, SenderPosition, Timer, encode
from settled.durable.ports import Position
from settled.durable.record import (
    ActiveTimer,
    CancelTimer,
    ChildInstance,
    FailureCount,
    OpenTurn,
    OutboxEntry,
    PendingActor,
    PerformAction,
    ReceiveCount,
    Suspension,
    UnreadableSnapshot,
    Watch,
    port_timer,
)
from settled.durable.window import Outcome, Window
from settled.step.effects import Emit, Execute, Log

KEY = Key("order", "42")
PARENT, ROOT, CHILD = Key("basket", "7"), Key("shop", "root"), Key("parcel", "42/~left")


def machine(version: str | None = "2") -> Machine[Any]:
    return setup().machine(
        {
            "id": "order",
            **({} if version is None else {"version": version}),
            "initial": "waiting",
            "context": {"note": 'Grüße an "Ada"\n', "window": []},
            "states": {"waiting": {"tags": ["settled"], "on": {"DONE": "done"}}, "done": {"type": "final"}},
        }
    )


MACHINE = machine()
SNAPSHOT, _ = MACHINE.initial_transition()

STARTED = Record(
    nonce="n1.3",
    version="2",
    fingerprint=MACHINE.fingerprint,
    start_nonce="n1.1",
    ordinal=3,
    snapshot=SNAPSHOT,
    window=Window.of(256, ["order-42-paid 1a2b3c", "m2 000000"]),
)

TIMERS = {
    "order/42/n1.1/1/0": ActiveTimer(2000.5, {"type": "xstate.after.1000.order.waiting"}, "xstate.after.1000"),
    "order/42/n1.1/1/1": ActiveTimer(3000.0, {"type": "REMIND"}, scheduled=True),
    "order/42/n1.1/1/2": ActiveTimer(1000.25, None, "tell", (str(PARENT), encode(Event({"type": "LATE"}))), True),
}

OPEN_TURN = OpenTurn(
    message=Message(KEY, "m3", encode(Event({"type": "PAY"}))),
    ordinal=3,
    index=2,
    nonce="n1.2",
    inbox=({"type": "xstate.done.actor.charge", "output": None},),
    actors=(
        PendingActor("charge", "charge", {"card": "4711"}, 0),
        PendingActor("mail", "send_email", None, 1, 2, 1010.5, "n1"),
    ),
    lease_until=1030.0,
)

SENDER = SenderPosition(KEY, "n1.1", 3, 0, "42/~left/n1")

# As text: the body of a message is never rewritten, whatever has changed in how bodies are written.
SENT = '{"kind":"event","event":{"type":"HI"},"sender":["order/42","n1.1",3,0,"42/~left/n1"]}'

OUTBOX = (
    OutboxEntry("m3", Message(PARENT, "settled:order/42/n1.3/3/0", SENT)),
    OutboxEntry("m3", port_timer(KEY, "t0", 2000.0)),
    OutboxEntry("m3", port_timer(KEY, "t1", 2001.5, 2)),
    OutboxEntry("m4", CancelTimer("t2")),
    OutboxEntry("m4", PerformAction(Execute(3, "notify", {"to": "ada"}, {"note": ""}, {"type": "HI"}), "order/42/k/3")),
    OutboxEntry("m4", PerformAction(Emit(4, {"type": "paid"}), "order/42/k/4")),
    OutboxEntry("m4", PerformAction(Log(5, ["paid", 1.5], "till"), "order/42/k/5")),
    OutboxEntry("m4", PerformAction(Log(6, None), "order/42/k/6")),
)

WINDOW = Window.of(
    256,
    ["a 000001", 'odd "id"\n,[]} 000002', "b 000003", "b 000004", "c 000005"],
    other_outcomes={
        "a 000001": Outcome.RESOLVED,
        'odd "id"\n,[]} 000002': Outcome.IGNORED,
        "b 000003": Outcome.INVALID,
        "b 000004": Outcome.DEAD_LETTERED,
        "c 000005": Outcome.FAILED,
        "p 000006": Outcome.REJECTED,
    },
    senders={"basket/7": ("n0.1", 4, 2), "parcel/42/~left": ("n9.1", 0, 0)},
    pinned={"p": ("000006",), "q": ("000007", "000008")},
)

WITH_CHILDREN = evolve(
    STARTED,
    children={
        "left": ChildInstance(CHILD, "42/~left/n1"),
        "right": ChildInstance(Key("parcel", "42/~right"), "42/~right/n1", "the-right"),
    },
    detached={"42/~gone/n0": Key("parcel", "42/~gone")},
    system_ids={"the-right": Key("parcel", "42/~right"), "me": KEY},
)

UNREADABLE = UnreadableSnapshot(
    {"status": "active", "value": "moved", "context": {"n": 1.0}, "children": {}, "historyValue": {}},
    RecordError('snapshot.value: no state "moved" in "order" of the machine order'),
)

TRACE = {"traceparent": "00-1", "note": 'été "🙂"'}


def _with_headers(entry: OutboxEntry) -> OutboxEntry:
    match entry.item:
        case Message() | PerformAction() as item:
            return evolve(entry, item=evolve(item, headers=TRACE))
        case Timer() as timer:
            return evolve(entry, item=evolve(timer, message=evolve(timer.message, headers=TRACE)))
        case CancelTimer():
            return entry


WITH_HEADERS = evolve(
    STARTED,
    turn=evolve(OPEN_TURN, message=evolve(OPEN_TURN.message, headers=TRACE)),
    outbox=tuple(map(_with_headers, OUTBOX)),
)

RECORDS: Mapping[str, Record] = {
    "never-started": Record(nonce="n0.1", version="2", fingerprint=MACHINE.fingerprint, window=Window.of(256, [])),
    "started": STARTED,
    "timers": evolve(STARTED, timers=TIMERS),
    "open-turn": evolve(STARTED, turn=OPEN_TURN, receives=ReceiveCount("m3", 2)),
    "open-turn-of-a-dead-letter": evolve(
        STARTED, turn=evolve(OPEN_TURN, inbox=(), actors=(), from_dead_letters=True), redriving=1
    ),
    "child": evolve(STARTED, parent=Parent(PARENT, "order", "42/~order/n1", ROOT)),
    "synchronous-child": evolve(STARTED, parent=Parent(PARENT, "order", "42/~order/n1", ROOT, sync=True)),
    "children": WITH_CHILDREN,
    "outbox": evolve(STARTED, outbox=OUTBOX),
    "failing": evolve(STARTED, failing=FailureCount("m3", 2, "ZeroDivisionError: division by zero")),
    "halted": evolve(STARTED, halted="m3 failed 5 times, at last with ZeroDivisionError", turn=OPEN_TURN),
    "redriving": evolve(STARTED, redriving=2),
    "redriven": evolve(STARTED, redriving=0, outbox=OUTBOX[:1]),
    "window": evolve(STARTED, window=WINDOW, high_water_mark=Position("e1", 2**53)),
    "rearmed": evolve(STARTED, armed=("sha256:0", None)),
    "unreadable": evolve(STARTED, snapshot=UNREADABLE, fingerprint="sha256:1", version="2"),
    "everything": evolve(
        WITH_CHILDREN,
        parent=Parent(PARENT, "order", "42/~order/n1", ROOT),
        timers=TIMERS,
        turn=OPEN_TURN,
        high_water_mark=Position("e1", 7),
        armed=("sha256:0", "1"),
        window=WINDOW,
        outbox=OUTBOX,
        failing=FailureCount("m3", 1, "x"),
        receives=ReceiveCount("m3", 1),
    ),
}

WATCHED = evolve(
    STARTED,
    turn=evolve(OPEN_TURN, actors=tuple(evolve(actor, losses=1) for actor in OPEN_TURN.actors[:1])),
    receives=ReceiveCount("m3", 2),
    watch=Watch("m3", OPEN_TURN.actors[0].id, is_alone=True),
)
"""A record of a suspect, which older versions of settled do not write."""

SUSPENDED = evolve(
    STARTED,
    turn=evolve(OPEN_TURN, inbox=(), since=1000.0, suspension=Suspension("order/42/n1.3/3/0", 4600.0, 1)),
    postponed=0,
)
"""A record with a suspended turn, and with messages that were postponed because of it."""
