"""The queue: a lane for each key, and one line of the lanes that are ready.

A lane is idle, ready, leased or parked as a whole. One that is handed out and comes back joins the end of the line,
so that a long backlog passes the others by one batch at a time. Each hand-out raises the lane's token; a receipt names
it, so what an older holder still says changes nothing.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from settled.durable.messages import Message
from settled.durable.ports import Delivery
from settled.errors import ConflictError, IdReusedError
from settled.key import Key
from settled_local.memory.due_queue import DueQueue
from settled_local.memory.message_group import MessageGroup, Receipt
from settled_local.memory.timers import MemoryTimers

POLL_INTERVAL = 0.02
"""Seconds after which a waiting `receive` reads the clock again, however it may have been set or moved since."""


class MemoryQueue:
    """The queue of a `MemoryBackend`; `_held` has the lanes that are leased or parked."""

    def __init__(
        self,
        changed: threading.Condition,
        clock: Callable[[], float],
        lease: float,
        remember: int,
        timers: MemoryTimers,
    ) -> None:
        self._changed = changed
        self._clock = clock
        self._lease = lease
        self._remember = remember
        self._timers = timers
        self._lanes: dict[Key, MessageGroup] = {}
        self._ready: OrderedDict[Key, None] = OrderedDict()
        self._held: DueQueue[Key] = DueQueue()
        self._epoch = secrets.token_hex(4)

    def send(self, messages: Sequence[Message]) -> None:
        with self._changed:
            sent: dict[tuple[Key, str], Message] = {}
            for message in messages:
                self.check(message)
                if sent.setdefault((message.key, message.id), message).body != message.body:
                    raise IdReusedError(f"{message.key}: two messages with the id {message.id!r}, and two bodies")
            self._append(messages)
            self._changed.notify_all()

    def receive(self, limit: int, wait: float = 0.0) -> Sequence[Delivery]:
        end = time.monotonic() + wait
        with self._changed:
            while True:
                deliveries = self._hand_out(limit)
                remaining = end - time.monotonic()
                if deliveries or limit < 1 or remaining <= 0:
                    return deliveries
                due = min(self._timers.next_due(), self.next_due()) - self._clock()
                self._changed.wait(max(0.0, min(remaining, due, POLL_INTERVAL)))

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        with self._changed:
            for delivery in deliveries:
                lane = self._leased_by(delivery)
                if lane is None:
                    continue
                lane.consume(Receipt.of(delivery).place, self._remember)
                if not lane.leased:
                    self._come_back(delivery.message.key, lane)
            self._changed.notify_all()

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        with self._changed:
            for delivery in deliveries:
                lane = self._leased_by(delivery)
                if lane is None:
                    continue
                lane.end_lease()
                if delay > 0:
                    self._held.put(delivery.message.key, self._clock() + delay)
                else:
                    self._come_back(delivery.message.key, lane)
            self._changed.notify_all()

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        with self._changed:
            kept: list[Delivery] = []
            lost: list[Delivery] = []
            for delivery in deliveries:
                (kept if self._leased_by(delivery) else lost).append(delivery)
            until = self._clock() + lease
            for delivery in kept:
                self._held.put(delivery.message.key, until)
            self._changed.notify_all()
        if lost:
            raise ConflictError(f"the lease of {', '.join(str(delivery.message.key) for delivery in lost)} was lost")

    def next_due(self) -> float:
        """When the next lease or pause ends; infinity if none does."""
        return self._held.next_due()

    def check(self, message: Message) -> None:
        """Raise `IdReused` if another message has the id of `message`."""
        self._lane(message.key).check(message)

    def holds(self, delivery: Delivery) -> bool:
        """Whether the hand-out of `delivery` still has its key."""
        return self._leased_by(delivery) is not None

    def _lane(self, key: Key) -> MessageGroup:
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = MessageGroup()
        return lane

    def _append(self, messages: Sequence[Message]) -> None:
        for message in messages:
            lane = self._lane(message.key)
            was_idle = not lane.waiting
            if lane.append(message) and was_idle:
                self._ready[message.key] = None

    def _hand_out(self, limit: int) -> Sequence[Delivery]:
        now = self._clock()
        self._append(self._timers.pop_due(now))
        for key in self._held.pop_due(now):
            self._lanes[key].end_lease()
            self._ready[key] = None
        deliveries: list[Delivery] = []
        while self._ready and len(deliveries) < limit:
            key, _ = self._ready.popitem(last=False)
            until = now + self._lease
            self._held.put(key, until)
            deliveries.extend(self._lanes[key].lease(self._epoch, limit - len(deliveries), until))
        if deliveries and self._ready:
            # What fell due just now may be more than this receiver takes, and the others still sleep.
            self._changed.notify_all()
        return deliveries

    def _leased_by(self, delivery: Delivery) -> MessageGroup | None:
        """The lane that `delivery` still has the lease of. A lease ends at its deadline, taken over or not."""
        key = delivery.message.key
        lane = self._lanes.get(key)
        if lane is None or not lane.leased or lane.token != Receipt.of(delivery).token:
            return None
        return lane if self._clock() < self._held.due(key) else None

    def _come_back(self, key: Key, lane: MessageGroup) -> None:
        self._held.drop(key)
        if lane.waiting:
            self._ready[key] = None
