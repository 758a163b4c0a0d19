"""Lambda: one invocation takes the messages that the event source mapping hands it through their turns.

Lambda deletes what the answer does not name, and leaves the rest to the queue. In a FIFO group nothing may go past a
message that failed, so a group's first failure ends it, and it is reported together with all that follow it. Other
groups know nothing of that: each has a thread of its own.

The host acknowledges and releases by itself, as everywhere. So a group that is done is free at once, whatever becomes
of this invocation; a message that must wait is invisible for exactly as long; and what is reported is not there any
more, or is the queue's already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from attrs import frozen

from settled import Backend, Delivery, End, EventError, SettledError
from settled_aws.envelope import opened
from settled_aws.names import group_id
from settled_runtime import Host, Interruption

if TYPE_CHECKING:
    from settled_runtime import AsyncHost  # whoever has none of these need not load an event loop

Event = Mapping[str, Any]
"""An event as Lambda hands it over: JSON."""

RESERVE = 2.0
"""For how many seconds before its end an invocation does nothing but hand back and answer."""

MOST_GROUPS = 10
"""How many messages, and with them groups, a FIFO queue hands to one invocation."""


class Context(Protocol):
    """What is asked of Lambda's context."""

    def get_remaining_time_in_millis(self) -> int: ...


Groups: TypeAlias = Sequence[Sequence[Delivery]]
"""Deliveries of one key each; of none, where a group began with what is not settled's."""

Taken: TypeAlias = Sequence[bool]
"""For each group whether all of it was acknowledged."""


def lambda_handler(
    host: Host | AsyncHost, *, reserve: float = RESERVE, clock: Callable[[], float] = time.time
) -> Callable[[Event, Context], Event]:
    """The handler of a Lambda function that takes the queue's messages through `host`.

    The event source mappings of both queues may lead to it, and must report batch item failures. `reserve` seconds
    before its time is over an invocation hands back what it has not finished.
    """
    return _Function(host.backend, _taking(host, clock), reserve, clock)


def _taking(host: Host | AsyncHost, clock: Callable[[], float]) -> Callable[[Groups, float], Taken]:
    if isinstance(host, Host):
        return _Threads(host, clock, ThreadPoolExecutor(MOST_GROUPS, "settled-group"))
    from settled_aws.awaiting import Loop  # noqa: PLC0415 (a `Host` needs no event loop)

    return Loop(host, clock)


@frozen
class _Record:
    """One record of the event. `group` is empty if its queue has none; `delivery` is None if it is not settled's."""

    id: str
    group: str
    delivery: Delivery | None


@frozen
class _Function:
    """What is called for each event."""

    backend: Backend
    take: Callable[[Groups, float], Taken]
    reserve: float
    clock: Callable[[], float]

    def __call__(self, event: Event, context: Context) -> Event:
        deadline = self.clock() + context.get_remaining_time_in_millis() / 1000 - self.reserve
        records = [self._record(record) for record in event["Records"]]
        failed = self._forward([record for record in records if not record.group])
        groups = _by_group(records)
        heads = [_head(group) for group in groups]
        for group, head, is_taken in zip(groups, heads, self.take(heads, deadline), strict=True):
            failed += [record.id for record in group[len(head) if is_taken else 0 :]]
        return {"batchItemFailures": [{"itemIdentifier": id} for id in failed]}

    def _record(self, record: Event) -> _Record:
        is_fifo = str(record.get("eventSourceARN")).endswith(".fifo")
        group = str(record.get("attributes", {}).get("MessageGroupId", "")) if is_fifo else ""
        return _Record(str(record["messageId"]), group, self._delivery(record, group))

    def _delivery(self, record: Event, group: str) -> Delivery | None:
        try:
            message, receipt = opened(record["body"]), str(record["receiptHandle"])
            attempt = int(record["attributes"]["ApproximateReceiveCount"])
        except (EventError, KeyError, TypeError, ValueError):
            return None
        if group not in ("", group_id(message.key)):
            return None  # Its key is in order in a group of its own, and here it would be in nobody's.
        return Delivery(message, receipt, attempt, self.clock() + self.backend.lease)

    def _forward(self, records: Sequence[_Record]) -> list[str]:
        """Send on what has waited in the queue of short waits; the ids of those that could not be."""
        due = [record.delivery.message for record in records if record.delivery is not None]
        try:
            self.backend.queue.send(due)
        except SettledError:
            return [record.id for record in records]
        return [record.id for record in records if record.delivery is None]


@frozen
class _Threads:
    """Takes groups through `host`, each in a thread of `pool` but the first, which is taken in this one."""

    host: Host
    clock: Callable[[], float]
    pool: ThreadPoolExecutor

    def __call__(self, groups: Groups, deadline: float) -> Taken:
        others = [self.pool.submit(self._is_taken, group, deadline) for group in groups[1:]]
        first = [self._is_taken(group, deadline) for group in groups[:1]]
        return first + [other.result() for other in others]

    def _is_taken(self, deliveries: Sequence[Delivery], deadline: float) -> bool:
        if not deliveries:
            return True
        held = self.host.hold(deliveries)
        if self.clock() >= deadline:
            self.host.give_back(held)
            return False
        return self.host.take(deliveries[0].message.key, held, Interruption(), deadline) is End.DONE


def _head(group: Sequence[_Record]) -> Sequence[Delivery]:
    """The deliveries of `group` up to its first record that is not settled's."""
    deliveries: list[Delivery] = []
    for record in group:
        if record.delivery is None:
            break
        deliveries.append(record.delivery)
    return deliveries


def _by_group(records: Sequence[_Record]) -> list[list[_Record]]:
    groups: dict[str, list[_Record]] = {}
    for record in records:
        if record.group:
            groups.setdefault(record.group, []).append(record)
    return list(groups.values())
