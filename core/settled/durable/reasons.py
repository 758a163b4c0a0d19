"""The outcome of a message, and why: what the instance made of it, in words for its sender.

A reason is computed when a turn ends, from what the turn has at hand, and only for an outcome that needs one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from settled.chart.settled_tags import REJECT, RESOLVE
from settled.chart.snapshot import Snapshot
from settled.data import Json
from settled.durable.messages import Content, ImportChild, Start
from settled.durable.ports import Position
from settled.durable.record import Record
from settled.durable.window import Outcome
from settled.machine import Machine
from settled.progress import ERROR_EVENT, with_result
from settled.step.explain import error_text, guards_passed_over, how_it_ended


def why_passed(record: Record, position: Position | None) -> str:
    """Return why the message at `position`, which the record has passed and does not know, is invalid."""
    # A worker that lost its lease never gets here: its lease was confirmed after it loaded the record. So the queue
    # delivers a message that, by the record, was applied long ago, and the two contradict each other.
    assert record.high_water_mark is not None and position is not None
    return (
        f"it is number {position.number} of its queue, and all up to {record.high_water_mark.number} were taken or "
        "dead-lettered, but its id is not known: it may or may not have been taken"
    )


def why_ignored(record: Record, content: Content) -> str | None:
    """Return why the instance takes no such content any more; None if it may."""
    if record.snapshot is None:
        return None
    # A repeated start is ignored even where this machine cannot read the snapshot: it was started, that much is sure.
    if isinstance(content, Start | ImportChild):
        return "it was started already"
    snapshot = record.readable_snapshot()
    return None if snapshot.status == "active" else how_it_ended(snapshot)


class Cause(NamedTuple):
    """The event that began the last commit of a turn, and the snapshot that took it.

    Attributes:
        before: the snapshot.
        event: the event.
        is_detached: the event is the end of an actor that `before` no longer has (see `take_event`).
        ignored: why the event changed nothing, if it did not.
    """

    before: Snapshot[Any]
    event: Json
    is_detached: bool = False
    ignored: str | None = None


def outcome_of(machine: Machine[Any], snapshot: Snapshot[Any], cause: Cause | None) -> tuple[Outcome, str | None]:
    """Return the outcome of a turn that has ended in `snapshot`, and its reason, if it needs one."""
    if cause is not None and cause.ignored is not None:
        return Outcome.IGNORED, cause.ignored
    if snapshot.status == "error":
        return Outcome.FAILED, error_text(snapshot.error)
    tags = snapshot.configuration.tags
    if REJECT in tags:
        return Outcome.REJECTED, _why_rejected(machine, snapshot, cause)
    return Outcome.RESOLVED if RESOLVE in tags else Outcome.TAKEN, None


def _why_rejected(machine: Machine[Any], snapshot: Snapshot[Any], cause: Cause | None) -> str:
    nodes = " beside ".join(f'"{node.id}"' for node in snapshot.configuration.nodes if REJECT in node.tags)
    return f"{_what_happened(machine, cause)} left the machine in {nodes}"


def _what_happened(machine: Machine[Any], cause: Cause | None) -> str:
    if cause is None or not isinstance(cause.event, Mapping):
        return "the start"
    event, type = cause.event, str(cause.event.get("type"))
    if type.startswith(ERROR_EVENT):
        return f"the failure of {event.get('actorId')} ({error_text(event.get('error'))})"
    before = cause.before if cause.is_detached else with_result(cause.before, event)
    guards = guards_passed_over(machine.plan_cache, before, event)
    return f"{type} ({guards})" if guards else type
