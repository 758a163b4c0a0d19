"""Read from the record of an instance what clients wait for: the outcome of a message, a state, each new version.

The record is loaded by the clients, each in its way (see `settled_runtime.waiting`).
"""

from __future__ import annotations

import math
from datetime import timedelta
from functools import partial
from typing import Any, Generic, TypeVar, assert_never

from attrs import frozen

from settled import Key, Machine, Outcome, SettledError, Snapshot
from settled.data import is_object
from settled.durable import Record, Stored, record_from_json
from settled.durable.record_json import record_from_tombstone
from settled.durable.window import IN_DEAD_LETTERS
from settled.durations import in_seconds
from settled_runtime.waiting import StepsOf, each_version, until_found

C = TypeVar("C")

ENDED = frozenset({"done", "error", "stopped"})
"""The statuses of instances that have ended."""


class EventOutcomeError(SettledError):
    """The outcome of a message is not a success.

    Attributes:
        outcome: ``IGNORED`` if the message changed nothing, ``REJECTED`` if the turn ended in a node tagged ``reject``,
            ``FAILED`` if it ended in an error, ``INVALID`` or ``DEAD_LETTERED`` if the message is among the dead
            letters. If the instance was deleted in the meantime, the outcome that the message had, which may be any.
        snapshot: the snapshot of the instance as found now, which may be later than the message's own turn. None if
            the instance does not exist, or if this machine cannot read its snapshot.
        reason: why the message has this outcome: the guards that answered false, the error of an actor or of the
            machine, what is wrong with the event. The text is for people, and its beginning is kept if it is long. None
            for ``TAKEN`` and ``RESOLVED``, and where the instance keeps it no longer: it keeps those of the last few.
    """

    def __init__(
        self, message: str, outcome: Outcome, snapshot: Snapshot[Any] | None, reason: str | None = None
    ) -> None:
        super().__init__(message)
        self.outcome, self.snapshot, self.reason = outcome, snapshot, reason


@frozen
class InstanceUpdate(Generic[C]):
    """A state of an instance, as `Client.watch` yields it.

    Attributes:
        snapshot: the snapshot; None if the instance has not started yet, if it was deleted, or if it exists because
            messages came and no start did.
        version: the version of the record, which each commit raises, whether or not it changes the snapshot.
        skipped: how many versions between this one and the one before were not seen.
    """

    snapshot: Snapshot[C] | None
    version: int
    skipped: int


class InstanceReader(Generic[C]):
    """Reads the records of instances of `machine`."""

    def __init__(self, machine: Machine[C]) -> None:
        self._machine = machine

    def key(self, instance: str) -> Key:
        return Key(self._machine.id, instance)

    def record(self, instance: str, stored: Stored | None) -> Record | None:
        """Return the record in `stored`; None if there is none, or if the instance was deleted.

        Raises:
            RecordError, LogicError: this machine cannot read the instance, or a migration raised.
        """
        if stored is None or stored.is_deleted:
            return None
        return record_from_json(self._machine, self.key(instance), stored.body)

    def outcome(self, instance: str, message_id: str, digest: str | None, timeout: timedelta) -> StepsOf[Snapshot[C]]:
        """Return the steps of waiting for the end of the turn of a message, and for what `Client.ask` returns then."""
        key, seconds = self.key(instance), in_seconds(timeout, "timeout")

        def answered(stored: Stored | None) -> Snapshot[C] | None:
            # A tombstone keeps the window of the deleted instance: a retry after the deletion still gets its answer.
            if stored is not None and stored.is_deleted:
                found: Record | None = record_from_tombstone(key, stored.body)
            else:
                found = self.record(instance, stored)
            outcome = found.window.outcome_of_id(message_id, digest) if found else None
            if found is None or outcome is None or outcome is Outcome.POSTPONED:
                return None
            return _answer(key, message_id, found, outcome, found.window.reason_of_id(message_id, digest))

        return partial(until_found, answered, f"{key}: waited {seconds:g} s for the turn of {message_id}", seconds)

    def meeting(
        self, instance: str, tag: str | None, value: Any, timeout: timedelta, *, done: bool
    ) -> StepsOf[Snapshot[C]]:
        """Return the steps of waiting for a snapshot that meets the conditions of `Client.wait_for`."""
        if value is not None and not (isinstance(value, str) or is_object(value)):
            raise TypeError(f"value: {value!r} is no state value: neither text nor a mapping")
        seconds = in_seconds(timeout, "timeout")

        def matching(stored: Stored | None) -> Snapshot[C] | None:
            record = self.record(instance, stored)
            if record is None or record.snapshot is None:
                return None
            snapshot = record.readable_snapshot()
            holds = (
                (tag is None or snapshot.has_tag(tag))
                and (value is None or snapshot.matches(value))
                and (not done or snapshot.status != "active")
            )
            return snapshot if holds else None

        wanted = [f"tag {tag}"] * (tag is not None) + [f"value {value}"] * (value is not None) + ["its end"] * done
        awaited = " and ".join(wanted) or "its start"
        return partial(until_found, matching, f"{self.key(instance)}: waited {seconds:g} s for {awaited}", seconds)

    def updates(self, instance: str, timeout: timedelta | None, *, must_exist: bool) -> StepsOf[InstanceUpdate[C]]:
        """Return the steps of `Client.watch`."""
        seconds = math.inf if timeout is None else in_seconds(timeout, "timeout")
        seen = 0

        def update(stored: Stored) -> InstanceUpdate[C]:
            nonlocal seen
            record, skipped, seen = self.record(instance, stored), max(0, stored.version - seen - 1), stored.version
            snapshot = None if record is None or record.snapshot is None else record.readable_snapshot()
            return InstanceUpdate(snapshot, stored.version, skipped)

        def is_last(stored: Stored | None) -> bool:
            if stored is None:
                return must_exist
            return stored.is_deleted or stored.index.status in ENDED

        return partial(each_version, update, is_last, seconds)


def _answer(key: Key, message_id: str, record: Record, outcome: Outcome, reason: str | None) -> Snapshot[Any]:
    """Return the snapshot for a message with `outcome`, or raise EventOutcomeError."""
    text = f"{key}: the message {message_id} was {outcome}{f': {reason}' if reason else ''}"
    if record.snapshot is None and outcome not in IN_DEAD_LETTERS:
        raise EventOutcomeError(f"{text}; the instance was deleted since", outcome, None, reason)
    match outcome:
        case Outcome.TAKEN | Outcome.RESOLVED:
            return record.readable_snapshot()
        case Outcome.IGNORED | Outcome.REJECTED | Outcome.FAILED | Outcome.INVALID | Outcome.DEAD_LETTERED:
            snapshot = record.snapshot if isinstance(record.snapshot, Snapshot) else None
            raise EventOutcomeError(text, outcome, snapshot, reason)
        case Outcome.POSTPONED:
            raise AssertionError("it has no outcome yet, and is waited for")
        case _:
            assert_never(outcome)
