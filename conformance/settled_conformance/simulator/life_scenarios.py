"""The scenarios of keys with several lifetimes: deletions, new starts, imports, and restores from a backup."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from settled import Json, PersistedTree, fold, to_xstate_json
from settled_conformance.harness import HarnessFeature
from settled_conformance.simulator.fault_profiles import NO_REDELIVERY, RECOGNISES_DUPLICATES, sends_of
from settled_conformance.simulator.machine_scenario import APPEND, TELL, MachineScenario, of
from settled_conformance.simulator.machines import (
    actor_first,
    appender,
    nursery,
    patient,
    signup,
)
from settled_conformance.simulator.operations import (
    delete,
    has_record,
    import_snapshot,
    is_alive,
    is_deleted,
    restore_backup,
    send,
    start,
    taken,
    wait,
    without_retry,
)
from settled_conformance.simulator.simulation import Simulation

# Deletions and imports


def _restarted(name: str, caches_records: bool = False) -> MachineScenario:
    """Return a scenario in which an instance is deleted at any moment, and started again.

    Its client repeats its earlier sends.
    """
    key = of("appender")
    first = [start(key, "one"), *sends_of(key, "a", [APPEND, TELL])]
    return MachineScenario(
        name,
        lambda fault_switch, lease: [appender(fault_switch)],
        participants={
            "c": [*first, wait(is_deleted(key)), start(key, "two"), *sends_of(key, "b", [TELL, APPEND]), *first],
            "o": [wait(taken(key, 2)), delete(key)],
        },
        possible_faults=NO_REDELIVERY,
        caches_records=caches_records,
        needs=RECOGNISES_DUPLICATES,
    )


def _restarted_with_actors() -> MachineScenario:
    """Return a scenario in which an instance with actors and timers is deleted, and started again.

    What the deleted instance still had running must not reach the new one.
    """
    key = of("signup")
    events: list[Mapping[str, Json]] = [{"type": "SUBMIT", "email": "a@b"}, {"type": "VERIFY", "code": 1}]
    return MachineScenario(
        "restarted-with-actors",
        lambda fault_switch, lease: [signup(lease)],
        participants={
            "c": [
                start(key, "one"),
                *sends_of(key, "a", events),
                wait(is_deleted(key)),
                start(key, "two"),
                *sends_of(key, "b", events[:1]),
            ],
            "o": [wait(is_alive(key, 1)), delete(key)],
        },
        possible_faults=NO_REDELIVERY,
        needs=RECOGNISES_DUPLICATES,
    )


def _restarted_parent() -> MachineScenario:
    """Return a scenario in which a parent is deleted while its child runs.

    What the child sends later must not reach the parent's successor.
    """
    mother = of("mother")
    bye: Mapping[str, Json] = {"type": "BYE"}
    return MachineScenario(
        "restarted-parent",
        lambda fault_switch, lease: nursery(),
        participants={
            "c": [start(mother, "one"), send(mother, "a1", bye), wait(is_deleted(mother)), start(mother, "two")],
            "o": [wait(taken(mother, 1)), delete(mother)],
        },
        possible_faults=NO_REDELIVERY,
        needs=RECOGNISES_DUPLICATES,
    )


def _persisted(machine: str, *events: Mapping[str, Json]) -> Callable[[Simulation], str]:
    """Return a function that makes the snapshot XState would have persisted of `machine` after `events`."""

    def text(simulation: Simulation) -> str:
        logic = simulation.machines[machine]
        return logic.dump(fold(logic, events, "elsewhere"))

    return text


def _with_child(simulation: Simulation) -> str:
    mother, kid = simulation.machines["mother"], simulation.machines["kid"]
    child = fold(kid, [{"type": "TICK", "id": "elsewhere"}], "elsewhere")
    return to_xstate_json(mother, PersistedTree(fold(mother, [], "elsewhere"), {"kid": PersistedTree(child, {})}))


def _imported_keys() -> MachineScenario:
    """Return a scenario in which an instance is imported, deleted, started, deleted, and imported again.

    Each lifetime must have its own effect keys.
    """
    key, text = of("appender"), _persisted("appender")
    return MachineScenario(
        "imported-keys",
        lambda fault_switch, lease: [appender(fault_switch)],
        participants={
            "o": [
                import_snapshot(key, text),
                send(key, "a1", TELL),
                wait(taken(key, 1)),
                delete(key),
                start(key, "two"),
                send(key, "b1", TELL),
                wait(taken(key, 2)),
                delete(key),
                import_snapshot(key, text),
                send(key, "c1", TELL),
            ]
        },
        possible_faults=NO_REDELIVERY,
        needs=RECOGNISES_DUPLICATES,
    )


def _imported_actor() -> MachineScenario:
    """Return a scenario in which an instance is imported while its actor runs, deleted, and imported again."""
    key, text = of("actor-first"), _persisted("actor-first")
    rests = has_record(key, lambda record: record.turn is None)
    return MachineScenario(
        "imported-actor",
        lambda fault_switch, lease: [actor_first()],
        participants={"o": [import_snapshot(key, text), wait(rests), delete(key), import_snapshot(key, text)]},
        possible_faults=NO_REDELIVERY,
    )


def _imported_timer() -> MachineScenario:
    """Return a scenario in which a timer has fired for a deleted instance, and is yet to fire for the imported one."""
    key = of("patient")
    return MachineScenario(
        "imported-timer",
        lambda fault_switch, lease: [patient(lease)],
        participants={
            "o": [
                start(key, "one"),
                wait(is_alive(key, 1)),
                wait(has_record(key, lambda record: not record.timers)),
                delete(key),
                import_snapshot(key, _persisted("patient")),
                wait(has_record(key, lambda record: not record.timers)),
                delete(key),
                start(key, "two"),
            ]
        },
        possible_faults=NO_REDELIVERY,
        needs=RECOGNISES_DUPLICATES,
    )


def _imported_child() -> MachineScenario:
    """Return a scenario in which an operator crashes halfway through an import, and never repeats it.

    Then a client starts the instance.
    """
    mother = of("mother")
    return MachineScenario(
        "imported-child",
        lambda fault_switch, lease: nursery(),
        participants={
            "o": [without_retry(import_snapshot(mother, _with_child))],
            "c": [start(mother, "one"), send(mother, "a1", {"type": "TICK"}), send(mother, "a2", {"type": "TICK"})],
        },
        possible_faults=NO_REDELIVERY,
    )


# Restores


def _restored(name: str, back_to: int) -> MachineScenario:
    """Return a scenario in which the store is restored from a backup.

    Events get ordinals that others had, but must not get their keys.
    """
    key = of("appender")
    return MachineScenario(
        name,
        lambda fault_switch, lease: [appender(fault_switch)],
        participants={
            "c": [
                start(key, "one"),
                *sends_of(key, "a", [TELL, TELL]),
                wait(lambda simulation: simulation.restored),
                start(key, "two"),
                *sends_of(key, "b", [TELL, APPEND]),
            ],
            "o": [restore_backup(taken(key, back_to), taken(key, 2))],
        },
        possible_faults=NO_REDELIVERY,
        features=frozenset({HarnessFeature.BACKUP}),
    )


LIFE_SCENARIOS: Sequence[MachineScenario] = [
    _restarted("restarted"),
    _restarted("restarted-with-cache", caches_records=True),
    _restarted_with_actors(),
    _restarted_parent(),
    _imported_keys(),
    _imported_actor(),
    _imported_timer(),
    _imported_child(),
    _restored("restored", 1),
    _restored("restored-to-empty", 0),
]
