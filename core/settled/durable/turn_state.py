"""The state of a turn: its deliveries, and the record as far as this worker knows it.

No commit is made by a worker that has lost its messages: one that was frozen since they were delivered to it, for
however long and at whatever point. A store that can tell refuses such a commit (`Traits.fenced`). Elsewhere a position
in the queue tells that a message was taken; and where there are no positions either, the queue is asked after each load
of the record, and so before each commit that rests on it. Neither this worker's memory nor its clock can tell: they
were frozen with it.
"""

from __future__ import annotations

from typing import Any

from attrs import Factory, define, field

from settled.durable.apply_context import ApplyContext
from settled.durable.commands import Commands, Loaded, ReleaseReason, extend, load, load_cached, release
from settled.durable.policy import Policy, TurnEnd
from settled.durable.ports import Delivery, Traits
from settled.durable.record import OpenTurn, Record
from settled.durable.record_json import record_from_json, record_from_tombstone
from settled.durable.window import Window
from settled.key import Key
from settled.machine import Machine


@define
class TurnState:
    """The mutable state of a turn.

    Attributes:
        deliveries: those not acknowledged yet, in the order of the queue.
        delivered: the ids of all messages that the turn began with.
        record: the record at `version`, without the outbox entries that were finished since.
        now: the backend's time at its last answer.
        is_fresh: `record` was loaded or committed by this turn; it is not merely what the driver has cached.
        claimed: this worker has the record's open turn.
        receives_counted: the number of receives of the first delivery was checked.
        one_by_one: messages are applied one to a commit, because several of them could not be committed together.
    """

    machine: Machine[Any]
    key: Key
    nonce: str
    policy: Policy
    traits: Traits
    deliveries: list[Delivery]
    delivered: frozenset[str] = field(
        default=Factory(lambda self: frozenset(each.message.id for each in self.deliveries), takes_self=True)
    )
    record: Record = field(factory=Record)
    version: int = 0
    now: float = 0.0
    is_fresh: bool = True
    claimed: bool = False
    receives_counted: bool = False
    one_by_one: bool = False

    @property
    def head(self) -> Delivery:
        """The oldest delivery that is not acknowledged."""
        return self.deliveries[0]

    @property
    def open_turn(self) -> OpenTurn:
        """The record's open turn, which must exist."""
        assert self.record.turn is not None, "the turn is open"
        return self.record.turn

    def context(self, delivery: Delivery | None = None) -> ApplyContext:
        """Return the context for applying `delivery`; without one, for resuming the open turn or applying the head."""
        if delivery is not None:
            message = delivery.message
        elif self.record.turn is not None:
            # Not the head: that may be a repetition, and once it is acknowledged nothing would bring the worker back
            # that has to finish these entries. The open turn's own message stays in the queue until it has.
            message = self.open_turn.message
        else:
            message = self.head.message
        return ApplyContext(
            machine=self.machine,
            key=self.key,
            now=self.now,
            message_id=message.id,
            lease_until=self.now + self.policy.lease.total_seconds(),
            version=self.version + 1,
            nonce=self.next_nonce,
            resolution=self.traits.resolution,
        )

    @property
    def next_nonce(self) -> str:
        """The nonce of the next commit. A record that bears it was committed by this turn only."""
        return f"{self.nonce}.{self.version + 1}"

    def has_delivery_of(self, id: str) -> bool:
        """Return whether the message `id` is among the deliveries."""
        return any(delivery.message.id == id for delivery in self.deliveries)


def load_first(state: TurnState) -> Commands[None]:
    """Load the record, or take it from the driver's cache.

    Raises:
        LeaseLostError: another worker may have the messages.
    """
    found = yield from load_cached(state.key)
    if isinstance(found, Loaded):
        _use(state, found)
    else:
        state.now, state.version, state.record, state.is_fresh = found.now, found.version, found.record, False
    yield from _confirm_leases(state)


def reload(state: TurnState) -> Commands[None]:
    """Load the record from the store.

    Raises:
        LeaseLostError: another worker may have the messages.
    """
    _use(state, (yield from load(state.key)))
    yield from _confirm_leases(state)


def _use(state: TurnState, loaded: Loaded) -> None:
    state.now, state.claimed, state.is_fresh = loaded.now, False, True
    stored, size = loaded.stored, state.policy.window
    state.version = 0 if stored is None else stored.version
    if stored is None:
        state.record = Record(window=Window(size))
    elif stored.is_deleted:
        state.record = record_from_tombstone(state.key, stored.body, size)
    else:
        state.record = record_from_json(state.machine, state.key, stored.body, size, state.policy.accepts)


def _confirm_leases(state: TurnState) -> Commands[None]:
    # After the load, never before it. If the leases hold now, then no other worker was given these messages before the
    # record was read; so either the record tells the truth about them, or it is not the newest and the commit fails.
    if not state.traits.fenced and any(_may_have_been_taken(state.record, delivery) for delivery in state.deliveries):
        state.now = (yield from extend(tuple(state.deliveries))).now


def _may_have_been_taken(record: Record, delivery: Delivery) -> bool:
    # A message beyond the high-water mark has not been taken by any worker. Without positions there is no mark to
    # compare with.
    return delivery.position is None or record.has_passed(delivery.position)


def release_deliveries(state: TurnState, delay: float, reason: ReleaseReason, detail: str = "") -> Commands[TurnEnd]:
    """Return the deliveries to the queue, which delivers them again after `delay` seconds."""
    yield from release(tuple(state.deliveries), delay, reason, detail)
    return TurnEnd.RELEASED
