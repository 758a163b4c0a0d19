"""Checks of T1 to T4 at the port: timers fire once they are due, and as they were last scheduled."""

from __future__ import annotations

from collections.abc import Callable

from settled import Key
from settled.durable import Capability, Timer, Write
from settled_conformance.checks import checks
from settled_conformance.fixture import BackendFixture, key, message, stored, timer
from settled_conformance.interruption import each_interruption


@checks("T1")
def a_timer_does_not_fire_early(fixture: BackendFixture) -> None:
    tick, wait = fixture.harness.tick, fixture.lease / 2
    due = fixture.harness.now() + wait
    fixture.backend.timers.schedule(timer("t", due))
    fixture.send(message("1"))
    fixture.backend.queue.ack(fixture.receives("1"))
    fixture.advance(wait - 2 * tick)
    if fixture.owns_time:
        fixture.receives_nothing()
    fixture.mark("just before due")
    fixture.advance(3 * tick)
    fixture.receives("t")


@checks("T1")
def a_timer_of_a_write_does_not_fire_early(fixture: BackendFixture) -> None:
    wait = fixture.lease / 2
    fixture.backend.finish(Write(key(), stored(1), 0, timers=(timer("t", fixture.harness.now() + wait),)))
    fixture.receives_nothing()
    fixture.advance(wait + fixture.harness.tick)
    fixture.receives("t")


@checks("T2")
def a_timer_fires_whichever_handle_scheduled_it(fixture: BackendFixture) -> None:
    now, wait = fixture.harness.now(), fixture.lease / 3
    fixture.open_handle().timers.schedule(timer("far", now + 2 * wait))
    fixture.open_handle().timers.schedule(timer("near", now + wait))
    fixture.open_handle().timers.schedule(timer("past", now - 5))
    fixture.backend.queue.ack(fixture.receives("past"))
    fixture.advance(wait + fixture.harness.tick)
    fixture.backend.queue.ack(fixture.receives("near", through=fixture.open_handle()))
    fixture.advance(wait)
    fixture.receives("far")
    fixture.mark("fired")


@checks("T2")
def a_timer_of_a_write_fires(fixture: BackendFixture) -> None:
    timers = (timer("t", fixture.harness.now() + 1), timer("u", fixture.harness.now() + 2, key("b")))
    fixture.open_handle().finish(Write(key(), stored(1), 0, timers=timers))
    fixture.advance(2 + fixture.harness.tick)
    fixture.require_equal(sorted(fixture.drain()), ["t", "u"], "fired")


@checks("T2")
def an_unacknowledged_timer_is_redelivered(fixture: BackendFixture) -> None:
    fixture.backend.timers.schedule(timer("t", fixture.harness.now() + 1))
    fixture.advance(1 + fixture.harness.tick)
    fixture.receives("t", through=fixture.open_handle())
    fixture.advance(fixture.lease + fixture.harness.tick)
    fixture.receives("t")


@checks("T2")
def a_timer_fires_while_its_key_is_leased(fixture: BackendFixture) -> None:
    fixture.send(message("1"))
    held = fixture.receives("1")
    fixture.backend.timers.schedule(timer("t", fixture.harness.now() + fixture.lease / 4))
    fixture.advance(fixture.lease / 2)
    fixture.receives_nothing()
    fixture.backend.queue.ack(held)
    fixture.receives("t")


@checks("T2")
def timers_of_many_keys_all_fire(fixture: BackendFixture) -> None:
    due = fixture.harness.now() + 1
    ids = [f"t{number:02}" for number in range(25)]
    for number, id in enumerate(ids):
        fixture.backend.timers.schedule(timer(id, due + number % 3 * fixture.harness.tick, key(f"k{number}")))
    fixture.advance(1 + 3 * fixture.harness.tick)
    fixture.require_equal(sorted(fixture.drain()), ids, "fired")


@checks("T2")
def a_timer_survives_an_interruption(fixture: BackendFixture) -> None:
    def arrange() -> Callable[[], object]:
        fixture.open_handle().backend.timers.schedule(timer("t", fixture.harness.now() + 1))
        fixture.advance(1 + fixture.harness.tick)
        handle = fixture.open_handle().backend
        return lambda: handle.queue.receive(10)

    for round_trip in each_interruption(fixture, arrange):
        fixture.advance(fixture.lease + fixture.harness.tick)
        found = [each.message.id for each in fixture.receive_raw(fixture.open_handle().backend)]
        fixture.require_equal(
            list(dict.fromkeys(found)), ["t"], f"delivered, at least once, after an interruption at {round_trip}"
        )


@checks("T3")
def cancelling_an_unknown_timer_is_no_error(fixture: BackendFixture) -> None:
    fixture.backend.timers.cancel("never scheduled")
    fixture.backend.timers.schedule(timer("t", fixture.harness.now()))
    fixture.backend.queue.ack(fixture.receives("t"))
    fixture.backend.timers.cancel("t")


@checks("T3", needs=Capability.NO_DELIVERY_AFTER_CANCEL)
def a_cancelled_timer_does_not_fire(fixture: BackendFixture) -> None:
    now, wait = fixture.harness.now(), fixture.lease / 2
    for id in ("a", "b", "c"):
        fixture.backend.timers.schedule(timer(id, now + wait, key(id)))
    fixture.open_handle().timers.cancel("a")
    fixture.backend.finish(Write(key(), cancels=("b",)))
    fixture.advance(wait + fixture.harness.tick)
    fixture.require_equal(fixture.drain(), ["c"], "fired")


