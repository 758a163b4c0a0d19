"""Timers that fire early, late, never, or with a part of a timer they replaced."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve

from settled.durable import Timer
from tests.conformance.faulty.reference import Plain, locked


class EarlyTimer(Plain):
    """Due times are rounded down to whole seconds."""

    def is_due(self, timer: Timer) -> bool:
        return int(timer.due) <= self.world.now + 0.5


class PoppedBeforeSend(Plain):
    """A timer is deleted before its message is sent."""

    def fire(self) -> None:
        for timer in list(self.world.timers.values()):
            if self.is_due(timer):
                del self.world.timers[timer.id]
                self.round_trip("a timer")
                self.append(timer.message)


class RescheduleIgnored(Plain):
    """Scheduling a timer again has no effect."""

    @locked
    def schedule(self, timer: Timer) -> None:
        self.world.timers.setdefault(timer.id, timer)


class UncheckedCancel(Plain):
    """A cancel succeeds without effect."""

    @locked
    def cancel(self, timer_id: str) -> None:
        pass


class TimerOnlyWhenIdle(Plain):
    """A timer that is due while its key is leased is dropped."""

    def fire(self) -> None:
        for timer in list(self.world.timers.values()):
            if self.is_due(timer):
                del self.world.timers[timer.id]
                if self.group(timer.message.key).lease is None:
                    self.append(timer.message)


class OneTimerAtATime(Plain):
    """A timer replaces all others of its key."""

    @locked
    def schedule(self, timer: Timer) -> None:
        for other in list(self.world.timers.values()):
            if other.message.key == timer.message.key:
                del self.world.timers[other.id]
        super().schedule(timer)


class CancelsAllThatBeginSo(Plain):
    """A cancel cancels all timers with the same prefix."""

    @locked
    def cancel(self, timer_id: str) -> None:
        for id in [each for each in self.world.timers if each.startswith(timer_id)]:
            del self.world.timers[id]


class KeepsTheMessage(Plain):
    """A replacement timer keeps the old message."""

    def replaced(self, old: Timer, new: Timer) -> Timer:
        return evolve(new, message=old.message)


class KeepsTheKey(Plain):
    """A replacement timer keeps the old key."""

    def replaced(self, old: Timer, new: Timer) -> Timer:
        return evolve(new, message=evolve(new.message, key=old.message.key))


class KeepsTheBody(Plain):
    """A replacement timer keeps the old body."""

    def replaced(self, old: Timer, new: Timer) -> Timer:
        return evolve(new, message=evolve(new.message, body=old.message.body))


class KeepsTheId(Plain):
    """A replacement timer keeps the old message id."""

    def replaced(self, old: Timer, new: Timer) -> Timer:
        return evolve(new, message=evolve(new.message, id=old.message.id))


class KeepsTheEarlierTime(Plain):
    """A replacement timer fires at the earlier of both times."""

    def replaced(self, old: Timer, new: Timer) -> Timer:
        return evolve(new, due=min(old.due, new.due))


class KeepsTheLaterTime(Plain):
    """A replacement timer fires at the later of both times."""

    def replaced(self, old: Timer, new: Timer) -> Timer:
        return evolve(new, due=max(old.due, new.due))


class TimersOfTwoMebibytes(Plain):
    """The body of a timer is cut at 2 MiB."""

    @locked
    def schedule(self, timer: Timer) -> None:
        super().schedule(evolve(timer, message=evolve(timer.message, body=timer.message.body[: 2**21])))


TIMER_FAULTS: Mapping[type[Plain], str] = {
    EarlyTimer: "T1",
    PoppedBeforeSend: "T2",
    RescheduleIgnored: "T4",
    UncheckedCancel: "T3",
    TimerOnlyWhenIdle: "T2",
    OneTimerAtATime: "T2",
    CancelsAllThatBeginSo: "T2",
    KeepsTheMessage: "T4",
    KeepsTheKey: "T4",
    KeepsTheBody: "T4",
    KeepsTheId: "T4",
    KeepsTheEarlierTime: "T4",
    KeepsTheLaterTime: "T4",
    TimersOfTwoMebibytes: "D6",
}
"""Each class with the guarantee that must catch it."""
