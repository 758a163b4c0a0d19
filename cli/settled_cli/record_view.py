"""Show an instance without its machine, by reading its record as JSON.

An operator needs only a URL and a key, and none of the code that the instance runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from attrs import frozen

from settled import Json, Key, Outcome, RecordError
from settled.chart.state_value import value_matches
from settled.data import parse
from settled.durable import Message, Store, Stored
from settled.durable.record_json import check_format, record_from_tombstone
from settled_cli.errors import CommandError

T = TypeVar("T")

FIRST_POLL_INTERVAL, MAX_POLL_INTERVAL = 0.01, 0.25
"""How long a waiting command pauses before its second read of the store, and at most between two; in seconds."""


@frozen
class RecordView:
    """An instance's stored record, parsed as JSON."""

    key: Key
    stored: Stored
    record: Mapping[str, Any]

    @property
    def size(self) -> int:
        """The size of the record, in bytes."""
        return len(self.stored.body.encode())

    @property
    def snapshot(self) -> Mapping[str, Any] | None:
        """XState's persisted snapshot; None before the start."""
        return cast("Mapping[str, Any] | None", self.record.get("snapshot"))

    @property
    def value(self) -> Any:
        """The state value; None before the start."""
        return None if self.snapshot is None else self.snapshot["value"]

    @property
    def timers(self) -> list[dict[str, Json]]:
        """The active timers, the next one first."""
        timers = sorted(self.record.get("timers", {}).values(), key=lambda timer: timer[0])
        return [{"due": format_time(due), "event": event} for due, event, *_ in timers]

    @property
    def turn(self) -> dict[str, Json] | None:
        """The open turn, if there is one: the id of its message, and the actors that it waits for."""
        turn = self.record.get("turn")
        if turn is None:
            return None
        actors: list[Json] = [{"src": src, "attempt": attempt} for _, src, _, _, attempt, *_ in turn["actors"]]
        return {"message": turn["message"][0], "actors": actors}

    def outcome(self, message: Message) -> tuple[Outcome, str | None] | None:
        """Return the outcome of `message`, and its reason if one is kept; None until its turn is over."""
        # Read as a tombstone because that needs no machine: it parses the window and nothing else.
        window = record_from_tombstone(self.key, self.stored.body).window
        outcome = window.outcome_of_message(message)
        return None if outcome is None else (outcome, window.reason_of_id(message.id, message.digest))

    def is_in(self, state: str) -> bool:
        """Return whether `state`, a dotted path, is active."""
        return self.value is not None and value_matches(state, self.value)

    def to_json(self) -> dict[str, Json]:
        """Return everything that ``settled get --json`` prints."""
        failing = self.record.get("failing")
        return {
            "key": str(self.key),
            "version": self.stored.version,
            "size": self.size,
            "updated": format_time(self.stored.index.updated),
            "status": self.stored.index.status,
            "tags": list(self.stored.index.tags),
            "state": state_path(self.value),
            "value": self.value,
            "snapshot": self.snapshot,
            "timers": self.timers,
            "turn": self.turn,
            "halted": self.record.get("halted"),
            "failing": failing and {"message": failing[0], "count": failing[1], "detail": failing[2]},
        }


def load_view(store: Store, key: Key) -> RecordView | None:
    """Load the record of `key`; return None if there is no such instance.

    Raises:
        CommandError: this version of settled cannot read the record.
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


def poll(check: Callable[[], T | None], timeout: float, what: str) -> T:
    """Call `check` until it returns something, and return that. `what` completes "waited for ..." in the error.

    Raises:
        CommandError: `check` returned None for `timeout` seconds.
    """
    end, pause = time.monotonic() + timeout, FIRST_POLL_INTERVAL
    while (found := check()) is None:
        left = end - time.monotonic()
        if left <= 0:
            raise CommandError(f"waited {timeout:g} s for {what}. Is a worker running?")
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, MAX_POLL_INTERVAL)
    return found


def format_time(seconds: float) -> str:
    """Format a time in seconds since the epoch as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def state_path(value: Any) -> str:
    """Format a state value as a path such as ``waiting.codeSent``, with parallel regions in parentheses."""
    match value:
        case None:
            return "-"
        case str():
            return value
        case {**regions} if len(regions) == 1:
            ((name, inner),) = regions.items()
            return f"{name}.{state_path(inner)}" if inner else str(name)
        case {**regions}:
            return f"({', '.join(state_path({name: inner}) for name, inner in regions.items())})"
        case _:
            return str(value)
