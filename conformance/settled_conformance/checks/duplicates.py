"""X1 to X3 and X6 to X10, as far as they are the port's: one id is one message, and a message stays what it was."""

from __future__ import annotations

from contextlib import suppress

from settled import IdReused
from settled.durable import Capability, Timer, Write
from settled_conformance.checks import proves
from settled_conformance.fixture import Bench, key, letter, message, messages, stored, tombstone


@proves("X1", needs=Capability.DEDUPLICATION)
def the_queue_takes_an_id_once(bench: Bench) -> None:
    bench.send(*messages("1 2 1"))
    bench.send(message("1"), through=bench.another())
    bench.same(bench.drain(), ["1", "2"], "heard")


@proves("X1", needs=Capability.DEDUPLICATION)
def the_queue_takes_an_id_once_while_it_is_leased(bench: Bench) -> None:
    bench.send(message("1"))
    held = bench.receives("1")
    bench.send(message("1"))
    bench.backend.finish(Write(key(), sends=(message("1"),)))
    bench.backend.queue.ack(held)
    bench.receives_nothing()


@proves("X2")
def one_id_for_two_keys_is_two_messages(bench: Bench) -> None:
    bench.send(message("1"), message("1", key("b")), message("1", key("a", "n")))
    found = sorted(str(delivery.message.key) for delivery in bench.receive(least=3))
    bench.same(found, ["m/a", "m/b", "n/a"], "the keys for which 1 was handed out")
    bench.mark("one id, two keys")


@proves("X3", needs=Capability.DEDUPLICATION)
def the_queue_takes_an_id_once_even_after_its_end(bench: Bench) -> None:
    bench.send(message("1"))
    bench.backend.queue.ack(bench.receives("1"))
    bench.send(message("1"))
    bench.receives_nothing()
    bench.send(message("2"), message("1"))
    bench.same(bench.drain(), ["2"], "heard")


@proves("X11")
def an_id_with_another_body_is_refused_or_queued(bench: Bench) -> None:
    bench.send(message("1", body='{"first":1}'))
    expected = ['{"first":1}', '{"second":2}']
    try:
        bench.send(message("1", body='{"second":2}'))
    except IdReused:
        expected.pop()
    found = [delivery.message.body for delivery in bench.receive(least=len(expected))]
    bench.same(found, expected, "the bodies that were handed out")
    bench.mark("one id, two bodies")


@proves("X11")
def an_id_with_another_body_is_refused_or_queued_after_the_first_was_acknowledged(bench: Bench) -> None:
    bench.send(message("1", body='{"first":1}'))
    bench.backend.queue.ack(bench.receives("1"))
    with suppress(IdReused):
        bench.send(message("1", body='{"second":2}'))
        found = [delivery.message.body for delivery in bench.receive()]
        bench.same(found, ['{"second":2}'], "the bodies that were handed out")


BODIES = (
    ('{"a":1,"b":2}', '{"b":2,"a":1}'),
    ('{"a":1}', '{"a": 1}'),
    ('{"a":1}', '{"a":1.0}'),
    ('{"a":1}', '{"a":2}'),
    ('{"a":"x"}', '{"a":"X"}'),
    ('{"a":"é"}', '{"a":"e\u0301"}'),
    ("{}", ""),
    ("x" * 70_000, "x" * 69_999 + "y"),
    ("x" * 70_000, "x" * 70_001),
    ("y" + "x" * 70_000, "x" * 70_001),
)
"""Pairs of texts that are not the same, however much they look so."""


@proves("X11")
def an_id_with_another_body_is_refused_or_queued_however_alike_they_are(bench: Bench) -> None:
    for number, (first, second) in enumerate(BODIES):
        place = key(f"k{number}")
        bench.send(message("1", place, first))
        expected = [first, second]
        try:
            bench.send(message("1", place, second), through=bench.another())
        except IdReused:
            expected.pop()
        _hears(bench, expected)


