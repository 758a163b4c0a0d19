"""Map keys and timers to the names that Google's services accept for them.

A name is readable wherever the service allows it, so that people recognise it in the console; otherwise it is a hash. A
written key contains a slash and a hash never does, so the two cannot collide.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from settled.key import Key

MAX_ORDERING_KEY_BYTES = 1024
"""Pub/Sub's limit on an ordering key."""

MAX_ATTRIBUTE_BYTES = 1024
"""Pub/Sub's limit on the value of an attribute."""

TASK_IDS_PER_TIMER = 3
"""How many times a timer can be rescheduled in the 24 hours that Cloud Tasks reserves used ids, and be cancelled."""


def ordering_key(key: Key) -> str:
    """Return the ordering key of `key`."""
    name = str(key)
    return name if len(_bytes(name)) <= MAX_ORDERING_KEY_BYTES and name.isprintable() else _hash(name)


def key_of_ordering(ordering: str) -> Key | None:
    """Return the key whose `ordering_key` is `ordering`; None if that is a hash, or the ordering key of no key."""
    try:
        key = Key.parse(ordering)
    except ValueError:
        return None
    return key if key.machine and key.instance and ordering_key(key) == ordering else None


def machine_attribute(machine: str) -> str:
    """Return the text by which the filter of a subscription selects the messages of `machine`."""
    is_short = len(_bytes(machine)) <= MAX_ATTRIBUTE_BYTES
    return machine if is_short and machine.isprintable() else _hash(machine)


def task_ids(timer_id: str) -> Sequence[str]:
    """Return the task ids to try for a timer, in this order."""
    # Several, because Cloud Tasks rejects the id of a task for up to 24 hours after the task ran or was deleted.
    # Hashed, because Cloud Tasks advises against sequential prefixes of ids: they increase latency.
    first = _hash(timer_id)
    return [first, *(f"{first}-{number}" for number in range(1, TASK_IDS_PER_TIMER))]


def _hash(text: str) -> str:
    return hashlib.sha256(_bytes(text)).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
