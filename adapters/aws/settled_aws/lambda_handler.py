"""Lambda: one invocation takes the messages that the event source mapping hands it through their turns.

Lambda deletes what the answer does not name, and leaves the rest to the queue. In a FIFO group nothing may go past a
message that failed, so a group's first failure ends it, and it is reported together with all that follow it. Other
groups know nothing of that: each has a thread of its own.

The host acknowledges and releases by itself, as everywhere. So a group that is done is free at once, whatever becomes
of this invocation; a message that must wait is invisible for exactly as long; and what is reported is not there any
more, or is the queue's already.

Between two invocations a function is frozen, and nobody says for how long. So none goes by what the one before it knew
of the time; and how much of its own is left is counted by the monotonic clock, which no one sets.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from attrs import frozen

from settled import EventError, SettledError, TurnEnd
from settled.durable import Backend, Delivery, Message, Position
from settled_aws.clock import AwsClock
from settled_aws.envelope import from_text
from settled_aws.names import group_id
from settled_aws.queue import NUMBER, SqsFifoQueue
from settled_runtime import CompositeBackend, Host, StopSignal
from settled_runtime.backend_commands import retried

if TYPE_CHECKING:
    from settled_runtime import AsyncHost  # whoever has none of these need not load an event loop

Event = Mapping[str, Any]
"""An event as Lambda hands it over: JSON."""

RESERVE = 2.0
"""For how many seconds before its end an invocation does nothing but hand back and answer."""

MOST_GROUPS = 10
"""How many messages, and with them groups, a FIFO queue hands to one invocation."""


_FIRST = "ApproximateFirstReceiveTimestamp"
"""The system attribute that says when a message was handed out for the first time."""


class Context(Protocol):
    """What is asked of Lambda's context."""

    def get_remaining_time_in_millis(self) -> int: ...


Groups: TypeAlias = Sequence[Sequence[Delivery]]
"""Deliveries of one key each; of none, where a group began with what is not settled's."""

Taken: TypeAlias = Sequence[bool]
"""For each group whether all of it was acknowledged."""


@frozen
class Deadline:
    """The time an invocation has: until `end` by the monotonic clock. Then `interruption` is set."""

    end: float
    stop_signal: StopSignal

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.end


def lambda_handler(host: Host | AsyncHost, *, reserve: float = RESERVE) -> Callable[[Event, Context], Event]:
    """The handler of a Lambda function that takes the queue's messages through `host`.

    The event source mappings of both queues may lead to it, and must report batch item failures. `reserve` seconds
    before its time is over an invocation hands back what it has not finished.
    """
    return _Function(host.backend, _record_taker(host), reserve)


def begin_invocation(backend: Backend) -> None:
    """Let `backend` forget what time it is: this process may have stood still since it last knew."""
    if isinstance(backend, CompositeBackend) and isinstance(backend.clock, AwsClock):
        backend.clock.forget()


def _record_taker(host: Host | AsyncHost) -> Callable[[Groups, Deadline], Taken]:
    if isinstance(host, Host):
        return _Threads(host, ThreadPoolExecutor(MOST_GROUPS, "settled-group"))
    from settled_aws.lambda_async import Loop  # noqa: PLC0415 (a `Host` needs no event loop)

    return Loop(host)


@contextmanager
def _term(seconds: float) -> Generator[Deadline]:
    """A term of `seconds`, if it does not end with this block."""
    term = Deadline(time.monotonic() + seconds, StopSignal())
    timer = threading.Timer(seconds, term.stop_signal.set)
    timer.daemon = True
    timer.start()
    try:
        yield term
    finally:
        timer.cancel()


@frozen
class _Record:
    """One record of the event. `group` is empty if its queue has none; `message` is None if it is not settled's."""

    id: str
    group: str
    message: Message | None
    receipt: str
    queue: str
    attributes: Mapping[str, Any]

    @classmethod
    def of(cls, record: Event) -> _Record:
        queue, attributes = str(record.get("eventSourceARN")), record.get("attributes", {})
        group = str(attributes.get("MessageGroupId", "")) if queue.endswith(".fifo") else ""
        message, receipt = _message(record, group), str(record.get("receiptHandle"))
        return cls(str(record["messageId"]), group, message, receipt, queue, attributes)


