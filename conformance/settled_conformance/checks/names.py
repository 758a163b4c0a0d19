"""X9, D1, D2, X6, T2, T4, T3: a name is that name and no other, however alike they begin, end or are written."""

from __future__ import annotations

from settled import Key
from settled.durable import Capability, Write
from settled_conformance.checks import checks
from settled_conformance.fixture import BackendFixture, key, letter, message, stored, timer, tombstone

ALIKE = (
    *("a", "a1", "a10", "a2", "a:1", "a:10", "a/1", "a-1", "a.1", "a#1", "a|1", "a,1", "a;1", "a 1"),
    *("A", "aa", " a", "a ", "b", "ba", "1", "01", "1.0", "10", "0x1", "1e0"),
    *("a%", "a_", "a*", "a?", "a[1]", "{a}", "{a}1", "a\\", "'a'", '"a"', "%61", "a+1", "a%201"),
    *("á", "a\u0301", "a\u200b", ".", "..", "a.", "__a__", "null", "x" * 127, "x" * 128, "x" * 127 + "y"),
)
"""Each is the beginning, a pattern, an escape, or another spelling of others."""


def _places(fixture: BackendFixture) -> list[Key]:
    return [key(name) for name in _alike(fixture)] + [Key(f"m{name}", "a") for name in _alike(fixture)[:13]]


def _alike(fixture: BackendFixture) -> tuple[str, ...]:
    return ALIKE if fixture.harness.is_quick else ALIKE[:3] + ALIKE[-16::2]


@checks("D1")
def messages_whose_ids_are_alike_are_all_kept(fixture: BackendFixture) -> None:
    long = ["x" * 299 + end for end in "yz"]
    ids = [*_alike(fixture), *reversed([f"{id}~" for id in _alike(fixture)]), *long]
    fixture.send_together([message(id, body="{}") for id in ids])
    heard = list[str]()
    while len(heard) < len(ids) and (found := fixture.receive(limit=7)):
        heard += [each.message.id for each in found]
        fixture.backend.queue.ack(found)
    fixture.same(heard, ids, "heard of messages whose ids are alike")


@checks("X9")
def an_acknowledgement_is_of_one_message_and_of_one_key(fixture: BackendFixture) -> None:
    places = _places(fixture)
    for id in ("1", "10"):
        fixture.send_together([message(id, place, f"{id} to {place}") for place in places])
    heard = dict[Key, list[str]]()
    for _ in range(2 * len(places)):
        for delivery in (found := fixture.receive(limit=1)):
            heard.setdefault(delivery.message.key, []).append(delivery.message.body)
        fixture.backend.queue.ack(found)
    fixture.same(heard, {place: [f"1 to {place}", f"10 to {place}"] for place in places}, "handed out")
    fixture.receives_nothing()


@checks("X9")
def records_and_dead_letters_of_keys_that_are_alike_are_kept_apart(fixture: BackendFixture) -> None:
    for place in _places(fixture):
        fixture.backend.store.commit(place, stored(1, _text(place)), 0, [letter("l", place, _text(place))])
    _are_whole(fixture, _places(fixture))


@checks("D2")
def a_deletion_takes_nothing_from_keys_that_are_alike(fixture: BackendFixture) -> None:
    places = _places(fixture)
    for place in places:
        fixture.backend.store.commit(place, stored(1, _text(place)), 0, [letter("l", place, _text(place))])
    for gone in (key("a"), key("a1"), key("1")):
        if gone in places:
            fixture.backend.store.delete(gone, tombstone(2), 1)
            places.remove(gone)
    _are_whole(fixture, places)


@checks("X6")
def dead_letters_of_keys_that_are_alike_leave_by_themselves(fixture: BackendFixture) -> None:
    places = _places(fixture)
    for place in places:
        fixture.backend.store.commit(place, stored(1, _text(place)), 0, [letter("l", place, _text(place))])
    fixture.backend.store.commit(key("a"), stored(2), 1, unbury=1)
    fixture.same(
        list(fixture.another().store.dead_letters(key("a"))), [], "dead letters of a key that has none any more"
    )
    _are_whole(fixture, [place for place in places if place != key("a")])


def _text(place: Key) -> str:
    return f"of {place}".replace("\\", "/").replace('"', "'")


def _are_whole(fixture: BackendFixture, places: list[Key]) -> None:
    other = fixture.another()
    for place in places:
        fixture.same(other.store.load(place), stored(1, _text(place)), f"loaded for {place}")
        expected = [letter("l", place, _text(place))]
        fixture.same(list(other.store.dead_letters(place)), expected, f"dead letters of {place}")


@checks("T2")
def timers_whose_ids_are_alike_all_fire(fixture: BackendFixture) -> None:
    names = _alike(fixture)
    due = fixture.harness.now() + 1
    for number, id in enumerate(names):
        fixture.backend.timers.schedule(timer(id, due, key(f"k{number}")))
    fixture.advance(1 + fixture.harness.tick)
    fixture.same(sorted(fixture.drain()), sorted(names), "fired")


@checks("T2", needs=Capability.CANCELLED_STAYS_AWAY)
def cancelling_a_timer_cancels_no_other_whose_id_is_alike(fixture: BackendFixture) -> None:
    names = _alike(fixture)
    due = fixture.harness.now() + fixture.lease / 2
    for number, id in enumerate(names):
        fixture.backend.timers.schedule(timer(id, due, key(f"k{number}")))
    fixture.another().timers.cancel("a")
    fixture.backend.finish(Write(key(), cancels=("1", "x" * 127)))
    fixture.advance(fixture.lease / 2 + fixture.harness.tick)
    fixture.same(sorted(fixture.drain()), sorted(set(names) - {"a", "1", "x" * 127}), "fired")


@checks("T4", needs=Capability.CANCELLED_STAYS_AWAY)
def putting_off_a_timer_puts_off_no_other_whose_id_is_alike(fixture: BackendFixture) -> None:
    names = _alike(fixture)
    now, wait = fixture.harness.now(), fixture.lease / 3
    for number, id in enumerate(names):
        fixture.backend.timers.schedule(timer(id, now + wait, key(f"k{number}")))
    fixture.another().timers.schedule(timer("a", now + 2 * wait, key("k0")))
    fixture.advance(wait + fixture.harness.tick)
    fixture.same(sorted(fixture.drain()), sorted(set(names) - {"a"}), "fired")
    fixture.advance(wait)
    fixture.receives("a")
