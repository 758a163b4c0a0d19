"""The stories of what goes wrong seldom, and then for good.

Windows that are smaller than the backlog; instances that are deleted, start again, and are adopted; stores that come
back from a backup; outsiders who know the ids of others; hosts of two versions; every error at every command. Each
story is short, and its plain way leads as near to the place where it hurts as can be; the tape does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import evolve

from settled import Capability, Family, Json, Key, Machine, Record, dump_family, fold
from settled_conformance.harness import Offer
from settled_conformance.simulator.deeds import (
    Deed,
    adopting,
    delete,
    found,
    is_deleted,
    lives,
    once,
    redriving,
    restoring,
    send,
    set_aside,
    start,
    taken,
    wait,
)
from settled_conformance.simulator.hands import Going
from settled_conformance.simulator.kernel import EFFECT, READ, RECEIVE, WRITE, Fault, Hazards, Task
from settled_conformance.simulator.keys import guessed_child
from settled_conformance.simulator.machines import (
    Weather,
    appender,
    bee,
    family,
    fan,
    gathering,
    nursery,
    patient,
    priced,
    signup,
)
from settled_conformance.simulator.scenario import Scenario
from settled_conformance.simulator.simulation import BATCH, Simulation
from settled_conformance.simulator.story import APPEND, BOB, POISON, TELL, Story, letters, of

HARSH = Hazards(
    read=(*READ, Fault.DENIED, Fault.UNANSWERED, Fault.BACK),
    write=(*WRITE, Fault.DENIED, Fault.UNANSWERED, Fault.BACK, Fault.TOO_LARGE),
    release=(*WRITE, Fault.DENIED, Fault.UNANSWERED, Fault.BACK),  # there is nothing that could be too large
    receive=(*RECEIVE, Fault.LOST_ANSWER, Fault.DENIED, Fault.UNANSWERED),
    effect=(*EFFECT, Fault.BACK),
    within=(Fault.CRASH_WITHIN, Fault.ERROR_WITHIN, Fault.TOO_LARGE_WITHIN),
)
"""Every error of every port at every command, and clocks that jump back."""

ONCE = evolve(HARSH, receive=tuple(fault for fault in HARSH.receive if fault is not Fault.REPEAT))
"""The same over a queue that does not repeat by itself what was acknowledged.

