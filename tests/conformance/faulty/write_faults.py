"""Backends that break `finish` and `finish_all`: the parts of a write, and several writes in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve

from settled import ConflictError, IdReusedError, Key, SettledError
from settled.durable import Delivery, Finished, Write
from tests.conformance.faulty.reference import Plain, locked


class LoserLeavesOutbox(Plain):
    """What a write owes is sent first, and then the write may be refused."""

    @locked
    def finish(self, write: Write) -> None:
        self.apply_outbox(write)
        super().finish(write)


class OutboxAfterCommit(Plain):
    """What a write owes is kept in the handle, and sent along with whatever it does next."""

    def apply_outbox(self, write: Write) -> None:
        self.__dict__.setdefault("owed", []).append(write)

    @locked
    def receive(self, limit: int, wait: float = 0.0) -> Sequence[Delivery]:
        if limit:
            for write in self.__dict__.pop("owed", []):
                super().apply_outbox(write)
        return super().receive(limit, wait)


class MarkedDoneBeforeSend(Plain):
    """A message is acknowledged, and then what it owes is sent."""

    @locked
    def finish(self, write: Write) -> None:
        super().finish(evolve(write, sends=(), timers=(), cancels=()))
        self.round_trip("what is owed")
        self.apply_outbox(write)


class CancelsForgotten(Plain):
    """A write schedules, but cancels nothing."""

    def apply_outbox(self, write: Write) -> None:
        super().apply_outbox(evolve(write, cancels=()))


class TimersForgotten(Plain):
    """A write sends, but schedules nothing."""

    def apply_outbox(self, write: Write) -> None:
        super().apply_outbox(evolve(write, timers=()))


class AcksOnConflict(Plain):
    """A write that is refused has already acknowledged."""

    @locked
    def finish(self, write: Write) -> None:
        self.ack(write.acks)
        super().finish(evolve(write, acks=()))


class SendsOutsideTheCommit(Plain):
    """Declares that a write is atomic, and sends in a second round trip."""

    @locked
    def finish(self, write: Write) -> None:
        super().finish(evolve(write, sends=(), timers=(), cancels=(), acks=()))
        self.round_trip("what is owed")
        super().finish(evolve(write, stored=None, bury=(), unbury=0))


class RefusesTooLate(Plain):
    """A commit is refused once its messages are sent."""

    @locked
    def finish(self, write: Write) -> None:
        if write.stored is not None and write.expected == self.version(write.key):
            self.apply_outbox(write)
            self.move_dead_letters(write.key, write.bury, write.unbury)
        super().finish(write)


class RefusalTakesTheOthers(Plain):
    """Of several writes none is done after one that is refused."""

    @locked
    def finish_all(self, writes: Sequence[Write], receive: int = 0) -> Finished:
        refused = dict[Key, SettledError]()
        for write in writes:
            if refused:
                refused[write.key] = ConflictError("another one was refused")
                continue
            try:
                self.finish(write)
            except SettledError as error:
                refused[write.key] = error
        return Finished(refused, tuple(self.receive(receive)))


class RefusalUnsaid(Plain):
    """Of several writes one that is refused is said to be done."""

    @locked
    def finish_all(self, writes: Sequence[Write], receive: int = 0) -> Finished:
        return Finished({}, super().finish_all(writes, receive).deliveries)


class JointReceivesUnasked(Plain):
    """With several writes comes what there is, however much was asked for."""

    @locked
    def finish_all(self, writes: Sequence[Write], receive: int = 0) -> Finished:
        return super().finish_all(writes, 10)


class JointRaisesForAll(Plain):
    """An id that one of several writes has used again is raised, and the writes behind it are not made."""

    @locked
    def finish_all(self, writes: Sequence[Write], receive: int = 0) -> Finished:
        done = list[Write]()
        for write in writes:
            try:
                self.check_all(write.sends)
            except IdReusedError:
                super().finish_all(done)
                raise
            done.append(write)
        return super().finish_all(writes, receive)


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
