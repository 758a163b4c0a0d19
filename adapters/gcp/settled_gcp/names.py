"""Under which names Google's services know a key and a timer.

A name is the thing's own wherever a service can take it, so that people recognise it in the console, and else a hash. A
written key has a slash and a hash has none, so one is never mistaken for the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from settled.key import Key

LONGEST_ORDERING_KEY = 1024
"""Bytes of an ordering key."""

NAMES_OF_A_TIMER = 3
"""How often a timer may be scheduled anew while Cloud Tasks still remembers its names, and be found to be cancelled."""


def ordering_key(key: Key) -> str:
    """The ordering key of `key`."""
    name = str(key)
    return name if len(_bytes(name)) <= LONGEST_ORDERING_KEY and name.isprintable() else _hash(name)


def task_ids(timer_id: str) -> Sequence[str]:
    """The ids of the tasks for a timer, one after the other.

    Cloud Tasks takes the id of a task that was run or deleted no more, for up to a day. Ids begin with a hash, because
    it stores tasks in their order, and ids that resemble each other slow it down.
    """
    first = _hash(timer_id)
    return [first, *(f"{first}-{number}" for number in range(1, NAMES_OF_A_TIMER))]


def _hash(text: str) -> str:
    return hashlib.sha256(_bytes(text)).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
