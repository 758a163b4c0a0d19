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
from settled_conformance.harness import HarnessFeature
from settled_conformance.simulator.command_runner import TaskSteps
from settled_conformance.simulator.effect_keys import predicted_child_instance
from settled_conformance.simulator.fault_profiles import GO, HARSH, ONCE, sends_of
from settled_conformance.simulator.life_scenarios import LIFE_SCENARIOS
from settled_conformance.simulator.machine_scenario import APPEND, BOB, POISON, TELL, MachineScenario, messages_to, of
from settled_conformance.simulator.machines import (
    FaultSwitch,
    appender,
    family,
    fan,
    gathering,
    nursery,
    patient,
    priced,
    signup,
)
from settled_conformance.simulator.operations import (
    ClientOperation,
    has_dead_letters,
    has_record,
    is_alive,
    redrive_dead_letters,
    send,
    start,
    taken,
    wait,
)
from settled_conformance.simulator.scenario import Scenario
from settled_conformance.simulator.scheduler import FaultRates, InjectedFault, Task
from settled_conformance.simulator.simulation import BATCH, Simulation

# Windows


def _left_behind(name: str, caches_records: bool = False) -> MachineScenario:
    """More messages than the window: whoever is frozen with the first of them wakes up in a world that forgot them."""
    key = of("appender")
    return MachineScenario(
        name,
        lambda fault_switch, lease: [appender(fault_switch)],
        participants={"c": [start(key, "one"), *sends_of(key, "a", [APPEND] * (2 * BATCH))]},
        window=BATCH,
        fault_rates=ONCE,
        caches_records=caches_records,
    )


def _narrow() -> MachineScenario:
    """A window smaller than a batch: what one commit takes must still be known when its acknowledgement is lost."""
    key = of("appender")
    return MachineScenario(
        "narrow",
        lambda fault_switch, lease: [appender(fault_switch)],
        participants={"c": [start(key, "one"), *sends_of(key, "a", [TELL, APPEND, APPEND, TELL, APPEND])]},
        window=2,
        fault_rates=ONCE,
    )


def _redriven() -> MachineScenario:
    """As many dead letters as the window is long are redriven while a message waits for its acknowledgement."""
    key = of("appender")
    count = BATCH + 1
    return MachineScenario(
        "redriven",
        lambda fault_switch, lease: [appender(fault_switch)],
        participants={
            "c": [
                *sends_of(key, "a", [APPEND] * count),
                wait(has_dead_letters(key, count)),
                start(key, "one"),
                wait(is_alive(key, 1)),
                send(key, "pay", TELL),
            ],
            "o": [wait(taken(key, 1)), redrive_dead_letters(key)],
        },
        window=BATCH,
        fault_rates=ONCE,
    )


def _fan_in() -> MachineScenario:
    """More senders than the window is long, and a queue that soon forgets what it was sent."""
    spokes = [of("spoke", name) for name in "abcd"]
    return MachineScenario(
        "fan-in",
        lambda fault_switch, lease: gathering(),
        participants={
            "c": [start(of("hub", "all"), "hub"), wait(is_alive(of("hub", "all"), 1))]
            + [
                operation
                for number, spoke in enumerate(spokes, 1)
                for operation in (
                    start(spoke, spoke.instance),
                    send(spoke, f"{spoke.instance}1", GO),
                    wait(taken(of("hub", "all"), number)),
                )
            ]
        },
        window=2,
        dedup_limit=0,
        fault_rates=ONCE,
        # Elsewhere a message may be sent again, and more strangers than the window are more than anybody remembers.
        needs=frozenset({Capability.ATOMIC_FINISH}),
        features=frozenset({HarnessFeature.DEDUPLICATION_LIMIT}),
    )


def _late() -> MachineScenario:
    """A queue that soon forgets, and a client that repeats everything once more when all is over."""
    key = of("appender")
    posts = [start(key, "one"), *sends_of(key, "a", [TELL, APPEND, TELL])]
    return MachineScenario(
        "late",
        lambda fault_switch, lease: [appender(fault_switch)],
        participants={"c": [*posts, wait(taken(key, 3)), *posts]},
        dedup_limit=0,
        fault_rates=HARSH,
        features=frozenset({HarnessFeature.DEDUPLICATION_LIMIT}),
    )


# Errors


