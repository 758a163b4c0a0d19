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

Accuse = Callable[[str, str], None]


@define(eq=False)
class QueueChecker:
    """What the queue and the timers owe."""

    accuse: Accuse
    capabilities: frozenset[Capability]
    lease: float
    tolerance: float
    lines: dict[Key, QueueModel] = field(factory=dict[Key, QueueModel])
    scheduled: dict[str, Timer] = field(factory=dict[str, Timer])
    replaced: dict[str, list[Timer]] = field(factory=dict[str, "list[Timer]"])
    cancelled: dict[str, Timer] = field(factory=dict[str, Timer])
    perhaps_fired: set[str] = field(factory=set[str])
    perhaps_cancelled: set[str] = field(factory=set[str])
    receipts: set[tuple[Key, str]] = field(factory=set[tuple[Key, str]])

    def line(self, key: Key) -> QueueModel:
        """The line of `key`."""
        return self.lines.setdefault(key, QueueModel(key))

    # What was asked for

    def sent(self, messages: Sequence[Message], source: str, now: float, doubtful: bool = False) -> None:
        """`messages` were sent; `doubtful`: or perhaps not, for no answer came."""
        deduplicates = Capability.DEDUPLICATION in self.capabilities
        for message in messages:
            line = self.line(message.key)
            line.refused.discard(message.id)
            line.post(message, source, doubtful=doubtful, deduplicates=deduplicates, now=now)

    def refused(self, messages: Sequence[Message]) -> None:
        """`messages` belonged to a write that was refused: nobody may ever see them."""
        for message in messages:
            line = self.line(message.key)
            if message.id not in line.known:
                line.refused.add(message.id)

    def acked(self, deliveries: Sequence[Delivery], now: float) -> None:
        """`deliveries` were acknowledged."""
        for delivery in deliveries:
            line = self.line(delivery.message.key)
            lease = line.holder(delivery, now)
            if lease is None:
                line.had_stale_ack = True
                continue
            post = lease.deliveries.pop(delivery.receipt)
            if line.posts[0] is post:
                line.posts.pop(0)
            else:
                line.posts = [other for other in line.posts if other is not post]
            line.acked.add(post.message.id)
            if lease.deliveries:
                line.was_partly_acked = True
            else:
                line.give_up()

    def released(self, deliveries: Sequence[Delivery], delay: float, now: float) -> None:
        """`deliveries` were given back."""
        for delivery in deliveries:
            line = self.line(delivery.message.key)
            if line.holder(delivery, now) is None:
                line.had_stale_release = True
                continue
            line.give_up()
            line.parked_until = now + delay

    def extended(self, deliveries: Sequence[Delivery], lease: float, now: float, refused: bool) -> None:
        """The leases of `deliveries` were extended; `refused`: the answer was that one was lost."""
        held = [self.line(delivery.message.key).holder(delivery, now) for delivery in deliveries]
        for each in held:
            if each is not None:
                each.until = now + lease
        if refused != (None in held):
            self.accuse("R2", f"extending {_names(deliveries)} {'was refused' if refused else 'was not refused'}")

    def committed_by(self, write: Write, now: float) -> None:
        """`write` was done; if it was to be done in somebody's name, he must have held the key until now."""
        if write.stored is None or write.holder is None or Capability.FENCED_FINISH not in self.capabilities:
            return
        if self.line(write.key).holder(write.holder, now - self.tolerance) is None:
            self.accuse("R12", f"{write.key}: a commit was taken from a hand-out that had lost the key")

    def lease_was_lost(self, write: Write, now: float) -> None:
        """`write` was refused, because the hand-out in whose name it was to be done had lost the key."""
        if write.holder is not None and self.line(write.key).holder(write.holder, now + self.tolerance) is not None:
            self.accuse("R12", f"{write.key}: a commit was refused to the hand-out that holds the key")

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
            self._hand_out(group, before, after)

    def _hand_out(self, group: Sequence[Delivery], before: float, after: float) -> None:
        line = self.line(group[0].message.key)
        fired: dict[str, QueuedMessage] = {}
        owed = [delivery for delivery in group if self._is_owed(line, delivery, fired, after)]
        if not owed:
            return
        self._may_be_handed_out(line, after)
        posts = self._in_order(line, owed, fired)
        for delivery, post in zip(owed, posts, strict=True):
            self._check(post, delivery, before, after)
        line.lease = Lease(dict(zip((each.receipt for each in owed), posts, strict=True)), owed[0].until)
        line.parked_until, line.had_stale_ack, line.had_stale_release = 0.0, False, False

    def _is_owed(self, line: QueueModel, delivery: Delivery, fired: dict[str, QueuedMessage], after: float) -> bool:
        """Whether `delivery` is of a message that waits; a repetition may be let pass, and anything else may not."""
        id = delivery.message.id
        if any(post.message.id == id for post in line.posts):
            return True
        timer = next((each for each in self.scheduled.values() if each.message.id == id), None)
        if timer is not None and timer.message.key == line.key and not self._is_of_the_past(timer, delivery):
            fired[id] = self._fire(line, timer, after)
            return True
        self._judge_stranger(line, delivery)
        return False

    def _is_of_the_past(self, timer: Timer, delivery: Delivery) -> bool:
        """Whether `delivery` is of a timer in whose place `timer` was put, and only has the id of its message."""
        former = any(other.message == delivery.message for other in self.replaced.get(timer.id, []))
        return former and timer.message != delivery.message

    def _judge_stranger(self, line: QueueModel, delivery: Delivery) -> None:
        id = delivery.message.id
        former = [each for timers in self.replaced.values() for each in timers if each.message == delivery.message]
        if former and id not in line.acked:
            if self._stays_away:
                self.accuse("T4", f"{id} is of a timer in whose place another was put, and was handed out")
            return
        if any(timer.message == delivery.message for timer in self.cancelled.values()):
            if self._stays_away:
                self.accuse("T3", f"a timer was cancelled, and its message {id} was handed out")
        elif id in line.refused:
            self.accuse("R6", f"{id} belonged to a commit that was refused, and was handed out")
        elif id in line.acked:
            self._judge_repetition(line, id)
        elif any(id in other.known for other in self.lines.values()):
            self.accuse("X9", f"{id} was handed out for {line.key}, and was sent to another key")
        else:
            self.accuse("X9", f"{id} was handed out for {line.key}, and nobody had sent it")

    def _judge_repetition(self, line: QueueModel, id: str) -> None:
        if id in line.sent_after_ack and Capability.DEDUPLICATION in self.capabilities:
            self.accuse("X3", f"{id} was sent again after it was acknowledged, and handed out again")
        elif id in line.sent_while_waiting and Capability.DEDUPLICATION in self.capabilities:
            self.accuse("X1", f"{id} was sent twice, and is handed out after it was acknowledged")
        elif Capability.ACKED_STAYS_GONE in self.capabilities:
            self.accuse("D5", f"{id} was acknowledged, and handed out again")

    def _fire(self, line: QueueModel, timer: Timer, after: float) -> QueuedMessage:
        others = self.replaced.get(timer.id, [])
        replaced = any(other.due <= after + self.tolerance for other in others)
        early = after < timer.due - self.tolerance and timer.id not in self.perhaps_fired
        if early and (self._stays_away or not replaced):
            kind = "T4" if replaced else "T1"
            self.accuse(kind, f"the timer {timer.id} is due at {timer.due:g}, and fired at {after:g}")
        del self.scheduled[timer.id]
        post = line.known[timer.message.id] = QueuedMessage(timer.message, "timer")
        if not self._stays_away:  # it may come at each of its times
            former = [other.message for other in others if other.message.key == line.key]
            line.posts += [QueuedMessage(message, "timer", doubtful=True) for message in former]
        return post

    @property
    def _stays_away(self) -> bool:
        return Capability.CANCELLED_STAYS_AWAY in self.capabilities

    def _may_be_handed_out(self, line: QueueModel, after: float) -> None:
        if line.lease is not None and after < line.lease.until - self.tolerance:
            if line.had_stale_release or line.had_stale_ack:
                self.accuse("R5", f"{line.key} was handed out while it was held: a lost lease had been given back")
            else:
                self.accuse("R1", f"{line.key} was handed out at {after:g}, and is held until {line.lease.until:g}")
        if after < line.parked_until - self.tolerance:
            self.accuse("R2", f"{line.key} was handed out at {after:g}, and is given back until {line.parked_until:g}")

    def _in_order(
        self, line: QueueModel, group: Sequence[Delivery], fired: dict[str, QueuedMessage]
    ) -> list[QueuedMessage]:
        """The posts behind `group`: the first ones of the line, in their order.

        A timer may come in at any place behind what was handed out already, and what is doubtful may be passed over.
        """
        ids = [delivery.message.id for delivery in group]
        handed, rest, disorder = list[QueuedMessage](), list(line.posts), False
        for id, delivery in zip(ids, group, strict=True):
            post = fired.pop(id, None)
            # What is doubtful is passed over by what stands behind it, and by nothing that has just come in.
            while post is None and rest and rest[0].doubtful and not self._is_first(rest, delivery.message):
                rest.pop(0)
            if post is None and rest and rest[0].message.id == id:
                post = rest.pop(0)
            elif post is None or (rest and rest[0].handed):
                disorder = True
                found = post or next(each for each in (*rest, *handed, *line.posts) if each.message.id == id)
                rest, post = [each for each in rest if each is not found], found
            handed.append(post)
            post.doubtful = False
        if disorder:
            self._judge_disorder(line, ids)
        line.posts = [*dict.fromkeys(handed), *rest]
        return handed

    def _is_first(self, rest: Sequence[QueuedMessage], message: Message) -> bool:
        """Whether `message` is the first of `rest`, and not another one further behind that has the same id."""
        first = rest[0].message
        return first.id == message.id and (first == message or all(message != each.message for each in rest))

    def _judge_disorder(self, line: QueueModel, ids: Sequence[str]) -> None:
        expected = [post.message.id for post in line.posts[: len(ids)]]
        number = self._kind_of_disorder(line, ids, expected)
        self.accuse(number, f"{line.key} was handed out {list(ids)}, not {expected}")

    def _kind_of_disorder(self, line: QueueModel, ids: Sequence[str], expected: Sequence[str]) -> str:
        twice = {id for id in ids if ids.count(id) > 1}
        if twice:
            return "X1" if twice & line.sent_while_waiting else "F2"
        if sorted(ids) == sorted(expected):
            return "F2"
        if line.posts and line.posts[0].message.id not in ids:
            return "F3" if line.posts[0].handed else "F1"
        return "F2"

    def _check_position(self, post: QueuedMessage, delivery: Delivery) -> None:
        """Positions stay what they are, and rise along the line for ever; who declares none may have none."""
        position, line = delivery.position, self.line(delivery.message.key)
        if position is None:
            if Capability.POSITIONS in self.capabilities:
                self.accuse("F9", f"{delivery.message.id} was handed out without a position")
            return
        if post.position is not None and post.position != position:
            self.accuse("F9", f"{delivery.message.id} had the position {post.position}, and has {position} now")
        is_behind = line.last is not None and line.last.epoch == position.epoch and line.last.number >= position.number
        if post.position is None and is_behind:
            self.accuse("F9", f"{delivery.message.id} has the position {position}, behind {line.last}")
        if not is_behind:
            line.last = position
        post.position = position

    def _check(self, post: QueuedMessage, delivery: Delivery, before: float, after: float) -> None:
        post.handed += 1
        self._check_position(post, delivery)
        message = delivery.message
        if message.body != post.message.body:
            kind = "T4" if post.source == "timer" and self._was_replaced(message) else "D6"
            self.accuse(kind, f"{message.id} came back as {_short(message.body)}, not {_short(post.message.body)}")
        receipt = (message.key, delivery.receipt)
        if receipt in self.receipts:
            self.accuse("R5", f"the receipt of {message.id} was used before: an old holder can speak for the new one")
        self.receipts.add(receipt)
        if delivery.attempt != post.handed:
            number = "X7" if delivery.attempt > post.handed else "X6"
            self.accuse(number, f"{message.id} was handed out {post.handed} times, and says {delivery.attempt}")
        if not before + self.lease - self.tolerance <= delivery.until <= after + self.lease + self.tolerance:
            self.accuse("R2", f"the lease of {message.id} ends at {delivery.until:g}, not {after + self.lease:g}")

    def _was_replaced(self, message: Message) -> bool:
        return any(timer.message == message for timers in self.replaced.values() for timer in timers)

    # The end

    def at_rest(self, now: float) -> None:
        """Nothing is handed out any more, and nobody holds anything: so nothing may be left."""
        for line in self.lines.values():
            for post in line.posts:
                if not post.doubtful:
                    self.accuse(self._kind_of_loss(line, post), f"{post.message.id} of {line.key} is lost")
        for timer in self.scheduled.values():
            known = timer.message.id in self.line(timer.message.key).known
            if timer.due <= now - self.tolerance and not known and timer.id not in self.perhaps_cancelled:
                kind = "T4" if timer.id in self.replaced else "T2"
                self.accuse(kind, f"the timer {timer.id} was due at {timer.due:g}, and never fired")

    def _kind_of_loss(self, line: QueueModel, post: QueuedMessage) -> str:
        others = [other for each in self.lines.values() for other in each.known.values() if other is not post]
        if line.had_bury:
            return "X6"
        if post.handed:
            if line.had_stale_ack:
                return "R5"
            return "F4" if line.was_partly_acked else "D3"
        if any(other.message.id == post.message.id for other in others):
            return "X2"
        if any(other.message.body == post.message.body for other in others):
            return "X8"
        if post.source != "send":
            return "T2" if post.source == "timer" else "D4"
        return "F5" if post.during_lease else "D1"


def _short(body: str) -> str:
    return repr(body) if len(body) < 60 else f"{body[:60]!r} ({len(body):,} characters)"


def _names(deliveries: Sequence[Delivery]) -> str:
    return ", ".join(delivery.message.id for delivery in deliveries)
