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
from settled_conformance.simulator.oracle import Accuse, Moment, Oracle


@define(eq=False)
class Lifetimes:
    """All lives of `key`, the newest last. `now` judges the present one; None while there is none.

    `moment` is when the commit is made that is being read.
    """

    machine: Machine[Any, Any]
    key: Key
    accuse: Accuse
    versions: Mapping[str | None, Machine[Any, Any]]
    moment: Moment
    mail: Mailbox = field(factory=Mailbox)
    oracles: list[Oracle] = field(factory=list[Oracle])
    now: Oracle | None = None

    @property
    def taken(self) -> int:
        """How many events all lives have taken."""
        return self.mail.taken.total()

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
            (self.now or self._begin()).read(record)
        elif self.now is not None:
            self.now.vanish()

    def adopt(self, record: Record) -> None:
        """`record` was written by an operator who adopts."""
        self._begin().adopt(record)

    def end(self, lost: set[str]) -> None:
        """The instance was deleted, and with it the messages `lost` that lay among its dead letters."""
        self.now = None
        self.mail.excused |= lost

    def remember(self) -> Callable[[], None]:
        """What brings back the life as it is now, for a restore: another one, that goes on from here."""
        kept, mail = self.now and self.now.branch(), self.mail.remember()

        def restore() -> None:
            mail()
            self.now = kept and kept.branch()
            self.oracles += [self.now] if self.now else []

        return restore

    def forget(self) -> None:
        """The store was restored to what it was before anything was here."""
        self.now = None
        self.mail.forget()

    def _begin(self) -> Oracle:
        self.now = self._nobody()
        self.oracles.append(self.now)
        return self.now

    # What may be performed, and what must have been

    def effect(self, name: str) -> str | None:
        """What a committed step of any life has asked for under the key `name`; None if none has."""
        return next((effect for oracle in self._newest_first() if (effect := oracle.effect(name))), None)

    def most_starts(self, name: str) -> float:
        """How often what bears the key `name` may be started at most."""
        return min((oracle.most_starts(name) for oracle in self.oracles), default=float("inf"))

    def _newest_first(self) -> Iterator[Oracle]:
        return reversed(self.oracles)

    # The end

    def close(self, record: Record | None, set_aside: set[str]) -> None:
        """The run is over; `record` is the last one, and the ids in `set_aside` are among the dead letters."""
        if self.broken:
            return
        (self.now or self._nobody()).close(record, set_aside)
        for id, start in self.mail.starts().items():
            if start.parent is None or id in self.mail.excused or id in set_aside:
                continue
            if id not in self.mail.begun:
                self.accuse("D1", f"{self.key} is somebody else: it was never started by {id}, as its parent had asked")

    def _nobody(self) -> Oracle:
        """The judge of what has no life now: nothing of it may have been lost all the same."""
        return Oracle(self.machine, self.key, self.accuse, self.mail, self.versions, self.moment)
