"""Checks of X1 to X3 and X6 to X11 at the port: ids, reused ids, dead letters, attempts, and unchanged messages."""

from __future__ import annotations

from contextlib import suppress

from settled import IdReusedError
from settled.durable import Capability, Timer, Write
from settled_conformance.checks import checks
from settled_conformance.fixture import BackendFixture, dead_letter, key, message, messages, stored, tombstone


@checks("X1", needs=Capability.DEDUPLICATION)
def the_queue_accepts_an_id_once(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2 1"))
    fixture.send(message("1"), through=fixture.open_handle())
    fixture.require_equal(fixture.drain(), ["1", "2"], "received")


@checks("X1", needs=Capability.DEDUPLICATION)
def the_queue_accepts_an_id_once_during_its_lease(fixture: BackendFixture) -> None:
    fixture.send(message("1"))
    held = fixture.receives("1")
    fixture.send(message("1"))
    fixture.backend.finish(Write(key(), sends=(message("1"),)))
    fixture.backend.queue.ack(held)
    fixture.receives_nothing()


@checks("X2")
def one_id_for_two_keys_is_two_messages(fixture: BackendFixture) -> None:
    fixture.send(message("1"), message("1", key("b")), message("1", key("a", "n")))
    found = sorted(str(delivery.message.key) for delivery in fixture.receive(least=3))
    fixture.require_equal(found, ["m/a", "m/b", "n/a"], "the keys for which 1 was delivered")
    fixture.mark("one id, two keys")


@checks("X3", needs=Capability.DEDUPLICATION)
def the_queue_accepts_an_id_once_even_after_its_acknowledgement(fixture: BackendFixture) -> None:
    fixture.send(message("1"))
    fixture.backend.queue.ack(fixture.receives("1"))
    fixture.send(message("1"))
    fixture.receives_nothing()
    fixture.send(message("2"), message("1"))
    fixture.require_equal(fixture.drain(), ["2"], "received")


@checks("X11")
def an_id_with_another_body_is_refused_or_queued(fixture: BackendFixture) -> None:
    fixture.send(message("1", body='{"first":1}'))
    expected = ['{"first":1}', '{"second":2}']
    try:
        fixture.send(message("1", body='{"second":2}'))
    except IdReusedError:
        expected.pop()
    found = [delivery.message.body for delivery in fixture.receive(least=len(expected))]
    fixture.require_equal(found, expected, "the bodies that were delivered")
    fixture.mark("one id, two bodies")


@checks("X11")
def an_id_with_another_body_is_refused_or_queued_after_the_first_was_acknowledged(fixture: BackendFixture) -> None:
    fixture.send(message("1", body='{"first":1}'))
    fixture.backend.queue.ack(fixture.receives("1"))
    with suppress(IdReusedError):
        fixture.send(message("1", body='{"second":2}'))
        found = [delivery.message.body for delivery in fixture.receive()]
        fixture.require_equal(found, ['{"second":2}'], "the bodies that were delivered")


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
"""Pairs of different texts that a careless comparison takes for equal."""


@checks("X11")
def an_id_with_another_body_is_refused_or_queued_however_similar_the_bodies(fixture: BackendFixture) -> None:
    for number, (first, second) in enumerate(BODIES):
        target = key(f"k{number}")
        fixture.send(message("1", target, first))
        expected = [first, second]
        try:
            fixture.send(message("1", target, second), through=fixture.open_handle())
        except IdReusedError:
            expected.pop()
        _require_bodies(fixture, expected)


@checks("X11")
def a_batch_with_a_reused_id_is_sent_whole_or_not_at_all(fixture: BackendFixture) -> None:
    first, second = '{"first":1}', '{"second":2}'
    for number, known in enumerate(((), (message("1", body=first),))):
        if number:
            fixture.reset()
        fixture.send(*known)
        batch = [message("0"), message("1", body=first), message("1", body=second), message("2", key("b"))]
        try:
            fixture.backend.queue.send(batch[number:] if known else batch)
            expected = [batch[0].body] * (not known) + [first, second, batch[3].body]
        except IdReusedError:
            expected = [each.body for each in known]
        found = [each.message.body for _ in range(2) for each in fixture.receive(least=max(1, len(expected)))]
        if Capability.DEDUPLICATION not in fixture.harness.capabilities or not fixture.owns_time:
            found = list(dict.fromkeys(found))  # where time is real, a lease may expire before the second receive
        fixture.require_equal(sorted(found), sorted(expected), "the bodies that were delivered")


@checks("X11")
def an_id_with_another_body_is_refused_or_queued_while_the_first_is_held(fixture: BackendFixture) -> None:
    fixture.send(message("1", body='{"first":1}'))
    held, expected = fixture.receives("1"), ['{"second":2}']
    try:
        fixture.send(message("1", body='{"second":2}'))
    except IdReusedError:
        expected = []
    fixture.backend.queue.ack(held)
    _require_bodies(fixture, expected)


@checks("X11")
def a_write_that_reuses_an_id_is_refused_whole_or_sends_the_message(fixture: BackendFixture) -> None:
    fixture.send(message("1", body='{"first":1}'))
    fixture.backend.queue.ack(fixture.receives("1"))
    write = Write(key("b"), stored(1), 0, sends=(message("1", body='{"second":2}'),))
    try:
        fixture.backend.finish(write)
    except IdReusedError:
        if Capability.ATOMIC_FINISH in fixture.harness.capabilities:
            fixture.require_equal(
                fixture.open_handle().store.load(key("b")), None, "loaded after a write that was refused"
            )
        return
    _require_bodies(fixture, ['{"second":2}'])


@checks("X11")
def a_timer_whose_message_reuses_an_id_fires(fixture: BackendFixture) -> None:
    fixture.send(message("1", body='{"first":1}'))
    fixture.backend.queue.ack(fixture.receives("1"))
    fixture.backend.timers.schedule(Timer("t", message("1", body='{"second":2}'), fixture.harness.now()))
    fixture.advance(fixture.harness.tick)
    _require_bodies(fixture, ['{"second":2}'])


def _require_bodies(fixture: BackendFixture, bodies: list[str]) -> None:
    found = fixture.receive(least=len(bodies)) if bodies else []
    fixture.require_equal([each.message.body for each in found], bodies, "the bodies that were delivered")
    fixture.backend.queue.ack(found)
    if fixture.owns_time:
        fixture.receives_nothing()


@checks("X6")
def a_restarted_instance_has_no_dead_letters_of_the_deleted_one(fixture: BackendFixture) -> None:
    store, version = fixture.backend.store, 0
    for lifetime in range(3):
        dead = [dead_letter(f"{lifetime}.{number}") for number in range(4)]
        store.commit(key(), stored(version + 1), version, dead[:2])
        fixture.require_equal(
            list(fixture.open_handle().store.dead_letters(key())), dead[:2], f"dead letters in the life {lifetime}"
        )
        fixture.backend.finish(Write(key(), stored(version + 2), version + 1, tuple(dead[2:]), remove_dead_letters=1))
        fixture.require_equal(list(store.dead_letters(key())), dead[1:], f"dead letters in the life {lifetime}")
        store.delete(key(), tombstone(version + 3), version + 2)
        fixture.require_equal(
            list(fixture.open_handle().store.dead_letters(key())), [], "dead letters of what was deleted"
        )
        version += 3
    store.commit(key(), stored(version + 1), version)
    fixture.require_equal(
        list(fixture.open_handle().store.dead_letters(key())), [], "dead letters of a life that has none"
    )
    fixture.backend.finish(Write(key(), stored(version + 2), version + 1, (dead_letter("new"),)))
    store.commit(key(), stored(version + 3), version + 2, remove_dead_letters=1)
    fixture.require_equal(
        list(fixture.open_handle().store.dead_letters(key())), [], "dead letters after the only one has left"
    )


@checks("X6")
def dead_letters_are_kept_whole_and_in_order(fixture: BackendFixture) -> None:
    bodies = {"1": '{"a":1}', "2": '{"a":1}', "3": "🙂" * 10}
    dead = [dead_letter(id, body=body) for id, body in bodies.items()]
    fixture.commit(key(), 1, add_dead_letters=dead[:2])
    fixture.backend.finish(Write(key(), stored(2), 1, (dead[2],)))
    fixture.require_equal(list(fixture.open_handle().store.dead_letters(key())), dead, "dead letters")
    fixture.require_equal(list(fixture.open_handle().store.dead_letters(key("b"))), [], "another key's dead letters")
    fixture.backend.store.commit(key(), stored(3), 2, [dead_letter("4")], 2)
    fixture.require_equal(
        list(fixture.open_handle().store.dead_letters(key())), [dead[2], dead_letter("4")], "dead letters"
    )
    fixture.backend.finish(Write(key(), stored(4), 3, remove_dead_letters=1))
    fixture.require_equal(list(fixture.open_handle().store.dead_letters(key())), [dead_letter("4")], "dead letters")


@checks("X6")
def dead_lettering_a_message_keeps_those_after_it(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2 3"))
    held = fixture.receives("1", "2", "3")
    fixture.backend.finish(Write(key(), stored(1), 0, (dead_letter("1"),), acks=(held[0],)))
    fixture.backend.queue.release(held[1:])
    fixture.advance(fixture.harness.tick)
    fixture.receives("2", "3")


@checks("X6")
def each_delivery_counts_as_one_attempt(fixture: BackendFixture) -> None:
    fixture.send(message("1"))
    for attempt in range(1, 6):
        (held,) = fixture.receives("1")
        fixture.require_equal(held.attempt, attempt, "the attempt")
        if attempt % 2:
            fixture.backend.queue.release([held])
            fixture.advance(fixture.harness.tick)
        else:
            fixture.advance(fixture.lease + fixture.harness.tick)


@checks("X7")
def attempts_of_a_failing_message_do_not_count_for_the_next_one(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2"))
    for _ in range(4):
        fixture.backend.queue.release(fixture.receives("1", limit=1))
        fixture.advance(fixture.harness.tick)
    held = fixture.receives("1", "2")
    fixture.require_equal([delivery.attempt for delivery in held], [5, 1], "attempts")
    fixture.backend.queue.ack(held[:1])
    fixture.backend.queue.release(held[1:])
    fixture.advance(fixture.harness.tick)
    fixture.require_equal([delivery.attempt for delivery in fixture.receives("2")], [2], "attempts")


@checks("X8")
def equal_payloads_are_different_messages(fixture: BackendFixture) -> None:
    fixture.send(*(message(id, body="{}") for id in "123"))
    fixture.send(message("4", key("b"), "{}"))
    fixture.require_equal(sorted(fixture.drain()), ["1", "2", "3", "4"], "received")
    fixture.mark("equal payloads")


@checks("X9")
def similar_keys_stay_separate(fixture: BackendFixture) -> None:
    targets = [key("A"), key("A:1"), key("A:1:2"), key("1", "m:A"), key(":A:1"), key("A/1"), key("1", "m/A")]
    for number, target in enumerate(targets):
        fixture.send(message("1", target, f"body {number}"))
        fixture.backend.store.commit(target, stored(1, f"{number}"), 0, [dead_letter("l", target, f"{number}")])
    found = {str(each.message.key): each.message.body for each in fixture.receive(least=len(targets))}
    expected = {str(target): f"body {number}" for number, target in enumerate(targets)}
    fixture.require_equal(found, expected, "delivered")
    for number, target in enumerate(targets):
        fixture.require_equal(fixture.backend.store.load(target), stored(1, f"{number}"), f"loaded for {target}")
        fixture.require_equal(
            list(fixture.backend.store.dead_letters(target)), [dead_letter("l", target, f"{number}")], "dead letters"
        )
    fixture.mark("similar keys")


@checks("X9")
def a_redelivered_message_is_unchanged(fixture: BackendFixture) -> None:
    fixture.send(message("1"))
    (first,) = fixture.receives("1")
    fixture.backend.queue.release([first])
    fixture.advance(fixture.harness.tick)
    (second,) = fixture.receives("1")
    fixture.require_equal(second.message, first.message, "a message that came again")


@checks("X10")
def dead_letters_are_removed_from_the_head(fixture: BackendFixture) -> None:
    fixture.commit(key(), 1, add_dead_letters=[dead_letter("1"), dead_letter("2"), dead_letter("3")])
    store = fixture.backend.store
    store.commit(key(), stored(2), 1, [dead_letter("4")], 1)
    fixture.require_equal([each.message.id for each in store.dead_letters(key())], ["2", "3", "4"], "dead letters")
