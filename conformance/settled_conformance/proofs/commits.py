"""R3, R4, R6 to R10: the store keeps one text for a key, and one line of versions leads to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import cast

from settled import Backend, Capability, Conflict, DeadLetter, Finished, SettledError, Store, Stored, Unknown, Write
from settled_conformance.bench import Bench, key, letter, message, stored, timer
from settled_conformance.interleave import Pair, each_preemption
from settled_conformance.proofs import proves


def _is_refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except Conflict:
        return True
    return False


@proves("R3")
def a_deleted_key_goes_on_counting(bench: Bench) -> None:
    store = bench.backend.store
    bench.commit(key(), 1)
    bench.commit(key(), 2, bury=[letter("1")])
    store.delete(key(), 2)
    gone = bench.another().store.load(key())
    bench.holds(gone is not None and gone.version == 3 and gone.body is None, f"deleted at version 2, loads {gone}")
    bench.same(list(store.dead_letters(key())), [], "dead letters of a deleted key")
    bench.holds(_is_refused(lambda: store.commit(key(), stored(1), 0)), "a deleted key was created at version 1 again")
    bench.holds(_is_refused(lambda: store.delete(key(), 2)), "a deleted key was deleted again under its old version")
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
    bench.holds(_is_refused(lambda: again.store.commit(key(), stored(1, "new"), 0)), "version 1 was given twice")
    bench.commit(key(), 2, through=again)
    bench.mark("reopened")


@proves("R4")
def a_commit_over_an_older_version_is_refused(bench: Bench) -> None:
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
        bench.holds(_is_refused(commit), f"version 2 is there, and a commit that expected {expected} was taken")
        write = Write(key(), late, expected)
        finish = partial(bench.backend.finish, write)
        bench.holds(_is_refused(finish), f"version 2 is there, and a write that expected {expected} was taken")
    bench.same(bench.another().store.load(key()), stored(2), "loaded after late commits")


@proves("R6")
def of_three_commits_one_wins(bench: Bench) -> None:
    for version in (1, 2, 3):
        handles = [bench.backend, bench.another(), bench.another()]
        texts = ["a", "b", "c"]
        lost = [
            _is_refused(partial(handle.store.commit, key(), stored(version, text), version - 1, [letter(text)]))
            for handle, text in zip(handles, texts, strict=True)
        ]
        bench.same(lost, [False, True, True], f"commits of version {version} that were refused")
        bench.same(bench.another().store.load(key()), stored(version, "a"), "loaded")
        bench.same(_ids(bench.another().store.dead_letters(key())), ["a"] * version, "dead letters")
    bench.mark("conflict")


@proves("R6")
def a_commit_of_a_version_that_is_still_to_come_is_refused(bench: Bench) -> None:
    store = bench.backend.store
    bench.holds(_is_refused(lambda: store.commit(key(), stored(2), 1)), "a key that is not there was replaced")
    bench.commit(key(), 1)
    bench.holds(_is_refused(lambda: store.commit(key(), stored(3), 2)), "version 1 was replaced by version 3")
    bench.holds(_is_refused(lambda: store.delete(key(), 2)), "version 1 was deleted as version 2")


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
    bench.holds(_is_refused(lambda: bench.backend.finish(late)), "a write over an older version was taken")
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
        results.append((name, not _is_refused(lambda: store.commit(key(), written, expected, [letter(name)]))))

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


def interrupted(bench: Bench, arrange: Callable[[], Callable[[], object]]) -> Iterator[str]:
    """Make the call that `arrange` returns again and again, each time cut short at the next of its own round trips.

    An adapter that cannot be instrumented makes each call in one piece, and nothing comes of this.
    """
    for number in count(1):
        bench.renew()
        call, trips = arrange(), list[str]()

        def point(name: str, number: int = number, trips: list[str] = trips) -> None:
            trips.append(name)
            if len(trips) == number:
                raise Interrupted(name)

        bench.harness.instrument(point)
        try:
            call()
        except Interrupted as cut:
            bench.harness.instrument(None)
            yield str(cut)
        except SettledError as error:
            bench.harness.instrument(None)
            yield f"{trips[-1] if trips else 'the call'}, answered with {type(error).__name__}"
        else:
            bench.harness.instrument(None)
            if len(trips) < number:
                return


class Interrupted(BaseException):
    """The process that made the call is gone."""


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
        seen.append((_version(before), _ids(letters), _version(after)))

    def pair(first: Backend, second: Backend) -> Pair:
        seen.clear()
        return Pair(_two_commits(first.store), lambda: look(second.store))

    for line in each_preemption(bench, pair):
        for before, letters, after in seen:
            found = f"version {before}, then the dead letters {letters}, then version {after}"
            together = letters in (LYING[before], LYING[after])
            bench.holds(together, f"in a commit that paused at {line}: {found}")
    bench.mark("commit interrupted")


def _version(loaded: Stored | None) -> int:
    return 0 if loaded is None else loaded.version


def _ids(letters: Sequence[DeadLetter]) -> list[str]:
    return [each.message.id for each in letters]


@proves("R9")
def a_commit_that_is_interrupted_has_happened_or_not(bench: Bench) -> None:
    for trip in interrupted(bench, lambda: _two_commits(bench.another().backend.store)):
        store = bench.another().backend.store
        version = _version(store.load(key()))
        letters = _ids(store.dead_letters(key()))
        bench.same(letters, LYING[version], f"dead letters at version {version}, after an interruption at {trip}")


def _write_with_debts(bench: Bench) -> Callable[[], object]:
    """A write that commits, sends, sets aside, and acknowledges; still to be made."""
    handle = bench.another().backend
    handle.queue.send([message("head")])
    held = tuple(bench.receive_raw(handle))
    write = Write(key(), stored(1), 0, (letter("1"),), sends=(message("x", key("b")),), acks=held)
    return lambda: handle.finish(write)


@proves("R9", needs=Capability.ATOMIC_FINISH)
def a_write_that_is_interrupted_has_happened_or_not(bench: Bench) -> None:
    for trip in interrupted(bench, lambda: _write_with_debts(bench)):
        fresh = bench.another().backend
        version, letters = _version(fresh.store.load(key())), len(fresh.store.dead_letters(key()))
        bench.advance(bench.lease + bench.harness.tick)
        found = [each.message.id for each in bench.receive_raw(fresh)]
        expected = (1, 1, ["x"]) if version else (0, 0, ["head"])
        state = "the version, the number of dead letters and what is handed out"
        bench.same((version, letters, found), expected, f"{state}, after an interruption at {trip}")


@proves("R6", needs=Capability.JOINT_FINISH)
def of_several_writes_the_late_one_is_refused_and_leaves_no_trace(bench: Bench) -> None:
    finished = _three_writes(bench)
    bench.same(set(finished.refused), {key("b")}, "which of three writes were refused, where the second was late")
    late = finished.refused.get(key("b"))
    bench.holds(isinstance(late, Conflict), f"a late write among others was refused with {late!r}, not a Conflict")
    bench.same(_version(bench.another().store.load(key("b"))), 1, "the version that a late write found")
    bench.same(_ids(bench.another().store.dead_letters(key("b"))), [], "dead letters of a late write")
    bench.mark("conflict")


@proves("R9", needs=Capability.JOINT_FINISH)
def of_several_writes_each_is_done_or_refused_by_itself(bench: Bench) -> None:
    finished = _three_writes(bench)
    for name in ("a", "c"):
        bench.same(_version(bench.another().store.load(key(name))), 1, f"the version of {name}, beside one refused")
    found = [each.message.id for each in (*finished.deliveries, *bench.receive(), *bench.receive())]
    bench.same(sorted(found), ["to a", "to c"], "handed out with and after three writes")
    bench.advance(bench.lease + bench.harness.tick)
    again = [each.message.id for _ in range(3) for each in bench.receive_raw(bench.another().backend)]
    bench.holds("b1" in again, "the message of a write that was refused among others was acknowledged")
    bench.mark("commit interrupted")


def _three_writes(bench: Bench) -> Finished:
    """Writes of a, b and c in one call, each of which sends to its own key; b's comes too late."""
    names = ("a", "b", "c")
    bench.send(*(message(f"{name}1", key(name)) for name in names))
    held = {each.message.key: each for _ in names for each in bench.receive()}
    bench.backend.store.commit(key("b"), stored(1), 0)
    writes = [
        Write(
            key(name), stored(1), 0, (letter("x"),), sends=(message(f"to {name}", key(name)),), acks=(held[key(name)],)
        )
        for name in names
    ]
    return bench.backend.finish_all(writes, receive=1)


