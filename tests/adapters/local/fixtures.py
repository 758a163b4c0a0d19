"""A backend under test with a clock that the test sets, and short constructors for messages, timers and records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from settled.durable.messages import Message, Timer
from settled.durable.ports import DELETED, DeadLetter, Delivery, Index, Stored
from settled.key import Key
from settled_local import MemoryBackend, SQLiteBackend

Local: TypeAlias = MemoryBackend | SQLiteBackend
LEASE = 30.0

ADA = Key("signup", "ada")
BEN = Key("signup", "ben")
CEM = Key("signup", "cem")


class Clock:
    """A clock that only the test advances, in seconds since the epoch."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class BackendEnv:
    """A backend under test and its clock; `reopen` returns one more backend object over the same data."""

    def __init__(self, clock: Clock, backend: Local, reopen: Callable[[], Local]) -> None:
        self.clock = clock
        self.backend = backend
        self.store = backend.store
        self.queue = backend.queue
        self.timers = backend.timers
        self.reopen = reopen

    def send(self, key: Key, *ids: str) -> None:
        self.queue.send([message(key, id) for id in ids])

    def take(self, limit: int = 1) -> list[Delivery]:
        return list(self.queue.receive(limit))

    def drain(self, limit: int = 10) -> list[str]:
        """Receive and acknowledge until the queue is empty; return the ids in the order of their delivery."""
        drained: list[str] = []
        while deliveries := self.queue.receive(limit):
            drained += ids(deliveries)
            self.queue.ack(deliveries)
        return drained


def message(key: Key, id: str, body: str = "{}") -> Message:
    return Message(key, id, body)


def timer(id: str, due: float, key: Key = ADA, message_id: str | None = None) -> Timer:
    return Timer(id, message(key, message_id or id), due)


def stored(version: int, body: str = "{}", status: str = "active") -> Stored:
    return Stored(version, body, Index(status, ("settled",), 5.0))


def tombstone(version: int) -> Stored:
    return Stored(version, '{"left":1}', Index(DELETED, (), 6.0))


def dead_letter(key: Key, id: str) -> DeadLetter:
    return DeadLetter(message(key, id, f'{{"id":"{id}"}}'), "raised", 7.5, "ValueError: no")


def ids(deliveries: Iterable[Delivery]) -> list[str]:
    return [delivery.message.id for delivery in deliveries]


def keys(deliveries: Sequence[Delivery]) -> list[Key]:
    return [delivery.message.key for delivery in deliveries]