Past the window, and past a deletion, nobody promises to know a repetition again: who uses such a queue is told so.
"""

NO_REPEATS = frozenset({Capability.DEDUPLICATION, Capability.ACKED_STAYS_GONE})
GO: Mapping[str, Json] = {"type": "GO"}


def _sends(key: Key, sender: str, events: Sequence[Mapping[str, Json]]) -> list[Deed]:
    return [send(key, f"{sender}{number}", event) for number, event in enumerate(events, 1)]


# Windows


def _left_behind(name: str, remembers: bool = False) -> Story:
    """More messages than the window: whoever is frozen with the first of them wakes up in a world that forgot them."""
    key = of("appender")
    return Story(
        name,
        lambda weather, lease: [appender(weather)],
        people={"c": [start(key, "one"), *_sends(key, "a", [APPEND] * (2 * BATCH))]},
        window=BATCH,
        hazards=ONCE,
        remembers=remembers,
    )


def _narrow() -> Story:
    """A window smaller than a batch: what one commit takes must still be known when its acknowledgement is lost."""
    key = of("appender")
    return Story(
        "narrow",
        lambda weather, lease: [appender(weather)],
        people={"c": [start(key, "one"), *_sends(key, "a", [TELL, APPEND, APPEND, TELL, APPEND])]},
        window=2,
        hazards=ONCE,
    )


def _redriven() -> Story:
    """As many dead letters as the window is long are redriven while a message waits for its acknowledgement."""
    key = of("appender")
    letters = BATCH + 1
    return Story(
        "redriven",
        lambda weather, lease: [appender(weather)],
        people={
            "c": [
                *_sends(key, "a", [APPEND] * letters),
                wait(set_aside(key, letters)),
                start(key, "one"),
                wait(lives(key, 1)),
                send(key, "pay", TELL),
            ],
            "o": [wait(taken(key, 1)), redriving(key)],
        },
        window=BATCH,
        hazards=ONCE,
    )


def _fan_in() -> Story:
    """More senders than the window is long, and a queue that soon forgets what it was sent."""
    spokes = [of("spoke", name) for name in "abcd"]
    return Story(
        "fan-in",
        lambda weather, lease: gathering(),
        people={
            "c": [start(of("hub", "all"), "hub"), wait(lives(of("hub", "all"), 1))]
            + [
                deed
                for number, spoke in enumerate(spokes, 1)
                for deed in (
                    start(spoke, spoke.instance),
                    send(spoke, f"{spoke.instance}1", GO),
                    wait(taken(of("hub", "all"), number)),
                )
            ]
        },
        window=2,
        remember=0,
        hazards=ONCE,
        # Elsewhere a message may be sent again, and more strangers than the window are more than anybody remembers.
        needs=frozenset({Capability.ATOMIC_FINISH}),
        asks=frozenset({Offer.FORGETFUL}),
    )


def _late() -> Story:
    """A queue that soon forgets, and a client that repeats everything once more when all is over."""
    key = of("appender")
    posts = [start(key, "one"), *_sends(key, "a", [TELL, APPEND, TELL])]
    return Story(
        "late",
        lambda weather, lease: [appender(weather)],
        people={"c": [*posts, wait(taken(key, 3)), *posts]},
        remember=0,
        hazards=HARSH,
        asks=frozenset({Offer.FORGETFUL}),
    )


# Errors


def _outgrown() -> Story:
    """There is no room for what an action said when it failed; for all else there is."""
    key = of("appender")
    return Story(
        "outgrown",
        lambda weather, lease: [appender(weather)],
        people={"c": [start(key, "one"), *_sends(key, "a", [TELL, TELL, APPEND, TELL])]},
        room=1_800,
        complaint="it fails: " + "x" * 1_000,
        hazards=Hazards(read=(), write=(), release=(), receive=(), effect=(Fault.CRASH_AFTER, Fault.FAIL)),
    )


def _harsh(
    name: str,
    machines: Callable[[Weather, float], Sequence[Machine[Any, Any]]],
    key: Key,
    *events: Mapping[str, Json],
) -> Story:
    """What is told without all that elsewhere, told with it."""
    return Story(f"harsh-{name}", machines, [letters(key, "a", events)], hazards=HARSH)


# Lives


def _new_life(name: str, remembers: bool = False) -> Story:
    """An instance is deleted in the middle of anything, and started again; its client repeats what it sent."""
    key = of("appender")
    first = [start(key, "one"), *_sends(key, "a", [APPEND, TELL])]
    return Story(
        name,
        lambda weather, lease: [appender(weather)],
        people={
            "c": [*first, wait(is_deleted(key)), start(key, "two"), *_sends(key, "b", [TELL, APPEND]), *first],
            "o": [wait(taken(key, 2)), delete(key)],
        },
        hazards=ONCE,
        remembers=remembers,
        needs=NO_REPEATS,
    )


def _new_work() -> Story:
    """The same with actors and timers, at any time: what the former life still had under way is not the new one's."""
    key = of("signup")
    events: list[Mapping[str, Json]] = [{"type": "SUBMIT", "email": "a@b"}, {"type": "VERIFY", "code": 1}]
    return Story(
        "new-work",
        lambda weather, lease: [signup(lease)],
        people={
            "c": [
                start(key, "one"),
                *_sends(key, "a", events),
                wait(is_deleted(key)),
                start(key, "two"),
                *_sends(key, "b", events[:1]),
            ],
            "o": [wait(lives(key, 1)), delete(key)],
        },
        hazards=ONCE,
        needs=NO_REPEATS,
    )


