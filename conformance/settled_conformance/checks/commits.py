"""R3, R4, R6 to R10: the store keeps one text for a key, and one line of versions leads to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import cast

from settled import Key
from settled.durable import Backend, Index, Store, Stored, Write
from settled_conformance.checks import proves
from settled_conformance.fixture import (
    Bench,
    ids_of,
    is_refused,
    key,
    letter,
    message,
    stored,
    timer,
    tombstone,
    version_of,
)
from settled_conformance.interleave import Pair, each_preemption
from settled_conformance.interruption import interrupted


@proves("R3")
def a_deleted_key_goes_on_counting(bench: Bench) -> None:
    store = bench.backend.store
    bench.commit(key(), 1)
    bench.commit(key(), 2, bury=[letter("1")])
    store.delete(key(), tombstone(3), 2)
    gone = bench.another().store.load(key())
    bench.holds(gone == tombstone(3), f"deleted at version 2, loads {gone}")
    bench.same(list(store.dead_letters(key())), [], "dead letters of a deleted key")
    bench.holds(is_refused(lambda: store.commit(key(), stored(1), 0)), "a deleted key was created at version 1 again")
    bench.holds(
        is_refused(lambda: store.delete(key(), tombstone(3), 2)),
        "a deleted key was deleted again under its old version",
    )
    bench.commit(key(), 4)
    bench.mark("deleted")


@proves("R3")
def a_key_whose_queue_is_empty_goes_on_counting(bench: Bench) -> None:
    bench.commit(key(), 1)
    bench.send(message("1"))
    bench.drain()
    bench.advance(bench.lease * 3)
    again = bench.another()
    bench.drain(again)
    bench.same(again.store.load(key()), stored(1), "loaded after the queue was drained")
    bench.holds(is_refused(lambda: again.store.commit(key(), stored(1, "new"), 0)), "version 1 was given twice")
    bench.commit(key(), 2, through=again)
    bench.mark("reopened")


@proves("R4")
def a_commit_over_an_older_versionis_refused(bench: Bench) -> None:
    bench.send(message("1"))
    bench.receives("1")
    bench.commit(key(), 1)
    bench.advance(bench.lease + bench.harness.tick)
    other = bench.another()
    held = bench.receives("1", through=other)
    bench.commit(key(), 2, through=other)
    other.queue.ack(held)
    bench.place.contract.blame = "R4"
    for expected in (0, 1):
        late = stored(expected + 1, "late")
        commit = partial(bench.backend.store.commit, key(), late, expected)
        bench.holds(is_refused(commit), f"version 2 is there, and a commit that expected {expected} was taken")
        write = Write(key(), late, expected)
        finish = partial(bench.backend.finish, write)
        bench.holds(is_refused(finish), f"version 2 is there, and a write that expected {expected} was taken")
    bench.same(bench.another().store.load(key()), stored(2), "loaded after late commits")


@proves("R6")
def of_three_commits_one_wins(bench: Bench) -> None:
    for version in (1, 2, 3):
        handles = [bench.backend, bench.another(), bench.another()]
        texts = ["a", "b", "c"]
        lost = [
            is_refused(partial(handle.store.commit, key(), stored(version, text), version - 1, [letter(text)]))
            for handle, text in zip(handles, texts, strict=True)
        ]
        bench.same(lost, [False, True, True], f"commits of version {version} that were refused")
        bench.same(bench.another().store.load(key()), stored(version, "a"), "loaded")
        bench.same(ids_of(bench.another().store.dead_letters(key())), ["a"] * version, "dead letters")
    bench.mark("conflict")


@proves("R6")
def a_commit_of_a_version_that_is_still_to_comeis_refused(bench: Bench) -> None:
    store = bench.backend.store
    bench.holds(is_refused(lambda: store.commit(key(), stored(2), 1)), "a key that is not there was replaced")
    bench.commit(key(), 1)
    bench.holds(is_refused(lambda: store.commit(key(), stored(3), 2)), "version 1 was replaced by version 3")
    bench.holds(is_refused(lambda: store.delete(key(), tombstone(3), 2)), "version 1 was deleted as version 2")


@proves("R6")
def a_write_that_is_refused_leaves_no_trace(bench: Bench) -> None:
    bench.commit(key(), 1)
    bench.send(message("head"))
    held = bench.receives("head")
    due = bench.harness.now() + bench.lease / 4
    late = Write(
        key(),
        stored(1, "late"),
        0,
        bury=(letter("l"),),
        sends=(message("x", key("b")), message("y")),
        timers=(timer("t", due, key("c")),),
        acks=tuple(held),
    )
    bench.holds(is_refused(lambda: bench.backend.finish(late)), "a write over an older version was taken")
    bench.advance(bench.lease / 2)
    bench.receives_nothing(through=bench.another())
    bench.same(list(bench.backend.store.dead_letters(key())), [], "dead letters of a write that was refused")
    bench.advance(bench.lease)
    bench.receives("head")


@proves("R6")
def of_two_commits_at_once_one_wins(bench: Bench) -> None:
    _race(bench, 0)
    bench.mark("committed at once")


@proves("R6")
def of_two_commits_at_once_over_an_older_version_one_wins(bench: Bench) -> None:
    _race(bench, 1)


def _race(bench: Bench, expected: int) -> None:
    results = list[tuple[str, bool]]()

    def commit(store: Store, name: str) -> None:
        written = stored(expected + 1, name)
        results.append((name, not is_refused(lambda: store.commit(key(), written, expected, [letter(name)]))))

    def pair(first: Backend, second: Backend) -> Pair:
        results.clear()
        if expected:
            first.store.commit(key(), stored(1), 0)
        return Pair(lambda: commit(first.store, "one"), lambda: commit(second.store, "other"))

    for line in each_preemption(bench, pair):
        winners = [name for name, won in results if won]
        bench.same(len(winners), 1, f"winners of two commits at once, one paused at {line}")
        store = bench.another().backend.store
        bench.same(store.load(key()), stored(expected + 1, winners[0]), f"loaded, with a pause at {line}")
        bench.same(list(store.dead_letters(key())), [letter(winners[0])], f"dead letters, with a pause at {line}")


@proves("R7")
def every_handle_sees_the_versions_rise(bench: Bench) -> None:
    handles = [bench.backend, bench.another(), bench.another()]
    for version in range(1, 8):
        bench.commit(key(), version, through=handles[version % 3])
        for handle in handles:
            bench.same(handle.store.load(key()), stored(version), "loaded")


@proves("R7")
def what_is_read_during_a_commit_is_there_before_or_after(bench: Bench) -> None:
    seen = list[Stored | None]()

    def pair(first: Backend, second: Backend) -> Pair:
        seen.clear()
        first.store.commit(key(), stored(1), 0)
        return Pair(
            lambda: first.store.commit(key(), stored(2), 1),
            lambda: seen.extend(second.store.load(key()) for _ in range(2)),
        )

    for line in each_preemption(bench, pair):
        versions = [0 if each is None else each.version for each in seen]
        bench.holds(versions == sorted(versions), f"versions went back: {versions}, with a pause at {line}")
        whole = all(each in (stored(1), stored(2)) for each in seen)
        bench.holds(whole, f"loaded {seen}, with a pause at {line}")
    bench.mark("read while written")


@proves("R8")
def another_handle_sees_what_was_committed(bench: Bench) -> None:
    reader = bench.another()
    for version in (1, 2, 3):
        bench.same(reader.store.load(key()), stored(version - 1) if version > 1 else None, "loaded")
        bench.commit(key(), version)
        bench.same(reader.store.load(key()), stored(version), "loaded through another handle")
        bench.same(bench.backend.store.load(key()), stored(version), "loaded")
    bench.mark("read through another handle")


@proves("R8")
def another_handle_sees_the_dead_letters(bench: Bench) -> None:
    reader = bench.another()
    bench.same(list(reader.store.dead_letters(key())), [], "dead letters")
    bench.commit(key(), 1, bury=[letter("1")])
    bench.same(list(reader.store.dead_letters(key())), [letter("1")], "dead letters through another handle")


@proves("R8")
def what_was_read_or_given_can_be_changed_without_harm(bench: Bench) -> None:
    given = [letter("1"), letter("2")]
    bench.commit(key(), 1, bury=given)
    given.clear()
    read = bench.backend.store.dead_letters(key())
    if isinstance(read, list):
        cast("list[object]", read).clear()
    bench.same(list(bench.backend.store.dead_letters(key())), [letter("1"), letter("2")], "dead letters")
    loaded = bench.backend.store.load(key())
    bench.holds(loaded is not None, "nothing was loaded")
    if loaded is not None and isinstance(loaded.index.tags, list):
        cast("list[object]", loaded.index.tags).clear()
    bench.same(bench.backend.store.load(key()), stored(1), "loaded")
    batch = [message("1"), message("2")]
    bench.backend.queue.send(batch)
    batch.clear()
    found = bench.receives("1", "2")
    held = bench.backend.queue
    held.release(found)
    bench.advance(bench.harness.tick)
    bench.receives("1", "2")


@proves("R9")
def all_parts_of_a_commit_are_read_back_together(bench: Bench) -> None:
    places = [key("a"), key("b")]
    for version in range(1, 4):
        for place in places:
            bench.backend.store.commit(place, _of_many_parts(place, version), version - 1)
        for handle in (bench.backend, bench.another()):
            for place in places:
                bench.same(handle.store.load(place), _of_many_parts(place, version), f"loaded for {place}")


def _of_many_parts(place: Key, version: int) -> Stored:
    """A record as a machine has it that owes something, with an index that is its own."""
    name = f"{place.instance}{version}"
    body = {
        "format": 1,
        "nonce": name,
        "snapshot": {"status": "active", "value": name, "context": {"taken": [name]}},
        "timers": {name: {"due": version, "event": {"type": name}}},
        "turn": {"nonce": name, "ordinal": version},
        "window": [name],
        "outbox": [[name, "execute", f"{place}/{name}/{version}/1", {"type": "tell", "params": {"to": name}}]],
    }
    return Stored(version, json.dumps(body), Index(f"status {name}", (name, "settled"), version + 0.5))


LYING = {0: [], 1: ["1", "2"], 2: ["2", "3"]}
"""What lies among the dead letters at each version of `_two_commits`."""


def _two_commits(store: Store) -> Callable[[], None]:
    """The first of two commits, done, and the second, which is still to be made."""
    store.commit(key(), stored(1), 0, [letter("1"), letter("2")])
    return lambda: store.commit(key(), stored(2), 1, [letter("3")], 1)


@proves("R9")
def a_commit_and_its_dead_letters_are_seen_together(bench: Bench) -> None:
    seen = list[tuple[int, list[str], int]]()

    def look(store: Store) -> None:
        before, letters, after = store.load(key()), store.dead_letters(key()), store.load(key())
        seen.append((version_of(before), ids_of(letters), version_of(after)))

    def pair(first: Backend, second: Backend) -> Pair:
        seen.clear()
        return Pair(_two_commits(first.store), lambda: look(second.store))

    for line in each_preemption(bench, pair):
        for before, letters, after in seen:
            found = f"version {before}, then the dead letters {letters}, then version {after}"
            together = letters in (LYING[before], LYING[after])
            bench.holds(together, f"in a commit that paused at {line}: {found}")
    bench.mark("commit interrupted")


@proves("R9")
def a_commit_that_is_interrupted_has_happened_or_not(bench: Bench) -> None:
    for trip in interrupted(bench, lambda: _two_commits(bench.another().backend.store)):
        store = bench.another().backend.store
        version = version_of(store.load(key()))
        letters = ids_of(store.dead_letters(key()))
        bench.same(letters, LYING[version], f"dead letters at version {version}, after an interruption at {trip}")


@proves("R10")
def a_commit_that_is_repeatedis_refused(bench: Bench) -> None:
    bench.commit(key(), 1, bury=[letter("1")])
    again = partial(bench.backend.store.commit, key(), stored(1), 0, [letter("1")])
    bench.holds(is_refused(again), "the same commit was taken twice")
    bench.same(list(bench.backend.store.dead_letters(key())), [letter("1")], "dead letters of a repeated commit")
    write = Write(key(), stored(2), 1, sends=(message("x", key("b")),), bury=(letter("2"),))
    bench.backend.finish(write)
    bench.holds(is_refused(lambda: bench.backend.finish(write)), "the same write was taken twice")
    bench.same(len(bench.backend.store.dead_letters(key())), 2, "how many dead letters a repeated write left")
    bench.mark("commit repeated")
