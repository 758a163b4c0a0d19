"""The conditions under which the stories of rare faults are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve

from settled import Json, Key
from settled.durable import Capability
from settled_conformance.simulator.operations import ClientOperation, send
from settled_conformance.simulator.scheduler import EFFECT, READ, RECEIVE, WRITE, FaultRates, InjectedFault

HARSH = FaultRates(
    read=(*READ, InjectedFault.DENIED, InjectedFault.UNANSWERED, InjectedFault.BACK),
    write=(*WRITE, InjectedFault.DENIED, InjectedFault.UNANSWERED, InjectedFault.BACK, InjectedFault.TOO_LARGE),
    release=(
        *WRITE,
        InjectedFault.DENIED,
        InjectedFault.UNANSWERED,
        InjectedFault.BACK,
    ),  # there is nothing that could be too large
    receive=(*RECEIVE, InjectedFault.LOST_ANSWER, InjectedFault.DENIED, InjectedFault.UNANSWERED),
    effect=(*EFFECT, InjectedFault.BACK),
    within=(InjectedFault.CRASH_WITHIN, InjectedFault.ERROR_WITHIN, InjectedFault.TOO_LARGE_WITHIN),
)
"""Every error of every port at every command, and clocks that jump back."""

ONCE = evolve(HARSH, receive=tuple(fault for fault in HARSH.receive if fault is not InjectedFault.REPEAT))
"""The same over a queue that does not repeat by itself what was acknowledged.

Past the window, and past a deletion, nobody promises to know a repetition again: who uses such a queue is told so.
"""

NO_REPEATS = frozenset({Capability.DEDUPLICATION, Capability.ACKED_STAYS_GONE})
GO: Mapping[str, Json] = {"type": "GO"}


def sends_of(key: Key, sender: str, events: Sequence[Mapping[str, Json]]) -> list[ClientOperation]:
    """Send `events` to `key` one after the other, under ids that begin with `sender`."""
    return [send(key, f"{sender}{number}", event) for number, event in enumerate(events, 1)]