def _outgrown() -> MachineScenario:
    """There is no room for what an action said when it failed; for all else there is."""
    key = of("appender")
    return MachineScenario(
        "outgrown",
        lambda fault_switch, lease: [appender(fault_switch)],
        participants={"c": [start(key, "one"), *sends_of(key, "a", [TELL, TELL, APPEND, TELL])]},
        max_record_size=1_800,
        error_message="it fails: " + "x" * 1_000,
        fault_rates=FaultRates(
            read=(), write=(), release=(), receive=(), effect=(InjectedFault.CRASH_AFTER, InjectedFault.FAIL)
        ),
    )


def _harsh(
    name: str,
    machines: Callable[[FaultSwitch, float], Sequence[Machine[Any, Any]]],
    key: Key,
    *events: Mapping[str, Json],
) -> MachineScenario:
    """What is told without all that elsewhere, told with it."""
    return MachineScenario(f"harsh-{name}", machines, [messages_to(key, "a", events)], fault_rates=HARSH)


# Outsiders


def _intruding(key: Key, id: Callable[[Record], str]) -> ClientOperation:
    """An ordinary event, under an id that the machine itself would use; it is known from a log, say."""

    def operation(simulation: Simulation, task: Task) -> TaskSteps[None]:
        record = simulation.record(key)
        assert record is not None, "this is waited for"
        yield from send(key, id(record), {"type": "NOTE"})(simulation, task)

    return operation


def _outsider(
    name: str, operations: Sequence[ClientOperation], machines: Callable[[float], Sequence[Machine[Any, Any]]]
) -> MachineScenario:
    return MachineScenario(
        name, lambda fault_switch, lease: machines(lease), participants={"x": operations}, fault_rates=ONCE
    )


def _outsiders() -> list[MachineScenario]:
    waiting, mother = of("patient"), of("mother")
    child = of("kid", predicted_child_instance(mother, "kid"))
    return [
        _outsider(
            "outsider-timer",
            [
                start(waiting, "one"),
                wait(has_record(waiting, lambda record: bool(record.timers))),
                _intruding(waiting, lambda record: next(iter(record.timers))),
            ],
            lambda lease: [patient(lease)],
        ),
        _outsider(
            "outsider-report",
            [
                start(mother, "one"),
                wait(has_record(mother, lambda record: bool(record.children))),
                _intruding(mother, lambda record: f"{record.children['kid'].generation}/ended"),
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


def _punctual() -> MachineScenario:
    """Clocks that are off, and jump back: a delay is as long as it is all the same."""
    key = of("patient")
    return MachineScenario(
        "punctual",
        lambda fault_switch, lease: [patient(lease)],
        participants={"c": [start(key, "one"), *sends_of(key, "a", [GO, GO])]},
        fault_rates=ONCE,
        punctual=True,
    )


# Versions


def _versions() -> MachineScenario:
    """A deploy is under way: hosts of the old and of the new version take turns at one instance."""
    key = of("priced")
    events = [
        operation for number in (1, 2, 3) for operation in (send(key, f"a{number}", GO), wait(taken(key, number)))
    ]
    return MachineScenario(
        "versions",
        lambda fault_switch, lease: [priced("2")],
        participants={"c": [start(key, "one"), wait(is_alive(key, 1)), *events]},
        workers=1,
        older=lambda: [priced("1")],
        fault_rates=ONCE,
    )


FAULT_SCENARIOS: Sequence[Scenario] = [
    evolve(scenario, weight=0.2)
    for scenario in (
        _left_behind("left-behind"),
        _left_behind("left-behind-with-a-memory", caches_records=True),
        _narrow(),
        _redriven(),
        _fan_in(),
        _outgrown(),
        *LIFE_SCENARIOS,
        *_outsiders(),
        _punctual(),
        _versions(),
        _late(),
        _harsh(
            "append", lambda fault_switch, _: [appender(fault_switch)], of("appender", BOB), TELL, POISON, APPEND, TELL
        ),
        _harsh("signup", lambda _, lease: [signup(lease)], of("signup"), {"type": "SUBMIT", "email": "a@b"}),
        _harsh("fan", lambda _, lease: [fan(lease)], of("fan"), GO),
        _harsh("family", lambda _, lease: family(lease), of("parent"), GO, {"type": "HELLO"}, {"type": "LEAVE"}),
    )
]
