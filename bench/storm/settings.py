"""The settings of a storm, which all of its processes share, and the events that its clients send."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Self

from attrs import asdict, frozen

from bench.storm.journals import Journals

VARIABLE = "SETTLED_STORM"
"""The environment variable with the settings, for the processes of a storm."""

HEALTHY = {"TAKE": 0.8, "WORK": 0.12, "WAIT": 0.08}
"""The types of the events for healthy instances, and the share of each."""


@frozen
class Event:
    """The event number `n` of `instance`, to be sent `due` seconds after the beginning."""

    due: float
    instance: str
    n: int
    type: str


@frozen(kw_only=True)
class Settings:
    """How large a storm is.

    Attributes:
        url: the backend.
        folder: where the journals and the logs are.
        began: when it began, by `time.monotonic`, which is the same in all processes.
        seed: what happens at random follows from it, but for the times at which it happens.
        events: how many events the healthy instances get.
        seconds: for how long events are sent and workers struck.
        lease: in seconds.
        healthy: how many instances get nothing but harmless events.
        killers: how many get an event whose actor ends its worker's process.
        hangers: how many get events whose actor hangs until its timeout.
        guarded: how many get an event whose guard hangs.
        clients: how many processes send.
        workers: how many processes work.
        patience: how long a worker may take to end after SIGTERM, before it is killed.
    """

    url: str
    folder: str
    began: float = 0.0
    seed: int = 0
    events: int = 20_000
    seconds: float = 300.0
    lease: float = 5.0
    healthy: int = 240
    killers: int = 3
    hangers: int = 6
    guarded: int = 2
    clients: int = 3
    workers: int = 8
    patience: float = 30.0

    @classmethod
    def from_environment(cls) -> Self:
        """Return the settings of the storm that this process is part of."""
        return cls(**json.loads(os.environ[VARIABLE]))

    def environment(self) -> Mapping[str, str]:
        """Return the environment for a process of this storm."""
        return {**os.environ, VARIABLE: json.dumps(asdict(self))}

    @property
    def journals(self) -> Journals:
        return Journals(Path(self.folder))

    def serving(self, pid: int) -> Path:
        """Return the file that the worker `pid` makes when it is about to receive."""
        return Path(self.folder) / f"serving-{pid}"

    @property
    def is_on_sqlite(self) -> bool:
        return self.url.startswith("sqlite:")

    @property
    def largest_skew(self) -> float:
        """By how many seconds the clock of a worker may be wrong, in either direction."""
        return 1.5 * self.lease

    @property
    def longest_lease(self) -> float:
        """For how long a worker that was struck may keep an instance from others, in seconds.

        On SQLite its lease counts by its own clock.
        """
        return self.lease + (self.largest_skew if self.is_on_sqlite else 0.0)

    def plan(self) -> Sequence[Event]:
        """Return all events, in the order in which they are due; those of an instance are numbered in it from 1."""
        random = Random(self.seed)
        names = [f"healthy-{number}" for number in range(self.healthy)]
        kinds, shares = list(HEALTHY), list(HEALTHY.values())
        wanted = [(random.choice(names), random.choices(kinds, shares)[0]) for _ in range(self.events)]
        dues = sorted(random.uniform(0, self.seconds) for _ in wanted)
        all = [(due, name, type) for due, (name, type) in zip(dues, wanted, strict=True)]
        all += [each for name, types in self._special() for each in _spread(name, types, self.seconds, random)]
        counts: dict[str, int] = {}
        events: list[Event] = []
        for due, name, type in sorted(all):
            counts[name] = counts.get(name, 0) + 1
            events.append(Event(due, name, counts[name], type))
        return events

    def _special(self) -> Iterator[tuple[str, Sequence[str]]]:
        yield from ((f"killer-{number}", ("TAKE", "KILL", "TAKE", "WORK")) for number in range(self.killers))
        yield from ((f"hanger-{number}", ("TAKE", "HANG", "TAKE", "HANG", "WORK")) for number in range(self.hangers))
        yield from ((f"guarded-{number}", ("TAKE", "ASK", "TAKE", "WORK")) for number in range(self.guarded))


def _spread(name: str, types: Sequence[str], seconds: float, random: Random) -> Iterator[tuple[float, str, str]]:
    """Yield events of `types` in this order, at random times within the first half."""
    for due, type in zip(sorted(random.uniform(0, seconds / 2) for _ in types), types, strict=True):
        yield due, name, type
