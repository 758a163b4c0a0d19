"""Checks of W1: whoever watches a key is told of each commit to it, by whatever handle, and can read it then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from settled.durable import Capability, Delivery, Write
from settled_conformance.checks import checks
from settled_conformance.fixture import MAX_WAIT, BackendFixture, key, message, stored, tombstone

PROMPT = 1.0
"""Real seconds within which a watcher must be told."""


def _commits_are_told(fixture: BackendFixture, commits: dict[int, Callable[[], object]]) -> None:
    """Make `commits`, each by the version that it writes, and require that each is told and can be read then."""
    changed = threading.Event()
    seen: list[int] = []

    def look() -> None:
        # Not through the checked backend, which believes in a commit when it has returned.
        found = fixture.backend.backend.store.load(key())
        seen.append(0 if found is None else found.version)
        changed.set()

    with fixture.backend.watch(key(), look):
        for version, commit in commits.items():
            changed.clear()
            commit()
            fixture.require(changed.wait(PROMPT), f"the commit of version {version} was not told within {PROMPT} s")
            fixture.require_equal(seen[-1], version, "the version that is read when the commit is told")


@checks("W1", needs=Capability.WATCH)
def every_way_of_committing_is_told(fixture: BackendFixture) -> None:
    backend = fixture.backend
    _commits_are_told(
        fixture,
        {
            1: lambda: backend.store.commit(key(), stored(1), 0),
            2: lambda: backend.finish(Write(key(), stored(2), 1)),
            3: lambda: backend.store.delete(key(), tombstone(3), 2),
            4: lambda: backend.store.commit(key(), stored(4), 3),
        },
    )
    fixture.mark("told", "deleted")


@checks("W1", needs=Capability.WATCH)
def the_commits_of_another_handle_are_told(fixture: BackendFixture) -> None:
    other = fixture.open_handle()
    commits: dict[int, Callable[[], object]] = {
        version: partial(other.finish, Write(key(), stored(version), version - 1)) for version in range(1, 30)
    }
    commits[30] = lambda: other.store.delete(key(), tombstone(30), 29)
    _commits_are_told(fixture, commits)
    fixture.mark("told by another handle")


@checks("W1", needs=Capability.WATCH)
def each_write_of_a_joint_commit_is_told(fixture: BackendFixture) -> None:
    if Capability.JOINT_FINISH not in fixture.harness.capabilities:
        return
    other = fixture.open_handle()
    fixture.backend.store.commit(key("taken"), stored(1), 0)
    joint = [Write(key("taken"), stored(1), 0), Write(key(), stored(1), 0), Write(key("b"), stored(1), 0)]
    _commits_are_told(fixture, {1: lambda: other.finish_all(joint)})


@checks("W1", needs=Capability.WATCH)
def a_commit_that_goes_with_an_acknowledgement_is_told(fixture: BackendFixture) -> None:
    def take() -> None:
        (held,) = fixture.receives("1")
        fixture.backend.finish(_write(held))

    fixture.send(message("1"))
    _commits_are_told(fixture, {1: take})


def _write(held: Delivery) -> Write:
    return Write(key(), stored(1), 0, acks=(held,), holder=held)


@checks("W1", needs=Capability.WATCH)
def several_watchers_are_told_and_each_until_it_ends(fixture: BackendFixture) -> None:
    other = fixture.open_handle()
    first, second, elsewhere = threading.Event(), threading.Event(), threading.Event()
    with other.watch(key(), elsewhere.set), fixture.backend.watch(key(), second.set):
        with fixture.backend.watch(key(), first.set):
            fixture.backend.store.commit(key(), stored(1), 0)
            is_told = [each.wait(MAX_WAIT) for each in (first, second, elsewhere)]
            fixture.require_equal(is_told, [True, True, True], "whether each of three watchers was told")
        second.clear()
        elsewhere.clear()
        other.store.commit(key(), stored(2), 1)
        is_told = [each.wait(MAX_WAIT) for each in (second, elsewhere)]
        fixture.require_equal(is_told, [True, True], "whether each of the two that remain was told")


@checks("W1", needs=Capability.WATCH)
def watching_can_begin_anew(fixture: BackendFixture) -> None:
    other = fixture.open_handle()
    for version in range(1, 6):
        _commits_are_told(fixture, {version: partial(other.store.commit, key(), stored(version), version - 1)})
