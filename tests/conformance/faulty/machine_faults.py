"""Faults in what a receive for some machines gets."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from settled.durable import Delivery, FinishResult, Write
from tests.conformance.faulty.reference import MessageGroup, Plain, locked


class MachinesIgnored(Plain):
    """A receive for some machines delivers the messages of all."""

    def wanted(self, ready: list[MessageGroup], machines: Collection[str] | None) -> list[MessageGroup]:
        return ready


class MachinesByPrefix(Plain):
    """A receive for a machine delivers those of machines whose id begins with its id, too."""

    def wanted(self, ready: list[MessageGroup], machines: Collection[str] | None) -> list[MessageGroup]:
        return [each for each in ready if machines is None or machine_of(each).startswith(tuple(machines))]


class NoMachineIsEveryMachine(Plain):
    """A receive for no machine delivers the messages of all."""

    def wanted(self, ready: list[MessageGroup], machines: Collection[str] | None) -> list[MessageGroup]:
        return super().wanted(ready, machines or None)


class FirstMachineOnly(Plain):
    """A receive for several machines delivers the messages of the first."""

    def wanted(self, ready: list[MessageGroup], machines: Collection[str] | None) -> list[MessageGroup]:
        return super().wanted(ready, machines and list(machines)[:1])


class MachinesInTheirOrder(Plain):
    """A receive for several machines delivers all messages of the first before those of the next."""

    def wanted(self, ready: list[MessageGroup], machines: Collection[str] | None) -> list[MessageGroup]:
        order = list(machines or ())
        wanted = super().wanted(ready, machines)
        return sorted(wanted, key=lambda each: order.index(machine_of(each))) if order else wanted


class LeasesBeforeItFilters(Plain):
    """The messages of other machines are leased, and not returned."""

    @locked
    def receive(self, limit: int, wait: float = 0.0, machines: Collection[str] | None = None) -> Sequence[Delivery]:
        found = super().receive(limit, wait)
        return [each for each in found if machines is None or each.message.key.machine in machines]


class FiltersAPage(Plain):
    """Only the hundred keys that are ready for the longest time are searched for those of the machines."""

    def wanted(self, ready: list[MessageGroup], machines: Collection[str] | None) -> list[MessageGroup]:
        return super().wanted(ready[:100], machines)


class TwoLeasesPerKey(Plain):
    """A receive for some machines delivers keys that are leased."""

    @locked
    def receive(self, limit: int, wait: float = 0.0, machines: Collection[str] | None = None) -> Sequence[Delivery]:
        if machines:
            for group in self.world.groups.values():
                if group.lease is not None and machine_of(group) in machines and limit > 5:
                    group.lease = None
        return super().receive(limit, wait, machines)


class LeasesEndForThoseWhoAsk(Plain):
    """A receive for some machines ends only the leases that began in a receive for them, and loses the others."""

    def expire(self) -> None:
        for group in self.world.groups.values():
            if group.lease is not None and group.lease.until <= self.world.now and machine_of(group) != "m":
                group.parked_until = float("inf")
        super().expire()


class JointReceiveOfAllMachines(Plain):
    """Several writes return messages of machines that were not asked for."""

    @locked
    def finish_all(
        self, writes: Sequence[Write], receive: int = 0, machines: Collection[str] | None = None
    ) -> FinishResult:
        return super().finish_all(writes, receive)


class PollsSlowly(Plain):
    """A receive for some machines that waits looks for messages every three seconds."""

    def receive(self, limit: int, wait: float = 0.0, machines: Collection[str] | None = None) -> Sequence[Delivery]:
        found = super().receive(limit, wait, machines)
        if not found and machines and wait > 0:
            time.sleep(min(wait, 3.0))
            found = super().receive(limit, wait, machines)
        return found


def machine_of(group: MessageGroup) -> str:
    return group.entries[0].message.key.machine if group.entries else ""


MACHINE_FAULTS: Mapping[type[Plain], str] = {
    MachinesIgnored: "F10",
    MachinesByPrefix: "F10",
    NoMachineIsEveryMachine: "F10",
    FirstMachineOnly: "F10",
    MachinesInTheirOrder: "F10",
    LeasesBeforeItFilters: "F10",
    FiltersAPage: "F10",
    TwoLeasesPerKey: "F10",
    LeasesEndForThoseWhoAsk: "F10",
    JointReceiveOfAllMachines: "F10",
    PollsSlowly: "F10",
}
