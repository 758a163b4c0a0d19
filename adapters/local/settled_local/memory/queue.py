"""The queue in memory: a message group for each key, and a FIFO of the groups that are ready.

A group as a whole is idle, ready, leased or parked. A group that comes back from a lease goes to the end of the ready
ones, so that a long backlog delays each other key by one batch at most. Each lease has a new token, which its receipts
name: a receipt of an older lease changes nothing.

The FIFO is kept in parts, one for each machine, so that a receive for one machine does not pass over the others.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import groupby, islice

from attrs import define

from settled.durable.messages import Message
from settled.durable.ports import Backlog, Delivery, Position
from settled.errors import ConflictError, IdReusedError
from settled.key import Key
from settled_local.memory.due_queue import DueQueue
from settled_local.memory.timers import MemoryTimers

POLL_INTERVAL = 0.02
"""Seconds after which a waiting `receive` reads the clock again, because the clock may be virtual, or be set."""


class MemoryQueue:
    """The queue of a `MemoryBackend`.

    Attributes:
        leases: the groups that are leased or parked, by when that ends.
    """

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
        self._groups: dict[Key, MessageGroup] = {}
        # By machine; the rank of each key in it is its place in the FIFO of all machines.
        self._ready: dict[str, OrderedDict[Key, int]] = {}
        self._last_rank = 0
        self.leases: DueQueue[Key] = DueQueue()
        self._epoch = secrets.token_hex(4)

    def send(self, messages: Sequence[Message]) -> None:
        with self._changed:
            sent: dict[tuple[Key, str], Message] = {}
            for message in messages:
                self.check(message)
                if sent.setdefault((message.key, message.id), message).body != message.body:
                    raise IdReusedError(f"{message.key}: two messages with the id {message.id!r}, and two bodies")
            # Only now: a call that raises sends none of its messages.
            self._append(messages)
            self._changed.notify_all()

    def receive(self, limit: int, wait: float = 0.0, machines: Collection[str] | None = None) -> Sequence[Delivery]:
        end = time.monotonic() + wait
        with self._changed:
            while True:
                deliveries = self._lease_ready(limit, machines)
                remaining = end - time.monotonic()
                if deliveries or limit < 1 or remaining <= 0:
                    return deliveries
                due = min(self._timers.due.next_due, self.leases.next_due) - self._clock()
                self._changed.wait(max(0.0, min(remaining, due, POLL_INTERVAL)))

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        with self._changed:
            for delivery in deliveries:
                group, number = self.leased(delivery)
                if group is None:
                    continue
                group.consume(number, self._remember)
                # The key stays leased until all that was leased is acknowledged, so that nothing overtakes the rest.
                if not group.leased_to:
                    self._make_ready(delivery.message.key, group)
            self._changed.notify_all()

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        with self._changed:
            for delivery in deliveries:
                group, _ = self.leased(delivery)
                if group is None:
                    continue
                group.end_lease()
                if delay > 0:
                    self.leases.put(delivery.message.key, self._clock() + delay)
                else:
                    self._make_ready(delivery.message.key, group)
            self._changed.notify_all()

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        with self._changed:
            kept: list[Delivery] = []
            lost: list[Delivery] = []
            for delivery in deliveries:
                (kept if self.leased(delivery)[1] else lost).append(delivery)
            until = self._clock() + lease
            for key in {delivery.message.key for delivery in kept}:
                self._groups[key].leased_until = until
                self.leases.put(key, until)
            self._changed.notify_all()
        if lost:
            raise ConflictError(f"the lease of {', '.join(str(delivery.message.key) for delivery in lost)} was lost")

    def backlog(self) -> Sequence[Backlog]:
        with self._changed:
            now = self._clock()
            ended = {key for key in self._groups if self.leases.is_due(key, now)}
            ready = sorted({*ended, *(key for keys in self._ready.values() for key in keys)})
            return [self._backlog(machine, list(keys)) for machine, keys in groupby(ready, lambda key: key.machine)]

    def withdraw(self, deliveries: Sequence[Delivery]) -> None:
        with self._changed:
            held = [each for each in deliveries if self.leased(each)[1]]
            self.ack(held)
            for delivery in held:
                self._group(delivery.message.key).forget(delivery.message)

    def check(self, message: Message) -> None:
        """Raise `IdReusedError` if another message has the id of `message`."""
        self._group(message.key).check(message)

    def leased(self, delivery: Delivery) -> tuple[MessageGroup | None, int]:
        """Return the group of `delivery` and the number of its message there; None and 0 if its lease has ended."""
        group = self._groups.get(delivery.message.key)
        number = group.receipts.get(delivery.receipt, 0) if group is not None else 0
        # A lease ends at its deadline, whether or not anyone has taken over; else a late commit might come through.
        return (group, number) if number and group and self._clock() < group.leased_until else (None, 0)

    def _backlog(self, machine: str, keys: Sequence[Key]) -> Backlog:
        waiting = [each for key in keys for each in self._groups[key].waiting.values()]
        return Backlog(machine, len(waiting), min(each.sent for each in waiting))

    def _group(self, key: Key) -> MessageGroup:
        # Groups are never deleted: a new one would count numbers and tokens from 1 again, and old receipts would fit.
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = MessageGroup()
        return group

    def _append(self, messages: Sequence[Message]) -> None:
        for message in messages:
            group = self._group(message.key)
            was_idle = not group.waiting
            if group.append(message, self._clock()) and was_idle:
                self._put_last(message.key)

    def _lease_ready(self, limit: int, machines: Collection[str] | None) -> Sequence[Delivery]:
        now = self._clock()
        has_news = min(self._timers.due.next_due, self.leases.next_due) <= now
        if has_news:
            self._append(self._timers.pop_due(now))
            for freed in self.leases.pop_due(now):
                self._groups[freed].end_lease()
                self._put_last(freed)
        deliveries: list[Delivery] = []
        while len(deliveries) < limit and (key := self._pop_first(machines)):
            until = now + self._lease
            self.leases.put(key, until)
            deliveries.extend(self._groups[key].lease(self._epoch, limit - len(deliveries), until))
        if has_news and self._ready:
            # More may just have come due than this receiver takes, and nothing else wakes the other receivers.
            self._changed.notify_all()
        return deliveries

    def _put_last(self, key: Key) -> None:
        self._last_rank += 1
        self._ready.setdefault(key.machine, OrderedDict())[key] = self._last_rank

    def _pop_first(self, machines: Iterable[str] | None) -> Key | None:
        """Remove and return the first ready key of `machines`, or of all; None if there is none."""
        wanted = self._ready if machines is None else self._ready.keys() & machines
        if not wanted:
            return None
        machine = next(iter(wanted))
        if len(wanted) > 1:
            machine = min(wanted, key=lambda each: next(iter(self._ready[each].values())))
        key, _ = self._ready[machine].popitem(last=False)
        if not self._ready[machine]:
            del self._ready[machine]
        return key

    def _make_ready(self, key: Key, group: MessageGroup) -> None:
        """End the lease or pause of `key`: the group becomes the last ready one, or idle if it is empty."""
        self.leases.remove(key)
        if group.waiting:
            self._put_last(key)


class MessageGroup:
    """The messages of one key, by their numbers.

    Attributes:
        waiting: the messages that were not acknowledged, by number.
        seen_ids: the ids that were sent, oldest first, each with its message's number and digest.
        tail: the number of the last message. It only grows: `Position` promises that no number is used twice.
        token: the fencing token, how many times the group was leased. A receipt is the token of its lease, a dot, and
            the number of its message.
        leased_to: the number of the last leased message; 0 if none is leased.
        leased_until: when the lease ends, in seconds since the epoch.
        receipts: the receipts of the lease, each with the number of its message.
    """

    def __init__(self) -> None:
        self.waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self.seen_ids: OrderedDict[str, tuple[int, str]] = OrderedDict()
        self.tail = 0
        self.token = 0
        self.leased_to = 0
        self.leased_until = 0.0
        self.receipts: dict[str, int] = {}

    def append(self, message: Message, now: float) -> bool:
        """Add `message` at the end, and return whether it was added: a repetition of a seen message is not.

        Another message with a seen id is added, as `Queue.send` allows; the record detects it.
        """
        digest = message.digest
        if self.seen_ids.get(message.id, (0, ""))[1] == digest:
            return False
        self.tail += 1
        self.seen_ids[message.id] = (self.tail, digest)
        self.waiting[self.tail] = _Waiting(message, now)
        return True

    def check(self, message: Message) -> None:
        """Raise `IdReusedError` if another message has the id of `message`."""
        if message.id in self.seen_ids and self.seen_ids[message.id][1] != message.digest:
            raise IdReusedError(f"{message.key}: the id {message.id!r} belongs to another message, with another body")

    def lease(self, epoch: str, limit: int, until: float) -> Sequence[Delivery]:
        """Lease the first messages under a new token: up to `limit` of them, and at least one."""
        self.token += 1
        self.leased_until = until
        deliveries: list[Delivery] = []
        for number, waiting in islice(self.waiting.items(), limit):
            self.leased_to = number
            receipt = f"{self.token}.{number}"
            self.receipts[receipt] = number
            attempt, position = waiting.attempts + 1, Position(epoch, number)
            deliveries.append(Delivery(waiting.message, receipt, attempt, until, position))
        return deliveries

    def end_lease(self) -> None:
        """End the lease, which counts as one attempt at each leased message. They keep their numbers."""
        for number, waiting in self.waiting.items():
            if number > self.leased_to:
                break
            waiting.attempts += 1
        self._free()

    def consume(self, number: int, remember: int) -> None:
        """Remove the message `number`, and all but the `remember` newest ids of acknowledged messages."""
        self.waiting.pop(number, None)
        self.receipts.pop(f"{self.token}.{number}", None)
        first = next(iter(self.waiting), self.tail + 1)
        if first > self.leased_to:
            self._free()
        while len(self.seen_ids) - len(self.waiting) > remember:
            message_id, (seen_number, _) = next(iter(self.seen_ids.items()))
            # The id of a message that still waits must stay, or a repetition would be queued beside it.
            if seen_number >= first:
                break
            del self.seen_ids[message_id]

    def _free(self) -> None:
        self.leased_to = 0
        self.receipts.clear()

    def forget(self, message: Message) -> None:
        """Forget the id of `message`, unless another message with it waits."""
        if all(waiting.message.id != message.id for waiting in self.waiting.values()):
            self.seen_ids.pop(message.id, None)


@define
class _Waiting:
    """A message that was not acknowledged, when it was sent, and how many of its leases have ended."""

    message: Message
    sent: float
    attempts: int = 0