@proves("X11")
def of_a_batch_with_a_reused_id_all_is_sent_or_nothing(bench: Bench) -> None:
    first, second = '{"first":1}', '{"second":2}'
    for number, known in enumerate(((), (message("1", body=first),))):
        if number:
            bench.renew()
        bench.send(*known)
        batch = [message("0"), message("1", body=first), message("1", body=second), message("2", key("b"))]
        try:
            bench.backend.queue.send(batch[number:] if known else batch)
            expected = [batch[0].body] * (not known) + [first, second, batch[3].body]
        except IdReused:
            expected = [each.body for each in known]
        found = [each.message.body for _ in range(2) for each in bench.receive(least=max(1, len(expected)))]
        if Capability.DEDUPLICATION not in bench.harness.capabilities or not bench.owns_time:
            found = list(dict.fromkeys(found))  # where time is real, a lease may be over before the second hand-out
        bench.same(sorted(found), sorted(expected), "the bodies that were handed out")


@proves("X11")
def an_id_with_another_body_is_refused_or_queued_while_the_first_is_held(bench: Bench) -> None:
    bench.send(message("1", body='{"first":1}'))
    held, expected = bench.receives("1"), ['{"second":2}']
    try:
        bench.send(message("1", body='{"second":2}'))
    except IdReused:
        expected = []
    bench.backend.queue.ack(held)
    _hears(bench, expected)


@proves("X11")
def a_write_that_reuses_an_id_is_refused_whole_or_sends_it(bench: Bench) -> None:
    bench.send(message("1", body='{"first":1}'))
    bench.backend.queue.ack(bench.receives("1"))
    write = Write(key("b"), stored(1), 0, sends=(message("1", body='{"second":2}'),))
    try:
        bench.backend.finish(write)
    except IdReused:
        if Capability.ATOMIC_FINISH in bench.harness.capabilities:
            bench.same(bench.another().store.load(key("b")), None, "loaded after a write that was refused")
        return
    _hears(bench, ['{"second":2}'])


@proves("X11")
def a_timer_whose_message_reuses_an_id_fires(bench: Bench) -> None:
    bench.send(message("1", body='{"first":1}'))
    bench.backend.queue.ack(bench.receives("1"))
    bench.backend.timers.schedule(Timer("t", message("1", body='{"second":2}'), bench.harness.now()))
    bench.advance(bench.harness.tick)
    _hears(bench, ['{"second":2}'])


def _hears(bench: Bench, bodies: list[str]) -> None:
    found = bench.receive(least=len(bodies)) if bodies else []
    bench.same([each.message.body for each in found], bodies, "the bodies that were handed out")
    bench.backend.queue.ack(found)
    if bench.owns_time:
        bench.receives_nothing()


@proves("X6")
def a_new_life_has_no_dead_letters_of_the_former_one(bench: Bench) -> None:
    store, version = bench.backend.store, 0
    for life in range(3):
        dead = [letter(f"{life}.{number}") for number in range(4)]
        store.commit(key(), stored(version + 1), version, dead[:2])
        bench.same(list(bench.another().store.dead_letters(key())), dead[:2], f"dead letters in the life {life}")
        bench.backend.finish(Write(key(), stored(version + 2), version + 1, tuple(dead[2:]), unbury=1))
        bench.same(list(store.dead_letters(key())), dead[1:], f"dead letters in the life {life}")
        store.delete(key(), tombstone(version + 3), version + 2)
        bench.same(list(bench.another().store.dead_letters(key())), [], "dead letters of what was deleted")
        version += 3
    store.commit(key(), stored(version + 1), version)
    bench.same(list(bench.another().store.dead_letters(key())), [], "dead letters of a life that has none")
    bench.backend.finish(Write(key(), stored(version + 2), version + 1, (letter("new"),)))
    store.commit(key(), stored(version + 3), version + 2, unbury=1)
    bench.same(list(bench.another().store.dead_letters(key())), [], "dead letters after the only one has left")


