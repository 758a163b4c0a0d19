"""Backends that do not tell watchers of commits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from attrs import define, field

from settled import Key
from settled.durable import DeadLetter, Stored
from settled_runtime.watchers import Watchers
from tests.conformance.faulty.reference import Plain


class Silent(Plain):
    """Nobody is told anything."""

    def tell_watchers(self, key: Key) -> None:
        pass


@define(eq=False)
class TellsOwnCommitsOnly(Plain):
    """A handle tells its own watchers of its own commits."""

    own: Watchers = field(factory=Watchers)

    def watch(self, key: Key, changed: Callable[[], object]) -> AbstractContextManager[None]:
        self.own = Watchers()
        return self.own.added(key, changed)

    def tell_watchers(self, key: Key) -> None:
        self.own.notify([key])


class TellsBeforeItCommits(Plain):
    """The record that a watcher finds is the one before."""

    def put(
        self, key: Key, stored: Stored, expected: int, add_dead_letters: Sequence[DeadLetter], remove_dead_letters: int
    ) -> None:
        self.tell_watchers(key)
        known, self.world.watchers = self.world.watchers, Watchers()
        super().put(key, stored, expected, add_dead_letters, remove_dead_letters)
        self.world.watchers = known


class TellsOnce(Plain):
    """A watcher is told of one commit, and of no later one."""

    def watch(self, key: Key, changed: Callable[[], object]) -> AbstractContextManager[None]:
        calls = iter([changed])
        return super().watch(key, lambda: next(calls, int)())


class DeletesSilently(Plain):
    """A deletion is not told."""

    def tell_watchers(self, key: Key) -> None:
        if not self.world.records[key].is_deleted:
            super().tell_watchers(key)


class TellsTheLastWatcherOnly(Plain):
    """Who watches a key takes it from whoever watched it before."""

    def watch(self, key: Key, changed: Callable[[], object]) -> AbstractContextManager[None]:
        self.world.watchers.by_key[key] = (changed,)
        return nullcontext()


WATCH_FAULTS: Mapping[type[Plain], str] = {
    Silent: "W1",
    TellsOwnCommitsOnly: "W1",
    TellsBeforeItCommits: "W1",
    TellsOnce: "W1",
    DeletesSilently: "W1",
    TellsTheLastWatcherOnly: "W1",
}
