"""Receive messages by StreamingPull: a stream fills a buffer, from which `receive` takes them.

On a stream, Pub/Sub sends later messages of a key while earlier ones are outstanding. The rule that a key has one
holder is therefore enforced here: messages of a key that is held wait in its buffer until all outstanding ones are
acknowledged. When one of those is released, the waiting ones are released, too, because Pub/Sub redelivers all of them
in order. Some may be on the way here at that moment; so after a release the buffer accepts nothing of the key before
the first released message.

If the stream breaks, one `receive` raises `UnavailableError`, and the next one opens a new stream. Pub/Sub closes
streams from time to time by itself.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from attrs import define, evolve, field

from settled.durable.messages import Message
from settled.durable.ports import Backlog, Delivery
from settled.errors import ConflictError, SettledError, UnavailableError
from settled.key import Key
from settled_gcp.client_protocols import SubscriberClient
from settled_gcp.errors import translated
from settled_gcp.queue import MAX_LEASE_SECONDS, PubSubQueue

MAX_OUTSTANDING = 200
"""How many messages may be outstanding or waiting in one process."""

MIN_LEASE_FRACTION = 2 / 3
"""`receive` extends leases of which less than this fraction is left: a message may have waited in its buffer."""

HEARTBEAT_INTERVAL = 30.0
"""Seconds between requests that keep the stream open."""

REDELIVERY_GRACE = 2.0
"""For how many seconds after its due time the first redelivery of a key is still waited for."""

MIN_RELEASE_DELAY = 1.0
"""The shortest delay with which a message that arrived before the first redelivery is released, in seconds."""


@define(eq=False)
class _KeyBuffer:
    """The messages of a key: the outstanding ones, by receipt, and those that wait for them."""

    waiting: deque[Delivery] = field(factory=deque[Delivery])
    outstanding: dict[str, Delivery] = field(factory=dict[str, Delivery])
    until: float = 0.0
    """When the lease of the outstanding messages ends."""
    expected: Message | None = None
    """The message that must be redelivered first, if any."""
    redelivery_at: float = 0.0
    """When Pub/Sub redelivers it."""

    def rewind(self, redelivery_at: float) -> None:
        """Drop all messages: Pub/Sub redelivers them in order, from `redelivery_at` on."""
        self.expected = next((each.message for each in (*self.outstanding.values(), *self.waiting)), None)
        self.redelivery_at = redelivery_at
        self.outstanding.clear()
        self.waiting.clear()

    def accepts(self, delivery: Delivery, now: float) -> bool:
        """Return whether `delivery` may be buffered: it is no later message that has overtaken the expected one."""
        # After the grace period the expected message is given up: it may have been dead-lettered or acknowledged.
        if delivery.message == self.expected or now > self.redelivery_at + REDELIVERY_GRACE:
            self.expected = None
        return self.expected is None


class StreamingQueue:
    """`queue`, receiving by StreamingPull.

    Args:
        queue: sends, acknowledges, releases and extends.
        client: the generated subscriber.
        max_outstanding: how many messages may be outstanding or waiting here.
        clock: that of `queue`.
    """

    def __init__(
        self,
        queue: PubSubQueue,
        client: SubscriberClient,
        *,
        max_outstanding: int = MAX_OUTSTANDING,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._queue = queue
        self._client = client
        self._max_outstanding = max_outstanding
        self._clock = clock
        self._buffers: dict[Key, _KeyBuffer] = {}
        self._changed = threading.Condition()
        self._stream: _Stream | None = None

    def send(self, messages: Sequence[Message]) -> None:
        self._queue.send(messages)

    def receive(self, limit: int, wait: float = 0.0, machines: Collection[str] | None = None) -> Sequence[Delivery]:
        """Return up to `limit` messages that the stream has brought, waiting up to `wait` seconds for the first one.

        `machines` has no effect, as in `PubSubQueue.receive`.

        Raises:
            UnavailableError: the stream has ended. The next call opens a new one.
        """
        if limit < 1:
            return ()
        end = time.monotonic() + wait
        with self._changed:
            stream = self._open_stream()
            while not (found := self._take(limit)) and stream.error is None:
                left = end - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    return ()
            if not found:
                self._stream = None
                raise stream.error or AssertionError("a stream ends with an error")
        return self._with_fresh_leases(found)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._queue.ack(deliveries)
        with self._changed:
            for delivery in deliveries:
                buffer = self._buffers.get(delivery.message.key)
                if buffer is not None:
                    buffer.outstanding.pop(delivery.receipt, None)
            self._changed.notify_all()

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        """Release `deliveries`, and all messages of their keys that wait here."""
        with self._changed:
            buffers = self._buffers_of(deliveries)
            waiting = [each for buffer in buffers for each in buffer.waiting]
            # Before the request: a redelivery that arrived in between would be dropped with the rest.
            for buffer in buffers:
                buffer.rewind(self._clock() + min(delay, MAX_LEASE_SECONDS))
        self._queue.release([*deliveries, *waiting], delay)

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        """Extend the leases of `deliveries`, and of all messages of their keys that wait here."""
        until = self._clock() + min(lease, MAX_LEASE_SECONDS)
        with self._changed:
            buffers = self._buffers_of(deliveries)
            waiting = [each for buffer in buffers for each in buffer.waiting]
            for buffer in buffers:
                buffer.until = until
                buffer.waiting = deque(evolve(each, lease_until=until) for each in buffer.waiting)
        if waiting:
            with suppress(ConflictError):  # a lost lease among them does not concern the caller, who does not hold them
                self._queue.extend(waiting, lease)
        self._queue.extend(deliveries, lease)

    def backlog(self) -> Sequence[Backlog]:
        return self._queue.backlog()

    def withdraw(self, deliveries: Sequence[Delivery]) -> None:
        self._queue.withdraw(deliveries)

    def set_aside(self, data: bytes, ordering: str, id: str) -> bool:
        return self._queue.set_aside(data, ordering, id)

    def close(self) -> None:
        """End the stream. Pub/Sub redelivers outstanding and waiting messages when their leases end."""
        with self._changed:
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _buffers_of(self, deliveries: Sequence[Delivery]) -> Sequence[_KeyBuffer]:
        """Return the buffers in which any of `deliveries` is outstanding."""
        buffers = {each.message.key: self._buffers.get(each.message.key) for each in deliveries}
        receipts = {each.receipt for each in deliveries}
        return [buffer for buffer in buffers.values() if buffer is not None and buffer.outstanding.keys() & receipts]

    def _take(self, limit: int) -> list[Delivery]:
        """Remove and return up to `limit` waiting messages of keys that are not held."""
        found: list[Delivery] = []
        for key in list(self._buffers):
            buffer, now = self._buffers[key], self._clock()
            ends = [buffer.until] if buffer.outstanding else [each.lease_until for each in buffer.waiting]
            if min(ends, default=now + 1) <= now:
                buffer.rewind(now)  # a lease has ended: Pub/Sub redelivers the message and all later ones
            if buffer.outstanding:
                continue
            if not buffer.waiting:
                if buffer.expected is None or now > buffer.redelivery_at + REDELIVERY_GRACE:
                    del self._buffers[key]
                continue
            taken = [buffer.waiting.popleft() for _ in range(min(limit - len(found), len(buffer.waiting)))]
            if taken:
                buffer.outstanding = {each.receipt: each for each in taken}
                buffer.until = min(each.lease_until for each in taken)
                self._buffers[key] = self._buffers.pop(key)  # last in order, so that no key starves the others
            found += taken
        return found

    def _with_fresh_leases(self, found: Sequence[Delivery]) -> Sequence[Delivery]:
        """Return `found` with leases that are long enough, leaving out messages whose lease was lost."""
        lease = self._queue.lease
        worn = [each for each in found if each.lease_until - self._clock() < lease * MIN_LEASE_FRACTION]
        if not worn:
            return found
        fresh = [each for each in found if each not in worn]
        try:
            self.extend(worn, lease)
        except ConflictError:
            self.release(worn)
            return fresh
        until = self._clock() + lease
        return [*fresh, *(evolve(each, lease_until=until) for each in worn)]

    def _open_stream(self) -> _Stream:
        """Return the stream; open it if there is none."""
        if self._stream is None:
            self._stream = _Stream()
            threading.Thread(target=self._run, args=(self._stream,), name="settled-stream", daemon=True).start()
        return self._stream

    def _run(self, stream: _Stream) -> None:
        """Buffer the messages of `stream` until it ends."""
        subscription = self._queue.subscription
        first = {
            "subscription": subscription,
            "stream_ack_deadline_seconds": self._queue.lease,
            "max_outstanding_messages": self._max_outstanding,
        }
        error: SettledError = UnavailableError(f"the stream from {subscription} has ended")
        try:
            with translated(f"streaming from {subscription}", repeatable=True):
                # The generated client cannot take this routing header from an iterator of requests.
                routing = (("x-goog-request-params", f"subscription={subscription}"),)
                requests = stream.requests(first)
                stream.responses = self._client.streaming_pull(requests, retry=None, timeout=None, metadata=routing)
                if stream.ended.is_set():  # closed before `responses` was set, so `close` could not cancel it
                    stream.responses.cancel()
                for response in stream.responses:
                    self._buffer_received(response.received_messages)
        except SettledError as raised:
            error = raised
        finally:
            stream.ended.set()
            with self._changed:
                stream.error = error
                self._changed.notify_all()

    def _buffer_received(self, received: Iterable[Any]) -> None:
        early: list[tuple[Delivery, float]] = []
        deliveries, now = list(self._queue.deliveries(received)), self._clock()
        with self._changed:
            for delivery in deliveries:
                buffer = self._buffers.setdefault(delivery.message.key, _KeyBuffer())
                if buffer.accepts(delivery, now):
                    buffer.waiting.append(delivery)
                else:
                    early.append((delivery, max(MIN_RELEASE_DELAY, buffer.redelivery_at - now)))
            self._changed.notify_all()
        for delivery, delay in early:
            with suppress(SettledError):  # if it fails, the message is redelivered when its lease ends
                self._queue.release([delivery], delay)


@define(eq=False)
class _Stream:
    """A StreamingPull stream. `error` is set when it has ended, for whatever reason."""

    ended: threading.Event = field(factory=threading.Event)
    responses: Any = None
    error: SettledError | None = None

    def requests(self, first: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Yield the requests: the first one, and then empty ones that keep the stream open."""
        yield first
        while not self.ended.wait(HEARTBEAT_INTERVAL):
            yield {}

    def close(self) -> None:
        """End the stream."""
        self.ended.set()
        if self.responses is not None:
            self.responses.cancel()
