"""Checks of F1 to F9: the order of the messages of a key, and the independence of keys."""

from __future__ import annotations

from settled import Key
from settled.durable import Capability, Stored
from settled_conformance.checks import checks
from settled_conformance.fixture import BackendFixture, key, message, messages, stored, tombstone


@checks("F1")
def messages_of_one_sender_arrive_in_order(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2 3"))
    fixture.backend.queue.send(messages("4 5"))
    for id in "12345":
        fixture.backend.queue.ack(fixture.receives(id, limit=1))
    fixture.mark("in order")


@checks("F1")
def twelve_messages_of_one_sender_arrive_in_order(fixture: BackendFixture) -> None:
    fixture.send(*map(message, map(str, range(1, 13))))
    for number in range(1, 13):
        fixture.backend.queue.ack(fixture.receives(str(number), limit=1))


@checks("F1")
def messages_of_two_senders_arrive_in_send_order(fixture: BackendFixture) -> None:
    first, second = fixture.backend, fixture.open_handle()
    for number in range(6):
        fixture.send(message(str(number)), through=(first, second)[number % 2])
    fixture.receives(*"012345")


@checks("F1")
def two_dozen_messages_arrive_in_order_one_by_one(fixture: BackendFixture) -> None:
    ids = [str(number) for number in range(24)]
    fixture.send(*map(message, ids))
    for id in ids:
        fixture.backend.queue.ack(fixture.receives(id, limit=1))


@checks("F2")
def a_batch_is_redelivered_in_the_same_order(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2 3"))
    fixture.backend.queue.release(fixture.receives("1", "2", "3"))
    fixture.advance(fixture.harness.tick)
    fixture.receives("1", "2", "3", through=fixture.open_handle())
    fixture.advance(fixture.lease + fixture.harness.tick)
    fixture.receives("1", "2", "3")
    fixture.mark("redelivered")


@checks("F2")
def a_small_batch_is_a_prefix_of_a_large_one(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2 3"))
    fixture.backend.queue.release(fixture.receives("1", "2", limit=2))
    fixture.advance(fixture.harness.tick)
    fixture.receives("1", "2", "3")


@checks("F3")
def a_released_message_is_delivered_first(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2"))
    fixture.backend.queue.release(fixture.receives("1", limit=1))
    fixture.advance(fixture.harness.tick)
    fixture.receives("1", limit=1)
    fixture.mark("released")


@checks("F3")
def a_message_whose_lease_expired_is_delivered_first(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2"))
    fixture.receives("1", limit=1)
    fixture.send(message("3"))
    fixture.advance(fixture.lease + fixture.harness.tick)
    fixture.receives("1", limit=1)
    fixture.mark("expired")


@checks("F3")
def a_parked_message_keeps_its_position(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2"))
    fixture.backend.queue.release(fixture.receives("1", limit=1), fixture.lease / 2)
    fixture.send(message("3"))
    fixture.receives_nothing()
    fixture.advance(fixture.lease / 2 + fixture.harness.tick)
    fixture.receives("1", "2", "3")


@checks("F4")
def the_rest_of_a_partly_acknowledged_batch_survives_a_release(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2 3 4"))
    first, second, *rest = fixture.receives("1", "2", "3", "4")
    fixture.backend.queue.ack([first])
    fixture.backend.queue.ack([second])
    fixture.backend.queue.release(rest)
    fixture.advance(fixture.harness.tick)
    fixture.receives("3", "4")
    fixture.mark("partly acknowledged")


@checks("F4")
def the_rest_of_a_partly_acknowledged_batch_survives_the_loss_of_its_holder(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2 3"))
    fixture.backend.queue.ack(fixture.receives("1", "2", "3")[:1])
    fixture.receives_nothing()
    fixture.advance(fixture.lease + fixture.harness.tick)
    fixture.receives("2", "3")


@checks("F4")
def messages_after_an_acknowledged_batch_are_kept(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2 3"))
    fixture.backend.queue.ack(fixture.receives("1", "2", limit=2))
    fixture.receives("3")


@checks("F5")
def a_message_sent_during_a_lease_is_delivered_after_it(fixture: BackendFixture) -> None:
    fixture.send(message("1"))
    held = fixture.receives("1")
    fixture.send(message("2"), through=fixture.open_handle())
    fixture.receives_nothing()
    fixture.backend.queue.ack(held)
    fixture.receives("2")
    fixture.mark("sent during a lease")


@checks("F5")
def a_message_sent_during_a_lease_is_delivered_after_a_release(fixture: BackendFixture) -> None:
    fixture.send(message("1"))
    held = fixture.receives("1")
    fixture.send(message("2"))
    fixture.backend.queue.release(held)
    fixture.advance(fixture.harness.tick)
    fixture.receives("1", "2")


@checks("F6")
def a_leased_key_does_not_block_another(fixture: BackendFixture) -> None:
    fixture.send(message("1"), message("2"))
    fixture.receives("1", limit=1)
    fixture.send(message("x", key("b")))
    fixture.receives("x")
    fixture.mark("another key was delivered")


@checks("F6")
def a_parked_key_does_not_block_another(fixture: BackendFixture) -> None:
    fixture.send(message("1"))
    fixture.backend.queue.release(fixture.receives("1", limit=1), fixture.lease)
    fixture.send(message("x", key("b")))
    fixture.backend.queue.ack(fixture.receives("x"))
    fixture.send(message("y", key("c")), through=fixture.open_handle())
    fixture.receives("y")


@checks("F6")
def a_failing_key_does_not_hold_up_another(fixture: BackendFixture) -> None:
    fixture.send(message("1"))
    fixture.send(*(message(f"x{number}", key(f"b{number}")) for number in range(3)))
    seen = set[str]()
    for _ in range(12):
        for delivery in fixture.receive(limit=1):
            seen.add(delivery.message.id)
            if delivery.message.id == "1":
                fixture.backend.queue.release([delivery])
                fixture.advance(fixture.harness.tick)
            else:
                fixture.backend.queue.ack([delivery])
    fixture.require_equal(seen, {"1", "x0", "x1", "x2"}, "received beside a key that always fails")


@checks("F6")
def a_long_backlog_does_not_starve_the_others(fixture: BackendFixture) -> None:
    fixture.send(*(message(f"1.{number:02}") for number in range(20)), message("x", key("b")))
    for _ in range(6):
        found = fixture.receive(limit=2)
        fixture.backend.queue.ack(found)
        if any(delivery.message.id == "x" for delivery in found):
            return
    fixture.require(False, "a key with 20 messages was delivered 6 times before a key with one")


@checks("F7")
def a_repeated_send_keeps_its_original_position(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2 1"))
    fixture.receives("1", "2", limit=2)
    fixture.mark("sent again")


@checks("F7")
def a_repeated_send_during_a_lease_keeps_its_original_position(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2 3"))
    held = fixture.receives("1", limit=1)
    fixture.send(message("2"), message("1"))
    fixture.backend.queue.release(held)
    fixture.advance(fixture.harness.tick)
    fixture.receives("1", "2", "3", limit=3)


@checks("F8")
def a_long_queue_is_delivered_in_order(fixture: BackendFixture) -> None:
    ids = [f"m{number}" for number in range(1, 124)]
    for start in range(0, len(ids), 7):
        fixture.backend.queue.send([message(id) for id in ids[start : start + 7]])
    fixture.require_equal(fixture.drain(), ids, "received")
    fixture.mark("a long queue")


@checks("F8")
def unusual_keys_and_ids_stay_separate(fixture: BackendFixture) -> None:
    instances = ["A", "A:1", "a", "A/1", "A%2F1", "é", "e\u0301", "🙂", "x" * 200, "x" * 199 + "y", "a b", "A:1:2"]
    keys = [Key(machine, instance) for machine in ("m", "m/A", "M") for instance in instances]
    for target in keys:
        fixture.send(*(message(id, target) for id in ("1", "1:1", "i" * 150, "🙂")))
    for target in keys:
        fixture.backend.store.commit(target, _named(target), 0)
    received = dict[Key, list[str]]()
    while found := fixture.receive(limit=10):
        for delivery in found:
            received.setdefault(delivery.message.key, []).append(delivery.message.id)
        fixture.backend.queue.ack(found)
    fixture.require_equal(received, {target: ["1", "1:1", "i" * 150, "🙂"] for target in keys}, "received")
    for target in keys:
        fixture.require_equal(fixture.backend.store.load(target), _named(target), f"loaded for {target}")
    fixture.mark("unusual keys")


def _named(target: Key) -> Stored:
    return stored(1, str(target))


@checks("F9", needs=Capability.POSITIONS)
def a_position_is_the_same_in_every_delivery(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2 3"))
    first = fixture.receives("1", "2", "3", limit=3)
    fixture.backend.queue.release(first)
    fixture.advance(fixture.harness.tick)
    again = fixture.receives("1", "2", "3", limit=3, through=fixture.open_handle())
    fixture.require_equal(
        [each.position for each in again], [each.position for each in first], "positions in a second delivery"
    )
    fixture.mark("positions seen")


@checks("F9", needs=Capability.POSITIONS)
def positions_continue_after_the_queue_drained_and_the_instance_was_deleted(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2"))
    fixture.commit(key(), 1)
    fixture.backend.queue.ack(fixture.receives("1", "2", limit=2))
    fixture.backend.store.delete(key(), tombstone(2), 1)
    fixture.advance(3 * fixture.lease)
    fixture.mark("drained")
    later = fixture.open_handle()
    fixture.send(*messages("3 4"), through=later)
    fixture.receives("3", "4", limit=2, through=later)