@checks("T3", needs=Capability.NO_DELIVERY_AFTER_CANCEL)
def a_cancelled_timer_can_be_scheduled_again(fixture: BackendFixture) -> None:
    now, wait = fixture.harness.now(), fixture.lease / 3
    fixture.backend.timers.schedule(timer("t", now + wait))
    fixture.backend.timers.cancel("t")
    fixture.backend.timers.schedule(timer("t", now + 2 * wait))
    fixture.advance(wait + fixture.harness.tick)
    fixture.receives_nothing()
    fixture.advance(wait)
    fixture.receives("t")


@checks("T4", needs=Capability.NO_DELIVERY_AFTER_CANCEL)
def a_postponed_timer_fires_later(fixture: BackendFixture) -> None:
    now, wait = fixture.harness.now(), fixture.lease / 3
    fixture.backend.timers.schedule(timer("t", now + wait))
    fixture.open_handle().timers.schedule(timer("t", now + 2 * wait))
    fixture.advance(wait + fixture.harness.tick)
    fixture.receives_nothing()
    fixture.advance(wait)
    fixture.backend.queue.ack(fixture.receives("t"))
    fixture.receives_nothing()


@checks("T4", needs=Capability.NO_DELIVERY_AFTER_CANCEL)
def a_timer_that_was_brought_forward_fires_earlier(fixture: BackendFixture) -> None:
    now, wait = fixture.harness.now(), fixture.lease / 3
    fixture.backend.timers.schedule(timer("t", now + 2 * wait))
    fixture.backend.finish(Write(key(), timers=(timer("t", now + wait),)))
    fixture.advance(wait + fixture.harness.tick)
    fixture.backend.queue.ack(fixture.receives("t"))
    fixture.advance(2 * wait)
    fixture.receives_nothing()


@checks("T4")
def a_replacement_timer_keeps_nothing_of_the_one_it_replaced(fixture: BackendFixture) -> None:
    """Replace the key, the message id and the body, one at a time and all together, and the time in both directions."""
    old = ("a", "old", '{"old":1}')
    news = [("b", *old[1:]), ("a", "new", old[2]), (*old[:2], '{"new":2}'), ("b", "new", '{"new":2}')]
    for through in (_scheduled, _written):
        fixture.reset()
        for former, later in ((1, 2), (2, 1), (1, 1)):
            for number, parts in enumerate(news):
                _replaced(fixture, through, f"t{number} {former} {later}", (old, former), (parts, later))


Parts = tuple[str, str, str]


def _scheduled(fixture: BackendFixture, timer: Timer) -> None:
    fixture.open_handle().timers.schedule(timer)


def _written(fixture: BackendFixture, timer: Timer) -> None:
    fixture.backend.finish(Write(key("other"), timers=(timer,)))


def _replaced(
    fixture: BackendFixture,
    through: Callable[[BackendFixture, Timer], None],
    id: str,
    old: tuple[Parts, int],
    new: tuple[Parts, int],
) -> None:
    now, wait = fixture.harness.now(), fixture.lease / 4
    timers = [
        Timer(id, message(f"{id} {name}", Key(f"m {id}", instance), body), now + when * wait)
        for (instance, name, body), when in (old, new)
    ]
    fixture.backend.timers.schedule(timers[0])
    through(fixture, timers[1])
    received = list[tuple[str, str, str]]()
    for _ in range(3):
        for each in fixture.receive():
            fixture.backend.queue.ack([each])
            # Where time is real, whether timers are early is left to T1: what counts here is which one fired.
            late = not fixture.owns_time or fixture.harness.now() >= timers[1].due - fixture.harness.tick
            if each.message != timers[1].message or not late:
                fixture.require(
                    not _cancels_reliably(fixture), f"delivered {each.message}, which was replaced by {timers[1]}"
                )
                continue
            received.append((each.message.key.instance, each.message.id, each.message.body))
        fixture.advance(wait + fixture.harness.tick)
    mine = timers[1].message
    fixture.require_equal(received[:1], [(mine.key.instance, mine.id, mine.body)], "delivered of a replacement timer")
    fixture.require(
        len(received) == 1 or not _cancels_reliably(fixture), f"a replacement timer fired {len(received)} times"
    )


def _cancels_reliably(fixture: BackendFixture) -> bool:
    return Capability.NO_DELIVERY_AFTER_CANCEL in fixture.harness.capabilities


@checks("T4")
def a_timer_that_reuses_the_id_of_a_fired_or_cancelled_one_keeps_nothing_of_it(fixture: BackendFixture) -> None:
    now, wait = fixture.harness.now(), fixture.lease / 4
    fixture.backend.timers.schedule(Timer("t", message("one", key("a"), '{"one":1}'), now))
    fixture.advance(fixture.harness.tick)
    fixture.backend.queue.ack(fixture.receives("one"))
    fixture.backend.timers.schedule(Timer("t", message("two", key("b"), '{"two":2}'), now + 40 * wait))
    fixture.backend.timers.cancel("t")
    fixture.backend.timers.schedule(Timer("t", message("three", key("c"), '{"three":3}'), now + 2 * wait))
    fixture.advance(2 * wait + fixture.harness.tick)
    fixture.receives("three")
