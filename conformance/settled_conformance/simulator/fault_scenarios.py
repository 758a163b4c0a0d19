"""The stories of what goes wrong seldom, and then for good.

Windows that are smaller than the backlog; outsiders who know the ids of others; hosts of two versions; every error at
every command; and, from `life_stories`, instances that are deleted, started again, adopted and restored. Each story is
short, and its plain way leads as near to the place where it hurts as can be; the tape does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import evolve

from settled import Json, Key, Machine
from settled.durable import Capability, Record
from settled_conformance.harness import Offer
from settled_conformance.simulator.command_runner import Going
from settled_conformance.simulator.effect_keys import guessed_child
from settled_conformance.simulator.fault_profiles import GO, HARSH, ONCE, sends_of
from settled_conformance.simulator.life_scenarios import LIFE_STORIES
from settled_conformance.simulator.machine_scenario import APPEND, BOB, POISON, TELL, Story, letters, of
from settled_conformance.simulator.machines import (
    Weather,
    appender,
    family,
    fan,
    gathering,
    nursery,
    patient,
    priced,
    signup,
)
from settled_conformance.simulator.operations import Deed, found, lives, redriving, send, set_aside, start, taken, wait
from settled_conformance.simulator.scenario import Scenario
from settled_conformance.simulator.scheduler import Fault, Hazards, Task
from settled_conformance.simulator.simulation import BATCH, Simulation

# Windows


def _left_behind(name: str, remembers: bool = False) -> Story:
    """More messages than the window: whoever is frozen with the first of them wakes up in a world that forgot them."""
    key = of("appender")
    return Story(
        name,
        lambda weather, lease: [appender(weather)],
        people={"c": [start(key, "one"), *sends_of(key, "a", [APPEND] * (2 * BATCH))]},
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
        people={"c": [start(key, "one"), *sends_of(key, "a", [TELL, APPEND, APPEND, TELL, APPEND])]},
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
                *sends_of(key, "a", [APPEND] * letters),
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
    posts = [start(key, "one"), *sends_of(key, "a", [TELL, APPEND, TELL])]
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
        people={"c": [start(key, "one"), *sends_of(key, "a", [TELL, TELL, APPEND, TELL])]},
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
        people={"c": [start(key, "one"), *sends_of(key, "a", [GO, GO])]},
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
        *LIFE_STORIES,
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
