"""The store's promises, held against what it answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from attrs import define, evolve, field, frozen

from settled import Key
from settled.durable import DeadLetter, Stored

ReportViolation = Callable[[str, str], None]


@frozen
class State:
    """What is stored for a key."""

    stored: Stored | None = None
    dead_letters: tuple[DeadLetter, ...] = ()

    @property
    def version(self) -> int:
        return 0 if self.stored is None else self.stored.version


@define(eq=False)
class StoreChecker:
    """What the store owes. After an answer that never came there are several states it may be in."""

    report: ReportViolation
    states: dict[Key, list[State]] = field(factory=dict[Key, "list[State]"])
    history: dict[Key, dict[int, list[Stored]]] = field(factory=dict[Key, "dict[int, list[Stored]]"])

    def checkpoint(self) -> Callable[[], None]:
        """What makes the store owe again what it owes now: for when it is restored to that."""
        states = {key: list(each) for key, each in self.states.items()}
        history = {key: _copy(each) for key, each in self.history.items()}

        def restore() -> None:
            self.states = {key: list(each) for key, each in states.items()}
            self.history = {key: _copy(each) for key, each in history.items()}

        return restore

    def fast_forward(self, key: Key, version: int) -> None:
        """The harness has let `key` come to `version`."""
        self.states[key] = [
            State(evolve(each.stored, version=version) if each.stored else None, each.dead_letters)
            for each in self.possible(key)
        ]

    def possible(self, key: Key) -> list[State]:
        """The states that `key` may be in, the one that is certain or else the newest one last."""
        return self.states.setdefault(key, [State()])

    def after(self, key: Key, stored: Stored, bury: Sequence[DeadLetter], unbury: int) -> State:
        """The state of `key` once a commit has happened."""
        dead_letters = self.possible(key)[-1].dead_letters
        return State(stored, (*dead_letters[unbury:], *bury))

    def committed(self, key: Key, state: State, expected: int, stale_commit_guarantee: str) -> None:
        """A commit was answered with success; `blame` is the guarantee that forbids it where it is not due."""
        versions = {each.version for each in self.possible(key)}
        if expected not in versions:
            self.report(
                stale_commit_guarantee,
                f"{key}: a commit that expected version {expected} was taken over {sorted(versions)}",
            )
        if any(each != state.stored for each in self.history.get(key, {}).get(state.version, [])):
            self.report("R3", f"{key}: version {state.version} was given twice")
        self._settle(key, state)

    def indeterminate(self, key: Key, state: State, expected: int) -> None:
        """No answer came to a commit: it may have happened if it was due."""
        now = self.possible(key)
        if expected in {each.version for each in now}:
            self.states[key] = [*now, state]

    def refused(self, key: Key, expected: int) -> None:
        """A commit was answered with a conflict."""
        states = [each for each in self.possible(key) if each.version != expected]
        if not states:
            self.report("R6", f"{key}: a commit that expected version {expected}, which it has, was refused")
            return
        self.states[key] = states

    def deleted(self, key: Key, tombstone: Stored, expected: int, found: Stored | None) -> None:
        """`tombstone` was put in the place of `key`, and `found` loaded after that."""
        if expected not in {each.version for each in self.possible(key)}:
            self.report("R6", f"{key}: a deletion that expected version {expected} was done")
        if found is None or found != tombstone:
            self.report("R3", f"{key}: was deleted at version {expected}, and loads {_short(found)} now")
        self._settle(key, State(found))

    def loaded(self, key: Key, found: Stored | None) -> None:
        """`key` was loaded."""
        states = self.possible(key)
        matching = [each for each in states if each.stored == found]
        if matching:
            self._settle(key, matching[-1])
            return
        expected = states[-1].stored
        if found is None or expected is None:
            kind = "D2" if found is None else "X9"
        elif found.version < expected.version:
            kind = "R8"
        elif self._is_mixed(found, expected):
            kind = "R9"
        else:
            kind = "D6"
        self.report(kind, f"{key}: loaded {_short(found)}, and {_short(expected)} was committed")

    def _is_mixed(self, found: Stored, expected: Stored) -> bool:
        """Whether `found` is `expected` with something of another commit: its text, its index, or a part of it."""
        others = list(self._others(expected))
        if found.body == expected.body:
            return any(found.index == other.index for other in others)
        if any(found.body == other.body for other in others):
            return True
        parts, own = _parts(found.body), _parts(expected.body)
        if parts is None or own is None:
            return False
        strange = {name: part for name, part in parts.items() if name not in own or own[name] != part}
        if not strange:  # something is missing, and no commit had a text without it
            return False
        elsewhere = [each for other in others if (each := _parts(other.body)) is not None]
        return all(any(name in each and each[name] == part for each in elsewhere) for name, part in strange.items())

    def _others(self, expected: Stored) -> Iterator[Stored]:
        """All that was ever committed, but for `expected`."""
        for versions in self.history.values():
            for each in versions.values():
                yield from (stored for stored in each if stored != expected)

    def dead_letters_read(self, key: Key, found: Sequence[DeadLetter]) -> None:
        """The dead letters of `key` were read."""
        states = self.possible(key)
        matching = [each for each in states if each.dead_letters == tuple(found)]
        if matching:
            self._settle(key, matching[-1])
            return
        expected = states[-1].dead_letters
        same = sorted(map(_name, found)) == sorted(map(_name, expected))
        kind = "X10" if same and list(map(_name, found)) != list(map(_name, expected)) else "X6"
        self.report(kind, f"{key}: its dead letters are {_names(found)}, and should be {_names(expected)}")
        self._settle(key, State(states[-1].stored, tuple(found)))

    def _settle(self, key: Key, state: State) -> None:
        self.states[key] = [state]
        if state.stored is not None:
            known = self.history.setdefault(key, {}).setdefault(state.stored.version, [])
            if state.stored not in known:
                known.append(state.stored)


def _copy(history: Mapping[int, Sequence[Stored]]) -> dict[int, list[Stored]]:
    return {version: list(each) for version, each in history.items()}


def _parts(body: str) -> Mapping[str, Any] | None:
    """The parts of a text that is a JSON object."""
    try:
        parsed = json.loads(body)
    except ValueError:
        return None
    return cast("Mapping[str, Any]", parsed) if isinstance(parsed, dict) else None


def _short(stored: Stored | None) -> str:
    if stored is None:
        return "nothing"
    return f"version {stored.version} {'deleted' if stored.is_deleted else repr(stored.body[:60])}"


def _name(dead_letter: DeadLetter) -> str:
    return dead_letter.message.id


def _names(dead_letters: Sequence[DeadLetter]) -> str:
    return "[" + ", ".join(f"{each.message.id} {each.message.body[:40]!r}" for each in dead_letters) + "]"