@proves("X6")
def dead_letters_are_kept_whole_and_in_order(bench: Bench) -> None:
    bodies = {"1": '{"a":1}', "2": '{"a":1}', "3": "🙂" * 10}
    dead = [letter(id, body=body) for id, body in bodies.items()]
    bench.commit(key(), 1, bury=dead[:2])
    bench.backend.finish(Write(key(), stored(2), 1, (dead[2],)))
    bench.same(list(bench.another().store.dead_letters(key())), dead, "dead letters")
    bench.same(list(bench.another().store.dead_letters(key("b"))), [], "another key's dead letters")
    bench.backend.store.commit(key(), stored(3), 2, [letter("4")], 2)
    bench.same(list(bench.another().store.dead_letters(key())), [dead[2], letter("4")], "dead letters")
    bench.backend.finish(Write(key(), stored(4), 3, unbury=1))
    bench.same(list(bench.another().store.dead_letters(key())), [letter("4")], "dead letters")


@proves("X6")
def setting_one_aside_leaves_its_followers(bench: Bench) -> None:
    bench.send(*messages("1 2 3"))
    held = bench.receives("1", "2", "3")
    bench.backend.finish(Write(key(), stored(1), 0, (letter("1"),), acks=(held[0],)))
    bench.backend.queue.release(held[1:])
    bench.advance(bench.harness.tick)
    bench.receives("2", "3")


@proves("X6")
def each_hand_out_counts_as_one(bench: Bench) -> None:
    bench.send(message("1"))
    for attempt in range(1, 6):
        (held,) = bench.receives("1")
        bench.same(held.attempt, attempt, "the attempt")
        if attempt % 2:
            bench.backend.queue.release([held])
            bench.advance(bench.harness.tick)
        else:
            bench.advance(bench.lease + bench.harness.tick)


@proves("X7")
def a_message_behind_a_failing_one_is_not_charged(bench: Bench) -> None:
    bench.send(*messages("1 2"))
    for _ in range(4):
        bench.backend.queue.release(bench.receives("1", limit=1))
        bench.advance(bench.harness.tick)
    held = bench.receives("1", "2")
    bench.same([delivery.attempt for delivery in held], [5, 1], "attempts")
    bench.backend.queue.ack(held[:1])
    bench.backend.queue.release(held[1:])
    bench.advance(bench.harness.tick)
    bench.same([delivery.attempt for delivery in bench.receives("2")], [2], "attempts")


@proves("X8")
def equal_payloads_are_different_messages(bench: Bench) -> None:
    bench.send(*(message(id, body="{}") for id in "123"))
    bench.send(message("4", key("b"), "{}"))
    bench.same(sorted(bench.drain()), ["1", "2", "3", "4"], "heard")
    bench.mark("equal payloads")


@proves("X9")
def keys_that_look_alike_are_kept_apart(bench: Bench) -> None:
    places = [key("A"), key("A:1"), key("A:1:2"), key("1", "m:A"), key(":A:1"), key("A/1"), key("1", "m/A")]
    for number, place in enumerate(places):
        bench.send(message("1", place, f"body {number}"))
        bench.backend.store.commit(place, stored(1, f"{number}"), 0, [letter("l", place, f"{number}")])
    found = {str(each.message.key): each.message.body for each in bench.receive(least=len(places))}
    expected = {str(place): f"body {number}" for number, place in enumerate(places)}
    bench.same(found, expected, "handed out")
    for number, place in enumerate(places):
        bench.same(bench.backend.store.load(place), stored(1, f"{number}"), f"loaded for {place}")
        bench.same(list(bench.backend.store.dead_letters(place)), [letter("l", place, f"{number}")], "dead letters")
    bench.mark("keys side by side")


@proves("X9")
def a_message_that_comes_again_is_the_same(bench: Bench) -> None:
    bench.send(message("1"))
    (first,) = bench.receives("1")
    bench.backend.queue.release([first])
    bench.advance(bench.harness.tick)
    (second,) = bench.receives("1")
    bench.same(second.message, first.message, "a message that came again")


@proves("X10")
def dead_letters_leave_from_the_head(bench: Bench) -> None:
    bench.commit(key(), 1, bury=[letter("1"), letter("2"), letter("3")])
    store = bench.backend.store
    store.commit(key(), stored(2), 1, [letter("4")], 1)
    bench.same([each.message.id for each in store.dead_letters(key())], ["2", "3", "4"], "dead letters")
