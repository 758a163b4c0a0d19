"""Faults in counting and withdrawing what waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from settled.durable import Backlog, Delivery, Message
from tests.conformance.faulty.reference import MessageGroup, Plain, locked


class BacklogOfInstances(Plain):
    """The backlog counts the instances that have messages."""

    def counted(self, machine: str, sent: list[float]) -> Backlog:
        instances = [key for key, group in self.world.groups.items() if key.machine == machine and group.entries]
        return Backlog(machine, len(instances), min(sent))


class BacklogWithTheLeased(Plain):
    """The backlog counts messages that are leased, too."""

    @locked
    def backlog(self) -> Sequence[Backlog]:
        counts = dict[str, int]()
        for key, group in self.world.groups.items():
            if group.entries:
                counts[key.machine] = counts.get(key.machine, 0) + len(group.entries)
        return [Backlog(machine, count) for machine, count in sorted(counts.items())]


class BacklogForgetsEndedLeases(Plain):
    """The backlog leaves out messages whose lease has ended until somebody receives."""

    @locked
    def backlog(self) -> Sequence[Backlog]:
        counts = dict[str, int]()
        for key, group in self.world.groups.items():
            if group.entries and self.is_free(group):
                counts[key.machine] = counts.get(key.machine, 0) + len(group.entries)
        return [Backlog(machine, count) for machine, count in sorted(counts.items())]


class OldestIsNewest(Plain):
    """The backlog tells when the newest message was sent."""

    def counted(self, machine: str, sent: list[float]) -> Backlog:
        return Backlog(machine, len(sent), max(sent))


class WithdrawnIdsAreKnown(Plain):
    """The ids of withdrawn messages are remembered, so that they cannot be sent again."""

    def forget_id(self, group: MessageGroup, message: Message) -> None:
        pass


class StaleReceiptsWithdraw(Plain):
    """A withdrawal under a lost lease removes the messages."""

    @locked
    def withdraw(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            group = self.group(delivery.message.key)
            group.entries = [each for each in group.entries if each.message != delivery.message]
            self.forget_id(group, delivery.message)


BACKLOG_FAULTS: Mapping[type[Plain], str] = {
    BacklogOfInstances: "C1",
    BacklogWithTheLeased: "C1",
    BacklogForgetsEndedLeases: "C1",
    OldestIsNewest: "C1",
    WithdrawnIdsAreKnown: "C1",
    StaleReceiptsWithdraw: "C1",
}
