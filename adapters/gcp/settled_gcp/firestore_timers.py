"""Timers in Firestore: each is a document, and workers sweep the collection for due ones before they receive.

A sweep is a query, billed as one read at least, so a process does not sweep again for some seconds after one that found
nothing. Due messages are sent and then deleted: at least once, and never early. Without a worker that pulls, as behind
a push subscription, the application has to call `FirestoreTimers.sweep` regularly.
"""

from __future__ import annotations

import math
import threading
import time
from collections import abc
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from settled.durable.messages import Message, Timer
from settled.durable.ports import Backlog, Delivery
from settled.durations import in_seconds
from settled.errors import EventError
from settled_gcp.client_protocols import FirestoreClient
from settled_gcp.clock import ServerTime
from settled_gcp.documents import Collection, checked_size
from settled_gcp.envelope import from_text, to_text
from settled_gcp.errors import translated
from settled_gcp.queue import SubscriptionQueue

MAX_SWEEP = 100
"""How many timers a sweep sends."""

EXEMPT_TIMER_FIELDS: Sequence[str] = ("timer", "message")
"""The fields of a timer that need no index."""


class FirestoreTimers:
    """Timers in the collection next to `collection`.

    Args:
        client: a generated client.
        collection: that of the records.
        send: called with the messages that are due.
        clock: the time in seconds since the epoch, Firestore's own by default.
        timeout: of a request.
    """

    def __init__(
        self,
        client: FirestoreClient,
        collection: Collection,
        send: Callable[[Sequence[Message]], None],
        clock: Callable[[], float] | None = None,
        timeout: timedelta = timedelta(seconds=10),
    ) -> None:
        self._client = client
        self._collection = collection
        self._send = send
        self._clock = ServerTime.of(client, collection, clock)
        self._timeout = in_seconds(timeout, "timeout")

    def schedule(self, timer: Timer) -> None:
        """Arrange for ``timer.message`` to be sent at ``timer.due``, replacing a timer with the same id.

        Raises:
            TooLargeError: the document would be larger than 1 MiB; nothing was scheduled.
        """
        if timer.due <= self._clock():
            self._send([timer.message])
            self.cancel(timer.id)
            return
        name, fields = self._collection.timer(timer.id), _fields(timer)
        checked_size(name, fields, f"the timer {timer.id}")
        self._write(f"scheduling the timer {timer.id}", {"update": {"name": name, "fields": fields}})

    def cancel(self, timer_id: str) -> None:
        self._write(f"cancelling the timer {timer_id}", {"delete": self._collection.timer(timer_id)})

    def sweep(self, limit: int = MAX_SWEEP) -> int:
        """Send up to `limit` due messages, the longest due first. Return how many were sent."""
        due = [(document, message) for document in self._due(limit) if (message := _message(document)) is not None]
        if due:
            # Send before deleting: a crash in between repeats messages, the reverse order would lose them.
            self._send([message for _, message in due])
            self._delete([document for document, _ in due])
        return len(due)

    def _due(self, limit: int) -> Sequence[Any]:
        field = {"field_path": "due"}
        is_due = {"field": field, "op": "LESS_THAN_OR_EQUAL", "value": {"double_value": self._clock()}}
        query = {
            "from_": [{"collection_id": self._collection.timers}],
            "where": {"field_filter": is_due},
            "order_by": [{"field": field, "direction": "ASCENDING"}],
            "limit": limit,
        }
        request = {"parent": self._collection.parent, "structured_query": query}
        with translated(f"looking for timers in {self._collection.timers}", repeatable=True):
            responses = self._client.run_query(request=request, retry=None, timeout=self._timeout)
            return [response.document for response in self._clock.observe_each(responses) if "document" in response]

    def _delete(self, documents: Sequence[Any]) -> None:
        """Delete those of `documents` that were not rewritten since; the others are timers that were rescheduled."""
        writes = [{"delete": each.name, "current_document": {"update_time": each.update_time}} for each in documents]
        request = {"database": self._collection.database, "writes": writes}
        # BatchWrite, not Commit: a failed precondition fails its own write only. Repeatable: a timer that
        # stays is sent again, and the record knows the id of its message.
        with translated(f"deleting timers from {self._collection.timers}", repeatable=True):
            self._client.batch_write(request=request, retry=None, timeout=self._timeout)

    def _write(self, operation: str, write: Mapping[str, Any]) -> None:
        request = {"database": self._collection.database, "writes": [write]}
        with translated(operation):
            response = self._client.commit(request=request, retry=None, timeout=self._timeout)
        self._clock.observe(response.commit_time)


class SweptQueue:
    """`queue`, whose `receive` sweeps `timers` first.

    `every` is for how long this process does not sweep again after a sweep that found nothing. `clock` counts
    seconds from an arbitrary start.
    """

    def __init__(
        self,
        queue: SubscriptionQueue,
        timers: FirestoreTimers,
        every: timedelta = timedelta(seconds=5),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._timers = timers
        self._every = in_seconds(every, "every")
        self._clock = clock
        self._last_sweep = -math.inf
        self._lock = threading.Lock()

    def send(self, messages: Sequence[Message]) -> None:
        self._queue.send(messages)

    def receive(self, limit: int, wait: float = 0.0, machines: abc.Collection[str] | None = None) -> Sequence[Delivery]:
        end = time.monotonic() + wait
        while True:
            self._sweep_if_due()
            left = end - time.monotonic()
            # No longer than `every` at a time, or a timer that becomes due meanwhile would wait for the whole poll.
            received = self._queue.receive(limit, max(0.0, min(left, self._every)), machines)
            if received or left <= self._every:
                return received

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._queue.ack(deliveries)

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        self._queue.release(deliveries, delay)

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        self._queue.extend(deliveries, lease)

    def backlog(self) -> Sequence[Backlog]:
        return self._queue.backlog()

    def withdraw(self, deliveries: Sequence[Delivery]) -> None:
        self._queue.withdraw(deliveries)

    def set_aside(self, data: bytes, ordering: str, id: str) -> bool:
        return self._queue.set_aside(data, ordering, id)

    def _sweep_if_due(self) -> None:
        if self._is_sweep_due() and self._timers.sweep() > 0:
            self._last_sweep = -math.inf  # there may be more: sweep again at the next call

    def _is_sweep_due(self) -> bool:
        with self._lock:
            now = self._clock()
            if now - self._last_sweep < self._every:
                return False
            self._last_sweep = now
            return True


def _fields(timer: Timer) -> Mapping[str, Mapping[str, Any]]:
    return {
        "timer": {"bytes_value": timer.id.encode("utf-8", "surrogatepass")},
        "due": {"double_value": timer.due},
        "message": {"string_value": to_text(timer.message).decode()},
    }


def _message(document: Any) -> Message | None:
    """Decode the message in a document; None if it is not settled's. Such documents are not touched."""
    try:
        decoded = from_text(document.fields["message"].string_value.encode())
    except (EventError, KeyError):
        return None
    return decoded if isinstance(decoded, Message) else None
