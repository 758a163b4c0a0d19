"""The stories of one name and several lives: deletions, new starts, adoptions, and restores from a backup."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from settled import Json, PersistedTree, fold, to_xstate_json
from settled_conformance.harness import HarnessFeature
from settled_conformance.simulator.fault_profiles import NO_REPEATS, ONCE, sends_of
from settled_conformance.simulator.machine_scenario import APPEND, TELL, MachineScenario, of
from settled_conformance.simulator.machines import (
    appender,
    bee,
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

# Lives


def _new_life(name: str, caches_records: bool = False) -> MachineScenario:
    """An instance is deleted in the middle of anything, and started again; its client repeats what it sent."""
    key = of("appender")
    first = [start(key, "one"), *sends_of(key, "a", [APPEND, TELL])]
    return MachineScenario(
        name,
        lambda fault_switch, lease: [appender(fault_switch)],
        participants={
            "c": [*first, wait(is_deleted(key)), start(key, "two"), *sends_of(key, "b", [TELL, APPEND]), *first],
            "o": [wait(taken(key, 2)), delete(key)],
        },
        fault_rates=ONCE,
        caches_records=caches_records,
        needs=NO_REPEATS,
    )


def _new_work() -> MachineScenario:
    """The same with actors and timers, at any time: what the former life still had under way is not the new one's."""
    key = of("signup")
    events: list[Mapping[str, Json]] = [{"type": "SUBMIT", "email": "a@b"}, {"type": "VERIFY", "code": 1}]
    return MachineScenario(
        "new-work",
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
        fault_rates=ONCE,
        needs=NO_REPEATS,
    )


def _new_family() -> MachineScenario:
    """A parent is deleted while its child lives: what that child says later is not for the parent's next life."""
    mother = of("mother")
    bye: Mapping[str, Json] = {"type": "BYE"}
    return MachineScenario(
        "new-family",
        lambda fault_switch, lease: nursery(),
        participants={
            "c": [start(mother, "one"), send(mother, "a1", bye), wait(is_deleted(mother)), start(mother, "two")],
            "o": [wait(taken(mother, 1)), delete(mother)],
        },
        fault_rates=ONCE,
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
    return to_xstate_json(mother, PersistedTree(fold(mother, [], "elsewhere"), {"kid": PersistedTree(child, {})}))


def _adopted_keys() -> MachineScenario:
    """Adopted, deleted, started, deleted, adopted again: each life has effects of its own."""
    key, text = of("appender"), _persisted("appender")
    return MachineScenario(
        "adopted-keys",
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
        fault_rates=ONCE,
        needs=NO_REPEATS,
    )


def _adopted_actor() -> MachineScenario:
    """An instance is adopted while its actor runs; deleted; and adopted again."""
    key, text = of("bee"), _persisted("bee")
    rests = has_record(key, lambda record: record.turn is None)
    return MachineScenario(
        "adopted-actor",
        lambda fault_switch, lease: [bee()],
        participants={"o": [import_snapshot(key, text), wait(rests), delete(key), import_snapshot(key, text)]},
        fault_rates=ONCE,
    )


def _adopted_timer() -> MachineScenario:
    """A timer has fired for a former life; the adopted one has the same timer before it."""
    key = of("patient")
    return MachineScenario(
        "adopted-timer",
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
        fault_rates=ONCE,
        needs=NO_REPEATS,
    )


def _adopted_child() -> MachineScenario:
    """An operator who adopts is lost halfway and does not come back; then somebody starts the instance afresh."""
    mother = of("mother")
    return MachineScenario(
        "adopted-child",
        lambda fault_switch, lease: nursery(),
        participants={
            "o": [without_retry(import_snapshot(mother, _with_child))],
            "c": [start(mother, "one"), send(mother, "a1", {"type": "TICK"}), send(mother, "a2", {"type": "TICK"})],
        },
        fault_rates=ONCE,
    )


# Restores


def _restored(name: str, back_to: int) -> MachineScenario:
    """The store comes back from a backup: events get the numbers that others had, and must not get their keys."""
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
        fault_rates=ONCE,
        features=frozenset({HarnessFeature.BACKUP}),
    )


LIFE_SCENARIOS: Sequence[MachineScenario] = [
    _new_life("new-life"),
    _new_life("new-life-with-a-memory", caches_records=True),
    _new_work(),
    _new_family(),
    _adopted_keys(),
    _adopted_actor(),
    _adopted_timer(),
    _adopted_child(),
    _restored("restored", 1),
    _restored("wiped", 0),
]
