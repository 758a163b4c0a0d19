"""Checks of R3, R4 and R6 to R10: versions, competing commits, reads, and interrupted commits of the store."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import cast

from settled import Key
from settled.durable import Backend, Index, Store, Stored, Write
from settled_conformance.checks import checks
from settled_conformance.fixture import (
    BackendFixture,
    conflicts,
    dead_letter,
    ids_of,
    key,
    message,
    stored,
    timer,
    tombstone,
    version_of,
)
from settled_conformance.interleave import Pair, each_preemption
from settled_conformance.interruption import each_interruption


@checks("R3")
def a_deleted_key_keeps_its_version_count(fixture: BackendFixture) -> None:
    store = fixture.backend.store
    fixture.commit(key(), 1)
    fixture.commit(key(), 2, add_dead_letters=[dead_letter("1")])
    store.delete(key(), tombstone(3), 2)
    gone = fixture.open_handle().store.load(key())
    fixture.require(gone == tombstone(3), f"deleted at version 2, loads {gone}")
    fixture.require_equal(list(store.dead_letters(key())), [], "dead letters of a deleted key")
    fixture.require(
        conflicts(lambda: store.commit(key(), stored(1), 0)), "a deleted key was created at version 1 again"
    )
    fixture.require(
        conflicts(lambda: store.delete(key(), tombstone(3), 2)),
        "a deleted key was deleted again under its old version",
    )
    fixture.commit(key(), 4)
    fixture.mark("deleted")


@checks("R3")
def a_key_may_begin_with_a_version_of_thirteen_digits(fixture: BackendFixture) -> None:
    first = 1_999_999_999_999  # milliseconds until the year 2033
    store = fixture.backend.store
    store.commit(key(), stored(first), 0, [dead_letter("1")])
    fixture.require_equal(fixture.open_handle().store.load(key()), stored(first), "loaded after the first commit")
    for expected in (0, 1, first - 1, first + 1):
        late = partial(store.commit, key(), stored(expected + 1, "late"), expected)
        fixture.require(conflicts(late), f"version {first} is there, and a commit that expected {expected} succeeded")
    store.commit(key(), stored(first + 1), first, [dead_letter("2")])
    fixture.require_equal(ids_of(store.dead_letters(key())), ["1", "2"], "dead letters of two versions")
    store.delete(key(), tombstone(first + 2), first + 1)
    store.commit(key(), stored(first + 3), first + 2)
    fixture.require_equal(fixture.open_handle().store.load(key()), stored(first + 3), "loaded after a deletion")


@checks("R3")
def a_key_with_a_drained_queue_keeps_its_version_count(fixture: BackendFixture) -> None:
    fixture.commit(key(), 1)
    fixture.send(message("1"))
    fixture.drain()
    fixture.advance(fixture.lease * 3)
    again = fixture.open_handle()
    fixture.drain(again)
    fixture.require_equal(again.store.load(key()), stored(1), "loaded after the queue was drained")
    fixture.require(conflicts(lambda: again.store.commit(key(), stored(1, "new"), 0)), "version 1 was committed twice")
    fixture.commit(key(), 2, through=again)
    fixture.mark("reopened")


@checks("R4")
def a_commit_over_an_older_version_fails(fixture: BackendFixture) -> None:
    fixture.send(message("1"))
    fixture.receives("1")
    fixture.commit(key(), 1)
    fixture.advance(fixture.lease + fixture.harness.tick)
    other = fixture.open_handle()
    held = fixture.receives("1", through=other)
    fixture.commit(key(), 2, through=other)
    other.queue.ack(held)
    fixture.environment.contract.stale_commit_guarantee = "R4"
    for expected in (0, 1):
        late = stored(expected + 1, "late")
        commit = partial(fixture.backend.store.commit, key(), late, expected)
        fixture.require(conflicts(commit), f"version 2 is there, and a commit that expected {expected} succeeded")
        write = Write(key(), late, expected)
        finish = partial(fixture.backend.finish, write)
        fixture.require(conflicts(finish), f"version 2 is there, and a write that expected {expected} succeeded")
    fixture.require_equal(fixture.open_handle().store.load(key()), stored(2), "loaded after late commits")


@checks("R6")
def of_three_commits_one_wins(fixture: BackendFixture) -> None:
    for version in (1, 2, 3):
        handles = [fixture.backend, fixture.open_handle(), fixture.open_handle()]
        texts = ["a", "b", "c"]
        lost = [
            conflicts(partial(handle.store.commit, key(), stored(version, text), version - 1, [dead_letter(text)]))
            for handle, text in zip(handles, texts, strict=True)
        ]
        fixture.require_equal(lost, [False, True, True], f"commits of version {version} that were refused")
        fixture.require_equal(fixture.open_handle().store.load(key()), stored(version, "a"), "loaded")
        fixture.require_equal(ids_of(fixture.open_handle().store.dead_letters(key())), ["a"] * version, "dead letters")
    fixture.mark("conflict")


@checks("R6")
def a_commit_of_a_future_version_fails(fixture: BackendFixture) -> None:
    store = fixture.backend.store
    fixture.require(conflicts(lambda: store.commit(key(), stored(2), 1)), "a key that is not there was replaced")
    fixture.commit(key(), 1)
    fixture.require(conflicts(lambda: store.commit(key(), stored(3), 2)), "version 1 was replaced by version 3")
    fixture.require(conflicts(lambda: store.delete(key(), tombstone(3), 2)), "version 1 was deleted as version 2")


@checks("R6")
def a_refused_write_leaves_no_trace(fixture: BackendFixture) -> None:
    fixture.commit(key(), 1)
    fixture.send(message("head"))
    held = fixture.receives("head")
    due = fixture.harness.now() + fixture.lease / 4
    late = Write(
        key(),
        stored(1, "late"),
        0,
        add_dead_letters=(dead_letter("l"),),
        sends=(message("x", key("b")), message("y")),
        timers=(timer("t", due, key("c")),),
        acks=tuple(held),
    )
    fixture.require(conflicts(lambda: fixture.backend.finish(late)), "a write over an older version succeeded")
    fixture.advance(fixture.lease / 2)
    fixture.receives_nothing(through=fixture.open_handle())
    fixture.require_equal(
        list(fixture.backend.store.dead_letters(key())), [], "dead letters of a write that was refused"
    )
    fixture.advance(fixture.lease)
    fixture.receives("head")


@checks("R6")
def of_two_concurrent_commits_one_wins(fixture: BackendFixture) -> None:
    _race(fixture, 0)
    fixture.mark("committed concurrently")


@checks("R6")
def of_two_concurrent_commits_over_an_existing_version_one_wins(fixture: BackendFixture) -> None:
    _race(fixture, 1)


def _race(fixture: BackendFixture, expected: int) -> None:
    results = list[tuple[str, bool]]()

    def commit(store: Store, name: str) -> None:
        written = stored(expected + 1, name)
        results.append((name, not conflicts(lambda: store.commit(key(), written, expected, [dead_letter(name)]))))

    def pair(first: Backend, second: Backend) -> Pair:
        results.clear()
        if expected:
            first.store.commit(key(), stored(1), 0)
        return Pair(lambda: commit(first.store, "one"), lambda: commit(second.store, "other"))

    for line in each_preemption(fixture, pair):
        winners = [name for name, won in results if won]
        fixture.require_equal(len(winners), 1, f"winners of two commits at once, one paused at {line}")
        store = fixture.open_handle().backend.store
        fixture.require_equal(store.load(key()), stored(expected + 1, winners[0]), f"loaded, with a pause at {line}")
        fixture.require_equal(
            list(store.dead_letters(key())), [dead_letter(winners[0])], f"dead letters, with a pause at {line}"
        )


@checks("R7")
def every_handle_sees_versions_increase(fixture: BackendFixture) -> None:
    handles = [fixture.backend, fixture.open_handle(), fixture.open_handle()]
    for version in range(1, 8):
        fixture.commit(key(), version, through=handles[version % 3])
        for handle in handles:
            fixture.require_equal(handle.store.load(key()), stored(version), "loaded")


@checks("R7")
def a_read_during_a_commit_sees_the_version_before_or_after_it(fixture: BackendFixture) -> None:
    seen = list[Stored | None]()

    def pair(first: Backend, second: Backend) -> Pair:
        seen.clear()
        first.store.commit(key(), stored(1), 0)
        return Pair(
            lambda: first.store.commit(key(), stored(2), 1),
            lambda: seen.extend(second.store.load(key()) for _ in range(2)),
        )

    for line in each_preemption(fixture, pair):
        versions = [0 if each is None else each.version for each in seen]
        fixture.require(versions == sorted(versions), f"versions went back: {versions}, with a pause at {line}")
        whole = all(each in (stored(1), stored(2)) for each in seen)
        fixture.require(whole, f"loaded {seen}, with a pause at {line}")
    fixture.mark("read during a commit")


@checks("R8")
def another_handle_sees_each_commit(fixture: BackendFixture) -> None:
    reader = fixture.open_handle()
    for version in (1, 2, 3):
        fixture.require_equal(reader.store.load(key()), stored(version - 1) if version > 1 else None, "loaded")
        fixture.commit(key(), version)
        fixture.require_equal(reader.store.load(key()), stored(version), "loaded through another handle")
        fixture.require_equal(fixture.backend.store.load(key()), stored(version), "loaded")
    fixture.mark("read through another handle")


@checks("R8")
def another_handle_sees_the_dead_letters(fixture: BackendFixture) -> None:
    reader = fixture.open_handle()
    fixture.require_equal(list(reader.store.dead_letters(key())), [], "dead letters")
    fixture.commit(key(), 1, add_dead_letters=[dead_letter("1")])
    fixture.require_equal(
        list(reader.store.dead_letters(key())), [dead_letter("1")], "dead letters through another handle"
    )


@checks("R8")
def changing_what_was_read_or_passed_in_changes_nothing_stored(fixture: BackendFixture) -> None:
    given = [dead_letter("1"), dead_letter("2")]
    fixture.commit(key(), 1, add_dead_letters=given)
    given.clear()
    read = fixture.backend.store.dead_letters(key())
    if isinstance(read, list):
        cast("list[object]", read).clear()
    fixture.require_equal(
        list(fixture.backend.store.dead_letters(key())), [dead_letter("1"), dead_letter("2")], "dead letters"
    )
    loaded = fixture.backend.store.load(key())
    fixture.require(loaded is not None, "nothing was loaded")
    if loaded is not None and isinstance(loaded.index.tags, list):
        cast("list[object]", loaded.index.tags).clear()
    fixture.require_equal(fixture.backend.store.load(key()), stored(1), "loaded")
    batch = [message("1"), message("2")]
    fixture.backend.queue.send(batch)
    batch.clear()
    found = fixture.receives("1", "2")
    held = fixture.backend.queue
    held.release(found)
    fixture.advance(fixture.harness.tick)
    fixture.receives("1", "2")


@checks("R9")
def all_parts_of_a_commit_are_read_back_together(fixture: BackendFixture) -> None:
    targets = [key("a"), key("b")]
    for version in range(1, 4):
        for target in targets:
            fixture.backend.store.commit(target, _record_with_outbox(target, version), version - 1)
        for handle in (fixture.backend, fixture.open_handle()):
            for target in targets:
                fixture.require_equal(
                    handle.store.load(target), _record_with_outbox(target, version), f"loaded for {target}"
                )


def _record_with_outbox(target: Key, version: int) -> Stored:
    """Return a record with timers, an open turn, a window and an outbox, all of them different for each version."""
    name = f"{target.instance}{version}"
    body = {
        "format": 1,
        "nonce": name,
        "snapshot": {"status": "active", "value": name, "context": {"taken": [name]}},
        "timers": {name: {"due": version, "event": {"type": name}}},
        "turn": {"nonce": name, "ordinal": version},
        "window": [name],
        "outbox": [[name, "execute", f"{target}/{name}/{version}/1", {"type": "tell", "params": {"to": name}}]],
    }
    return Stored(version, json.dumps(body), Index(f"status {name}", (name, "settled"), version + 0.5))


DEAD_LETTERS_AT = {0: [], 1: ["1", "2"], 2: ["2", "3"]}
"""The ids of the dead letters at each version of `_two_commits`."""


def _two_commits(store: Store) -> Callable[[], None]:
    """Make the first of two commits, and return the second."""
    store.commit(key(), stored(1), 0, [dead_letter("1"), dead_letter("2")])
    return lambda: store.commit(key(), stored(2), 1, [dead_letter("3")], 1)


@checks("R9")
def a_commit_and_its_dead_letters_become_visible_together(fixture: BackendFixture) -> None:
    seen = list[tuple[int, list[str], int]]()

    def read_all(store: Store) -> None:
        before, dead_letters, after = store.load(key()), store.dead_letters(key()), store.load(key())
        seen.append((version_of(before), ids_of(dead_letters), version_of(after)))

    def pair(first: Backend, second: Backend) -> Pair:
        seen.clear()
        return Pair(_two_commits(first.store), lambda: read_all(second.store))

    for line in each_preemption(fixture, pair):
        for before, dead_letters, after in seen:
            found = f"version {before}, then the dead letters {dead_letters}, then version {after}"
            together = dead_letters in (DEAD_LETTERS_AT[before], DEAD_LETTERS_AT[after])
            fixture.require(together, f"in a commit that paused at {line}: {found}")
    fixture.mark("commit interrupted")


@checks("R9")
def an_interrupted_commit_has_happened_or_not(fixture: BackendFixture) -> None:
    for round_trip in each_interruption(fixture, lambda: _two_commits(fixture.open_handle().backend.store)):
        store = fixture.open_handle().backend.store
        version = version_of(store.load(key()))
        dead_letters = ids_of(store.dead_letters(key()))
        fixture.require_equal(
            dead_letters,
            DEAD_LETTERS_AT[version],
            f"dead letters at version {version}, after an interruption at {round_trip}",
        )


@checks("R10")
def a_repeated_commit_fails(fixture: BackendFixture) -> None:
    fixture.commit(key(), 1, add_dead_letters=[dead_letter("1")])
    again = partial(fixture.backend.store.commit, key(), stored(1), 0, [dead_letter("1")])
    fixture.require(conflicts(again), "the same commit succeeded twice")
    fixture.require_equal(
        list(fixture.backend.store.dead_letters(key())), [dead_letter("1")], "dead letters of a repeated commit"
    )
    write = Write(key(), stored(2), 1, sends=(message("x", key("b")),), add_dead_letters=(dead_letter("2"),))
    fixture.backend.finish(write)
    fixture.require(conflicts(lambda: fixture.backend.finish(write)), "the same write succeeded twice")
    fixture.require_equal(
        len(fixture.backend.store.dead_letters(key())), 2, "how many dead letters a repeated write left"
    )
    fixture.mark("commit repeated")