def _new_family() -> Story:
    """A parent is deleted while its child lives: what that child says later is not for the parent's next life."""
    mother = of("mother")
    bye: Mapping[str, Json] = {"type": "BYE"}
    return Story(
        "new-family",
        lambda weather, lease: nursery(),
        people={
            "c": [start(mother, "one"), send(mother, "a1", bye), wait(is_deleted(mother)), start(mother, "two")],
            "o": [wait(taken(mother, 1)), delete(mother)],
        },
        hazards=ONCE,
        needs=NO_REPEATS,
    )


def _persisted(machine: str, *events: Mapping[str, Json]) -> Callable[[Simulation], str]:
    """What XState would have persisted of `machine` after `events`, wherever it has taken them."""

    def text(simulation: Simulation) -> str:
        logic = simulation.machines[machine]
        return logic.dump(fold(logic, events, "elsewhere"))

    return text


def _with_child(simulation: Simulation) -> str:
    mother, kid = simulation.machines["mother"], simulation.machines["kid"]
    child = fold(kid, [{"type": "TICK", "id": "elsewhere"}], "elsewhere")
    return dump_family(mother, Family(fold(mother, [], "elsewhere"), {"kid": Family(child, {})}))


def _adopted_keys() -> Story:
    """Adopted, deleted, started, deleted, adopted again: each life has effects of its own."""
    key, text = of("appender"), _persisted("appender")
    return Story(
        "adopted-keys",
        lambda weather, lease: [appender(weather)],
        people={
            "o": [
                adopting(key, text),
                send(key, "a1", TELL),
                wait(taken(key, 1)),
                delete(key),
                start(key, "two"),
                send(key, "b1", TELL),
                wait(taken(key, 2)),
                delete(key),
                adopting(key, text),
                send(key, "c1", TELL),
            ]
        },
        hazards=ONCE,
        needs=NO_REPEATS,
    )


def _adopted_actor() -> Story:
    """An instance is adopted while its actor runs; deleted; and adopted again."""
    key, text = of("bee"), _persisted("bee")
    rests = found(key, lambda record: record.turn is None)
    return Story(
        "adopted-actor",
        lambda weather, lease: [bee()],
        people={"o": [adopting(key, text), wait(rests), delete(key), adopting(key, text)]},
        hazards=ONCE,
    )


def _adopted_timer() -> Story:
    """A timer has fired for a former life; the adopted one has the same timer before it."""
    key = of("patient")
    return Story(
        "adopted-timer",
        lambda weather, lease: [patient(lease)],
        people={
            "o": [
                start(key, "one"),
                wait(lives(key, 1)),
                wait(found(key, lambda record: not record.timers)),
                delete(key),
                adopting(key, _persisted("patient")),
                wait(found(key, lambda record: not record.timers)),
                delete(key),
                start(key, "two"),
            ]
        },
        hazards=ONCE,
        needs=NO_REPEATS,
    )


def _adopted_child() -> Story:
    """An operator who adopts is lost halfway and does not come back; then somebody starts the instance afresh."""
    mother = of("mother")
    return Story(
        "adopted-child",
        lambda weather, lease: nursery(),
        people={
            "o": [once(adopting(mother, _with_child))],
            "c": [start(mother, "one"), send(mother, "a1", {"type": "TICK"}), send(mother, "a2", {"type": "TICK"})],
        },
        hazards=ONCE,
    )


# Restores


def _restored(name: str, back_to: int) -> Story:
    """The store comes back from a backup: events get the numbers that others had, and must not get their keys."""
    key = of("appender")
    return Story(
        name,
        lambda weather, lease: [appender(weather)],
        people={
            "c": [
                start(key, "one"),
                *_sends(key, "a", [TELL, TELL]),
                wait(lambda simulation: simulation.restored),
                start(key, "two"),
                *_sends(key, "b", [TELL, APPEND]),
            ],
            "o": [restoring(taken(key, back_to), taken(key, 2))],
        },
        hazards=ONCE,
        asks=frozenset({Offer.BACKUP}),
    )


