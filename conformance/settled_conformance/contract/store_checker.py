"""`StoreChecker`: checks the answers of a store against the states that it may be in.

A commit whose answer was lost leaves several possible states; the next answer that distinguishes them selects one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from attrs import define, evolve, field, frozen

from settled import ConflictError, Key
from settled.durable import CommitConflictError, DeadLetter, Stored

ReportViolation = Callable[[str, str], None]


@frozen
class State:
    """The record and the dead letters of a key."""

    stored: Stored | None = None
    dead_letters: tuple[DeadLetter, ...] = ()

    @property
    def version(self) -> int:
        return 0 if self.stored is None else self.stored.version


@define(eq=False)
class StoreChecker:
    """The possible states of each key, newest last, and every `Stored` that was ever committed, by key and version."""

    report: ReportViolation
    states: dict[Key, list[State]] = field(factory=dict[Key, "list[State]"])
    history: dict[Key, dict[int, list[Stored]]] = field(factory=dict[Key, "dict[int, list[Stored]]"])

    def checkpoint(self) -> Callable[[], None]:
        """Return a function that resets the model to the present, for when the store is restored from a backup."""
        states = {key: list(each) for key, each in self.states.items()}
        history = {key: _copy(each) for key, each in self.history.items()}

        def restore() -> None:
            self.states = {key: list(each) for key, each in states.items()}
            self.history = {key: _copy(each) for key, each in history.items()}

        return restore

    def fast_forward(self, key: Key, version: int) -> None:
        """Set the version of `key` after the harness has fast-forwarded it."""
        self.states[key] = [
            State(evolve(each.stored, version=version) if each.stored else None, each.dead_letters)
            for each in self.possible(key)
        ]

    def possible(self, key: Key) -> list[State]:
        """Return the states that `key` may be in; the most recently committed is last."""
        return self.states.setdefault(key, [State()])

    def after(
        self, key: Key, stored: Stored, add_dead_letters: Sequence[DeadLetter], remove_dead_letters: int
    ) -> State:
        """Return the state of `key` after a commit."""
        dead_letters = self.possible(key)[-1].dead_letters
        return State(stored, (*dead_letters[remove_dead_letters:], *add_dead_letters))

    def committed(self, key: Key, state: State, expected: int, stale_commit_guarantee: str) -> None:
        """Record a successful commit. Report `stale_commit_guarantee` if `expected` was no possible version."""
        versions = {each.version for each in self.possible(key)}
        if expected not in versions:
            self.report(
                stale_commit_guarantee,
                f"{key}: a commit that expected version {expected} was taken over {sorted(versions)}",
            )
        if any(each != state.stored for each in self.history.get(key, {}).get(state.version, [])):
            self.report("R3", f"{key}: version {state.version} was committed twice")
        self._settle(key, state)

    def indeterminate(self, key: Key, state: State, expected: int) -> None:
        """Record a commit without an answer: it may have happened if `expected` was a possible version."""
        now = self.possible(key)
        if expected in {each.version for each in now}:
            self.states[key] = [*now, state]

    def refused(self, key: Key, expected: int, error: ConflictError) -> None:
        """Record `error`: the states with version `expected` are no longer possible. Check what it tells."""
        states = [each for each in self.possible(key) if each.version != expected]
        if not states:
            self.report("R6", f"{key}: a commit that expected version {expected}, the current one, failed")
            return
        self.states[key] = states
        if isinstance(error, CommitConflictError):
            self.loaded(key, error.stored)

    def deleted(self, key: Key, tombstone: Stored, expected: int, found: Stored | None) -> None:
        """Record a successful deletion, after which `found` was loaded."""
        if expected not in {each.version for each in self.possible(key)}:
            self.report("R6", f"{key}: a deletion that expected version {expected} succeeded")
        if found is None or found != tombstone:
            self.report("R3", f"{key}: was deleted at version {expected}, but load returns {_short(found)}")
        self._settle(key, State(found))

    def loaded(self, key: Key, found: Stored | None) -> None:
        """Check the result of a load, and keep only the state that matches it."""
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
        """Return whether `found` is `expected` with the body, the index, or a part of the body of another commit."""
        others = list(self._others(expected))
        if found.body == expected.body:
            return any(found.index == other.index for other in others)
        if any(found.body == other.body for other in others):
            return True
        parts, own = _parts(found.body), _parts(expected.body)
        if parts is None or own is None:
            return False
        foreign = {name: part for name, part in parts.items() if name not in own or own[name] != part}
        if not foreign:  # a part is missing rather than mixed in: that is damage (D6), not a torn commit (R9)
            return False
        other_parts = [each for other in others if (each := _parts(other.body)) is not None]
        return all(any(name in each and each[name] == part for each in other_parts) for name, part in foreign.items())

    def _others(self, expected: Stored) -> Iterator[Stored]:
        """Yield everything that was ever committed, except `expected`."""
        for versions in self.history.values():
            for each in versions.values():
                yield from (stored for stored in each if stored != expected)

    def dead_letters_read(self, key: Key, found: Sequence[DeadLetter]) -> None:
        """Check the dead letters that were read for `key`."""
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
    """Return `body` as a JSON object, or None if it is none."""
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
