"""The conditions under which the stories of rare faults are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve

from settled import Json, Key
from settled.durable import Capability
from settled_conformance.simulator.operations import Deed, send
from settled_conformance.simulator.scheduler import EFFECT, READ, RECEIVE, WRITE, Fault, Hazards

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


def sends_of(key: Key, sender: str, events: Sequence[Mapping[str, Json]]) -> list[Deed]:
    """Send `events` to `key` one after the other, under ids that begin with `sender`."""
    return [send(key, f"{sender}{number}", event) for number, event in enumerate(events, 1)]
