"""Keep, for an adapter, the functions to call when a key was committed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager

from attrs import define, field

from settled import Key


@define(eq=False)
class Watchers:
    """The functions to call when a key was committed, by key.

    Attributes:
        by_key: empty if nobody watches, which costs a commit no call to find out.
    """

    by_key: dict[Key, Sequence[Callable[[], object]]] = field(
        factory=dict[Key, "Sequence[Callable[[], object]]"], init=False
    )
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    @contextmanager
    def added(self, key: Key, changed: Callable[[], object]) -> Generator[None]:
        """Within this block, have `notify` call `changed` for `key`."""
        with self._lock:
            self.by_key[key] = (*self.by_key.get(key, ()), changed)
        try:
            yield
        finally:
            with self._lock:
                others = list(self.by_key[key])
                others.remove(changed)
                if others:
                    self.by_key[key] = others
                else:
                    del self.by_key[key]

    def notify(self, keys: Iterable[Key]) -> None:
        """Call the functions of each of `keys`."""
        for key in keys:
            # Without the lock: what is called may itself end a watch or begin one.
            for changed in self.by_key.get(key, ()):
                changed()
