"""The scenarios of rare faults: small windows, forgetful queues, guessed ids, two versions, and every error of a port.

Each is short, and its default run leads as close as possible to the critical moment, so that one or two deviations
reach it. Deletions, imports and restores are in `life_scenarios`.
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
from settled_conformance.simulator.fault_profiles import ALL_FAULTS, GO, NO_REDELIVERY, sends_of
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
    reckless,
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
from settled_conformance.simulator.scheduler import InjectedFault, PossibleFaults, Task
from settled_conformance.simulator.simulation import BATCH, Simulation

# Windows


def _stale_worker(name: str, caches_records: bool = False) -> MachineScenario:
    """Return a scenario in which there are more messages than the window holds.

    A worker frozen with the first ones resumes when no record knows their ids.
    """
    key = of("appender")
    return MachineScenario(
        name,
        lambda fault_switch, lease: [appender(fault_switch)],
        participants={"c": [start(key, "one"), *sends_of(key, "a", [APPEND] * (2 * BATCH))]},
        window=BATCH,
        possible_faults=NO_REDELIVERY,
        caches_records=caches_records,
    )


def _small_window() -> MachineScenario:
    """Return a scenario in which the window is smaller than a batch.

    Ids taken by one commit must be kept in case their acknowledgement is lost.
    """
    key = of("appender")
    return MachineScenario(
        "small-window",
        lambda fault_switch, lease: [appender(fault_switch)],
        participants={"c": [start(key, "one"), *sends_of(key, "a", [TELL, APPEND, APPEND, TELL, APPEND])]},
        window=2,
        possible_faults=NO_REDELIVERY,
    )


def _redrive_past_window() -> MachineScenario:
    """Return a scenario in which more dead letters than the window holds are redriven.

    Meanwhile a message is not yet acknowledged.
    """
    key = of("appender")
    count = BATCH + 1
    return MachineScenario(
        "redrive-past-window",
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
        possible_faults=NO_REDELIVERY,
    )


def _fan_in() -> MachineScenario:
    """Return a scenario in which there are more senders than the window holds, and the queue forgets ids at once."""
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
        possible_faults=NO_REDELIVERY,
        # Where writes are not atomic a message may be sent again, and beyond the window its sender is not known.
        needs=frozenset({Capability.ATOMIC_FINISH}),
        features=frozenset({HarnessFeature.DEDUPLICATION_LIMIT}),
    )


def _late_duplicates() -> MachineScenario:
    """Return a scenario in which the queue forgets ids at once, and a client repeats all its sends at the end."""
    key = of("appender")
    sends = [start(key, "one"), *sends_of(key, "a", [TELL, APPEND, TELL])]
    return MachineScenario(
        "late-duplicates",
        lambda fault_switch, lease: [appender(fault_switch)],
        participants={"c": [*sends, wait(taken(key, 3)), *sends]},
        dedup_limit=0,
        possible_faults=ALL_FAULTS,
        features=frozenset({HarnessFeature.DEDUPLICATION_LIMIT}),
    )


# Errors


def _record_too_large() -> MachineScenario:
    """Return a scenario in which the record has room for everything but a failing action's error message."""
    key = of("appender")
    return MachineScenario(
        "record-too-large",
        lambda fault_switch, lease: [appender(fault_switch)],
        participants={"c": [start(key, "one"), *sends_of(key, "a", [TELL, TELL, APPEND, TELL])]},
        max_record_size=2_300,
        error_message="it fails: " + "x" * 1_000,
        possible_faults=PossibleFaults(
            read=(), write=(), release=(), receive=(), effect=(InjectedFault.CRASH_AFTER, InjectedFault.FAIL)
        ),
    )


def _all_faults(
    name: str,
    machines: Callable[[FaultSwitch, float], Sequence[Machine[Any]]],
    key: Key,
    *events: Mapping[str, Json],
) -> MachineScenario:
    """Return a scenario that is a shorter version of an ordinary one, with every fault of every port."""
    return MachineScenario(f"all-faults-{name}", machines, [messages_to(key, "a", events)], possible_faults=ALL_FAULTS)


# Ids chosen by clients


