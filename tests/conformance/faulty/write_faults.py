"""Backends that break `finish` and `finish_all`: the parts of a write, and several writes in one call."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from attrs import evolve

from settled import ConflictError, IdReusedError, Key, SettledError
from settled.durable import Delivery, FinishResult, Write
from tests.conformance.faulty.reference import Plain, locked


class LoserLeavesOutbox(Plain):
    """A write sends its messages before it may fail."""

    @locked
    def finish(self, write: Write) -> None:
        self.apply_outbox(write)
        super().finish(write)


class OutboxAfterCommit(Plain):
    """The messages of a write are buffered in the handle until it receives."""

    def apply_outbox(self, write: Write) -> None:
        self.__dict__.setdefault("owed", []).append(write)

    @locked
    def receive(self, limit: int, wait: float = 0.0, machines: Collection[str] | None = None) -> Sequence[Delivery]:
        if limit:
            for write in self.__dict__.pop("owed", []):
                super().apply_outbox(write)
        return super().receive(limit, wait, machines)


class MarkedDoneBeforeSend(Plain):
    """A write acknowledges before it sends."""

    @locked
    def finish(self, write: Write) -> None:
        super().finish(evolve(write, sends=(), timers=(), cancels=()))
        self.round_trip("outbox")
        self.apply_outbox(write)


class CancelsForgotten(Plain):
    """A write ignores its cancels."""

    def apply_outbox(self, write: Write) -> None:
        super().apply_outbox(evolve(write, cancels=()))


class TimersForgotten(Plain):
    """A write ignores its timers."""

    def apply_outbox(self, write: Write) -> None:
        super().apply_outbox(evolve(write, timers=()))


class AcksOnConflict(Plain):
    """A failing write has already acknowledged."""

    @locked
    def finish(self, write: Write) -> None:
        self.ack(write.acks)
        super().finish(evolve(write, acks=()))


class SendsOutsideTheCommit(Plain):
    """A write that is declared atomic sends in a second round trip."""

    @locked
    def finish(self, write: Write) -> None:
        super().finish(evolve(write, sends=(), timers=(), cancels=(), acks=()))
        self.round_trip("outbox")
        super().finish(evolve(write, stored=None, add_dead_letters=(), remove_dead_letters=0))


class RefusesTooLate(Plain):
    """A write fails after it has sent its messages."""

    @locked
    def finish(self, write: Write) -> None:
        if write.stored is not None and write.expected == self.version(write.key):
            self.apply_outbox(write)
            self.move_dead_letters(write.key, write.add_dead_letters, write.remove_dead_letters)
        super().finish(write)


class RefusalTakesTheOthers(Plain):
    """Of several writes those after a failing one are not made."""

    @locked
    def finish_all(
        self, writes: Sequence[Write], receive: int = 0, machines: Collection[str] | None = None
    ) -> FinishResult:
        refused = dict[Key, SettledError]()
        for write in writes:
            if refused:
                refused[write.key] = ConflictError("another one was refused")
                continue
            try:
                self.finish(write)
            except SettledError as error:
                refused[write.key] = error
        return FinishResult(refused, tuple(self.receive(receive, machines=machines)))


class RefusalUnsaid(Plain):
    """Of several writes a failing one is reported as done."""

    @locked
    def finish_all(
        self, writes: Sequence[Write], receive: int = 0, machines: Collection[str] | None = None
    ) -> FinishResult:
        return FinishResult({}, super().finish_all(writes, receive, machines).deliveries)


class JointReceivesUnasked(Plain):
    """Several writes return messages that were not requested."""

    @locked
    def finish_all(
        self, writes: Sequence[Write], receive: int = 0, machines: Collection[str] | None = None
    ) -> FinishResult:
        return super().finish_all(writes, 10, machines)


class JointRaisesForAll(Plain):
    """Of several writes one that reuses an id stops all those after it."""

    @locked
    def finish_all(
        self, writes: Sequence[Write], receive: int = 0, machines: Collection[str] | None = None
    ) -> FinishResult:
        done = list[Write]()
        for write in writes:
            try:
                self.check_all(write.sends)
            except IdReusedError:
                super().finish_all(done)
                raise
            done.append(write)
        return super().finish_all(writes, receive, machines)


WRITE_FAULTS: Mapping[type[Plain], str] = {
    LoserLeavesOutbox: "R6",
    OutboxAfterCommit: "D4",
    MarkedDoneBeforeSend: "D4",
    CancelsForgotten: "T3",
    TimersForgotten: "T2",
    AcksOnConflict: "R6",
    SendsOutsideTheCommit: "R9",
    RefusesTooLate: "R12",
    RefusalTakesTheOthers: "R9",
    RefusalUnsaid: "R6",
    JointReceivesUnasked: "F8",
    JointRaisesForAll: "R9",
}
"""Each class with the guarantee that must catch it."""
