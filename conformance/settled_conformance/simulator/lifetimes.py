"""`Lifetimes`: the successive instances under one key, each with its oracle; a deletion ends one, a start begins one.

An `Oracle` checks one lifetime. This module checks what holds across them: an event is taken by one lifetime, once; a
start begins one lifetime; and a client that starts an instance under a child's key does not prevent the child's start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field

from settled import Key, Machine
from settled.durable import Record
from settled_conformance.simulator.mailbox import Mailbox
from settled_conformance.simulator.oracle import CommitTime, Oracle, ReportViolation


@define(eq=False)
class Lifetimes:
    """The oracles of all lifetimes of `key`, newest last. `current` is that of the present one, None if there is none.

    `commit_time` is the time of the commit that is being read.
    """

    machine: Machine[Any]
    key: Key
    report: ReportViolation
    versions: Mapping[str | None, Machine[Any]]
    commit_time: CommitTime
    mailbox: Mailbox = field(factory=Mailbox)
    oracles: list[Oracle] = field(factory=list[Oracle])
    current: Oracle | None = None

    @property
    def taken(self) -> int:
        """The number of events that all lifetimes have taken."""
        return self.mailbox.taken.total()

    @property
    def broken(self) -> bool:
        """Whether a violation was found, after which the oracles cannot tell what to expect."""
        return any(oracle.broken for oracle in self.oracles)

    # Commits

    def read(self, record: Record) -> None:
        """Check `record`, which was committed."""
        if self.broken:
            return
        if record.snapshot is not None:
            (self.current or self._begin()).read(record)
        elif self.current is not None:
            self.current.report_undone_start()

    def start_imported(self, record: Record) -> None:
        """Begin a lifetime from `record`, which an operator imported."""
        self._begin().start_imported(record)

    def end(self, lost: set[str]) -> None:
        """End the lifetime: the instance was deleted, and its dead letters, the ids in `lost`, with it."""
        self.current = None
        self.mailbox.may_be_missing |= lost

    def checkpoint(self) -> Callable[[], None]:
        """Return a function that restores the present state. The lifetime continues from it under a copied oracle.

        The original stays in `oracles`, because effects that it expects may still be performed.
        """
        kept, mailbox = self.current and self.current.copy(), self.mailbox.checkpoint()

        def restore() -> None:
            mailbox()
            self.current = kept and kept.copy()
            self.oracles += [self.current] if self.current else []

        return restore

    def reset(self) -> None:
        """Record that the store was restored to a time before this key existed."""
        self.current = None
        self.mailbox.reset()

    def _begin(self) -> Oracle:
        self.current = self._new_oracle()
        self.oracles.append(self.current)
        return self.current

    # Effects

    def effect(self, name: str) -> str | None:
        """Return what a committed step of any lifetime requested under the key `name`, else None."""
        return next((effect for oracle in reversed(self.oracles) if (effect := oracle.effect(name))), None)

    def max_starts(self, name: str) -> float:
        """Return how many times the actor with the key `name` may be started at most."""
        return min((oracle.max_starts(name) for oracle in self.oracles), default=float("inf"))

    # The end of a run

    def close(self, record: Record | None, dead_lettered: set[str]) -> None:
        """Check the final `record`; the ids in `dead_lettered` are among the dead letters."""
        if self.broken:
            return
        (self.current or self._new_oracle()).close(record, dead_lettered)
        for id, start in self.mailbox.starts().items():
            if start.parent is None or id in self.mailbox.may_be_missing or id in dead_lettered:
                continue
            if id not in self.mailbox.started:
                self.report("D1", f"{self.key} was never started by {id}, as its parent had requested")

    def _new_oracle(self) -> Oracle:
        """Return an oracle without a history; an absent key has one too, since its messages must not be lost."""
        return Oracle(self.machine, self.key, self.report, self.mailbox, self.versions, self.commit_time)
