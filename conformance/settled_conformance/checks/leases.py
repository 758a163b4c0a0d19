"""R1, R2, R5: one holder at a time, for as long as a lease lasts, and what a lost lease is still good for."""

from __future__ import annotations

from contextlib import suppress

from settled import Conflict
from settled.durable import Backend, Delivery, Write
from settled_conformance.checks import proves
from settled_conformance.fixture import Bench, key, message, messages, timer
from settled_conformance.interleave import Pair, each_preemption


@proves("R1")
def a_leased_key_is_handed_out_to_nobody_else(bench: Bench) -> None:
    bench.send(*messages("1 2"))
    bench.receives("1", limit=1)
    bench.receives_nothing()
    bench.receives_nothing(through=bench.another())
    bench.mark("held")


@proves("R1")
def a_key_that_is_partly_acknowledged_is_still_leased(bench: Bench) -> None:
    bench.send(*messages("1 2 3"))
    bench.backend.queue.ack(bench.receives("1", "2", limit=2)[:1])
    bench.receives_nothing(through=bench.another())


@proves("R1")
def a_key_is_leased_to_the_last_moment(bench: Bench) -> None:
    bench.send(*messages("1 2"))
    bench.receives("1", limit=1)
    bench.advance(bench.lease - bench.harness.tick)
    if bench.owns_time:
        bench.receives_nothing(through=bench.another())


@proves("R1")
def two_that_receive_at_once_are_not_handed_the_same_key(bench: Bench) -> None:
    found = list[Delivery]()

    def pair(first: Backend, second: Backend) -> Pair:
        found.clear()
        first.queue.send(messages("1 2"))
        return Pair(lambda: found.extend(first.queue.receive(1)), lambda: found.extend(second.queue.receive(1)))

    for line in each_preemption(bench, pair):
        bench.same([each.message.id for each in found], ["1"], f"handed out to two at once, one paused at {line}")
    bench.mark("received at once")


@proves("F5")
def a_message_that_is_sent_while_another_is_acknowledged_is_kept(bench: Bench) -> None:
    def pair(first: Backend, second: Backend) -> Pair:
        first.queue.send(messages("1"))
        held = bench.receive_raw(first)
        return Pair(lambda: first.queue.ack(held), lambda: second.queue.send(messages("2")))

    for line in each_preemption(bench, pair):
        found = [each.message.id for each in bench.receive_raw(bench.backend.backend)]
        bench.same(found, ["2"], f"handed out after an acknowledgement that paused at {line}")


@proves("F7")
def two_that_send_at_once_lose_nothing(bench: Bench) -> None:
    def pair(first: Backend, second: Backend) -> Pair:
        return Pair(lambda: first.queue.send(messages("1 2")), lambda: second.queue.send(messages("3 4")))

    for line in each_preemption(bench, pair):
        found = [each.message.id for each in bench.receive_raw(bench.backend.backend)]
        bench.same(sorted(found), ["1", "2", "3", "4"], f"handed out after two sends, one paused at {line}")
        in_order = found.index("1") < found.index("2") and found.index("3") < found.index("4")
        bench.holds(in_order, f"handed out {found} after two sends, one paused at {line}")


@proves("R2")
def a_lease_is_taken_over_when_it_is_over_and_not_earlier(bench: Bench) -> None:
    tick = bench.harness.tick
    bench.send(message("1"))
    bench.receives("1")
    bench.advance(bench.lease - tick)
    if bench.owns_time:
        bench.receives_nothing()
    bench.mark("just before")
    bench.advance(2 * tick)
    bench.receives("1", through=bench.another())
    bench.mark("just after")


@proves("R2")
def a_lease_that_is_extended_lasts_longer(bench: Bench) -> None:
    bench.send(message("1"))
    held = bench.receives("1")
    bench.advance(bench.lease * 0.6)
    bench.backend.queue.extend(held, bench.lease)
    bench.advance(bench.lease * 0.6)
    bench.receives_nothing()
    bench.advance(bench.lease * 0.4 + bench.harness.tick)
    bench.receives("1")


