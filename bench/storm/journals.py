"""Journals: what the processes of a storm write down, in files that they share and that outlive them.

A line is written in one call to a file that is opened for appending, so lines of several processes do not mix, and a
process that is killed leaves no half of one. Moments are those of `time.monotonic`, which all processes of a machine
share, and which a wrong clock does not change.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from attrs import asdict, frozen

now = time.monotonic
"""The clock of the journals."""


KILLED, FROZEN, ENDED_BY_ACTOR, DEPLOYED = "killed", "frozen", "ended by an actor", "replaced by version 2"
"""The strikes that a journal may name."""


@frozen
class Sent:
    """A client knows that the event `n` of `instance` is in the queue."""

    at: float
    instance: str
    n: int


@frozen
class Performed:
    """An effect of the event `n` of `instance` was performed under `key`."""

    at: float
    instance: str
    n: int
    key: str


@frozen
class Received:
    """A worker has received messages of `instance`."""

    at: float
    instance: str
    worker: int


@frozen
class Attempted:
    """The hostile client has tried `attack`, and `end` is how that ended; see `bench.storm.hostile`."""

    at: float
    attack: str
    end: str


@frozen
class Struck:
    """`what` was done to the worker in `slot`, or to a client, until `until`, if that has an end.

    `locked`: it was frozen while it held the lock of a SQLite file, which nobody else can write until then.
    """

    at: float
    what: str
    slot: int
    until: float = 0.0
    locked: bool = False


Entry = TypeVar("Entry", Sent, Performed, Received, Attempted, Struck)


@frozen
class Journals:
    """The journals in `folder`, one for each class of entries."""

    folder: Path

    def write(self, entry: Sent | Performed | Received | Attempted | Struck) -> None:
        """Append `entry`."""
        line = json.dumps(list(asdict(entry).values())) + "\n"
        file = os.open(self._path(type(entry)), os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o644)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)

    def read(self, kind: type[Entry]) -> Iterator[Entry]:
        """Yield the entries of `kind` in the order in which they were written."""
        path = self._path(kind)
        if path.exists():
            with path.open() as lines:
                yield from (kind(*json.loads(line)) for line in lines)

    def _path(self, kind: type[Any]) -> Path:
        return self.folder / f"{kind.__name__.lower()}.jsonl"
