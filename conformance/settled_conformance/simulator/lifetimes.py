"""The lives of one key: each deletion ends one, each start or adoption begins one.

A judge looks at one life. Here is what holds over all of them: an event is taken once, and by one of them; a start
begins one life; what an instance was promised by whoever started it, no stranger under its key may take away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attrs import define, field

from settled import Key, Machine
from settled.durable import Record
from settled_conformance.simulator.mailbox import Mailbox
from settled_conformance.simulator.oracle import CommitTime, Oracle, ReportViolation


@define(eq=False)
class Lifetimes:
    """All lives of `key`, the newest last. `now` judges the present one; None while there is none.

    `moment` is when the commit is made that is being read.
    """

    machine: Machine[Any, Any]
    key: Key
    report: ReportViolation
    versions: Mapping[str | None, Machine[Any, Any]]
    commit_time: CommitTime
    mailbox: Mailbox = field(factory=Mailbox)
    oracles: list[Oracle] = field(factory=list[Oracle])
    current: Oracle | None = None

    @property
    def taken(self) -> int:
        """How many events all lives have taken."""
        return self.mailbox.taken.total()

    @property
    def broken(self) -> bool:
        """Whether anything was found that makes the rest hard to judge."""
        return any(oracle.broken for oracle in self.oracles)

    # What happens

    def read(self, record: Record) -> None:
        """`record` was committed."""
        if self.broken:
            return
        if record.snapshot is not None:
            (self.current or self._begin()).read(record)
        elif self.current is not None:
            self.current.check_was_started()

    def start_imported(self, record: Record) -> None:
        """`record` was written by an operator who adopts."""
        self._begin().start_imported(record)

    def end(self, lost: set[str]) -> None:
        """The instance was deleted, and with it the messages `lost` that lay among its dead letters."""
        self.current = None
        self.mailbox.may_be_missing |= lost

    def checkpoint(self) -> Callable[[], None]:
        """What brings back the life as it is now, for a restore: another one, that goes on from here."""
        kept, mailbox = self.current and self.current.copy(), self.mailbox.checkpoint()

        def restore() -> None:
            mailbox()
            self.current = kept and kept.copy()
            self.oracles += [self.current] if self.current else []

        return restore

    def reset(self) -> None:
        """The store was restored to what it was before anything was here."""
        self.current = None
        self.mailbox.reset()

    def _begin(self) -> Oracle:
        self.current = self._new_oracle()
        self.oracles.append(self.current)
        return self.current

    # What may be performed, and what must have been

    def effect(self, name: str) -> str | None:
        """What a committed step of any life has asked for under the key `name`; None if none has."""
        return next((effect for oracle in self._newest_first() if (effect := oracle.effect(name))), None)

    def max_starts(self, name: str) -> float:
        """How often what bears the key `name` may be started at most."""
        return min((oracle.max_starts(name) for oracle in self.oracles), default=float("inf"))

    def _newest_first(self) -> Iterator[Oracle]:
        return reversed(self.oracles)

    # The end

    def close(self, record: Record | None, dead_lettered: set[str]) -> None:
        """The run is over; `record` is the last one, and the ids in `set_aside` are among the dead letters."""
        if self.broken:
            return
        (self.current or self._new_oracle()).close(record, dead_lettered)
        for id, start in self.mailbox.starts().items():
            if start.parent is None or id in self.mailbox.may_be_missing or id in dead_lettered:
                continue
            if id not in self.mailbox.started:
                self.report("D1", f"{self.key} is somebody else: it was never started by {id}, as its parent had asked")

    def _new_oracle(self) -> Oracle:
        """The judge of what has no life now: nothing of it may have been lost all the same."""
        return Oracle(self.machine, self.key, self.report, self.mailbox, self.versions, self.commit_time)