# Outsiders


def _intruding(key: Key, id: Callable[[Record], str]) -> Deed:
    """An ordinary event, under an id that the machine itself would use; it is known from a log, say."""

    def deed(simulation: Simulation, task: Task) -> Going[None]:
        record = simulation.record(key)
        assert record is not None, "this is waited for"
        yield from send(key, id(record), {"type": "NOTE"})(simulation, task)

    return deed


def _outsider(name: str, deeds: Sequence[Deed], machines: Callable[[float], Sequence[Machine[Any, Any]]]) -> Story:
    return Story(name, lambda weather, lease: machines(lease), people={"x": deeds}, hazards=ONCE)


def _outsiders() -> list[Story]:
    waiting, mother = of("patient"), of("mother")
    child = of("kid", guessed_child(mother, "kid"))
    return [
        _outsider(
            "outsider-timer",
            [
                start(waiting, "one"),
                wait(found(waiting, lambda record: bool(record.timers))),
                _intruding(waiting, lambda record: next(iter(record.timers))),
            ],
            lambda lease: [patient(lease)],
        ),
        _outsider(
            "outsider-report",
            [
                start(mother, "one"),
                wait(found(mother, lambda record: bool(record.children))),
                _intruding(mother, lambda record: f"{record.children['kid'].generation}/report"),
                send(mother, "a1", {"type": "BYE"}),
            ],
            lambda _: nursery(),
        ),
        _outsider(
            "outsider-child",
            [start(child, "stranger"), start(mother, "one"), send(mother, "a1", {"type": "BYE"})],
            lambda _: nursery(),
        ),
    ]


# Clocks


def _punctual() -> Story:
    """Clocks that are off, and jump back: a delay is as long as it is all the same."""
    key = of("patient")
    return Story(
        "punctual",
        lambda weather, lease: [patient(lease)],
        people={"c": [start(key, "one"), *_sends(key, "a", [GO, GO])]},
        hazards=ONCE,
        punctual=True,
    )


# Versions


def _versions() -> Story:
    """A deploy is under way: hosts of the old and of the new version take turns at one instance."""
    key = of("priced")
    events = [deed for number in (1, 2, 3) for deed in (send(key, f"a{number}", GO), wait(taken(key, number)))]
    return Story(
        "versions",
        lambda weather, lease: [priced("2")],
        people={"c": [start(key, "one"), wait(lives(key, 1)), *events]},
        workers=1,
        older=lambda: [priced("1")],
        hazards=ONCE,
    )


HAZARDS: Sequence[Scenario] = [
    evolve(story, weight=0.2)
    for story in (
        _left_behind("left-behind"),
        _left_behind("left-behind-with-a-memory", remembers=True),
        _narrow(),
        _redriven(),
        _fan_in(),
        _outgrown(),
        _new_life("new-life"),
        _new_life("new-life-with-a-memory", remembers=True),
        _new_work(),
        _new_family(),
        _adopted_keys(),
        _adopted_actor(),
        _adopted_timer(),
        _adopted_child(),
        _restored("restored", 1),
        _restored("wiped", 0),
        *_outsiders(),
        _punctual(),
        _versions(),
        _late(),
        _harsh("append", lambda weather, _: [appender(weather)], of("appender", BOB), TELL, POISON, APPEND, TELL),
        _harsh("signup", lambda _, lease: [signup(lease)], of("signup"), {"type": "SUBMIT", "email": "a@b"}),
        _harsh("fan", lambda _, lease: [fan(lease)], of("fan"), GO),
        _harsh("family", lambda _, lease: family(lease), of("parent"), GO, {"type": "HELLO"}, {"type": "LEAVE"}),
    )
]
