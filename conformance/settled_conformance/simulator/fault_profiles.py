"""Fault rates and helpers that the scenarios of rare faults share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve

from settled import Json, Key
from settled.durable import Capability
from settled_conformance.simulator.operations import ClientOperation, send
from settled_conformance.simulator.scheduler import EFFECT, READ, RECEIVE, WRITE, InjectedFault, PossibleFaults

ALL_FAULTS = PossibleFaults(
    read=(*READ, InjectedFault.DENIED, InjectedFault.UNANSWERED, InjectedFault.BACK),
    write=(*WRITE, InjectedFault.DENIED, InjectedFault.UNANSWERED, InjectedFault.BACK, InjectedFault.TOO_LARGE),
    release=(
        *WRITE,
        InjectedFault.DENIED,
        InjectedFault.UNANSWERED,
        InjectedFault.BACK,
    ),  # without TOO_LARGE: a release stores nothing
    receive=(*RECEIVE, InjectedFault.LOST_ANSWER, InjectedFault.DENIED, InjectedFault.UNANSWERED),
    effect=(*EFFECT, InjectedFault.BACK),
    within=(InjectedFault.CRASH_WITHIN, InjectedFault.ERROR_WITHIN, InjectedFault.TOO_LARGE_WITHIN),
)
"""Every error of every port at every command, and clocks that jump back."""

NO_REDELIVERY = evolve(
    ALL_FAULTS, receive=tuple(fault for fault in ALL_FAULTS.receive if fault is not InjectedFault.REPEAT)
)
"""`ALL_FAULTS` over a queue that never redelivers an acknowledged message.

Beyond the dedup window, and after a deletion, settled does not promise to recognise such a redelivery.
"""

RECOGNISES_DUPLICATES = frozenset({Capability.DEDUPLICATION, Capability.NO_DELIVERY_AFTER_ACK})
GO: Mapping[str, Json] = {"type": "GO"}


def sends_of(key: Key, sender: str, events: Sequence[Mapping[str, Json]]) -> list[ClientOperation]:
    """Return operations that send `events` to `key` one after the other, under ids that begin with `sender`."""
    return [send(key, f"{sender}{number}", event) for number, event in enumerate(events, 1)]