@proves("R2")
def a_pause_is_over_when_it_is_over_and_not_earlier(bench: Bench) -> None:
    bench.send(message("1"))
    bench.backend.queue.release(bench.receives("1"), bench.lease)
    bench.advance(bench.lease - bench.harness.tick)
    if bench.owns_time:
        bench.receives_nothing()
    bench.advance(2 * bench.harness.tick)
    bench.receives("1")


@proves("R2")
def a_hand_out_that_was_extended_is_as_good_as_a_fresh_one(bench: Bench) -> None:
    for times in (1, 3):
        bench.send(*messages("1 2 3 4"))
        held = bench.receives("1", "2", "3", limit=3)
        for _ in range(times):  # each time past the end that the lease had before
            bench.advance(bench.lease * 0.6)
            bench.backend.queue.extend(held, bench.lease)
        bench.advance(bench.lease * 0.6)
        bench.backend.queue.ack(held[:1])
        bench.receives_nothing(through=bench.another())
        bench.backend.queue.extend(held[1:], bench.lease)
        bench.backend.queue.ack(held[1:2])
        bench.backend.queue.release(held[2:], bench.lease)
        bench.receives_nothing()
        bench.advance(bench.lease + bench.harness.tick)
        bench.backend.queue.ack(bench.receives("3", "4"))
        bench.receives_nothing()
        bench.renew()


@proves("R2")
def a_lease_that_is_shortened_is_over_earlier(bench: Bench) -> None:
    bench.send(message("1"))
    bench.backend.queue.extend(bench.receives("1"), bench.lease / 2)
    bench.advance(bench.lease / 2 + bench.harness.tick)
    bench.receives("1", through=bench.another())


def taken_over(bench: Bench) -> tuple[list[Delivery], list[Delivery]]:
    """A holder whose lease is over, and the one who holds the key now."""
    bench.send(*messages("1 2"))
    old = bench.receives("1", limit=1)
    bench.advance(bench.lease + bench.harness.tick)
    new = bench.receives("1", limit=1, through=bench.another())
    bench.mark("stale receipt")
    return old, new


@proves("R5")
def a_late_acknowledgement_changes_nothing(bench: Bench) -> None:
    old, new = taken_over(bench)
    bench.backend.queue.ack(old)
    bench.receives_nothing()
    bench.backend.queue.release(new)
    bench.advance(bench.harness.tick)
    bench.receives("1", "2")


@proves("R5")
def a_late_release_changes_nothing(bench: Bench) -> None:
    old, new = taken_over(bench)
    bench.backend.queue.release(old)
    bench.receives_nothing()
    bench.backend.queue.release(old, bench.lease)
    bench.backend.queue.ack(new)
    bench.receives("2")


@proves("R5")
def a_late_extension_is_refused(bench: Bench) -> None:
    old, _ = taken_over(bench)
    refused = False
    try:
        bench.backend.queue.extend(old, bench.lease * 10)
    except Conflict:
        refused = True
    bench.holds(refused, "extending a lease that somebody else has now was not refused")
    bench.advance(bench.lease + bench.harness.tick)
    bench.receives("1", limit=1)


@proves("R5")
def a_receipt_is_good_for_one_hand_out(bench: Bench) -> None:
    bench.send(*messages("1 2"))
    held = bench.receives("1", limit=1)
    bench.backend.queue.release(held)
    bench.advance(bench.harness.tick)
    again = bench.receives("1", limit=1)
    bench.backend.queue.ack(held)
    with suppress(Conflict):
        bench.backend.queue.extend(held, bench.lease)
    bench.backend.queue.release(again)
    bench.advance(bench.harness.tick)
    bench.receives("1", "2")


def _several(bench: Bench) -> tuple[list[Delivery], list[Delivery]]:
    """Receipts of several keys, of which the second was lost, and the receipt under which that key is held now."""
    bench.send(*(message("1", key(name)) for name in "abc"))
    held = bench.receive(limit=3, least=3)
    bench.backend.queue.release(held[1:2])
    bench.advance(bench.harness.tick)
    return held, bench.receives("1", through=bench.another())


@proves("R5")
def of_several_acknowledgements_only_the_late_one_counts_for_nothing(bench: Bench) -> None:
    held, new = _several(bench)
    bench.backend.queue.ack([held[1], held[0], held[2]])
    bench.advance(bench.lease + bench.harness.tick)
    found = bench.receives("1")
    bench.same(found[0].message.key, new[0].message.key, "the key that is handed out again")
    bench.receives_nothing()


