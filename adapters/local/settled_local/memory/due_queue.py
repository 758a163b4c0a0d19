"""A priority queue of items by the time at which they are due. It has no clock: its callers pass the time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import Generic, TypeVar

T = TypeVar("T")


class DueQueue(Generic[T]):
    """Distinct items by due time; items with the same due time keep the order in which they were put.

    Attributes:
        next_due: when the first item is due; infinity if there is none.
    """

    def __init__(self) -> None:
        self.next_due = float("inf")
        # (due, serial): the serial keeps the order among equal times, and spares items from being comparable.
        self._entries: list[tuple[float, int]] = []
        self._entry_of: dict[T, tuple[float, int]] = {}
        self._items: dict[int, T] = {}
        self._serial = 0

    def put(self, item: T, due: float) -> None:
        """Add `item`, due at `due`, or move it there from its former time."""
        if item in self._entry_of:
            self.remove(item)
        self._serial += 1
        entry = (due, self._serial)
        self._entry_of[item] = entry
        self._items[self._serial] = item
        insort(self._entries, entry)
        self.next_due = self._entries[0][0]

    def remove(self, item: T) -> None:
        """Remove `item` if it is in the queue."""
        entry = self._entry_of.pop(item, None)
        if entry is not None:
            del self._entries[bisect_left(self._entries, entry)]
            del self._items[entry[1]]
            self.next_due = self._entries[0][0] if self._entries else float("inf")

    def is_due(self, item: T, now: float) -> bool:
        """Return whether `item` is in the queue and due at `now`."""
        entry = self._entry_of.get(item)
        return entry is not None and entry[0] <= now

    def pop_due(self, now: float) -> list[T]:
        """Remove and return the items that are due at `now`, earliest first."""
        count = bisect_right(self._entries, now, key=lambda entry: entry[0])
        popped = [self._items.pop(serial) for _, serial in self._entries[:count]]
        del self._entries[:count]
        for item in popped:
            del self._entry_of[item]
        self.next_due = self._entries[0][0] if self._entries else float("inf")
        return popped
