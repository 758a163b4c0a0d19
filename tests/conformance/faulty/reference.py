"""A correct backend in memory, with a small method for every rule of the ports, so that a subclass can break just one.

It keeps the whole contract, as the suite confirms. It calls `round_trip` where a real adapter would call its vendor.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar

from attrs import define, field

from settled import BackendReplacedError, ConflictError, IdReusedError, Key, LeaseLostError, SettledError
from settled.durable import (
    MAX_MESSAGE_BYTES,
    Backlog,
    Capability,
    ClosedOnExit,
    DeadLetter,
    Delivery,
    FinishResult,
    Message,
    Position,
    Stored,
    Timer,
    Write,
)
from settled_conformance.harnesses.local import EPOCH
from settled_runtime.watchers import Watchers

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="Plain")

LEASE = 30.0


@define(eq=False)
class Entry:
    """A waiting message, with its number in the queue of its key."""

    message: Message
    number: int
    sent: float = 0.0
    attempts: int = 0


@define(eq=False)
class Lease:
    """The lease of a key: its valid receipts, and the entry of each."""

    token: int
    until: float
    entries: dict[str, Entry]


@define(eq=False)
class MessageGroup:
    """The messages of one key."""

    entries: list[Entry] = field(factory=list[Entry])
    known: dict[str, str] = field(factory=dict[str, str])
    tail: int = 0
    lease: Lease | None = None
    parked_until: float = 0.0
    turn: int = 0


@define(eq=False)
class World:
    """The storage that all handles share."""

    now: float = EPOCH
    epoch: int = 0
    groups: dict[Key, MessageGroup] = field(factory=dict[Key, MessageGroup])
    records: dict[Key, Stored] = field(factory=dict[Key, Stored])
    dead_letters: dict[Key, list[DeadLetter]] = field(factory=dict[Key, "list[DeadLetter]"])
    timers: dict[str, Timer] = field(factory=dict[str, Timer])
    tokens: int = 0
    turns: int = 0
    notes: dict[Any, Any] = field(factory=dict[Any, Any])
    deduplication_limit: int | None = None
    point: Callable[[str], None] | None = None
    lock: threading.RLock = field(factory=threading.RLock)
    watchers: Watchers = field(factory=Watchers)


def locked(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Run `method` under the lock that all handles share."""

    def alone(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.world.lock:
            return method(self, *args, **kwargs)

    return alone


@define(eq=False)
class Plain(ClosedOnExit):
    """A handle on `world`, which is its own store, queue and timers."""

    world: World
    lease: timedelta = timedelta(seconds=LEASE)
    epoch: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.epoch = self.world.epoch

    @property
    def store(self) -> Plain:
        return self

    @property
    def queue(self) -> Plain:
        return self

    @property
    def timers(self) -> Plain:
        return self

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset(Capability)

    @property
    def resolution(self) -> timedelta:
        return timedelta()

    @property
    def largest_message(self) -> int:
        return MAX_MESSAGE_BYTES

    @property
    def retention(self) -> None:
        return None

    def now(self) -> float:
        return self.world.now

    def round_trip(self, name: str) -> None:
        """Announce a round trip to the vendor."""
        if self.world.point is not None:
            self.world.point(name)
        self.require_same_data(name)

    def require_same_data(self, call: str) -> None:
        if self.epoch != self.world.epoch:
            raise BackendReplacedError("the data were lost")

    def watch(self, key: Key, changed: Callable[[], object]) -> AbstractContextManager[None]:
        return self.world.watchers.added(key, changed)

    def close(self) -> None:
        pass

    # The store

    @locked
    def load(self, key: Key) -> Stored | None:
        self.require_same_data("load")
        return self.world.records.get(key)

    def version(self, key: Key) -> int:
        stored = self.world.records.get(key)
        return 0 if stored is None else stored.version

    @locked
    def commit(
        self,
        key: Key,
        stored: Stored,
        expected: int,
        add_dead_letters: Sequence[DeadLetter] = (),
        remove_dead_letters: int = 0,
    ) -> None:
        self.round_trip("commit")
        self.put(key, stored, expected, add_dead_letters, remove_dead_letters)

    def put(
        self, key: Key, stored: Stored, expected: int, add_dead_letters: Sequence[DeadLetter], remove_dead_letters: int
    ) -> None:
        self.expect(key, expected)
        self.world.records[key] = stored
        self.tell_watchers(key)
        self.move_dead_letters(key, add_dead_letters, remove_dead_letters)

    def expect(self, key: Key, expected: int) -> None:
        if self.version(key) != expected:
            raise ConflictError(f"{key}: expected version {expected}, found {self.version(key)}")

    def tell_watchers(self, key: Key) -> None:
        self.world.watchers.notify([key])

    def move_dead_letters(self, key: Key, add_dead_letters: Sequence[DeadLetter], remove_dead_letters: int) -> None:
        self.world.dead_letters[key] = [*self.world.dead_letters.get(key, [])[remove_dead_letters:], *add_dead_letters]

    @locked
    def dead_letters(self, key: Key) -> Sequence[DeadLetter]:
        return list(self.world.dead_letters.get(key, []))

    @locked
    def delete(self, key: Key, tombstone: Stored, expected: int) -> None:
        self.round_trip("delete")
        self.expect(key, expected)
        self.world.records[key] = tombstone
        self.tell_watchers(key)
        self.world.dead_letters.pop(key, None)

    @locked
    def scan(
        self, machine: str | None = None, after: Key | None = None, limit: int = 100, status: str | None = None
    ) -> Sequence[tuple[Key, Stored]]:
        found = [
            (key, stored)
            for key, stored in sorted(self.world.records.items())
            if not stored.is_deleted
            and machine in (None, key.machine)
            and status in (None, stored.index.status)
            and (after is None or key > after)
        ]
        return found[:limit]

    # The queue

    def group(self, key: Key) -> MessageGroup:
        return self.world.groups.setdefault(key, MessageGroup())

    @locked
    def send(self, messages: Sequence[Message]) -> None:
        self.round_trip("send")
        self.check_all(messages)
        for message in messages:
            self.append(message)

    def check_all(self, messages: Sequence[Message]) -> None:
        seen = dict[tuple[Key, str], str]()
        for message in messages:
            self.check(message)
            if seen.setdefault((message.key, message.id), message.digest) != message.digest:
                raise IdReusedError(f"{message.id} belongs to another message")

    def check(self, message: Message) -> None:
        if self.group(message.key).known.get(message.id, message.digest) != message.digest:
            raise IdReusedError(f"{message.id} belongs to another message")

    def append(self, message: Message) -> None:
        group = self.group(message.key)
        if not self.is_known(group, message):
            group.known[message.id] = message.digest
            group.tail += 1
            group.entries.append(Entry(message, group.tail, self.world.now))

    def is_known(self, group: MessageGroup, message: Message) -> bool:
        return group.known.get(message.id) == message.digest

    @locked
    def receive(self, limit: int, wait: float = 0.0, machines: Collection[str] | None = None) -> Sequence[Delivery]:
        if limit < 1:
            return ()
        self.round_trip("receive")
        self.fire()
        self.expire()
        deliveries = list[Delivery]()
        for group in self.wanted(self.ready(), machines):
            if len(deliveries) >= limit:
                break
            deliveries += self.hand_out(group, limit - len(deliveries))
        return deliveries

    def wanted(self, ready: list[MessageGroup], machines: Collection[str] | None) -> list[MessageGroup]:
        return [group for group in ready if machines is None or group.entries[0].message.key.machine in machines]

    def expire(self) -> None:
        for group in self.world.groups.values():
            if group.lease is not None and group.lease.until <= self.world.now:
                self.end_lease(group)

    def end_lease(self, group: MessageGroup) -> None:
        group.lease = None
        self.come_back(group)

    def come_back(self, group: MessageGroup) -> None:
        self.world.turns += 1
        group.turn = self.world.turns

    def ready(self) -> list[MessageGroup]:
        groups = [group for group in self.world.groups.values() if group.entries and self.is_free(group)]
        return sorted(groups, key=lambda group: group.turn)

    def is_free(self, group: MessageGroup) -> bool:
        return group.lease is None and group.parked_until <= self.world.now

    def hand_out(self, group: MessageGroup, limit: int) -> list[Delivery]:
        batch = self.batch(group, limit)
        self.world.tokens += 1
        receipts = {f"{self.world.tokens}.{number}": entry for number, entry in enumerate(batch)}
        group.lease = Lease(self.world.tokens, self.world.now + self.lease.total_seconds(), receipts)
        for entry in batch:
            entry.attempts += 1
        return [
            Delivery(
                self.message(entry), receipt, self.attempt(group, entry), group.lease.until, self.position(group, entry)
            )
            for receipt, entry in receipts.items()
        ]

    def batch(self, group: MessageGroup, limit: int) -> list[Entry]:
        return group.entries[:limit]

    def message(self, entry: Entry) -> Message:
        return entry.message

    def position(self, group: MessageGroup, entry: Entry) -> Position | None:
        return Position("epoch", entry.number)

    def attempt(self, group: MessageGroup, entry: Entry) -> int:
        return entry.attempts

    def holds(self, group: MessageGroup, delivery: Delivery) -> bool:
        lease = group.lease
        return lease is not None and delivery.receipt in lease.entries and self.world.now < lease.until

    @locked
    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self.round_trip("ack")
        for delivery in deliveries:
            group = self.group(delivery.message.key)
            if self.holds(group, delivery):
                self.consume(group, delivery)

    def consume(self, group: MessageGroup, delivery: Delivery) -> None:
        assert group.lease is not None
        group.entries.remove(group.lease.entries.pop(delivery.receipt))
        self.forget(group)
        if not group.lease.entries:
            self.end_lease(group)

    def forget(self, group: MessageGroup) -> None:
        """Forget the ids of acknowledged messages, except the newest `World.deduplication_limit`."""
        waiting = {entry.message.id for entry in group.entries}
        gone = [id for id in group.known if id not in waiting] if self.world.deduplication_limit is not None else []
        for id in gone[: max(0, len(gone) - (self.world.deduplication_limit or 0))]:
            del group.known[id]

    @locked
    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        self.round_trip("release")
        for delivery in deliveries:
            group = self.group(delivery.message.key)
            if self.holds(group, delivery):
                group.parked_until = self.world.now + delay
                self.end_lease(group)

    @locked
    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        self.round_trip("extend")
        lost = list[str]()
        for delivery in deliveries:
            group = self.group(delivery.message.key)
            if self.holds(group, delivery) and group.lease is not None:
                group.lease.until = self.world.now + lease
            else:
                lost.append(delivery.message.id)
        if lost:
            raise ConflictError(f"the lease of {lost} was lost")

    @locked
    def backlog(self) -> Sequence[Backlog]:
        waiting = dict[str, list[float]]()
        for key, group in self.world.groups.items():
            if self.is_free(group) or (group.lease is not None and group.lease.until <= self.world.now):
                waiting.setdefault(key.machine, []).extend(entry.sent for entry in group.entries)
        return [self.counted(machine, sent) for machine, sent in sorted(waiting.items()) if sent]

    def counted(self, machine: str, sent: list[float]) -> Backlog:
        return Backlog(machine, len(sent), min(sent))

    @locked
    def withdraw(self, deliveries: Sequence[Delivery]) -> None:
        self.round_trip("withdraw")
        for delivery in deliveries:
            group = self.group(delivery.message.key)
            if self.holds(group, delivery):
                self.consume(group, delivery)
                self.forget_id(group, delivery.message)

    def forget_id(self, group: MessageGroup, message: Message) -> None:
        group.known.pop(message.id, None)

    # The timers

    @locked
    def schedule(self, timer: Timer) -> None:
        self.round_trip("schedule")
        self.put_timer(timer)

    def put_timer(self, timer: Timer) -> None:
        old = self.world.timers.get(timer.id)
        self.world.timers[timer.id] = timer if old is None else self.replaced(old, timer)

    def replaced(self, old: Timer, new: Timer) -> Timer:
        """Return the timer that is scheduled after `new` has replaced `old`."""
        return new

    @locked
    def cancel(self, timer_id: str) -> None:
        self.round_trip("cancel")
        self.world.timers.pop(timer_id, None)

    def fire(self) -> None:
        for timer in sorted(self.world.timers.values(), key=lambda timer: timer.due):
            if self.is_due(timer):
                self.append(timer.message)
                self.world.timers.pop(timer.id)

    def is_due(self, timer: Timer) -> bool:
        return timer.due <= self.world.now

    # The backend

    @locked
    def finish(self, write: Write) -> None:
        self.round_trip("finish")
        self.check_all(write.sends)
        if write.stored is not None:
            self.expect(write.key, write.expected)
            self.fence(write)
            self.put(write.key, write.stored, write.expected, write.add_dead_letters, write.remove_dead_letters)
        self.apply_outbox(write)
        for delivery in write.acks:
            group = self.group(delivery.message.key)
            if self.holds(group, delivery):
                self.consume(group, delivery)

    def fence(self, write: Write) -> None:
        if write.holder is not None and not self.holds(self.group(write.key), write.holder):
            raise LeaseLostError(f"{write.key}: its lease was lost")

    @locked
    def finish_all(
        self, writes: Sequence[Write], receive: int = 0, machines: Collection[str] | None = None
    ) -> FinishResult:
        refused = dict[Key, SettledError]()
        for write in writes:
            try:
                self.finish(write)
            except SettledError as error:
                refused[write.key] = error
        return FinishResult(refused, tuple(self.receive(receive, machines=machines)))

    def apply_outbox(self, write: Write) -> None:
        """Send, schedule and cancel what `write` contains."""
        for message in write.sends:
            self.append(message)
        for timer in write.timers:
            self.put_timer(timer)
        for timer_id in write.cancels:
            self.world.timers.pop(timer_id, None)
