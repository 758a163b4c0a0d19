"""Checks of F6, F8, F9, R3, R4, R6, X6, T2 and D4 with large numbers of keys, messages, versions and attempts.

Where calls are cheap the numbers are reached, past a thousand. Where a harness can fast-forward an instance, far larger
ones are set. Over an emulator or a service there are a few dozen; beyond that the guarantee rests on the adapter
author's knowledge of the vendor.
"""

from __future__ import annotations

from functools import partial

from settled.durable import Capability, Write
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
)
from settled_conformance.harness import HarnessFeature

LARGE_COUNTS = (98, 254, 998, 9_998, 65_534, 99_998, 2**31 - 2, 2**32 - 2, 10**12 - 2)
"""Two below each number at which counters commonly fail: one more decimal digit, one more byte, one more word."""


@checks("F8")
def a_thousand_messages_of_one_key_arrive_in_order(fixture: BackendFixture) -> None:
    ids = [f"m{number}" for number in range(1, fixture.many(1050, 30) + 1)]
    fixture.send_together([message(id) for id in ids])
    received, turn = list[str](), 0
    while len(received) < len(ids) and (found := fixture.receive(limit=100)):
        turn += 1
        if turn % 5 == 1:  # redeliveries keep the order, too
            fixture.backend.queue.release(found)
            fixture.advance(fixture.harness.tick)
            again = fixture.receive(limit=100, least=len(found))  # where time is real, perhaps in smaller batches
            fixture.require_equal(ids_of(again)[: len(found)], ids_of(found)[: len(again)], "delivered again")
            found = again
        received += ids_of(found)
        fixture.backend.queue.ack(found)
    fixture.require_equal(received, ids, "received")
    fixture.send(*(message(f"n{number}") for number in range(8)))
    fixture.receives(*(f"n{number}" for number in range(8)))


@checks("F8", feature=HarnessFeature.FAST_FORWARD)
def messages_arrive_in_order_however_many_came_before(fixture: BackendFixture) -> None:
    for number in LARGE_COUNTS:
        _fast_forward(fixture, f"k{number}", number)
        ids = [f"{number}+{each}" for each in range(5)]
        fixture.send(*(message(id, key(f"k{number}")) for id in ids))
        fixture.backend.queue.release(fixture.receives(*ids[:3], limit=3))
        fixture.advance(fixture.harness.tick)
        fixture.backend.queue.ack(fixture.receives(*ids[:4], limit=4)[:2])
        fixture.advance(fixture.lease + fixture.harness.tick)
        fixture.backend.queue.ack(fixture.receives(*ids[2:]))


@checks("F9", needs=Capability.POSITIONS, feature=HarnessFeature.FAST_FORWARD)
def positions_increase_however_many_came_before(fixture: BackendFixture) -> None:
    for number in LARGE_COUNTS:
        _fast_forward(fixture, f"k{number}", number)
        fixture.send(*(message(f"{number}+{each}", key(f"k{number}")) for each in range(5)))
        for delivery in (found := fixture.receive(limit=5, least=5)):
            rises = delivery.position is not None and delivery.position.number > number
            fixture.require(rises, f"the position {delivery.position} behind {number} messages")
        fixture.backend.queue.ack(found)


def _fast_forward(fixture: BackendFixture, instance: str, number: int) -> None:
    fixture.commit(key(instance), 1)
    fixture.fast_forward(key(instance), number)


@checks("F6")
def a_thousand_leased_keys_do_not_block_another(fixture: BackendFixture) -> None:
    count = fixture.many(1050, 24)
    fixture.send_together([message("1", key(f"k{number}")) for number in range(count)])
    held = fixture.receive(limit=100)
    while len(held) < count and (found := fixture.receive(limit=100)):
        held += found
    fixture.require_equal(
        len({each.message.key for each in held}), count, "keys that were delivered while all others were leased"
    )
    fixture.send(message("x", key("x")))
    fixture.receives("x")
    fixture.backend.queue.release(held, fixture.lease / 2)
    fixture.send(message("y", key("y")))
    fixture.receives("y")
    fixture.advance(fixture.lease / 2 + fixture.harness.tick)
    received = 0
    while received < count and (found := fixture.receive(limit=100)):
        received += len(found)
        fixture.backend.queue.ack(found)
    fixture.require_equal(received, count, "keys that were delivered after all were released with a delay")
    fixture.send(message("z", key("z")), message("2", key("k0")), message("2", key(f"k{count - 1}")))
    fixture.require_equal(sorted(ids_of(fixture.receive(least=3))), ["2", "2", "z"], "delivered beside idle keys")


@checks("F6")
def idle_keys_are_delivered_beside_busy_ones(fixture: BackendFixture) -> None:
    busy = [key(f"busy {number}") for number in range(3)]
    sent, waiting = 0, {"first", "of a timer", "last"}
    fixture.send(message("first", key("a")))
    for _ in range(2):
        for target in busy:
            sent += 1
            fixture.send(message(f"{sent}", target))
    fixture.backend.timers.schedule(timer("of a timer", fixture.harness.now(), key("b")))
    fixture.advance(fixture.harness.tick)
    fixture.send(message("last", key("z")))
    for _ in range(40):
        for delivery in fixture.receive(limit=1):
            fixture.backend.queue.ack([delivery])
            waiting.discard(delivery.message.id)
            if delivery.message.key in busy:
                sent += 1
                fixture.send(message(f"{sent}", delivery.message.key))
        if not waiting:
            return
    fixture.require(
        False, f"three busy keys were delivered 40 times, and {sorted(waiting)}, single messages of their keys, never"
    )


