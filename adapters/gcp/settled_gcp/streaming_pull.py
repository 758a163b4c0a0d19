"""Streaming pull: messages come as soon as they are there, and a worker takes them from here.

A stream hands out more of a key while earlier messages of it are still out. So the rule that a key has one holder is
kept here: what comes of a key that is held waits behind it. It is handed out once all that is out was acknowledged; and
when any of it is given back, what waits is given back with it, because Pub/Sub hands out the lot again, in order. Some
of that lot may be on its way here at that very moment; so what was given back must be the first of its key to come.

A stream that breaks is no error for longer than one `receive`, which says that nothing happened; the next one opens a
new stream. Pub/Sub closes them now and then by itself.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from attrs import define, evolve, field

from settled.durable.messages import Message
from settled.durable.ports import Delivery
from settled.errors import ConflictError, SettledError, UnavailableError
from settled.key import Key
from settled_gcp.client_protocols import SubscriberClient
from settled_gcp.errors import translated
from settled_gcp.queue import LONGEST_LEASE, PubSubQueue

MOST_OUT = 200
"""How many messages one process has out, or waiting, at most."""

WORN = 2 / 3
"""Which part of its lease must be left to what is handed out; with less, it is extended first."""

HEARTBEAT = 30.0
"""Seconds between two signs of life on a stream."""

OVERTAKEN_FOR = 2.0
"""For how many seconds a message that must come first may be overtaken on its way, and still be waited for."""

SHORTEST_PAUSE = 1.0
"""For how many seconds at least what came too early is given back."""


@define(eq=False)
class _Line:
    """What is here of a key: what is out, by its receipts, until when, and what waits behind it.

    `awaited` is the message that must come first, because it was given back; it comes `back` then.
    """

    waiting: deque[Delivery] = field(factory=deque[Delivery])
    out: dict[str, Delivery] = field(factory=dict[str, Delivery])
    until: float = 0.0
    awaited: Message | None = None
    back: float = 0.0

    def rewind(self, back: float) -> None:
        """All of it comes again, in order, once its first message is `back`."""
        self.awaited = next((each.message for each in (*self.out.values(), *self.waiting)), None)
        self.back = back
        self.out.clear()
        self.waiting.clear()

    def takes(self, delivery: Delivery, now: float) -> bool:
        """Whether `delivery` comes neither before what must come first, nor so late that this will not come."""
        if delivery.message == self.awaited or now > self.back + OVERTAKEN_FOR:
            self.awaited = None
        return self.awaited is None


class StreamingQueue:
    """`queue`, but that what it hands out comes by a stream of `client`, which is the generated subscriber.

    `most_out` bounds how many messages are out or waiting here. `clock` is that of `queue`.
    """

    def __init__(
        self,
        queue: PubSubQueue,
        client: SubscriberClient,
        *,
        most_out: int = MOST_OUT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._queue = queue
        self._client = client
        self._most_out = most_out
        self._clock = clock
        self._lines: dict[Key, _Line] = {}
        self._changed = threading.Condition()
        self._stream: _Stream | None = None

    def send(self, messages: Sequence[Message]) -> None:
        self._queue.send(messages)

    def receive(self, limit: int, wait: float = 0.0) -> Sequence[Delivery]:
        """Up to `limit` messages that the stream has brought, waiting up to `wait` seconds for the first one.

        Raises:
            Unavailable: the stream has ended. The next call opens another one.
        """
        if limit < 1:
            return ()
        end = time.monotonic() + wait
        with self._changed:
            stream = self._opened()
            while not (found := self._take(limit)) and stream.error is None:
                patience = end - time.monotonic()
                if patience <= 0 or not self._changed.wait(patience):
                    return ()
            if not found:
                self._stream = None
                raise stream.error or AssertionError("a stream ends with an error")
        return self._refreshed(found)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._queue.ack(deliveries)
        with self._changed:
            self._let_go(deliveries)

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        """Give the leases back, and with them those of all that waits behind them."""
        with self._changed:
            lines = self._held(deliveries)
            behind = [each for line in lines for each in line.waiting]
            for line in lines:
                line.rewind(self._clock() + min(delay, LONGEST_LEASE))
        self._queue.release([*deliveries, *behind], delay)

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> None:
        """Let the leases end `lease` seconds from now, and those of all that waits behind them."""
        until = self._clock() + min(lease, LONGEST_LEASE)
        with self._changed:
            lines = self._held(deliveries)
            behind = [each for line in lines for each in line.waiting]
            for line in lines:
                line.until = until
                line.waiting = deque(evolve(each, until=until) for each in line.waiting)
        if behind:
            with suppress(ConflictError):  # Nobody has seen anything yet of what was lost here.
                self._queue.extend(behind, lease)
        self._queue.extend(deliveries, lease)

    def close(self) -> None:
        """End the stream. What is out or waits comes again when its lease is over."""
        with self._changed:
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _held(self, deliveries: Sequence[Delivery]) -> Sequence[_Line]:
        """The lines of which any of `deliveries` is out."""
        lines = {each.message.key: self._lines.get(each.message.key) for each in deliveries}
        receipts = {each.receipt for each in deliveries}
        return [line for line in lines.values() if line is not None and line.out.keys() & receipts]

    def _let_go(self, deliveries: Iterable[Delivery]) -> None:
        """These are out no more."""
        for delivery in deliveries:
            line = self._lines.get(delivery.message.key)
            if line is not None:
                line.out.pop(delivery.receipt, None)
        self._changed.notify_all()

    def _take(self, limit: int) -> list[Delivery]:
        """Up to `limit` messages of keys that nobody holds. These keys go to the end: none starves the others."""
        found: list[Delivery] = []
        for key in list(self._lines):
            line, now = self._lines[key], self._clock()
            until = line.until if line.out else min((each.until for each in line.waiting), default=now + 1)
            if until <= now:
                line.rewind(now)
            if line.out:
                continue
            if not line.waiting:
                if line.awaited is None or now > line.back + OVERTAKEN_FOR:
                    del self._lines[key]
                continue
            taken = [line.waiting.popleft() for _ in range(min(limit - len(found), len(line.waiting)))]
            if taken:
                line.out = {each.receipt: each for each in taken}
                line.until = min(each.until for each in taken)
                self._lines[key] = self._lines.pop(key)
            found += taken
        return found

    def _refreshed(self, found: Sequence[Delivery]) -> Sequence[Delivery]:
        """`found`, under leases of which enough is left."""
        lease = self._queue.lease
        worn = [each for each in found if each.until - self._clock() < lease * WORN]
        if not worn:
            return found
        fresh = [each for each in found if each not in worn]
        try:
            self.extend(worn, lease)
        except ConflictError:
            self.release(worn)
            return fresh
        until = self._clock() + lease
        return [*fresh, *(evolve(each, until=until) for each in worn)]

    def _opened(self) -> _Stream:
        """The stream; a new one if there is none."""
        if self._stream is None:
            self._stream = _Stream()
            threading.Thread(target=self._run, args=(self._stream,), name="settled-stream", daemon=True).start()
        return self._stream

    def _run(self, stream: _Stream) -> None:
        """Take in what a stream brings, to its end."""
        subscription = self._queue.subscription
        first = {
            "subscription": subscription,
            "stream_ack_deadline_seconds": self._queue.lease,
            "max_outstanding_messages": self._most_out,
        }
        error: SettledError = UnavailableError(f"the stream from {subscription} has ended")
        try:
            with translated(f"streaming from {subscription}", repeatable=True):
                routing = (("x-goog-request-params", f"subscription={subscription}"),)
                requests = stream.requests(first)
                stream.answers = self._client.streaming_pull(requests, retry=None, timeout=None, metadata=routing)
                if stream.ended.is_set():
                    stream.answers.cancel()
                for answer in stream.answers:
                    self._arrived(answer.received_messages)
        except SettledError as raised:
            error = raised
        finally:
            stream.ended.set()
            with self._changed:
                stream.error = error
                self._changed.notify_all()

    def _arrived(self, received: Iterable[Any]) -> None:
        early: list[tuple[Delivery, float]] = []
        deliveries, now = list(self._queue.deliveries(received)), self._clock()
        with self._changed:
            for delivery in deliveries:
                line = self._lines.setdefault(delivery.message.key, _Line())
                if line.takes(delivery, now):
                    line.waiting.append(delivery)
                else:
                    early.append((delivery, max(SHORTEST_PAUSE, line.back - now)))
            self._changed.notify_all()
        for delivery, pause in early:
            with suppress(SettledError):  # It comes again when its lease is over, too.
                self._queue.release([delivery], pause)


@define(eq=False)
class _Stream:
    """One stream, from its opening to its end, which is an `error` whatever the reason."""

    ended: threading.Event = field(factory=threading.Event)
    answers: Any = None
    error: SettledError | None = None

    def requests(self, first: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """What is said to Pub/Sub: what is wanted, and then, now and again, that it is still wanted."""
        yield first
        while not self.ended.wait(HEARTBEAT):
            yield {}

    def close(self) -> None:
        """Let it end."""
        self.ended.set()
        if self.answers is not None:
            self.answers.cancel()
