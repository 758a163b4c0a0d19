"""Checks of R1, R2 and R5, and of F5 and F7 under concurrency: leases, receipts, and what a lost lease can still do."""

from __future__ import annotations

from contextlib import suppress

from settled import ConflictError
from settled.durable import Backend, Delivery, Write
from settled_conformance.checks import checks
from settled_conformance.fixture import BackendFixture, key, message, messages, timer
from settled_conformance.interleave import Pair, each_preemption


@checks("R1")
def a_leased_key_is_delivered_to_no_other_receiver(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2"))
    fixture.receives("1", limit=1)
    fixture.receives_nothing()
    fixture.receives_nothing(through=fixture.open_handle())
    fixture.mark("leased")


@checks("R1")
def a_partly_acknowledged_key_is_still_leased(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2 3"))
    fixture.backend.queue.ack(fixture.receives("1", "2", limit=2)[:1])
    fixture.receives_nothing(through=fixture.open_handle())


@checks("R1")
def a_key_is_leased_until_the_last_moment(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2"))
    fixture.receives("1", limit=1)
    fixture.advance(fixture.lease - fixture.harness.tick)
    if fixture.owns_time:
        fixture.receives_nothing(through=fixture.open_handle())


@checks("R1")
def concurrent_receivers_do_not_get_the_same_key(fixture: BackendFixture) -> None:
    found = list[Delivery]()

    def pair(first: Backend, second: Backend) -> Pair:
        found.clear()
        first.queue.send(messages("1 2"))
        return Pair(lambda: found.extend(first.queue.receive(1)), lambda: found.extend(second.queue.receive(1)))

    for line in each_preemption(fixture, pair):
        fixture.require_equal(
            [each.message.id for each in found], ["1"], f"delivered to two at once, one paused at {line}"
        )
    fixture.mark("received concurrently")


@checks("F5")
def a_message_sent_during_an_acknowledgement_is_kept(fixture: BackendFixture) -> None:
    def pair(first: Backend, second: Backend) -> Pair:
        first.queue.send(messages("1"))
        held = fixture.receive_raw(first)
        return Pair(lambda: first.queue.ack(held), lambda: second.queue.send(messages("2")))

    for line in each_preemption(fixture, pair):
        found = [each.message.id for each in fixture.receive_raw(fixture.backend.backend)]
        fixture.require_equal(found, ["2"], f"delivered after an acknowledgement that paused at {line}")


@checks("F7")
def concurrent_sends_lose_nothing(fixture: BackendFixture) -> None:
    def pair(first: Backend, second: Backend) -> Pair:
        return Pair(lambda: first.queue.send(messages("1 2")), lambda: second.queue.send(messages("3 4")))

    for line in each_preemption(fixture, pair):
        found = [each.message.id for each in fixture.receive_raw(fixture.backend.backend)]
        fixture.require_equal(sorted(found), ["1", "2", "3", "4"], f"delivered after two sends, one paused at {line}")
        in_order = found.index("1") < found.index("2") and found.index("3") < found.index("4")
        fixture.require(in_order, f"delivered {found} after two sends, one paused at {line}")


@checks("R2")
def a_key_is_delivered_again_once_its_lease_expires_and_not_earlier(fixture: BackendFixture) -> None:
    tick = fixture.harness.tick
    fixture.send(message("1"))
    fixture.receives("1")
    fixture.advance(fixture.lease - tick)
    if fixture.owns_time:
        fixture.receives_nothing()
    fixture.mark("just before the lease ended")
    fixture.advance(2 * tick)
    fixture.receives("1", through=fixture.open_handle())
    fixture.mark("just after the lease ended")


@checks("R2")
def an_extended_lease_lasts_longer(fixture: BackendFixture) -> None:
    fixture.send(message("1"))
    held = fixture.receives("1")
    fixture.advance(fixture.lease * 0.6)
    fixture.backend.queue.extend(held, fixture.lease)
    fixture.advance(fixture.lease * 0.6)
    fixture.receives_nothing()
    fixture.advance(fixture.lease * 0.4 + fixture.harness.tick)
    fixture.receives("1")


@checks("R2")
def a_release_delay_ends_on_time_and_not_earlier(fixture: BackendFixture) -> None:
    fixture.send(message("1"))
    fixture.backend.queue.release(fixture.receives("1"), fixture.lease)
    fixture.advance(fixture.lease - fixture.harness.tick)
    if fixture.owns_time:
        fixture.receives_nothing()
    fixture.advance(2 * fixture.harness.tick)
    fixture.receives("1")


@checks("R2")
def a_delivery_whose_lease_was_extended_works_like_a_fresh_one(fixture: BackendFixture) -> None:
    for times in (1, 3):
        fixture.send(*messages("1 2 3 4"))
        held = fixture.receives("1", "2", "3", limit=3)
        for _ in range(times):  # each time past the end that the lease had before
            fixture.advance(fixture.lease * 0.6)
            fixture.backend.queue.extend(held, fixture.lease)
        fixture.advance(fixture.lease * 0.6)
        fixture.backend.queue.ack(held[:1])
        fixture.receives_nothing(through=fixture.open_handle())
        fixture.backend.queue.extend(held[1:], fixture.lease)
        fixture.backend.queue.ack(held[1:2])
        fixture.backend.queue.release(held[2:], fixture.lease)
        fixture.receives_nothing()
        fixture.advance(fixture.lease + fixture.harness.tick)
        fixture.backend.queue.ack(fixture.receives("3", "4"))
        fixture.receives_nothing()
        fixture.reset()


@checks("R2")
def a_shortened_lease_ends_earlier(fixture: BackendFixture) -> None:
    fixture.send(message("1"))
    fixture.backend.queue.extend(fixture.receives("1"), fixture.lease / 2)
    fixture.advance(fixture.lease / 2 + fixture.harness.tick)
    fixture.receives("1", through=fixture.open_handle())


def taken_over(fixture: BackendFixture) -> tuple[list[Delivery], list[Delivery]]:
    """Return deliveries whose lease has expired, and those of the current holder."""
    fixture.send(*messages("1 2"))
    old = fixture.receives("1", limit=1)
    fixture.advance(fixture.lease + fixture.harness.tick)
    new = fixture.receives("1", limit=1, through=fixture.open_handle())
    fixture.mark("stale receipt")
    return old, new


@checks("R5")
def a_late_acknowledgement_changes_nothing(fixture: BackendFixture) -> None:
    old, new = taken_over(fixture)
    fixture.backend.queue.ack(old)
    fixture.receives_nothing()
    fixture.backend.queue.release(new)
    fixture.advance(fixture.harness.tick)
    fixture.receives("1", "2")


@checks("R5")
def a_late_release_changes_nothing(fixture: BackendFixture) -> None:
    old, new = taken_over(fixture)
    fixture.backend.queue.release(old)
    fixture.receives_nothing()
    fixture.backend.queue.release(old, fixture.lease)
    fixture.backend.queue.ack(new)
    fixture.receives("2")


@checks("R5")
def a_late_extension_fails(fixture: BackendFixture) -> None:
    old, _ = taken_over(fixture)
    refused = False
    try:
        fixture.backend.queue.extend(old, fixture.lease * 10)
    except ConflictError:
        refused = True
    fixture.require(refused, "extending a lease that another holder has now did not fail")
    fixture.advance(fixture.lease + fixture.harness.tick)
    fixture.receives("1", limit=1)


@checks("R5")
def a_receipt_is_valid_for_one_delivery(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2"))
    held = fixture.receives("1", limit=1)
    fixture.backend.queue.release(held)
    fixture.advance(fixture.harness.tick)
    again = fixture.receives("1", limit=1)
    fixture.backend.queue.ack(held)
    with suppress(ConflictError):
        fixture.backend.queue.extend(held, fixture.lease)
    fixture.backend.queue.release(again)
    fixture.advance(fixture.harness.tick)
    fixture.receives("1", "2")


def _one_of_three_leases_lost(fixture: BackendFixture) -> tuple[list[Delivery], list[Delivery]]:
    """Return deliveries of three keys, of which the second lost its lease, and the current delivery of that key."""
    fixture.send(*(message("1", key(name)) for name in "abc"))
    held = fixture.receive(limit=3, least=3)
    fixture.backend.queue.release(held[1:2])
    fixture.advance(fixture.harness.tick)
    return held, fixture.receives("1", through=fixture.open_handle())


@checks("R5")
def of_several_acknowledgements_only_the_late_one_has_no_effect(fixture: BackendFixture) -> None:
    held, new = _one_of_three_leases_lost(fixture)
    fixture.backend.queue.ack([held[1], held[0], held[2]])
    fixture.advance(fixture.lease + fixture.harness.tick)
    found = fixture.receives("1")
    fixture.require_equal(found[0].message.key, new[0].message.key, "the key that is delivered again")
    fixture.receives_nothing()


@checks("R2")
def of_several_extensions_only_the_late_one_fails(fixture: BackendFixture) -> None:
    held, new = _one_of_three_leases_lost(fixture)
    fixture.advance(fixture.lease * 0.6)
    refused = False
    try:
        fixture.backend.queue.extend([held[1], held[0], held[2]], fixture.lease)
    except ConflictError:
        refused = True
    fixture.require(refused, "extending a lease that was lost, among others, was not refused")
    fixture.advance(fixture.lease * 0.6)
    found = fixture.receives("1")
    fixture.require_equal(found[0].message.key, new[0].message.key, "the key whose lease was not extended")
    fixture.receives_nothing(through=fixture.open_handle())


@checks("R2")
def an_acknowledged_delivery_extends_nothing(fixture: BackendFixture) -> None:
    fixture.send(*messages("1"))
    held = fixture.receives("1")
    fixture.backend.queue.ack(held)
    with suppress(ConflictError):  # a worker that renews its leases may be late by a moment
        fixture.backend.queue.extend(held, fixture.lease)
    fixture.send(*messages("2"))
    fixture.receives("2", through=fixture.open_handle())


@checks("R2")
def several_keys_are_released_together(fixture: BackendFixture) -> None:
    fixture.send(*(message("1", key(name)) for name in "abc"))
    fixture.backend.queue.release(fixture.receive(limit=3, least=3), fixture.lease / 2)
    fixture.receives_nothing()
    fixture.advance(fixture.lease / 2 + fixture.harness.tick)
    found = {each.message.key for each in fixture.receive(limit=3, least=3)}
    fixture.require_equal(found, {key(name) for name in "abc"}, "delivered after a release of three keys with a delay")


@checks("R2")
def a_release_delay_continues_whatever_arrives_meanwhile(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2"))
    held = fixture.receives("1", limit=1)
    fixture.backend.timers.schedule(timer("t", fixture.harness.now() + fixture.lease / 4))
    fixture.backend.queue.release(held, fixture.lease)
    fixture.send(message("3"), through=fixture.open_handle())
    fixture.advance(fixture.lease / 2)
    fixture.receives_nothing()
    fixture.advance(fixture.lease / 2 + fixture.harness.tick)
    fixture.require_equal(
        sorted(each.message.id for each in fixture.receive(least=4)), ["1", "2", "3", "t"], "delivered"
    )


@checks("R1")
def a_key_stays_leased_when_another_handle_is_closed(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2"))
    fixture.receives("1", limit=1)
    other = fixture.open_handle()
    other.queue.receive(10)
    other.close()
    fixture.receives_nothing(through=fixture.open_handle())


@checks("R5")
def an_extended_receipt_is_still_valid_for_one_delivery_only(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2"))
    old = fixture.receives("1", limit=1)
    fixture.advance(fixture.lease * 0.6)
    fixture.backend.queue.extend(old, fixture.lease)
    fixture.backend.queue.extend(old, fixture.lease)
    fixture.advance(fixture.lease + fixture.harness.tick)
    new = fixture.receives("1", limit=1, through=fixture.open_handle())
    _require_no_effect(fixture, old)
    fixture.backend.queue.extend(new, fixture.lease)
    _require_no_effect(fixture, old)
    fixture.backend.queue.release(new)
    fixture.advance(fixture.harness.tick)
    fixture.receives("1", "2")


@checks("R5")
def an_extended_and_released_receipt_is_invalid(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2"))
    old = fixture.receives("1", limit=1)
    fixture.backend.queue.extend(old, fixture.lease)
    fixture.backend.queue.release(old)
    fixture.advance(fixture.harness.tick)
    fixture.receives("1", limit=1, through=fixture.open_handle())
    _require_no_effect(fixture, old)
    fixture.advance(fixture.lease + fixture.harness.tick)
    fixture.receives("1", "2")


def _require_no_effect(fixture: BackendFixture, old: list[Delivery]) -> None:
    fixture.backend.queue.ack(old)
    fixture.backend.queue.release(old)
    refused = False
    try:
        fixture.backend.queue.extend(old, fixture.lease)
    except ConflictError:
        refused = True
    fixture.require(
        refused, "extending a lease that was extended before, and that another holder has now, did not fail"
    )
    fixture.receives_nothing()


@checks("R5")
def a_late_acknowledgement_within_a_write_changes_nothing(fixture: BackendFixture) -> None:
    old, new = taken_over(fixture)
    fixture.backend.finish(Write(key(), acks=tuple(old)))
    fixture.backend.queue.release(new)
    fixture.advance(fixture.harness.tick)
    fixture.receives("1", "2")
