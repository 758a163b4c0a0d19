"""F: the messages of a key have one order, and everybody sees it."""

from __future__ import annotations

from settled import Key
from settled.durable import Capability, Stored
from settled_conformance.checks import proves
from settled_conformance.fixture import Bench, key, message, messages, stored, tombstone


@proves("F1")
def one_sender_is_heard_in_order(bench: Bench) -> None:
    bench.send(*messages("1 2 3"))
    bench.backend.queue.send(messages("4 5"))
    for id in "12345":
        bench.backend.queue.ack(bench.receives(id, limit=1))
    bench.mark("in order")


@proves("F1")
def one_sender_is_heard_in_order_beyond_the_first_digit(bench: Bench) -> None:
    bench.send(*map(message, map(str, range(1, 13))))
    for number in range(1, 13):
        bench.backend.queue.ack(bench.receives(str(number), limit=1))


@proves("F1")
def two_senders_one_after_the_other_are_heard_so(bench: Bench) -> None:
    first, second = bench.backend, bench.another()
    for number in range(6):
        bench.send(message(str(number)), through=(first, second)[number % 2])
    bench.receives(*"012345")


@proves("F1")
def two_dozen_messages_are_heard_in_order_one_by_one(bench: Bench) -> None:
    ids = [str(number) for number in range(24)]
    bench.send(*map(message, ids))
    for id in ids:
        bench.backend.queue.ack(bench.receives(id, limit=1))


@proves("F2")
def a_batch_comes_again_in_the_same_order(bench: Bench) -> None:
    bench.send(*messages("1 2 3"))
    bench.backend.queue.release(bench.receives("1", "2", "3"))
    bench.advance(bench.harness.tick)
    bench.receives("1", "2", "3", through=bench.another())
    bench.advance(bench.lease + bench.harness.tick)
    bench.receives("1", "2", "3")
    bench.mark("redelivered")


@proves("F2")
def a_small_batch_is_the_beginning_of_a_large_one(bench: Bench) -> None:
    bench.send(*messages("1 2 3"))
    bench.backend.queue.release(bench.receives("1", "2", limit=2))
    bench.advance(bench.harness.tick)
    bench.receives("1", "2", "3")


@proves("F3")
def a_message_that_is_given_back_comes_first(bench: Bench) -> None:
    bench.send(*messages("1 2"))
    bench.backend.queue.release(bench.receives("1", limit=1))
    bench.advance(bench.harness.tick)
    bench.receives("1", limit=1)
    bench.mark("given back")


@proves("F3")
def a_message_that_was_held_too_long_comes_first(bench: Bench) -> None:
    bench.send(*messages("1 2"))
    bench.receives("1", limit=1)
    bench.send(message("3"))
    bench.advance(bench.lease + bench.harness.tick)
    bench.receives("1", limit=1)
    bench.mark("expired")


@proves("F3")
def a_message_that_is_parked_keeps_its_place(bench: Bench) -> None:
    bench.send(*messages("1 2"))
    bench.backend.queue.release(bench.receives("1", limit=1), bench.lease / 2)
    bench.send(message("3"))
    bench.receives_nothing()
    bench.advance(bench.lease / 2 + bench.harness.tick)
    bench.receives("1", "2", "3")


@proves("F4")
def the_rest_of_a_batch_is_kept_when_it_is_given_back(bench: Bench) -> None:
    bench.send(*messages("1 2 3 4"))
    first, second, *rest = bench.receives("1", "2", "3", "4")
    bench.backend.queue.ack([first])
    bench.backend.queue.ack([second])
    bench.backend.queue.release(rest)
    bench.advance(bench.harness.tick)
    bench.receives("3", "4")
    bench.mark("partly acknowledged")


@proves("F4")
def the_rest_of_a_batch_is_kept_when_its_holder_is_lost(bench: Bench) -> None:
    bench.send(*messages("1 2 3"))
    bench.backend.queue.ack(bench.receives("1", "2", "3")[:1])
    bench.receives_nothing()
    bench.advance(bench.lease + bench.harness.tick)
    bench.receives("2", "3")


@proves("F4")
def what_stands_behind_an_acknowledged_batch_is_kept(bench: Bench) -> None:
    bench.send(*messages("1 2 3"))
    bench.backend.queue.ack(bench.receives("1", "2", limit=2))
    bench.receives("3")


@proves("F5")
def a_message_sent_during_a_lease_comes_after_it(bench: Bench) -> None:
    bench.send(message("1"))
    held = bench.receives("1")
    bench.send(message("2"), through=bench.another())
    bench.receives_nothing()
    bench.backend.queue.ack(held)
    bench.receives("2")
    bench.mark("sent during a lease")


@proves("F5")
def a_message_sent_during_a_lease_comes_after_it_is_given_back(bench: Bench) -> None:
    bench.send(message("1"))
    held = bench.receives("1")
    bench.send(message("2"))
    bench.backend.queue.release(held)
    bench.advance(bench.harness.tick)
    bench.receives("1", "2")