def _send_under_internal_id(key: Key, id: Callable[[Record], str]) -> ClientOperation:
    """Send an ordinary event under an id that the machine uses internally, known from a log, say."""

    def operation(simulation: Simulation, task: Task) -> TaskSteps[None]:
        record = simulation.record(key)
        assert record is not None, "the scenario has waited for the record"
        yield from send(key, id(record), {"type": "NOTE"})(simulation, task)

    return operation


def _internal_id_scenario(
    name: str, operations: Sequence[ClientOperation], machines: Callable[[float], Sequence[Machine[Any]]]
) -> MachineScenario:
    return MachineScenario(
        name, lambda fault_switch, lease: machines(lease), participants={"x": operations}, possible_faults=NO_REDELIVERY
    )


def _internal_id_scenarios() -> list[MachineScenario]:
    waiting, mother = of("patient"), of("mother")
    child = of("kid", predicted_child_instance(mother, "kid"))
    return [
        _internal_id_scenario(
            "internal-id-timer",
            [
                start(waiting, "one"),
                wait(has_record(waiting, lambda record: bool(record.timers))),
                _send_under_internal_id(waiting, lambda record: next(iter(record.timers))),
            ],
            lambda lease: [patient(lease)],
        ),
        _internal_id_scenario(
            "internal-id-report",
            [
                start(mother, "one"),
                wait(has_record(mother, lambda record: bool(record.children))),
                _send_under_internal_id(mother, lambda record: f"{record.children['kid'].generation}/ended"),
                send(mother, "a1", {"type": "BYE"}),
            ],
            lambda _: nursery(),
        ),
        _internal_id_scenario(
            "internal-id-child",
            [start(child, "stranger"), start(mother, "one"), send(mother, "a1", {"type": "BYE"})],
            lambda _: nursery(),
        ),
    ]


# Clocks


def _wrong_clocks() -> MachineScenario:
    """Return a scenario in which clocks are wrong and jump back: delays must have their full length all the same."""
    key = of("patient")
    return MachineScenario(
        "wrong-clocks",
        lambda fault_switch, lease: [patient(lease)],
        participants={"c": [start(key, "one"), *sends_of(key, "a", [GO, GO])]},
        possible_faults=NO_REDELIVERY,
        punctual=True,
    )


# Workers that are ended by what they run


def _reckless() -> MachineScenario:
    """Return a scenario in which an actor ends its workers; other instances are in their hands at that time."""
    deadly, others = of("reckless"), [of("reckless", BOB), of("reckless", "bea")]
    return MachineScenario(
        "reckless",
        lambda fault_switch, lease: [reckless()],
        participants={
            "c": [
                start(deadly, "one"),
                send(deadly, "deadly", {**GO, "deadly": True}),
                *(start(key, key.instance) for key in others),
                *(send(key, f"{key.instance}1", GO) for key in others),
                send(deadly, "after", GO),
            ]
        },
        # No other reason for the end of a worker: what was run at that time would be blamed for it, too.
        possible_faults=PossibleFaults(
            read=(InjectedFault.ERROR,),
            write=(InjectedFault.LOST_ANSWER, InjectedFault.ERROR),
            release=(InjectedFault.ERROR,),
            receive=(InjectedFault.ERROR,),
            effect=(),
        ),
    )


# Versions


def _versions() -> MachineScenario:
    """Return a scenario in which, during a deploy, hosts of the old and of the new version work on one instance."""
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
        possible_faults=NO_REDELIVERY,
    )


FAULT_SCENARIOS: Sequence[Scenario] = [
    evolve(scenario, weight=0.2)
    for scenario in (
        _stale_worker("stale-worker"),
        _stale_worker("stale-worker-with-cache", caches_records=True),
        _small_window(),
        _redrive_past_window(),
        _fan_in(),
        _record_too_large(),
        *LIFE_SCENARIOS,
        *_internal_id_scenarios(),
        _wrong_clocks(),
        _reckless(),
        _versions(),
        _late_duplicates(),
        _all_faults(
            "append", lambda fault_switch, _: [appender(fault_switch)], of("appender", BOB), TELL, POISON, APPEND, TELL
        ),
        _all_faults("signup", lambda _, lease: [signup(lease)], of("signup"), {"type": "SUBMIT", "email": "a@b"}),
        _all_faults("fan", lambda _, lease: [fan(lease)], of("fan"), GO),
        _all_faults("family", lambda _, lease: family(lease), of("parent"), GO, {"type": "HELLO"}, {"type": "LEAVE"}),
    )
]