@proves("R2")
def of_several_extensions_only_the_late_one_is_refused(bench: Bench) -> None:
    held, new = _several(bench)
    bench.advance(bench.lease * 0.6)
    refused = False
    try:
        bench.backend.queue.extend([held[1], held[0], held[2]], bench.lease)
    except Conflict:
        refused = True
    bench.holds(refused, "extending a lease that was lost, among others, was not refused")
    bench.advance(bench.lease * 0.6)
    found = bench.receives("1")
    bench.same(found[0].message.key, new[0].message.key, "the key whose lease was not extended")
    bench.receives_nothing(through=bench.another())


@proves("R2")
def several_keys_are_given_back_together(bench: Bench) -> None:
    bench.send(*(message("1", key(name)) for name in "abc"))
    bench.backend.queue.release(bench.receive(limit=3, least=3), bench.lease / 2)
    bench.receives_nothing()
    bench.advance(bench.lease / 2 + bench.harness.tick)
    found = {each.message.key for each in bench.receive(limit=3, least=3)}
    bench.same(found, {key(name) for name in "abc"}, "handed out after a pause that three keys were given together")


@proves("R2")
def a_pause_goes_on_whatever_comes_meanwhile(bench: Bench) -> None:
    bench.send(*messages("1 2"))
    held = bench.receives("1", limit=1)
    bench.backend.timers.schedule(timer("t", bench.harness.now() + bench.lease / 4))
    bench.backend.queue.release(held, bench.lease)
    bench.send(message("3"), through=bench.another())
    bench.advance(bench.lease / 2)
    bench.receives_nothing()
    bench.advance(bench.lease / 2 + bench.harness.tick)
    bench.same(sorted(each.message.id for each in bench.receive(least=4)), ["1", "2", "3", "t"], "handed out")


@proves("R1")
def a_key_is_held_whoever_closes_his_handle(bench: Bench) -> None:
    bench.send(*messages("1 2"))
    bench.receives("1", limit=1)
    other = bench.another()
    other.queue.receive(10)
    other.close()
    bench.receives_nothing(through=bench.another())


@proves("R5")
def a_receipt_that_was_extended_is_still_of_one_hand_out(bench: Bench) -> None:
    bench.send(*messages("1 2"))
    old = bench.receives("1", limit=1)
    bench.advance(bench.lease * 0.6)
    bench.backend.queue.extend(old, bench.lease)
    bench.backend.queue.extend(old, bench.lease)
    bench.advance(bench.lease + bench.harness.tick)
    new = bench.receives("1", limit=1, through=bench.another())
    _does_nothing_late(bench, old)
    bench.backend.queue.extend(new, bench.lease)
    _does_nothing_late(bench, old)
    bench.backend.queue.release(new)
    bench.advance(bench.harness.tick)
    bench.receives("1", "2")


@proves("R5")
def a_receipt_that_was_extended_and_given_back_is_good_for_nothing(bench: Bench) -> None:
    bench.send(*messages("1 2"))
    old = bench.receives("1", limit=1)
    bench.backend.queue.extend(old, bench.lease)
    bench.backend.queue.release(old)
    bench.advance(bench.harness.tick)
    bench.receives("1", limit=1, through=bench.another())
    _does_nothing_late(bench, old)
    bench.advance(bench.lease + bench.harness.tick)
    bench.receives("1", "2")


def _does_nothing_late(bench: Bench, old: list[Delivery]) -> None:
    bench.backend.queue.ack(old)
    bench.backend.queue.release(old)
    refused = False
    try:
        bench.backend.queue.extend(old, bench.lease)
    except Conflict:
        refused = True
    bench.holds(refused, "extending a lease that was extended once, and that somebody else has now, was not refused")
    bench.receives_nothing()


@proves("R5")
def a_late_acknowledgement_within_a_write_changes_nothing(bench: Bench) -> None:
    old, new = taken_over(bench)
    bench.backend.finish(Write(key(), acks=tuple(old)))
    bench.backend.queue.release(new)
    bench.advance(bench.harness.tick)
    bench.receives("1", "2")
