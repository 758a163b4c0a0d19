"""Short constructors for messages, timers, records and dead letters, for tests of adapters with an emulated vendor."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from settled.durable.messages import Message, Timer
from settled.durable.ports import DELETED, DeadLetter, Delivery, Index, Stored
from settled.key import Key

PATIENCE = 30.0
"""How long any call may take on a busy machine, in seconds."""

ADA = Key("signup", "ada")
BEN = Key("signup", "ben")
CEM = Key("signup", "cem")

_numbers = itertools.count(1)


def fresh_name(prefix: str = "t") -> str:
    """Return a name that is unique in the emulators, which several test runs may share."""
    return f"{prefix}{os.getpid()}-{next(_numbers)}"


def message(key: Key, id: str, body: str = "{}") -> Message:
    return Message(key, id, body)


def timer(id: str, due: float, key: Key = ADA) -> Timer:
    return Timer(id, message(key, id), due)


def stored(version: int, body: str = "{}", status: str = "active") -> Stored:
    return Stored(version, body, Index(status, ("settled",), 5.25))


def tombstone(version: int) -> Stored:
    return Stored(version, '{"left":1}', Index(DELETED, (), 6.25))


def dead_letter(key: Key, id: str, body: str = '{"a":1}') -> DeadLetter:
    return DeadLetter(message(key, id, body), "raised", 7.5, "ValueError: no")


def ids(deliveries: Iterable[Delivery]) -> list[str]:
    return [delivery.message.id for delivery in deliveries]


def keys(deliveries: Sequence[Delivery]) -> list[Key]:
    return [delivery.message.key for delivery in deliveries]


def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "the condition did not hold in time"
        time.sleep(0.1)


def watched(client: Any, tell: Callable[[str], None]) -> Any:
    """Return a proxy of `client` that calls `tell` with the name of each method before it calls the method."""
    return _Watched(client, tell)


class _Watched:
    def __init__(self, client: Any, tell: Callable[[str], None]) -> None:
        self._client, self._tell = client, tell

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        def watched_call(*arguments: Any, **request: Any) -> Any:
            self._tell(name)
            return call(*arguments, **request)

        return watched_call
