"""Queues that break leases: who holds a key and until when, what a receipt is valid for, which delivery may commit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from attrs import evolve

from settled import ConflictError, LeaseLostError
from settled.durable import Delivery, Write
from tests.conformance.faulty.reference import Entry, Lease, MessageGroup, Plain, locked


class LockPerEvent(Plain):
    """A lease holds one message instead of its key."""

    def is_free(self, group: MessageGroup) -> bool:
        return True

    def batch(self, group: MessageGroup, limit: int) -> list[Entry]:
        held = list(group.lease.entries.values()) if group.lease else []
        return [entry for entry in group.entries if entry not in held][:limit]

    def hand_out(self, group: MessageGroup, limit: int) -> list[Delivery]:
        before = group.lease
        if not self.batch(group, limit):
            return []
        deliveries = super().hand_out(group, limit)
        if before is not None and group.lease is not None:
            group.lease.entries = {**before.entries, **group.lease.entries}
        return deliveries


class CheckThenSetClaim(Plain):
    """A key is checked to be free before it is claimed, not atomically."""

    def receive(self, limit: int, wait: float = 0.0, machines: Collection[str] | None = None) -> Sequence[Delivery]:
        with self.world.lock:
            self.fire()
            self.expire()
            free = self.ready() if limit else []
        deliveries = list[Delivery]()
        for group in free:
            if len(deliveries) < limit:
                deliveries += self.hand_out(group, limit - len(deliveries))
        return deliveries


class EarlyExpiry(Plain):
    """Leases end a moment too early."""

    def expire(self) -> None:
        for group in self.world.groups.values():
            if group.lease is not None and group.lease.until - 0.1 <= self.world.now:
                self.end_lease(group)


class LeaseNeverExpires(Plain):
    """Leases never end."""

    def expire(self) -> None:
        pass


class ZombieAck(Plain):
    """An acknowledgement takes effect even under a lost lease."""

    @locked
    def ack(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            group = self.group(delivery.message.key)
            group.entries = [entry for entry in group.entries if entry.message.id != delivery.message.id]
            self.end_lease(group)


class ZombieRelease(Plain):
    """A release takes effect even under a lost lease."""

    @locked
    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        for delivery in deliveries:
            group = self.group(delivery.message.key)
            group.parked_until = self.world.now + delay
            self.end_lease(group)


class DelayIgnored(Plain):
    """Released messages are delivered again without the delay."""

    @locked
    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        super().release(deliveries)


class ExtensionIgnored(Plain):
    """An extension succeeds without effect."""

    @locked
    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        pass


class ExtensionOfTheLost(Plain):
    """Extending a lost lease does not fail."""

    @locked
    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        try:
            super().extend(deliveries, lease)
        except ConflictError:
            return


class ExtensionOfTheAcknowledged(Plain):
    """Extending an acknowledged delivery leases its key again."""

    def consume(self, group: MessageGroup, delivery: Delivery) -> None:
        super().consume(group, delivery)
        self.world.notes[delivery.receipt] = group.lease is None

    @locked
    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        for delivery in deliveries:
            group = self.group(delivery.message.key)
            if self.world.notes.get(delivery.receipt) and group.lease is None:
                group.lease = Lease(0, self.world.now + lease, {})
        super().extend(deliveries, lease)


class ReusedReceipts(Plain):
    """A receipt is the id of the message."""

    def hand_out(self, group: MessageGroup, limit: int) -> list[Delivery]:
        deliveries = super().hand_out(group, limit)
        assert group.lease is not None
        group.lease.entries = {entry.message.id: entry for entry in group.lease.entries.values()}
        return [evolve(each, receipt=each.message.id) for each in deliveries]


class ReleasesOneOnly(Plain):
    """Releasing a batch releases its first message, and loses the rest."""

    @locked
    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        for delivery in deliveries[1:]:
            group = self.group(delivery.message.key)
            if self.holds(group, delivery) and group.lease is not None:
                group.entries.remove(group.lease.entries[delivery.receipt])
        super().release(deliveries[:1], delay)


class ReleasesTheFirstKey(Plain):
    """Of several keys released together only the first is released."""

    @locked
    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        super().release([each for each in deliveries if each.message.key == deliveries[0].message.key], delay)


class AckStopsAtALostOne(Plain):
    """Of several acknowledgements those after a late one have no effect."""

    @locked
    def ack(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            if not self.holds(self.group(delivery.message.key), delivery):
                return
            super().ack([delivery])


class ExtendStopsAtALostOne(Plain):
    """Of several extensions none takes effect if one lease was lost."""

    @locked
    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        if not all(self.holds(self.group(each.message.key), each) for each in deliveries):
            raise ConflictError("a lease was lost")
        super().extend(deliveries, lease)


class PauseEndsWithATimer(Plain):
    """A timer that fires ends the release delay of its key."""

    def fire(self) -> None:
        for timer in self.world.timers.values():
            if self.is_due(timer):
                self.group(timer.message.key).parked_until = 0.0
        super().fire()


class ReceiptForEver(Plain):
    """A receipt that was extended stays valid after its lease was lost."""

    @locked
    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        super().extend(deliveries, lease)
        self.world.notes.setdefault("extended", set()).update(each.receipt for each in deliveries)

    def holds(self, group: MessageGroup, delivery: Delivery) -> bool:
        if delivery.receipt not in self.world.notes.get("extended", ()):
            return super().holds(group, delivery)
        if group.lease is not None and group.entries:
            group.lease.entries.setdefault(delivery.receipt, group.entries[0])
        return group.lease is not None

    def consume(self, group: MessageGroup, delivery: Delivery) -> None:
        assert group.lease is not None
        entry = group.lease.entries.pop(delivery.receipt)
        group.entries = [each for each in group.entries if each is not entry]
        if not group.lease.entries:
            self.end_lease(group)


class ReceiptOfTheFirstLease(Plain):
    """An extended lease lasts longer, but its receipt is valid only until the first end."""

    def holds(self, group: MessageGroup, delivery: Delivery) -> bool:
        return super().holds(group, delivery) and self.world.now < delivery.lease_until

    @locked
    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        super().extend([evolve(each, lease_until=self.world.now + 1) for each in deliveries], lease)


class CloseEndsLeases(Plain):
    """Closing a handle ends the leases of all others."""

    def close(self) -> None:
        for group in self.world.groups.values():
            if group.lease is not None:
                self.end_lease(group)


class BareErrors(Plain):
    """A late acknowledgement raises an internal error of the adapter."""

    def holds(self, group: MessageGroup, delivery: Delivery) -> bool:
        return self.world.now < (group.lease.until if group.lease else 0.0)


class CommitWithoutHolder(Plain):
    """A commit does not check its holder."""

    def fence(self, write: Write) -> None:
        pass


class CommitByAnyToken(Plain):
    """A commit succeeds under any earlier lease, as long as the key is leased."""

    def fence(self, write: Write) -> None:
        if write.holder is not None and self.group(write.key).lease is None:
            raise LeaseLostError(f"{write.key}: its lease was lost")


class CommitAfterTheLease(Plain):
    """A commit succeeds after the end of its lease, until the key is leased again."""

    def fence(self, write: Write) -> None:
        lease = self.group(write.key).lease
        if write.holder is not None and (lease is None or write.holder.receipt not in lease.entries):
            raise LeaseLostError(f"{write.key}: its lease was lost")


class CommitOnceForAHandOut(Plain):
    """A second commit under one lease fails."""

    def fence(self, write: Write) -> None:
        super().fence(write)
        lease = self.group(write.key).lease
        if write.holder is not None and lease is not None and len(lease.entries) == 1 and write.expected == 1:
            raise LeaseLostError(f"{write.key}: its lease was lost")


LEASE_FAULTS: Mapping[type[Plain], str] = {
    LockPerEvent: "R1",
    CheckThenSetClaim: "R1",
    EarlyExpiry: "R1",
    LeaseNeverExpires: "R2",
    ZombieAck: "R5",
    ZombieRelease: "R5",
    DelayIgnored: "R2",
    ExtensionIgnored: "R2",
    ExtensionOfTheLost: "R5",
    ExtensionOfTheAcknowledged: "R2",
    ReusedReceipts: "R5",
    ReleasesOneOnly: "F2",
    ReleasesTheFirstKey: "R2",
    AckStopsAtALostOne: "R5",
    ExtendStopsAtALostOne: "R2",
    PauseEndsWithATimer: "R2",
    ReceiptForEver: "R5",
    ReceiptOfTheFirstLease: "R2",
    CloseEndsLeases: "R1",
    BareErrors: "D3",
    CommitWithoutHolder: "R12",
    CommitByAnyToken: "R12",
    CommitAfterTheLease: "R12",
    CommitOnceForAHandOut: "R12",
}
"""Each class with the guarantee that must catch it."""
