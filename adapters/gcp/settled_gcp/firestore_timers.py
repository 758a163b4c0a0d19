"""Timers without a further service: each is a document, and whoever works looks which of them are due.

A look is a query and costs one read at least, so nobody looks more often than every so many seconds where nothing was
due. What is due is sent and then deleted: at least once, and never early. A timer that was put off since it was read is
not deleted. Where no worker polls, such as behind a push subscription, somebody has to call `FirestoreTimers.sweep`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from settled.durable.messages import Message, Timer
from settled.durable.ports import Delivery, Queue
from settled.errors import EventError
from settled_gcp.client_protocols import FirestoreClient
from settled_gcp.clock import ServerTime
from settled_gcp.documents import Collection, fits
from settled_gcp.envelope import from_text, to_text
from settled_gcp.errors import translated

MOST_AT_ONCE = 100
"""How many timers one look finds."""

EXEMPT_TIMER: Sequence[str] = ("timer", "message")
"""The fields of a timer that should be in no index."""


class FirestoreTimers:
    """Timers beside `collection`; what is due is given to `send`.

    `clock` is the time in seconds since the epoch, if it is not to be Firestore's own; `timeout`, in seconds, is how
    long a request may take.
    """

    def __init__(
        self,
        client: FirestoreClient,
        collection: Collection,
        send: Callable[[Sequence[Message]], None],
        clock: Callable[[], float] | None = None,
        timeout: float = 10.0,
    ) -> None:
        self._client = client
        self._collection = collection
        self._send = send
        self._clock = ServerTime.of(client, collection, clock)
        self._timeout = timeout

    def schedule(self, timer: Timer) -> None:
        """Send ``timer.message`` at ``timer.due``; the same id again replaces what was scheduled under it.

        Raises:
            TooLarge: the message would pass 1 MiB; nothing was scheduled.
        """
        if timer.due <= self._clock():
            self._send([timer.message])
            self.cancel(timer.id)
            return
        name, fields = self._collection.timer(timer.id), _fields(timer)
        fits(name, fields, f"the timer {timer.id}")
        self._write(f"scheduling the timer {timer.id}", {"update": {"name": name, "fields": fields}})

    def cancel(self, timer_id: str) -> None:
        self._write(f"cancelling the timer {timer_id}", {"delete": self._collection.timer(timer_id)})

    def sweep(self, limit: int = MOST_AT_ONCE) -> int:
        """Send up to `limit` messages that are due, the longest due first; how many there were."""
        due = [(document, message) for document in self._due(limit) if (message := _message(document)) is not None]
        if due:
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
            answers = self._client.run_query(request=request, retry=None, timeout=self._timeout)
            return [answer.document for answer in self._clock.heard_in(answers) if "document" in answer]

    def _delete(self, documents: Sequence[Any]) -> None:
        """Delete each of `documents` that was not written since; what stays is sent again, and known."""
        writes = [{"delete": each.name, "current_document": {"update_time": each.update_time}} for each in documents]
        request = {"database": self._collection.database, "writes": writes}
        with translated(f"deleting timers from {self._collection.timers}", repeatable=True):
            self._client.batch_write(request=request, retry=None, timeout=self._timeout)

    def _write(self, what: str, write: Mapping[str, Any]) -> None:
        request = {"database": self._collection.database, "writes": [write]}
        with translated(what):
            answer = self._client.commit(request=request, retry=None, timeout=self._timeout)
        self._clock.heard(answer.commit_time)


class SweptQueue:
    """`queue`, of which nothing is received before somebody has looked which `timers` are due.

    `every` is for how many seconds nobody in this process looks again where nothing was due. `clock` counts seconds
    from anywhere.
    """

    def __init__(
        self, queue: Queue, timers: FirestoreTimers, every: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._queue = queue
        self._timers = timers
        self._every = every
        self._clock = clock
        self._looked = -math.inf
        self._lock = threading.Lock()

    def send(self, messages: Sequence[Message]) -> None:
        self._queue.send(messages)

    def receive(self, limit: int, wait: float = 0.0) -> Sequence[Delivery]:
        end = time.monotonic() + wait
        while True:
            self._look()
            left = end - time.monotonic()
            found = self._queue.receive(limit, max(0.0, min(left, self._every)))
            if found or left <= self._every:
                return found

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._queue.ack(deliveries)

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        self._queue.release(deliveries, delay)

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        self._queue.extend(deliveries, lease)

    def _look(self) -> None:
        if self._is_time() and self._timers.sweep() > 0:
            self._looked = -math.inf  # where some are due there may be more

    def _is_time(self) -> bool:
        with self._lock:
            now = self._clock()
            if now - self._looked < self._every:
                return False
            self._looked = now
            return True


def _fields(timer: Timer) -> Mapping[str, Mapping[str, Any]]:
    return {
        "timer": {"bytes_value": timer.id.encode("utf-8", "surrogatepass")},
        "due": {"double_value": timer.due},
        "message": {"string_value": to_text(timer.message).decode()},
    }


def _message(document: Any) -> Message | None:
    """The message in a document; None if it is not settled's, and left where it is."""
    try:
        found = from_text(document.fields["message"].string_value.encode())
    except (EventError, KeyError):
        return None
    return found if isinstance(found, Message) else None
