"""Run instances of one machine on a backend, and measure them in several ways.

Every event goes through the queue, is processed by a host, and is committed. At the end each instance is compared with
`fold`, so that no result is fast because work was left out.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from datetime import timedelta

from attrs import evolve

from bench.sample import Meter, Sample
from settled import Key, fold, setup
from settled.durable import Backend, Delivery, Event, Message, Start, encode, record_from_json
from settled_runtime import Client, StopSignal, Worker
from settled_runtime.events import HostEvent, TurnEnded, TurnStarted
from settled_runtime.host_context import HostContext
from settled_runtime.joint_commit import commit_together
from settled_runtime.turn_runner import turns_for

EVENT = {"type": "TIMER"}
LIGHT = setup().machine(
    {
        "id": "light",
        "initial": "green",
        "states": {
            "green": {"on": {"TIMER": "yellow"}},
            "yellow": {"on": {"TIMER": "red"}},
            "red": {"on": {"TIMER": "green"}},
        },
    }
)
SEND_BATCH = 500
"""How many messages are sent in one call."""


class DurableRunner:
    """Instances of `LIGHT` in `backend`, with a random prefix in their names, and a host for them."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._prefix = secrets.token_urlsafe(6)
        self._watch = Watch()
        self._context = HostContext.of([LIGHT], backend, None, [self._watch])
        self._client = Client(LIGHT, backend)
        self._sent: Counter[str] = Counter()

    def start(self, names: Iterable[str]) -> None:
        """Create instances."""
        keys = self.register(names)
        for first in range(0, len(keys), SEND_BATCH):
            some = keys[first : first + SEND_BATCH]
            self._send([Message(key, secrets.token_urlsafe(12), encode(Start())) for key in some])
            self._work(len(some))

    def register(self, names: Iterable[str]) -> list[Key]:
        """Return the keys of `names`, and compare them with `fold` at the end. Nothing else is kept of them."""
        keys = [self._key(name) for name in names]
        self._sent.update(dict.fromkeys((key.instance for key in keys), 0))
        return keys

    def single(self, name: str, count: int) -> Sample:
        """Send one event and process one, `count` times: two commits each.

        The commit of a turn also receives the next message, as in a worker, so the event that is processed is the one
        that was sent the time before.
        """
        instance = self._key(name).instance
        latencies: list[float] = []
        self._client.send(instance, EVENT)
        deliveries = self._backend.queue.receive(1)
        meter = Meter()
        for _ in range(count):
            began = time.perf_counter()
            self._client.send(instance, EVENT)
            deliveries = self._process(deliveries, receive=1)
            latencies.append(time.perf_counter() - began)
        sample = meter.read(count, latencies)
        self._process(deliveries)
        self._sent[instance] += count + 1
        return sample

    def _process(self, deliveries: Sequence[Delivery], receive: int = 0) -> Sequence[Delivery]:
        turns = turns_for(self._context, deliveries, StopSignal())
        following = commit_together(self._context, turns, lambda: receive)
        for turn in turns:
            turn.run()
        return following

    def queued(self, names: Iterable[str], each: int) -> Sample:
        """Queue `each` events for each of `names`, and measure how a worker processes them."""
        keys = [self._key(name) for name in names]
        count = len(keys) * each
        body = encode(Event(EVENT))
        self._send([Message(key, secrets.token_urlsafe(12), body) for _ in range(each) for key in keys])
        sample = self._work(count)
        self._sent.update({key.instance: each for key in keys})
        return sample

    def check(self) -> None:
        """Compare every instance with the fold of its events."""
        for instance, count in self._sent.items():
            stored = self._backend.store.load(Key(LIGHT.id, instance))
            assert stored is not None and stored.body is not None, f"{instance} is gone"
            record = record_from_json(LIGHT, Key(LIGHT.id, instance), stored.body)
            assert record.ordinal == count + 1, f"{instance} took {record.ordinal - 1} events of {count}"
            assert record.readable_snapshot() == fold(LIGHT, [EVENT] * (count % 3)), (
                f"{instance} is in {record.readable_snapshot().value}"
            )

    def close(self) -> None:
        """Delete the instances, and close the backend."""
        for instance in self._sent:
            self._client.delete(instance)
        self._context.leases.close()
        self._backend.close()

    def _key(self, name: str) -> Key:
        return Key(LIGHT.id, f"{self._prefix}.{name}")

    def _send(self, messages: list[Message]) -> None:
        for first in range(0, len(messages), SEND_BATCH):
            self._backend.queue.send(messages[first : first + SEND_BATCH])

    def _work(self, count: int) -> Sample:
        self._watch.expect(count)
        meter = Meter()
        worker = Worker([LIGHT], self._backend, receive_wait=timedelta(seconds=0.05))
        # A worker that has run for a while: it has cached the records that it committed last.
        worker._context = evolve(self._context, leases=worker._context.leases)  # pyright: ignore[reportPrivateUsage]
        with worker.running():
            self._watch.done.wait()
            return meter.read(count, self._watch.latencies)


class Watch:
    """An observer that measures how long each turn takes, and sets `done` after the expected number of messages."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.done = threading.Event()
        self._began: dict[Key, deque[tuple[float, int]]] = defaultdict(deque)
        self._left = 0
        self._lock = threading.Lock()

    def expect(self, count: int) -> None:
        """Set `done` after `count` more messages."""
        self.latencies, self._left = [], count
        self.done.clear()

    def __call__(self, event: HostEvent) -> None:
        if isinstance(event, TurnStarted):
            # The next turn of a key may start before TurnEnded of this one is observed: its messages are free by then.
            self._began[event.key].append((time.perf_counter(), len(event.ids)))
        elif isinstance(event, TurnEnded):
            turns = self._began[event.key]
            began, count = turns.popleft()
            if not turns:
                del self._began[event.key]
            self.latencies += [time.perf_counter() - began] * count
            with self._lock:
                self._left -= count
            if self._left <= 0:
                self.done.set()