@proves("F6")
def a_leased_key_does_not_hold_up_another(bench: Bench) -> None:
    bench.send(message("1"), message("2"))
    bench.receives("1", limit=1)
    bench.send(message("x", key("b")))
    bench.receives("x")
    bench.mark("another key was handed out")


@proves("F6")
def a_parked_key_does_not_hold_up_another(bench: Bench) -> None:
    bench.send(message("1"))
    bench.backend.queue.release(bench.receives("1", limit=1), bench.lease)
    bench.send(message("x", key("b")))
    bench.backend.queue.ack(bench.receives("x"))
    bench.send(message("y", key("c")), through=bench.another())
    bench.receives("y")


@proves("F6")
def a_failing_key_does_not_hold_up_another(bench: Bench) -> None:
    bench.send(message("1"))
    bench.send(*(message(f"x{number}", key(f"b{number}")) for number in range(3)))
    seen = set[str]()
    for _ in range(12):
        for delivery in bench.receive(limit=1):
            seen.add(delivery.message.id)
            if delivery.message.id == "1":
                bench.backend.queue.release([delivery])
                bench.advance(bench.harness.tick)
            else:
                bench.backend.queue.ack([delivery])
    bench.same(seen, {"1", "x0", "x1", "x2"}, "heard beside a key that always fails")


@proves("F6")
def a_long_backlog_does_not_starve_the_others(bench: Bench) -> None:
    bench.send(*(message(f"1.{number:02}") for number in range(20)), message("x", key("b")))
    for _ in range(6):
        found = bench.receive(limit=2)
        bench.backend.queue.ack(found)
        if any(delivery.message.id == "x" for delivery in found):
            return
    bench.holds(False, "a key with 20 messages was handed out 6 times before a key with one")


@proves("F7")
def a_send_that_is_repeated_keeps_its_first_place(bench: Bench) -> None:
    bench.send(*messages("1 2 1"))
    bench.receives("1", "2", limit=2)
    bench.mark("sent again")


@proves("F7")
def a_send_that_is_repeated_during_a_lease_keeps_its_first_place(bench: Bench) -> None:
    bench.send(*messages("1 2 3"))
    held = bench.receives("1", limit=1)
    bench.send(message("2"), message("1"))
    bench.backend.queue.release(held)
    bench.advance(bench.harness.tick)
    bench.receives("1", "2", "3", limit=3)


@proves("F8")
def a_long_line_is_heard_in_order(bench: Bench) -> None:
    ids = [f"m{number}" for number in range(1, 124)]
    for start in range(0, len(ids), 7):
        bench.backend.queue.send([message(id) for id in ids[start : start + 7]])
    bench.same(bench.drain(), ids, "heard")
    bench.mark("a long line")


@proves("F8")
def odd_keys_and_ids_are_kept_apart(bench: Bench) -> None:
    instances = ["A", "A:1", "a", "A/1", "A%2F1", "é", "e\u0301", "🙂", "x" * 200, "x" * 199 + "y", "a b", "A:1:2"]
    keys = [Key(machine, instance) for machine in ("m", "m/A", "M") for instance in instances]
    for place in keys:
        bench.send(*(message(id, place) for id in ("1", "1:1", "i" * 150, "🙂")))
    for place in keys:
        bench.backend.store.commit(place, _named(place), 0)
    heard = dict[Key, list[str]]()
    while found := bench.receive(limit=10):
        for delivery in found:
            heard.setdefault(delivery.message.key, []).append(delivery.message.id)
        bench.backend.queue.ack(found)
    bench.same(heard, {place: ["1", "1:1", "i" * 150, "🙂"] for place in keys}, "heard")
    for place in keys:
        bench.same(bench.backend.store.load(place), _named(place), f"loaded for {place}")
    bench.mark("odd keys")


def _named(place: Key) -> Stored:
    return stored(1, str(place))


@proves("F9", needs=Capability.POSITIONS)
def a_position_stays_through_every_hand_out(bench: Bench) -> None:
    bench.send(*messages("1 2 3"))
    first = bench.receives("1", "2", "3", limit=3)
    bench.backend.queue.release(first)
    bench.advance(bench.harness.tick)
    again = bench.receives("1", "2", "3", limit=3, through=bench.another())
    bench.same([each.position for each in again], [each.position for each in first], "positions of a second hand-out")
    bench.mark("numbered")


@proves("F9", needs=Capability.POSITIONS)
def positions_go_on_where_the_queue_was_empty_and_the_instance_deleted(bench: Bench) -> None:
    bench.send(*messages("1 2"))
    bench.commit(key(), 1)
    bench.backend.queue.ack(bench.receives("1", "2", limit=2))
    bench.backend.store.delete(key(), tombstone(2), 1)
    bench.advance(3 * bench.lease)
    bench.mark("drained")
    later = bench.another()
    bench.send(*messages("3 4"), through=later)
    bench.receives("3", "4", limit=2, through=later)
