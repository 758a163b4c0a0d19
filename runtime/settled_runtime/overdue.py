"""Wakes the instances that wait for what their backend has lost: see `settled.durable.overdue`.

Its law: it only sends messages, each of them safe to repeat. So it may run while workers do, and as often as one likes.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from attrs import frozen

from settled import Key, RecordError
from settled.durable import Backend, Overdue, find_overdue
from settled.durations import in_seconds
from settled_runtime.backend_commands import retried

PAGE_SIZE = 500
"""How many instances are listed with one call of the store."""


@frozen
class WakeReport:
    """The result of `wake_overdue`.

    Attributes:
        examined: how many instances there were.
        overdue: what was due, and is sent by now.
        unreadable: why a record could not be read, by its key: it is damaged, or encoded for another codec.
    """

    examined: int
    overdue: Sequence[Overdue]
    unreadable: Mapping[Key, str]


def wake_overdue(backend: Backend, older_than: timedelta = timedelta(hours=1)) -> WakeReport:
    """Send again what instances wait for, if it was due more than `older_than` ago.

    That is the messages of timers, and a message that has a worker resume an open turn or a redrive. Safe to repeat.
    Each record is loaded, which costs a read on backends that charge for it.

    Args:
        backend: the backend, which must list instances.
        older_than: what was due later may yet come by itself.

    Raises:
        UnsupportedError: this backend cannot list instances.
        UnavailableError, OutcomeUnknownError, AccessDeniedError, BackendConfigError: as the backend raised it. Call
            again.
    """
    seconds, nonce = in_seconds(older_than, "older_than"), uuid.uuid4().hex
    examined, overdue, unreadable = 0, list[Overdue](), dict[Key, str]()
    for key in all_keys(backend):
        stored = retried(backend.store.load, key)
        if stored is None or stored.is_deleted:
            continue
        examined += 1
        try:
            found = find_overdue(key, stored, backend.now() - seconds, nonce)
        except RecordError as error:
            unreadable[key] = str(error)
            continue
        if found:
            retried(backend.queue.send, [each.message for each in found])
            overdue += found
    return WakeReport(examined, overdue, unreadable)


def all_keys(backend: Backend) -> Iterator[Key]:
    """Yield the keys of all instances, in the order of the store.

    Raises:
        UnsupportedError: this backend cannot list instances.
    """
    after: Key | None = None
    while page := retried(backend.store.scan, None, after, PAGE_SIZE):
        for key, _ in page:
            yield key
        after = page[-1][0]
