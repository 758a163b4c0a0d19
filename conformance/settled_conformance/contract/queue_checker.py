"""The queue's promises, held against what it hands out.

Each rule names the guarantee that is broken when it does not hold. Times are compared with the backend's own clock, as
it was before and after the call: what cannot have been too early or too late at either is let pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field

from settled import Key
from settled.durable import Capability, Delivery, Message, Timer, Write
from settled_conformance.contract.queue_model import Lease, QueuedMessage, QueueModel

ReportViolation = Callable[[str, str], None]


@define(eq=False)
class QueueChecker:
    """What the queue and the timers owe."""

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
        """The line of `key`."""
        return self.queues.setdefault(key, QueueModel(key))

    # What was asked for

    def sent(self, messages: Sequence[Message], source: str, now: float, indeterminate: bool = False) -> None:
        """`messages` were sent; `doubtful`: or perhaps not, for no answer came."""
        deduplicates = Capability.DEDUPLICATION in self.capabilities
        for message in messages:
            queue = self.queue_of(message.key)
            queue.refused.discard(message.id)
            queue.add(message, source, indeterminate=indeterminate, deduplicates=deduplicates, now=now)

    def refused(self, messages: Sequence[Message]) -> None:
        """`messages` belonged to a write that was refused: nobody may ever see them."""
        for message in messages:
            queue = self.queue_of(message.key)
            if message.id not in queue.known:
                queue.refused.add(message.id)

    def acked(self, deliveries: Sequence[Delivery], now: float) -> None:
        """`deliveries` were acknowledged."""
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

    def released(self, deliveries: Sequence[Delivery], delay: float, now: float) -> None:
        """`deliveries` were given back."""
        for delivery in deliveries:
            queue = self.queue_of(delivery.message.key)
            if queue.holder(delivery, now) is None:
                queue.had_stale_release = True
                continue
            queue.end_lease()
            queue.parked_until = now + delay

    def extended(self, deliveries: Sequence[Delivery], lease: float, now: float, refused: bool) -> None:
        """The leases of `deliveries` were extended; `refused`: the answer was that one was lost."""
        held = [self.queue_of(delivery.message.key).holder(delivery, now) for delivery in deliveries]
        for each in held:
            if each is not None:
                each.until = now + lease
        if refused != (None in held):
            self.report("R2", f"extending {_names(deliveries)} {'was refused' if refused else 'was not refused'}")

    def committed(self, write: Write, now: float) -> None:
        """`write` was done; if it was to be done in somebody's name, he must have held the key until now."""
        if write.stored is None or write.holder is None or Capability.FENCED_FINISH not in self.capabilities:
            return
        if self.queue_of(write.key).holder(write.holder, now - self.tolerance) is None:
            self.report("R12", f"{write.key}: a commit was taken from a hand-out that had lost the key")

    def lease_lost(self, write: Write, now: float) -> None:
        """`write` was refused, because the hand-out in whose name it was to be done had lost the key."""
        if write.holder is not None and self.queue_of(write.key).holder(write.holder, now + self.tolerance) is not None:
            self.report("R12", f"{write.key}: a commit was refused to the hand-out that holds the key")

    def scheduled_timer(self, timer: Timer, now: float) -> None:
        """`timer` was scheduled, in the place of one of the same id, which may have fired if it was due."""
        before = self.scheduled.get(timer.id)
        if before is not None:
            self.replaced.setdefault(timer.id, []).append(before)
            if before.due <= now + self.tolerance:
                self.perhaps_fired.add(timer.id)
        self.scheduled[timer.id] = timer
        self.cancelled.pop(timer.id, None)
        self.perhaps_cancelled.discard(timer.id)

    def cancelled_timer(self, timer_id: str, now: float) -> None:
        """A timer was cancelled; one that is due already may have fired."""
        timer = self.scheduled.get(timer_id)
        self.perhaps_cancelled.add(timer_id)
        if timer is not None and now < timer.due - self.tolerance:
            del self.scheduled[timer_id]
            self.cancelled[timer_id] = timer

    # What was handed out

    def received(self, deliveries: Sequence[Delivery], before: float, after: float) -> None:
        """`deliveries` were handed out, between `before` and `after`."""
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
            dict(zip((each.receipt for each in expected_group), waiting, strict=True)), expected_group[0].until
        )
        queue.parked_until, queue.had_stale_ack, queue.had_stale_release = 0.0, False, False

    def _is_expected(
        self, queue: QueueModel, delivery: Delivery, fired: dict[str, QueuedMessage], after: float
    ) -> bool:
        """Whether `delivery` is of a message that waits; a repetition may be let pass, and anything else may not."""
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
        """Whether `delivery` is of a timer in whose place `timer` was put, and only has the id of its message."""
        former = any(other.message == delivery.message for other in self.replaced.get(timer.id, []))
        return former and timer.message != delivery.message

    def _check_unexpected(self, queue: QueueModel, delivery: Delivery) -> None:
        id = delivery.message.id
        former = [each for timers in self.replaced.values() for each in timers if each.message == delivery.message]
        if former and id not in queue.acked:
            if self._cancels_reliably:
                self.report("T4", f"{id} is of a timer in whose place another was put, and was handed out")
            return
        if any(timer.message == delivery.message for timer in self.cancelled.values()):
            if self._cancels_reliably:
                self.report("T3", f"a timer was cancelled, and its message {id} was handed out")
        elif id in queue.refused:
            self.report("R6", f"{id} belonged to a commit that was refused, and was handed out")
        elif id in queue.acked:
            self._check_repetition(queue, id)
        elif any(id in other.known for other in self.queues.values()):
            self.report("X9", f"{id} was handed out for {queue.key}, and was sent to another key")
        else:
            self.report("X9", f"{id} was handed out for {queue.key}, and nobody had sent it")

    def _check_repetition(self, queue: QueueModel, id: str) -> None:
        if id in queue.sent_after_ack and Capability.DEDUPLICATION in self.capabilities:
            self.report("X3", f"{id} was sent again after it was acknowledged, and handed out again")
        elif id in queue.sent_while_waiting and Capability.DEDUPLICATION in self.capabilities:
            self.report("X1", f"{id} was sent twice, and is handed out after it was acknowledged")
        elif Capability.ACKED_STAYS_GONE in self.capabilities:
            self.report("D5", f"{id} was acknowledged, and handed out again")

    def _fire(self, queue: QueueModel, timer: Timer, after: float) -> QueuedMessage:
        others = self.replaced.get(timer.id, [])
        replaced = any(other.due <= after + self.tolerance for other in others)
        early = after < timer.due - self.tolerance and timer.id not in self.perhaps_fired
        if early and (self._cancels_reliably or not replaced):
            kind = "T4" if replaced else "T1"
            self.report(kind, f"the timer {timer.id} is due at {timer.due:g}, and fired at {after:g}")
        del self.scheduled[timer.id]
        queued = queue.known[timer.message.id] = QueuedMessage(timer.message, "timer")
        if not self._cancels_reliably:  # it may come at each of its times
            former = [other.message for other in others if other.message.key == queue.key]
            queue.waiting += [QueuedMessage(message, "timer", indeterminate=True) for message in former]
        return queued

    @property
    def _cancels_reliably(self) -> bool:
        return Capability.CANCELLED_STAYS_AWAY in self.capabilities

    def _check_is_free(self, queue: QueueModel, after: float) -> None:
        if queue.lease is not None and after < queue.lease.until - self.tolerance:
            if queue.had_stale_release or queue.had_stale_ack:
                self.report("R5", f"{queue.key} was handed out while it was held: a lost lease had been given back")
            else:
                self.report("R1", f"{queue.key} was handed out at {after:g}, and is held until {queue.lease.until:g}")
        if after < queue.parked_until - self.tolerance:
            self.report(
                "R2", f"{queue.key} was handed out at {after:g}, and is given back until {queue.parked_until:g}"
            )

    def _in_order(
        self, queue: QueueModel, group: Sequence[Delivery], fired: dict[str, QueuedMessage]
    ) -> list[QueuedMessage]:
        """The posts behind `group`: the first ones of the line, in their order.

        A timer may come in at any place behind what was handed out already, and what is doubtful may be passed over.
        """
        ids = [delivery.message.id for delivery in group]
        delivered, rest, disorder = list[QueuedMessage](), list(queue.waiting), False
        for id, delivery in zip(ids, group, strict=True):
            queued = fired.pop(id, None)
            # What is doubtful is passed over by what stands behind it, and by nothing that has just come in.
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
        """Whether `message` is the first of `rest`, and not another one further behind that has the same id."""
        first = rest[0].message
        return first.id == message.id and (first == message or all(message != each.message for each in rest))

    def _report_disorder(self, queue: QueueModel, ids: Sequence[str]) -> None:
        expected = [queued.message.id for queued in queue.waiting[: len(ids)]]
        number = self._kind_of_disorder(queue, ids, expected)
        self.report(number, f"{queue.key} was handed out {list(ids)}, not {expected}")

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
        """Positions stay what they are, and rise along the line for ever; who declares none may have none."""
        position, queue = delivery.position, self.queue_of(delivery.message.key)
        if position is None:
            if Capability.POSITIONS in self.capabilities:
                self.report("F9", f"{delivery.message.id} was handed out without a position")
            return
        if queued.position is not None and queued.position != position:
            self.report("F9", f"{delivery.message.id} had the position {queued.position}, and has {position} now")
        is_behind = (
            queue.last is not None and queue.last.epoch == position.epoch and queue.last.number >= position.number
        )
        if queued.position is None and is_behind:
            self.report("F9", f"{delivery.message.id} has the position {position}, behind {queue.last}")
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
        receipt = (message.key, delivery.receipt)
        if receipt in self.receipts:
            self.report("R5", f"the receipt of {message.id} was used before: an old holder can speak for the new one")
        self.receipts.add(receipt)
        if delivery.attempt != queued.receive_count:
            number = "X7" if delivery.attempt > queued.receive_count else "X6"
            self.report(
                number, f"{message.id} was handed out {queued.receive_count} times, and says {delivery.attempt}"
            )
        if not before + self.lease - self.tolerance <= delivery.until <= after + self.lease + self.tolerance:
            self.report("R2", f"the lease of {message.id} ends at {delivery.until:g}, not {after + self.lease:g}")

    def _was_replaced(self, message: Message) -> bool:
        return any(timer.message == message for timers in self.replaced.values() for timer in timers)

    # The end

    def check_quiescent(self, now: float) -> None:
        """Nothing is handed out any more, and nobody holds anything: so nothing may be left."""
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
