"""`QueueChecker`: checks every delivery of a queue and its timers against the model of the key.

Each rule names the guarantee that is broken when it fails. Times are compared with the backend's clock as read before
and after the call, plus a tolerance: only what is too early or too late by both readings is a violation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from attrs import define, field

from settled import Key
from settled.durable import Capability, Delivery, Message, Timer, Write
from settled_conformance.contract.queue_model import Lease, QueuedMessage, QueueModel

ReportViolation = Callable[[str, str], None]


@define(eq=False)
class QueueChecker:
    """The models of all keys, and the timers: scheduled, replaced and cancelled ones, by their ids.

    `perhaps_fired` and `perhaps_cancelled` are ids of timers that were replaced or cancelled when they were already
    due, so that either outcome is allowed. `receipts` are all receipts seen so far.
    """

    report: ReportViolation
    capabilities: frozenset[Capability]
    lease: float
    tolerance: float
    queues: dict[Key, QueueModel] = field(factory=dict[Key, QueueModel])
    scheduled: dict[str, Timer] = field(factory=dict[str, Timer])
    replaced: dict[str, list[Timer]] = field(factory=dict[str, "list[Timer]"])
    cancelled: dict[str, Timer] = field(factory=dict[str, Timer])
    perhaps_fired: set[str] = field(factory=set[str])
    perhaps_cancelled: set[str] = field(factory=set[str])
    receipts: set[tuple[Key, str]] = field(factory=set[tuple[Key, str]])

    def queue_of(self, key: Key) -> QueueModel:
        """Return the model of `key`."""
        return self.queues.setdefault(key, QueueModel(key))

    # Calls

    def sent(self, messages: Sequence[Message], source: str, now: float, indeterminate: bool = False) -> None:
        """Record a send of `messages`; `indeterminate` if its answer was lost."""
        deduplicates = Capability.DEDUPLICATION in self.capabilities
        for message in messages:
            queue = self.queue_of(message.key)
            queue.refused.discard(message.id)
            queue.add(message, source, indeterminate=indeterminate, deduplicates=deduplicates, now=now)

    def refused(self, messages: Sequence[Message]) -> None:
        """Record that the write of `messages` failed, so that they must never be delivered."""
        for message in messages:
            queue = self.queue_of(message.key)
            if message.id not in queue.known:
                queue.refused.add(message.id)

    def acked(self, deliveries: Sequence[Delivery], now: float) -> None:
        """Record an acknowledgement; a receipt whose lease was lost changes nothing."""
        for delivery in deliveries:
            queue = self.queue_of(delivery.message.key)
            lease = queue.holder(delivery, now)
            if lease is None:
                queue.had_stale_ack = True
                continue
            queued = lease.deliveries.pop(delivery.receipt)
            if queue.waiting[0] is queued:
                queue.waiting.pop(0)
            else:
                queue.waiting = [other for other in queue.waiting if other is not queued]
            queue.acked.add(queued.message.id)
            if lease.deliveries:
                queue.was_partly_acked = True
            else:
                queue.end_lease()

    def withdrawn(self, deliveries: Sequence[Delivery], now: float) -> None:
        """Record a withdrawal: an acknowledgement after which the message may be sent again."""
        held = [each for each in deliveries if self.queue_of(each.message.key).holder(each, now) is not None]
        self.acked(deliveries, now)
        for delivery in held:
            queue = self.queue_of(delivery.message.key)
            queue.acked.discard(delivery.message.id)
            queue.known.pop(delivery.message.id, None)

    def released(self, deliveries: Sequence[Delivery], delay: float, now: float) -> None:
        """Record a release; a receipt whose lease was lost changes nothing."""
        for delivery in deliveries:
            queue = self.queue_of(delivery.message.key)
            if queue.holder(delivery, now) is None:
                queue.had_stale_release = True
                continue
            queue.end_lease()
            queue.parked_until = now + delay

    def extended(self, deliveries: Sequence[Delivery], lease: float, now: float, refused: bool) -> None:
        """Record an extension; `refused` if it failed with ConflictError, as it must if a lease was lost."""
        held = [self.queue_of(delivery.message.key).holder(delivery, now) for delivery in deliveries]
        for each in held:
            if each is not None:
                each.until = now + lease
        if refused != (None in held):
            self.report("R2", f"extending {_names(deliveries)} {'failed' if refused else 'did not fail'}")

    def committed(self, write: Write, now: float) -> None:
        """Check a successful `write`: the lease of its holder must have been current until now."""
        if write.stored is None or write.holder is None or Capability.FENCED_FINISH not in self.capabilities:
            return
        if self.queue_of(write.key).holder(write.holder, now - self.tolerance) is None:
            self.report("R12", f"{write.key}: a commit under a lost lease succeeded")

    def lease_lost(self, write: Write, now: float) -> None:
        """Check a `write` that failed with LeaseLostError: the lease of its holder must really be lost."""
        if write.holder is not None and self.queue_of(write.key).holder(write.holder, now + self.tolerance) is not None:
            self.report("R12", f"{write.key}: a commit under the current lease failed")

    def scheduled_timer(self, timer: Timer, now: float) -> None:
        """Record a schedule. It replaces the timer of the same id, which may have fired already if it was due."""
        before = self.scheduled.get(timer.id)
        if before is not None:
            self.replaced.setdefault(timer.id, []).append(before)
            if before.due <= now + self.tolerance:
                self.perhaps_fired.add(timer.id)
        self.scheduled[timer.id] = timer
        self.cancelled.pop(timer.id, None)
        self.perhaps_cancelled.discard(timer.id)

    def cancelled_timer(self, timer_id: str, now: float) -> None:
        """Record a cancel; a timer that was due already may have fired."""
        timer = self.scheduled.get(timer_id)
        self.perhaps_cancelled.add(timer_id)
        if timer is not None and now < timer.due - self.tolerance:
            del self.scheduled[timer_id]
            self.cancelled[timer_id] = timer

    # Deliveries

    def received(
        self, deliveries: Sequence[Delivery], before: float, after: float, machines: Collection[str] | None = None
    ) -> None:
        """Check `deliveries`, which were received between the times `before` and `after`, for `machines` or for all."""
        if machines is not None and Capability.SELECTIVE_RECEIVE in self.capabilities:
            for delivery in deliveries:
                if delivery.message.key.machine not in machines:
                    self.report("F10", f"{delivery.message.key}: {delivery.message.id} was delivered to {machines}")
        groups = dict[Key, list[Delivery]]()
        for delivery in deliveries:
            groups.setdefault(delivery.message.key, []).append(delivery)
        for group in groups.values():
            self._check_group(group, before, after)

    def _check_group(self, group: Sequence[Delivery], before: float, after: float) -> None:
        queue = self.queue_of(group[0].message.key)
        fired: dict[str, QueuedMessage] = {}
        expected_group = [delivery for delivery in group if self._is_expected(queue, delivery, fired, after)]
        if not expected_group:
            return
        self._check_is_free(queue, after)
        waiting = self._in_order(queue, expected_group, fired)
        for delivery, queued in zip(expected_group, waiting, strict=True):
            self._check(queued, delivery, before, after)
        queue.lease = Lease(
            dict(zip((each.receipt for each in expected_group), waiting, strict=True)), expected_group[0].lease_until
        )
        queue.parked_until, queue.had_stale_ack, queue.had_stale_release = 0.0, False, False

    def _is_expected(
        self, queue: QueueModel, delivery: Delivery, fired: dict[str, QueuedMessage], after: float
    ) -> bool:
        """Return whether `delivery` is of a waiting message or a timer.

        Report it if it is neither nor a legal duplicate.
        """
        id = delivery.message.id
        if any(queued.message.id == id for queued in queue.waiting):
            return True
        timer = next((each for each in self.scheduled.values() if each.message.id == id), None)
        if timer is not None and timer.message.key == queue.key and not self._is_replaced(timer, delivery):
            fired[id] = self._fire(queue, timer, after)
            return True
        self._check_unexpected(queue, delivery)
        return False

    def _is_replaced(self, timer: Timer, delivery: Delivery) -> bool:
        """Return whether `delivery` is of a timer that `timer` replaced, although both messages have the same id."""
        former = any(other.message == delivery.message for other in self.replaced.get(timer.id, []))
        return former and timer.message != delivery.message

    def _check_unexpected(self, queue: QueueModel, delivery: Delivery) -> None:
        id = delivery.message.id
        former = [each for timers in self.replaced.values() for each in timers if each.message == delivery.message]
        if former and id not in queue.acked:
            if self._cancels_reliably:
                self.report("T4", f"the message {id} of a replaced timer was delivered")
            return
        if any(timer.message == delivery.message for timer in self.cancelled.values()):
            if self._cancels_reliably:
                self.report("T3", f"the message {id} of a cancelled timer was delivered")
        elif id in queue.refused:
            self.report("R6", f"{id} belonged to a commit that failed, and was delivered")
        elif id in queue.acked:
            self._check_repetition(queue, id)
        elif any(id in other.known for other in self.queues.values()):
            self.report("X9", f"{id} was delivered for {queue.key}, and was sent to another key")
        else:
            self.report("X9", f"{id} was delivered for {queue.key}, and was never sent")

    def _check_repetition(self, queue: QueueModel, id: str) -> None:
        if id in queue.sent_after_ack and Capability.DEDUPLICATION in self.capabilities:
            self.report("X3", f"{id} was sent again after it was acknowledged, and delivered again")
        elif id in queue.sent_while_waiting and Capability.DEDUPLICATION in self.capabilities:
            self.report("X1", f"{id} was sent twice, and is delivered after it was acknowledged")
        elif Capability.NO_DELIVERY_AFTER_ACK in self.capabilities:
            self.report("D5", f"{id} was acknowledged, and delivered again")

    def _fire(self, queue: QueueModel, timer: Timer, after: float) -> QueuedMessage:
        others = self.replaced.get(timer.id, [])
        replaced = any(other.due <= after + self.tolerance for other in others)
        early = after < timer.due - self.tolerance and timer.id not in self.perhaps_fired
        if early and (self._cancels_reliably or not replaced):
            kind = "T4" if replaced else "T1"
            self.report(kind, f"the timer {timer.id} is due at {timer.due:g}, and fired at {after:g}")
        del self.scheduled[timer.id]
        queued = queue.known[timer.message.id] = QueuedMessage(timer.message, "timer")
        if not self._cancels_reliably:  # the replaced timers may fire as well, each at its own time
            former = [other.message for other in others if other.message.key == queue.key]
            queue.waiting += [QueuedMessage(message, "timer", indeterminate=True) for message in former]
        return queued

    @property
    def _cancels_reliably(self) -> bool:
        return Capability.NO_DELIVERY_AFTER_CANCEL in self.capabilities

    def _check_is_free(self, queue: QueueModel, after: float) -> None:
        if queue.lease is not None and after < queue.lease.until - self.tolerance:
            if queue.had_stale_release or queue.had_stale_ack:
                self.report("R5", f"{queue.key} was delivered while it was leased, after a call with a stale receipt")
            else:
                self.report("R1", f"{queue.key} was delivered at {after:g}, and is leased until {queue.lease.until:g}")
        if after < queue.parked_until - self.tolerance:
            self.report("R2", f"{queue.key} was delivered at {after:g}, and is parked until {queue.parked_until:g}")

    def _in_order(
        self, queue: QueueModel, group: Sequence[Delivery], fired: dict[str, QueuedMessage]
    ) -> list[QueuedMessage]:
        """Return the queued message of each delivery of `group`; report if they are not the first ones, in order.

        A timer may enter anywhere after the messages delivered before, and indeterminate messages may be skipped.
        """
        ids = [delivery.message.id for delivery in group]
        delivered, rest, disorder = list[QueuedMessage](), list(queue.waiting), False
        for id, delivery in zip(ids, group, strict=True):
            queued = fired.pop(id, None)
            # A delivery skips the indeterminate messages before it: they were evidently never queued. A timer that has
            # just fired says nothing about them, so it skips none.
            while queued is None and rest and rest[0].indeterminate and not self._is_first(rest, delivery.message):
                rest.pop(0)
            if queued is None and rest and rest[0].message.id == id:
                queued = rest.pop(0)
            elif queued is None or (rest and rest[0].receive_count):
                disorder = True
                found = queued or next(each for each in (*rest, *delivered, *queue.waiting) if each.message.id == id)
                rest, queued = [each for each in rest if each is not found], found
            delivered.append(queued)
            queued.indeterminate = False
        if disorder:
            self._report_disorder(queue, ids)
        queue.waiting = [*dict.fromkeys(delivered), *rest]
        return delivered

    def _is_first(self, rest: Sequence[QueuedMessage], message: Message) -> bool:
        """Return whether `message` is the first of `rest`, and not a later one with the same id and another body."""
        first = rest[0].message
        return first.id == message.id and (first == message or all(message != each.message for each in rest))

    def _report_disorder(self, queue: QueueModel, ids: Sequence[str]) -> None:
        expected = [queued.message.id for queued in queue.waiting[: len(ids)]]
        number = self._kind_of_disorder(queue, ids, expected)
        self.report(number, f"{list(ids)} were delivered for {queue.key}, not {expected}")

    def _kind_of_disorder(self, queue: QueueModel, ids: Sequence[str], expected: Sequence[str]) -> str:
        twice = {id for id in ids if ids.count(id) > 1}
        if twice:
            return "X1" if twice & queue.sent_while_waiting else "F2"
        if sorted(ids) == sorted(expected):
            return "F2"
        if queue.waiting and queue.waiting[0].message.id not in ids:
            return "F3" if queue.waiting[0].receive_count else "F1"
        return "F2"

    def _check_position(self, queued: QueuedMessage, delivery: Delivery) -> None:
        """Check that the position is the message's earlier one, if it had one, and higher than all before it if not."""
        position, queue = delivery.position, self.queue_of(delivery.message.key)
        if position is None:
            if Capability.POSITIONS in self.capabilities:
                self.report("F9", f"{delivery.message.id} was delivered without a position")
            return
        if queued.position is not None and queued.position != position:
            self.report("F9", f"{delivery.message.id} had position {queued.position}, and has {position} now")
        is_behind = (
            queue.last is not None and queue.last.epoch == position.epoch and queue.last.number >= position.number
        )
        if queued.position is None and is_behind:
            self.report("F9", f"{delivery.message.id} has position {position}, which does not exceed {queue.last}")
        if not is_behind:
            queue.last = position
        queued.position = position

    def _check(self, queued: QueuedMessage, delivery: Delivery, before: float, after: float) -> None:
        queued.receive_count += 1
        self._check_position(queued, delivery)
        message = delivery.message
        if message.body != queued.message.body:
            kind = "T4" if queued.source == "timer" and self._was_replaced(message) else "D6"
            self.report(kind, f"{message.id} came back as {_short(message.body)}, not {_short(queued.message.body)}")
        elif message.headers != queued.message.headers:
            self.report("D8", f"{message.id} came back with {message.headers}, not {queued.message.headers}")
        receipt = (message.key, delivery.receipt)
        if receipt in self.receipts:
            self.report("R5", f"the receipt of {message.id} was used before: a stale holder could acknowledge it")
        self.receipts.add(receipt)
        if delivery.attempt != queued.receive_count:
            number = "X7" if delivery.attempt > queued.receive_count else "X6"
            self.report(number, f"{message.id}: delivery {queued.receive_count} says attempt {delivery.attempt}")
        if not before + self.lease - self.tolerance <= delivery.lease_until <= after + self.lease + self.tolerance:
            self.report("R2", f"the lease of {message.id} ends at {delivery.lease_until:g}, not {after + self.lease:g}")

    def _was_replaced(self, message: Message) -> bool:
        return any(timer.message == message for timers in self.replaced.values() for timer in timers)

    # The end of a run

    def check_quiescent(self, now: float) -> None:
        """Report every message and due timer that is left although nothing is leased or delivered any more."""
        for queue in self.queues.values():
            for queued in queue.waiting:
                if not queued.indeterminate:
                    self.report(self._kind_of_loss(queue, queued), f"{queued.message.id} of {queue.key} is lost")
        for timer in self.scheduled.values():
            known = timer.message.id in self.queue_of(timer.message.key).known
            if timer.due <= now - self.tolerance and not known and timer.id not in self.perhaps_cancelled:
                kind = "T4" if timer.id in self.replaced else "T2"
                self.report(kind, f"the timer {timer.id} was due at {timer.due:g}, and never fired")

    def _kind_of_loss(self, queue: QueueModel, queued: QueuedMessage) -> str:
        others = [other for each in self.queues.values() for other in each.known.values() if other is not queued]
        if queue.had_dead_letter:
            return "X6"
        if queued.receive_count:
            if queue.had_stale_ack:
                return "R5"
            return "F4" if queue.was_partly_acked else "D3"
        if any(other.message.id == queued.message.id for other in others):
            return "X2"
        if any(other.message.body == queued.message.body for other in others):
            return "X8"
        if queued.source != "send":
            return "T2" if queued.source == "timer" else "D4"
        return "F5" if queued.during_lease else "D1"


def _short(body: str) -> str:
    return repr(body) if len(body) < 60 else f"{body[:60]!r} ({len(body):,} characters)"


def _names(deliveries: Sequence[Delivery]) -> str:
    return ", ".join(delivery.message.id for delivery in deliveries)
