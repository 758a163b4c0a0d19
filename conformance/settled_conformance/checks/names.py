"""Checks of X9, D1, D2, X6 and T2 to T4 with similar names: prefixes, patterns, escapes and other spellings."""

from __future__ import annotations

from settled import Key
from settled.durable import Capability, Write
from settled_conformance.checks import checks
from settled_conformance.fixture import BackendFixture, dead_letter, key, message, stored, timer, tombstone

SIMILAR_NAMES = (
    *("a", "a1", "a10", "a2", "a:1", "a:10", "a/1", "a-1", "a.1", "a#1", "a|1", "a,1", "a;1", "a 1"),
    *("A", "aa", " a", "a ", "b", "ba", "1", "01", "1.0", "10", "0x1", "1e0"),
    *("a%", "a_", "a*", "a?", "a[1]", "{a}", "{a}1", "a\\", "'a'", '"a"', "%61", "a+1", "a%201"),
    *("á", "a\u0301", "a\u200b", ".", "..", "a.", "__a__", "null", "x" * 127, "x" * 128, "x" * 127 + "y"),
)
"""Names that are a prefix, a pattern, an escape, or another spelling of one another."""


def _similar_keys(fixture: BackendFixture) -> list[Key]:
    return [key(name) for name in _similar_names(fixture)] + [
        Key(f"m{name}", "a") for name in _similar_names(fixture)[:13]
    ]


def _similar_names(fixture: BackendFixture) -> tuple[str, ...]:
    return SIMILAR_NAMES if fixture.harness.is_quick else SIMILAR_NAMES[:3] + SIMILAR_NAMES[-16::2]


@checks("D1")
def messages_with_similar_ids_are_all_kept(fixture: BackendFixture) -> None:
    long = ["x" * 299 + end for end in "yz"]
    ids = [*_similar_names(fixture), *reversed([f"{id}~" for id in _similar_names(fixture)]), *long]
    fixture.send_together([message(id, body="{}") for id in ids])
    received = list[str]()
    while len(received) < len(ids) and (found := fixture.receive(limit=7)):
        received += [each.message.id for each in found]
        fixture.backend.queue.ack(found)
    fixture.require_equal(received, ids, "received of messages with similar ids")


@checks("X9")
def an_acknowledgement_concerns_one_message_of_one_key(fixture: BackendFixture) -> None:
    targets = _similar_keys(fixture)
    for id in ("1", "10"):
        fixture.send_together([message(id, target, f"{id} to {target}") for target in targets])
    received = dict[Key, list[str]]()
    for _ in range(2 * len(targets)):
        for delivery in (found := fixture.receive(limit=1)):
            received.setdefault(delivery.message.key, []).append(delivery.message.body)
        fixture.backend.queue.ack(found)
    fixture.require_equal(received, {target: [f"1 to {target}", f"10 to {target}"] for target in targets}, "delivered")
    fixture.receives_nothing()


@checks("X9")
def records_and_dead_letters_of_similar_keys_stay_separate(fixture: BackendFixture) -> None:
    for target in _similar_keys(fixture):
        fixture.backend.store.commit(target, stored(1, _text(target)), 0, [dead_letter("l", target, _text(target))])
    _require_unchanged(fixture, _similar_keys(fixture))


@checks("D2")
def a_deletion_removes_nothing_of_similar_keys(fixture: BackendFixture) -> None:
    targets = _similar_keys(fixture)
    for target in targets:
        fixture.backend.store.commit(target, stored(1, _text(target)), 0, [dead_letter("l", target, _text(target))])
    for gone in (key("a"), key("a1"), key("1")):
        if gone in targets:
            fixture.backend.store.delete(gone, tombstone(2), 1)
            targets.remove(gone)
    _require_unchanged(fixture, targets)


@checks("X6")
def dead_letters_of_similar_keys_are_removed_separately(fixture: BackendFixture) -> None:
    targets = _similar_keys(fixture)
    for target in targets:
        fixture.backend.store.commit(target, stored(1, _text(target)), 0, [dead_letter("l", target, _text(target))])
    fixture.backend.store.commit(key("a"), stored(2), 1, remove_dead_letters=1)
    fixture.require_equal(
        list(fixture.open_handle().store.dead_letters(key("a"))), [], "dead letters of a key that has none any more"
    )
    _require_unchanged(fixture, [target for target in targets if target != key("a")])


def _text(target: Key) -> str:
    return f"of {target}".replace("\\", "/").replace('"', "'")


def _require_unchanged(fixture: BackendFixture, targets: list[Key]) -> None:
    other = fixture.open_handle()
    for target in targets:
        fixture.require_equal(other.store.load(target), stored(1, _text(target)), f"loaded for {target}")
        expected = [dead_letter("l", target, _text(target))]
        fixture.require_equal(list(other.store.dead_letters(target)), expected, f"dead letters of {target}")


@checks("T2")
def timers_with_similar_ids_all_fire(fixture: BackendFixture) -> None:
    names = _similar_names(fixture)
    due = fixture.harness.now() + 1
    for number, id in enumerate(names):
        fixture.backend.timers.schedule(timer(id, due, key(f"k{number}")))
    fixture.advance(1 + fixture.harness.tick)
    fixture.require_equal(sorted(fixture.drain()), sorted(names), "fired")


@checks("T2", needs=Capability.NO_DELIVERY_AFTER_CANCEL)
def cancelling_a_timer_cancels_no_other_with_a_similar_id(fixture: BackendFixture) -> None:
    names = _similar_names(fixture)
    due = fixture.harness.now() + fixture.lease / 2
    for number, id in enumerate(names):
        fixture.backend.timers.schedule(timer(id, due, key(f"k{number}")))
    fixture.open_handle().timers.cancel("a")
    fixture.backend.finish(Write(key(), cancels=("1", "x" * 127)))
    fixture.advance(fixture.lease / 2 + fixture.harness.tick)
    fixture.require_equal(sorted(fixture.drain()), sorted(set(names) - {"a", "1", "x" * 127}), "fired")


@checks("T4", needs=Capability.NO_DELIVERY_AFTER_CANCEL)
def postponing_a_timer_postpones_no_other_with_a_similar_id(fixture: BackendFixture) -> None:
    names = _similar_names(fixture)
    now, wait = fixture.harness.now(), fixture.lease / 3
    for number, id in enumerate(names):
        fixture.backend.timers.schedule(timer(id, now + wait, key(f"k{number}")))
    fixture.open_handle().timers.schedule(timer("a", now + 2 * wait, key("k0")))
    fixture.advance(wait + fixture.harness.tick)
    fixture.require_equal(sorted(fixture.drain()), sorted(set(names) - {"a"}), "fired")
    fixture.advance(wait)
    fixture.receives("a")
