"""An agenda: what is to happen, by the time it is due. It has no clock; whoever reads it brings the time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import Generic, TypeVar

T = TypeVar("T")


class DueQueue(Generic[T]):
    """Things by the time they are due; those of one time in the order in which they were put here."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int]] = []
        self._entry: dict[T, tuple[float, int]] = {}
        self._things: dict[int, T] = {}
        self._serial = 0

    def put(self, thing: T, due: float) -> None:
        """Note `thing` for `due`, instead of any time it was noted for before."""
        self.drop(thing)
        self._serial += 1
        entry = (due, self._serial)
        self._entry[thing] = entry
        self._things[self._serial] = thing
        insort(self._entries, entry)

    def drop(self, thing: T) -> None:
        entry = self._entry.pop(thing, None)
        if entry is not None:
            del self._entries[bisect_left(self._entries, entry)]
            del self._things[entry[1]]

    def due(self, thing: T) -> float:
        return self._entry[thing][0]

    def next_due(self) -> float:
        return self._entries[0][0] if self._entries else float("inf")

    def pop_due(self, now: float) -> list[T]:
        """Take out everything that is due at `now`."""
        count = bisect_right(self._entries, now, key=lambda entry: entry[0])
        popped = [self._things.pop(serial) for _, serial in self._entries[:count]]
        del self._entries[:count]
        for thing in popped:
            del self._entry[thing]
        return popped
