"""The state of a turn: its deliveries, and the record as far as this worker knows it.

No commit is made by a worker that has lost its messages: one that was frozen since they were delivered to it, for
however long and at whatever point. A store that can tell refuses such a commit (`Traits.fenced`). Elsewhere a position
in the queue tells that a message was taken; and where there are no positions either, the queue is asked after each load
of the record, and so before each commit that rests on it. Neither this worker's memory nor its clock can tell: they
were frozen with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from attrs import define

from settled.durable.apply_context import ApplyContext
from settled.durable.commands import Commands, Loaded, Release, ReleaseReason, extend, load
from settled.durable.policy import Policy
from settled.durable.ports import DeadLetter, Delivery, Traits
from settled.durable.record import EMPTY_RECORD, OpenTurn, Record
from settled.durable.record_json import record_from_json, record_from_tombstone
from settled.durable.window import Window
from settled.key import Key
from settled.machine import Machine


class CachedRecord(NamedTuple):
    """A record that this process has committed at `version`, and the backend's time now, in seconds since the epoch.

    Another process may have committed since.
    """

    record: Record
    version: int
    now: float


@define
class TurnState:
    """The mutable state of a turn.

    Attributes:
        is_failure: see `settled.turn`.
        deliveries: those not acknowledged yet, in the order of the queue.
        delivered: the ids of all messages that the turn began with.
        first: the delivery that the turn began with.
        record: the record at `version`, without the outbox entries that were finished since.
        first_version: the version of the next commit if there is no record.
        now: the backend's time at its last answer.
        before_inbox: `version`, and the record as it was committed, before an event was put into its inbox.
        is_watched: whether what is run of the machine's code is noted in the record (see `settled.durable.suspects`).
        found: the record as a refused commit found it, which saves the next load; None otherwise.
        alone_until: until when this process runs nothing else, in seconds since the epoch; None if it may.
        dead_letters: a version, and the dead letters as of it: only a commit changes them.
    """

    machine: Machine[Any]
    key: Key
    nonce: str
    policy: Policy
    traits: Traits
    is_failure: Callable[[BaseException], bool]
    deliveries: Sequence[Delivery]
    delivered: frozenset[str]
    first: Delivery
    record: Record = EMPTY_RECORD
    version: int = 0
    first_version: int = 1
    now: float = 0.0
    before_inbox: tuple[int, Record] = (-1, EMPTY_RECORD)
    is_watched: bool = False
    found: Loaded | None = None
    alone_until: float | None = None
    dead_letters: tuple[int, Sequence[DeadLetter]] = (-1, ())

    @property
    def committed(self) -> Record:
        """The record as it was committed at `version`: without the events that were put into its inbox since."""
        version, before = self.before_inbox
        return before if version == self.version else self.record

    @property
    def next_version(self) -> int:
        """The version of the next commit. Its nonce ends in it, so a record with that nonce is this turn's."""
        return self.version + 1 if self.version else self.first_version

    @property
    def open_turn(self) -> OpenTurn:
        """The record's open turn, which must exist."""
        assert self.record.turn is not None, "the turn is open"
        return self.record.turn

    @property
    def owns_record(self) -> bool:
        """Whether this worker has committed the record."""
        # Nonces are unique: a record that bears one of this turn was committed by this turn.
        return self.record.nonce.startswith(f"{self.nonce}.")

    @property
    def owns_open_turn(self) -> bool:
        """Whether the record has an open turn, and this worker has committed it."""
        return self.record.turn is not None and not self.record.halted and self.owns_record

    def context(self, delivery: Delivery | None = None) -> ApplyContext:
        """Return the context for applying `delivery`; without one, for resuming the open turn or applying the head."""
        if delivery is not None:
            message = delivery.message
        elif self.record.turn is not None:
            # Not the head: that may be a repetition, and once it is acknowledged nothing would bring the worker back
            # that has to finish these entries. The open turn's own message stays in the queue until it has.
            message = self.record.turn.message
        else:
            message = self.deliveries[0].message
        version = self.next_version
        return ApplyContext(
            machine=self.machine,
            key=self.key,
            now=self.now,
            message_id=message.id,
            lease_until=self.now + self.policy.lease.total_seconds(),
            version=version,
            nonce=f"{self.nonce}.{version}",
            resolution=self.traits.resolution,
            headers=message.headers,
            largest_message=self.traits.largest_message,
        )

    def has_delivery_of(self, id: str) -> bool:
        """Return whether the message `id` is among the deliveries."""
        return any(delivery.message.id == id for delivery in self.deliveries)


def load_record(state: TurnState) -> Commands[None]:
    """Load the record from the store, unless a refused commit has just found it.

    Raises:
        RecordError: the record cannot be read at all.
        LeaseLostError: another worker may have the messages.
    """
    loaded = state.found or (yield from load(state.key))
    state.found = None
    stored, size, state.now = loaded.stored, state.policy.window, loaded.now
    if stored is None:
        state.record = Record(window=Window(size))
    elif stored.is_deleted:
        state.record = record_from_tombstone(state.key, stored.body, size)
    else:
        state.record = record_from_json(state.machine, state.key, stored.body, size, state.policy.accepts)
    state.version = 0 if stored is None else stored.version
    # Fixed here: a later `now` would give the steps and the commit of one version different ones.
    state.first_version = state.traits.first_version(loaded.now)
    if not state.traits.fenced:
        yield from confirm_leases(state)


def confirm_leases(state: TurnState) -> Commands[None]:
    """Verify that no other worker was given the deliveries before the record was read.

    Raises:
        LeaseLostError: another worker may have them.
    """
    # After the load, never before it. If the leases hold now, then no other worker was given these messages before the
    # record was read; so either the record tells the truth about them, or it is not the newest and the commit fails.
    if any(_may_have_been_taken(state.record, delivery) for delivery in state.deliveries):
        state.now = (yield from extend(tuple(state.deliveries))).now


def _may_have_been_taken(record: Record, delivery: Delivery) -> bool:
    # A message beyond the high-water mark has not been taken by any worker. Without positions there is no mark to
    # compare with.
    return delivery.position is None or record.has_passed(delivery.position)


def release_of(state: TurnState, delay: float, reason: ReleaseReason, detail: str = "") -> Release:
    """Return the command that returns the deliveries to the queue for `delay` seconds."""
    return Release(tuple(state.deliveries), delay, reason, detail)
