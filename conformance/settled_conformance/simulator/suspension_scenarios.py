"""The scenarios of turns that are open for long: longer than a forgetful queue keeps a message.

On a backend that keeps messages for ever they run, too, with all that comes meanwhile waiting in the queue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from attrs import evolve

from settled import Json
from settled.durable import Record
from settled_conformance.harness import HarnessFeature
from settled_conformance.simulator.fault_profiles import ALL_FAULTS, GO, NO_REDELIVERY, sends_of
from settled_conformance.simulator.machine_scenario import BOB, MachineScenario, messages_to, of
from settled_conformance.simulator.machines import notifier, poller
from settled_conformance.simulator.operations import (
    ClientOperation,
    delete,
    has_record,
    is_alive,
    is_deleted,
    redrive_dead_letters,
    send,
    start,
    wait,
)
from settled_conformance.simulator.scheduler import USUAL, PossibleFaults
from settled_conformance.simulator.simulation import BATCH

ORDER: Mapping[str, Json] = {"type": "ORDER"}
NOTE: Mapping[str, Json] = {"type": "NOTE"}
POISON: Mapping[str, Json] = {"type": "NOTE", "poison": True}

KEY = of("poller")


def _is_open(record: Record) -> bool:
    return record.turn is not None


def _poll(
    name: str,
    *participants: Sequence[ClientOperation],
    window: int | None = None,
    failed_events: Literal["halt", "skip"] = "halt",
    possible_faults: PossibleFaults = USUAL,
) -> MachineScenario:
    return MachineScenario(
        name,
        lambda fault_switch, lease: [poller(fault_switch, lease)],
        participants={f"p{number}": operations for number, operations in enumerate(participants, 1)},
        window=window,
        failed_events=failed_events,
        possible_faults=possible_faults,
        in_order=failed_events == "halt",  # what was skipped comes later
    )


def _poll_past_window() -> MachineScenario:
    """Return a scenario in which more messages wait for the end of a turn than the window holds."""
    events = [ORDER, *[NOTE] * (BATCH + 2)]
    return _poll(
        "poll-past-window",
        [start(KEY, "one"), *sends_of(KEY, "a", events)],
        window=BATCH,
        possible_faults=NO_REDELIVERY,
    )


def _poll_notified() -> MachineScenario:
    """Return a scenario in which another machine sends more than the window holds to a queue that forgets ids."""
    sender = of("notifier")
    return MachineScenario(
        "poll-notified",
        lambda fault_switch, lease: [poller(fault_switch, lease), notifier()],
        participants={
            "c": [
                start(KEY, "one"),
                send(KEY, "a1", ORDER),
                start(sender, "two"),
                *sends_of(sender, "b", [GO] * (BATCH + 1)),
            ]
        },
        window=2,
        dedup_limit=0,
        possible_faults=NO_REDELIVERY,
        in_order=True,
        features=frozenset({HarnessFeature.DEDUPLICATION_LIMIT}),
    )


def _poll_deleted() -> MachineScenario:
    """Return a scenario in which an instance is deleted while its turn is open, and started again."""
    return _poll(
        "poll-deleted",
        [
            start(KEY, "one"),
            *sends_of(KEY, "a", [ORDER, NOTE]),
            wait(is_deleted(KEY)),
            start(KEY, "two"),
            wait(is_alive(KEY, 2)),
            *sends_of(KEY, "b", [NOTE, ORDER, NOTE]),
        ],
        [wait(has_record(KEY, _is_open)), delete(KEY)],
        possible_faults=NO_REDELIVERY,
    )


def _poll_redriven() -> MachineScenario:
    """Return a scenario in which an operator redrives dead letters while a turn is open, and others come after that."""
    return _poll(
        "poll-redriven",
        [
            start(KEY, "one"),
            *sends_of(KEY, "a", [POISON, NOTE, ORDER, POISON, NOTE]),
            wait(has_record(KEY, lambda record: record.redriving is not None)),
            *sends_of(KEY, "b", [NOTE, POISON, ORDER, NOTE]),
        ],
        [wait(has_record(KEY, _is_open)), redrive_dead_letters(KEY)],
        failed_events="skip",
    )


SUSPENSION_SCENARIOS: Sequence[MachineScenario] = [
    MachineScenario(
        "poll",
        lambda fault_switch, lease: [poller(fault_switch, lease)],
        [
            messages_to(KEY, "a", [ORDER, NOTE, ORDER, NOTE]),
            messages_to(of("poller", BOB), "b", [NOTE]) + messages_to(KEY, "c", [NOTE], start=False),
        ],
        weight=0.3,
        in_order=True,
    ),
    *[
        evolve(scenario, weight=0.1)
        for scenario in (
            _poll("poll-poison", [start(KEY, "one"), *sends_of(KEY, "a", [ORDER, NOTE, POISON, NOTE, ORDER, NOTE])]),
            _poll(
                "poll-skip",
                [start(KEY, "one"), *sends_of(KEY, "a", [POISON, ORDER, NOTE, POISON, NOTE, ORDER, NOTE])],
                failed_events="skip",
            ),
            _poll("poll-end", [start(KEY, "one"), *sends_of(KEY, "a", [ORDER, NOTE, {"type": "END"}, NOTE])]),
            _poll(
                "poll-all-faults",
                [start(KEY, "one"), *sends_of(KEY, "a", [ORDER, NOTE, NOTE])],
                possible_faults=ALL_FAULTS,
            ),
            _poll_past_window(),
            _poll_notified(),
            _poll_deleted(),
            _poll_redriven(),
        )
    ],
]