def _commit_versions(fixture: BackendFixture, versions: int) -> None:
    for version in range(1, versions + 1):
        fixture.commit(key(), version)


def _require_one_winner(fixture: BackendFixture, version: int) -> None:
    """Require that commits over versions other than the current `version` fail, near and far."""
    store = fixture.environment.handles[-1].store
    others = {0, 1, version - 1, version - 2, version - 10, version - 100, version - 256, version - 1000}
    for expected in sorted(each for each in (*others, version + 1) if each >= 0 and each != version):
        late = partial(store.commit, key(), stored(expected + 1, "late"), expected, [dead_letter("late")])
        fixture.require(conflicts(late), f"version {version} is there, and a commit that expected {expected} succeeded")
    write = Write(key(), stored(version, "late"), version - 1)
    fixture.require(conflicts(lambda: fixture.backend.finish(write)), f"a write over version {version - 1} succeeded")
    fixture.require_equal(store.load(key()), stored(version), f"loaded at version {version}")
    fixture.require_equal(ids_of(store.dead_letters(key())), [], "dead letters of commits that were refused")


@checks("R6")
def of_several_commits_past_version_one_thousand_one_wins(fixture: BackendFixture) -> None:
    last = fixture.many(1027, 14)
    fixture.open_handle()
    for version in range(1, last + 1):
        fixture.commit(key(), version)
        if version in (11, 101, 129, 258, 513, 1001, last):
            _require_one_winner(fixture, version)


@checks("R4")
def a_late_commit_past_many_versions_fails(fixture: BackendFixture) -> None:
    fixture.environment.contract.stale_commit_guarantee = "R4"
    fixture.open_handle()
    _commit_versions(fixture, fixture.many(300, 12))
    _require_one_winner(fixture, fixture.many(300, 12))


@checks("R6", feature=HarnessFeature.FAST_FORWARD)
def of_several_commits_one_wins_however_many_came_before(fixture: BackendFixture) -> None:
    for number in LARGE_COUNTS:
        fixture.commit(key(), 1)
        fixture.fast_forward(key(), number)
        fixture.open_handle()
        for version in range(number + 1, number + 5):
            fixture.commit(key(), version)
            _require_one_winner(fixture, version)
        fixture.reset()


@checks("R3")
def a_key_keeps_its_version_count_past_many_versions(fixture: BackendFixture) -> None:
    last = fixture.many(300, 12)
    _commit_versions(fixture, last)
    fixture.backend.store.delete(key(), tombstone(last + 1), last)
    other = fixture.open_handle()
    fixture.require_equal(other.store.load(key()), tombstone(last + 1), f"loaded after a deletion at version {last}")
    fixture.require(
        conflicts(partial(other.store.commit, key(), stored(1), 0)), "a deleted key began again at version 1"
    )
    fixture.commit(key(), last + 2, through=other)
    _require_one_winner(fixture, last + 2)


@checks("X6")
def many_deliveries_are_counted_one_by_one(fixture: BackendFixture) -> None:
    fixture.send(message("1"))
    for attempt in range(1, fixture.many(260, 8) + 1):
        (held,) = fixture.receives("1")
        fixture.require_equal(held.attempt, attempt, "the attempt")
        fixture.backend.queue.release([held])
        fixture.advance(fixture.harness.tick)


@checks("X6")
def many_dead_letters_are_kept_in_order(fixture: BackendFixture) -> None:
    count = fixture.many(300, 12)
    dead = [dead_letter(f"l{number}") for number in range(1, count + 1)]
    fixture.commit(key(), 1, add_dead_letters=dead[: count // 2])
    fixture.commit(key(), 2, add_dead_letters=dead[count // 2 :])
    fixture.require_equal(list(fixture.open_handle().store.dead_letters(key())), dead, "dead letters")
    fixture.backend.store.commit(key(), stored(3), 2, [dead_letter("last")], count // 2 + 1)
    rest = [*dead[count // 2 + 1 :], dead_letter("last")]
    fixture.require_equal(
        list(fixture.open_handle().store.dead_letters(key())), rest, "dead letters after half of them have left"
    )


@checks("T2")
def many_timers_due_at_once_all_fire(fixture: BackendFixture) -> None:
    due, count = fixture.harness.now() + 1, fixture.many(300, 12)
    timers = [timer(f"t{number}", due, key(f"k{number}")) for number in range(count)]
    for start in range(0, count, 100):
        fixture.backend.finish(Write(key(), timers=tuple(timers[start : start + 100])))
    fixture.advance(1 + fixture.harness.tick)
    received = list[str]()
    while len(received) < count and (found := fixture.receive(limit=100)):
        received += ids_of(found)
        fixture.backend.queue.ack(found)
    fixture.require_equal(sorted(received), sorted(each.id for each in timers), "fired")


@checks("D4")
def a_write_sends_all_its_messages_however_many(fixture: BackendFixture) -> None:
    ids = [f"o{number}" for number in range(fixture.many(260, 12))]
    fixture.open_handle().finish(Write(key(), stored(1), 0, sends=tuple(message(id, key("b")) for id in ids)))
    received = list[str]()
    while len(received) < len(ids) and (found := fixture.receive(limit=100)):
        received += ids_of(found)
        fixture.backend.queue.ack(found)
    fixture.require_equal(received, ids, "delivered of the messages of one write")
