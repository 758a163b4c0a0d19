"""Show an instance without its machine: an operator needs only a URL and a key, and none of the code that it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from attrs import frozen

from settled import Json, Key, Outcome, RecordError
from settled.chart.state_value import value_matches
from settled.durable import Backend, Message, RecordView, Store, Stored
from settled.durable.messages import Event, ForwardToSystemId, decode
from settled.durable.record import ActiveTimer
from settled_cli.errors import CommandError
from settled_runtime.backend_commands import retried
from settled_runtime.waiting import first_found_by_thread, until_found

T = TypeVar("T")


@frozen
class InstanceView:
    """An instance: its key, what the store says about it, and its record."""

    key: Key
    stored: Stored
    record: RecordView

    @property
    def size(self) -> int:
        """The size of the record, in bytes."""
        return len(self.stored.body.encode("utf-8", "surrogatepass"))

    @property
    def snapshot(self) -> Mapping[str, Any] | None:
        """XState's persisted snapshot; None before the start."""
        return self.record.snapshot

    @property
    def value(self) -> Any:
        """The state value; None before the start."""
        return None if self.snapshot is None else self.snapshot["value"]

    @property
    def timers(self) -> list[dict[str, Json]]:
        """The active timers, the next one first."""
        return [_timer_to_json(timer) for timer in sorted(self.record.timers.values(), key=lambda timer: timer.due)]

    @property
    def turn(self) -> dict[str, Json] | None:
        """The open turn, if there is one: its message, the actors that it waits for, and until when if suspended."""
        turn = self.record.turn
        if turn is None:
            return None
        actors: list[Json] = [
            {"src": actor.src, "attempt": actor.attempt, **({"losses": actor.losses} if actor.losses else {})}
            for actor in turn.actors
        ]
        suspended = {"suspended_until": format_time(turn.suspension.due)} if turn.suspension else {}
        return {"message": turn.message.id, "actors": actors, **suspended}

    def outcome(self, message: Message) -> tuple[Outcome, str | None] | None:
        """Return the outcome of `message`, and its reason if one is kept; None until its turn is over."""
        window = self.record.window
        outcome = window.outcome_of_message(message)
        return (
            None if outcome in (None, Outcome.POSTPONED) else (outcome, window.reason_of_id(message.id, message.digest))
        )

    def is_in(self, state: str) -> bool:
        """Return whether `state`, a dotted path, is active."""
        return self.value is not None and value_matches(state, self.value)

    def to_json(self) -> dict[str, Json]:
        """Return everything that ``settled get --json`` prints."""
        failing, watch = self.record.failing, self.record.watch
        return {
            "key": str(self.key),
            "machine": self.key.machine,
            "instance": self.key.instance,
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
            "halted": self.record.halted,
            "failing": failing and {"message": failing.id, "count": failing.count, "detail": failing.detail},
            "watched": watch and {"message": watch.message_id, "actor": watch.actor, "alone": watch.is_alone},
        }


def _timer_to_json(timer: ActiveTimer) -> dict[str, Json]:
    due = format_time(timer.due)
    if timer.message is None:
        return {"due": due, "event": timer.event}
    to, body = timer.message
    content = decode(body)
    event = content.event if isinstance(content, Event | ForwardToSystemId) else None
    return {"due": due, "event": event, "to": to}


def load_view(store: Store, key: Key) -> InstanceView | None:
    """Load the record of `key`; return None if there is no such instance.

    Raises:
        CommandError: this version of settled cannot read the record.
    """
    return view_of(key, retried(store.load, key))


def view_of(key: Key, stored: Stored | None) -> InstanceView | None:
    """Return the view of `key`, of which `stored` was read; None if there is no such instance.

    Raises:
        CommandError: this version of settled cannot read the record.
    """
    if stored is None or stored.is_deleted:
        return None
    try:
        return InstanceView(key, stored, RecordView.of(key, stored.body))
    except RecordError as error:
        raise CommandError(str(error)) from error


def wait_for(
    backend: Backend, key: Key, check: Callable[[InstanceView | None], T | None], seconds: float, what: str
) -> T:
    """Wait until `check` returns something for the state of `key`, and return that.

    Args:
        backend: where the instance lives.
        key: the instance.
        check: returns what is waited for, or None.
        seconds: how long to wait.
        what: completes "waited for ..." in the error.

    Raises:
        CommandError: `check` returned None for so long.
    """
    steps_of = partial(until_found, lambda stored: check(view_of(key, stored)), "", seconds)
    try:
        return first_found_by_thread(backend, key, steps_of)
    except TimeoutError as error:
        raise CommandError(f"waited {seconds:g} s for {what}. Is a worker running?") from error


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
