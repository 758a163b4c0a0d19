"""What can be seen of an instance without its machine: its record, read as the JSON it is.

So an operator needs a URL and a key, and nothing of the code that runs behind them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from attrs import frozen

from settled import Json, Key, RecordError
from settled.chart.state_value import value_matches
from settled.data import parse
from settled.durable import Message, Store, Stored
from settled.durable.record_json import check_format, record_from_tombstone
from settled_cli.errors import CommandError

T = TypeVar("T")

FIRST_LOOK, LONGEST_PAUSE = 0.01, 0.25
"""How long a waiting command pauses before its second look, and at most between two looks; in seconds."""


@frozen
class RecordView:
    """An instance as its record shows it."""

    key: Key
    stored: Stored
    record: Mapping[str, Any]

    @property
    def size(self) -> int:
        """Of the record, in bytes."""
        return len(self.stored.body.encode())

    @property
    def snapshot(self) -> Mapping[str, Any] | None:
        """XState's persisted snapshot; None before the start."""
        return cast("Mapping[str, Any] | None", self.record.get("snapshot"))

    @property
    def value(self) -> Any:
        """The active states."""
        return None if self.snapshot is None else self.snapshot["value"]

    @property
    def timers(self) -> list[dict[str, Json]]:
        """The timers that run, the next one first."""
        timers = sorted(self.record.get("timers", {}).values(), key=lambda timer: timer[0])
        return [{"due": moment(due), "event": event} for due, event, *_ in timers]

    @property
    def turn(self) -> dict[str, Json] | None:
        """The turn that is open, if one is: its message, and the actors it waits for."""
        turn = self.record.get("turn")
        if turn is None:
            return None
        actors: list[Json] = [{"src": src, "attempt": attempt} for _, src, _, _, attempt, *_ in turn["actors"]]
        return {"message": turn["message"][0], "actors": actors}

    def outcome(self, message: Message) -> str | None:
        """What became of `message`; None as long as its turn is not over."""
        found = record_from_tombstone(self.key, self.stored.body).window.outcome(message)
        return None if found is None else str(found)

    def is_in(self, state: str) -> bool:
        """Whether `state`, a dotted path, is active."""
        return self.value is not None and value_matches(state, self.value)

    def to_json(self) -> dict[str, Json]:
        """All of it, for a script."""
        failing = self.record.get("failing")
        return {
            "key": str(self.key),
            "version": self.stored.version,
            "size": self.size,
            "updated": moment(self.stored.index.updated),
            "status": self.stored.index.status,
            "tags": list(self.stored.index.tags),
            "state": path_of(self.value),
            "value": self.value,
            "snapshot": self.snapshot,
            "timers": self.timers,
            "turn": self.turn,
            "halted": self.record.get("halted"),
            "failing": failing and {"message": failing[0], "count": failing[1], "detail": failing[2]},
        }


def look(store: Store, key: Key) -> RecordView | None:
    """The instance `key`; None if there is none.

    Raises:
        Failure: its record is none that this version of settled can read.
    """
    stored = store.load(key)
    if stored is None or stored.is_deleted:
        return None
    try:
        record = parse(stored.body)
        check_format(key, record)
    except RecordError as error:
        raise CommandError(str(error)) from error
    except ValueError as error:
        raise CommandError(f"{key}: the stored text is not JSON ({error})") from error
    return RecordView(key, stored, record)


def wait(look: Callable[[], T | None], timeout: float, what: str) -> T:
    """The first thing that `look` finds.

    Raises:
        Failure: it found nothing in `timeout` seconds.
    """
    end, pause = time.monotonic() + timeout, FIRST_LOOK
    while (found := look()) is None:
        left = end - time.monotonic()
        if left <= 0:
            raise CommandError(f"waited {timeout:g} s for {what}. Does a worker run?")
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE)
    return found


def moment(seconds: float) -> str:
    """A time, in seconds since the epoch, as people and scripts read it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def path_of(value: Any) -> str:
    """A state value as a path: ``waiting.codeSent``; regions side by side stand in parentheses."""
    match value:
        case None:
            return "-"
        case str():
            return value
        case {**regions} if len(regions) == 1:
            ((name, inner),) = regions.items()
            return f"{name}.{path_of(inner)}" if inner else str(name)
        case {**regions}:
            return f"({', '.join(path_of({name: inner}) for name, inner in regions.items())})"
        case _:
            return str(value)