@proves("D4")
def a_write_that_is_interrupted_owes_nothing_that_was_acknowledged(bench: Bench) -> None:
    for trip in interrupted(bench, lambda: _write_with_debts(bench)):
        bench.advance(bench.lease + bench.harness.tick)
        found = [each.message.id for each in bench.receive_raw(bench.another().backend)]
        bench.holds(found, f"interrupted at {trip}: the message was acknowledged, and what it owed never sent")


@proves("D4")
def what_a_write_sends_is_there_when_it_is_answered(bench: Bench) -> None:
    bench.send(message("head"))
    held = bench.receives("head")
    sender = bench.another()
    due = bench.harness.now() + bench.lease / 2
    write = Write(
        key(),
        stored(1),
        0,
        sends=(message("x", key("b")), message("y", key("b"))),
        timers=(timer("t", due, key("c")),),
        acks=tuple(held),
    )
    sender.finish(write)
    other = bench.another()
    other.queue.ack(bench.receives("x", "y", through=other))
    bench.advance(bench.lease / 2 + bench.harness.tick)
    bench.receives("t", through=other)
    bench.mark("crash", "owed")


@proves("R10")
def a_commit_that_is_repeated_is_refused(bench: Bench) -> None:
    bench.commit(key(), 1, bury=[letter("1")])
    again = partial(bench.backend.store.commit, key(), stored(1), 0, [letter("1")])
    bench.holds(_is_refused(again), "the same commit was taken twice")
    bench.same(list(bench.backend.store.dead_letters(key())), [letter("1")], "dead letters of a repeated commit")
    write = Write(key(), stored(2), 1, sends=(message("x", key("b")),), bury=(letter("2"),))
    bench.backend.finish(write)
    bench.holds(_is_refused(lambda: bench.backend.finish(write)), "the same write was taken twice")
    bench.same(len(bench.backend.store.dead_letters(key())), 2, "how many dead letters a repeated write left")
    bench.mark("commit repeated")


@proves("R10")
def a_write_without_its_commit_may_be_repeated(bench: Bench) -> None:
    bench.send(message("head"))
    held = bench.receives("head")
    rest = Write(key(), sends=(message("x", key("b")),), acks=tuple(held))
    for _ in range(2):
        try:
            bench.backend.finish(rest)
        except Unknown:
            continue
    bench.receives("x", limit=1)
    bench.advance(bench.lease + bench.harness.tick)
    bench.receives("x", limit=1)