def _message(record: Event, group: str) -> Message | None:
    try:
        message, _ = from_text(record["body"]), int(record["attributes"]["ApproximateReceiveCount"])
    except (EventError, KeyError, TypeError, ValueError):
        return None
    # In another group than its own it would be in nobody's order.
    return message if group in ("", group_id(message.key)) else None


@frozen
class _Function:
    """What is called for each event."""

    backend: Backend
    take: Callable[[Groups, Deadline], Taken]
    reserve: float

    def __call__(self, event: Event, context: Context) -> Event:
        with _term(context.get_remaining_time_in_millis() / 1000 - self.reserve) as term:
            begin_invocation(self.backend)
            records = [_Record.of(record) for record in event["Records"]]
            failed = self._forward([record for record in records if not record.group])
            groups = _by_group(records)
            heads = [self._head(group) for group in groups]
            for group, head, is_taken in zip(groups, heads, self.take(heads, term), strict=True):
                failed += [record.id for record in group[len(head) if is_taken else 0 :]]
        return {"batchItemFailures": [{"itemIdentifier": id} for id in failed]}

    def _forward(self, records: Sequence[_Record]) -> list[str]:
        """Send on what has waited in the queue of short waits; the ids of those that could not be."""
        due = [record.message for record in records if record.message is not None]
        try:
            self.backend.queue.send(due)
        except SettledError:
            return [record.id for record in records]
        return [record.id for record in records if record.message is None]

    def _head(self, group: Sequence[_Record]) -> Sequence[Delivery]:
        """The deliveries of `group` up to its first record that is not settled's."""
        deliveries: list[Delivery] = []
        for record in group:
            if record.message is None:
                break
            deliveries.append(self._delivery(record, record.message))
        return deliveries

    def _delivery(self, record: _Record, message: Message) -> Delivery:
        attempt = int(record.attributes["ApproximateReceiveCount"])
        until = self._handed_out(record, attempt) + self.backend.lease
        return Delivery(message, record.receipt, attempt, until, self._position(record))

    def _handed_out(self, record: _Record, attempt: int) -> float:
        """When the queue handed `record` out. Only of the first time does it say so, in milliseconds."""
        if attempt == 1 and _FIRST in record.attributes:
            return int(record.attributes[_FIRST]) / 1000
        return retried(self.backend.now)

    def _position(self, record: _Record) -> Position | None:
        """Return the position of `record` in the backend's queue; None if it came from another queue."""
        queue = self.backend.queue
        if NUMBER not in record.attributes or not isinstance(queue, SqsFifoQueue):
            return None
        numbering = retried(queue.numbering)
        return numbering.position(record.attributes) if numbering.queue == record.queue else None


@frozen
class _Threads:
    """Takes groups through `host`, each in a thread of `pool` but the first, which is taken in this one."""

    host: Host
    pool: ThreadPoolExecutor

    def __call__(self, groups: Groups, term: Deadline) -> Taken:
        others = [self.pool.submit(self._is_taken, group, term) for group in groups[1:]]
        first = [self._is_taken(group, term) for group in groups[:1]]
        return first + [other.result() for other in others]

    def _is_taken(self, deliveries: Sequence[Delivery], term: Deadline) -> bool:
        if not deliveries:
            return True
        if term.is_over:
            with suppress(SettledError):  # the leases run out by themselves
                self.host.backend.queue.release(deliveries)
            return False
        return self.host.handle(deliveries, term.stop_signal)[deliveries[0].message.key] is TurnEnd.DONE


def _by_group(records: Sequence[_Record]) -> list[list[_Record]]:
    groups: dict[str, list[_Record]] = {}
    for record in records:
        if record.group:
            groups.setdefault(record.group, []).append(record)
    return list(groups.values())
