"""T1 to T4, as far as they are the port's: a timer comes once it is due, and as it was scheduled last."""

from __future__ import annotations

from collections.abc import Callable

from settled import Capability, Write
from settled_conformance.bench import Bench, key, message, stored, timer
from settled_conformance.interruption import interrupted
from settled_conformance.proofs import proves


@proves("T1")
def a_timer_is_not_early(bench: Bench) -> None:
    tick, wait = bench.harness.tick, bench.lease / 2
    due = bench.harness.now() + wait
    bench.backend.timers.schedule(timer("t", due))
    bench.send(message("1"))
    bench.backend.queue.ack(bench.receives("1"))
    bench.advance(wait - 2 * tick)
    if bench.owns_time:
        bench.receives_nothing()
    bench.mark("just before due")
    bench.advance(3 * tick)
    bench.receives("t")


@proves("T1")
def a_timer_of_a_write_is_not_early(bench: Bench) -> None:
    wait = bench.lease / 2
    bench.backend.finish(Write(key(), stored(1), 0, timers=(timer("t", bench.harness.now() + wait),)))
    bench.receives_nothing()
    bench.advance(wait + bench.harness.tick)
    bench.receives("t")


@proves("T2")
def a_timer_fires_whoever_scheduled_it(bench: Bench) -> None:
    now, wait = bench.harness.now(), bench.lease / 3
    bench.another().timers.schedule(timer("far", now + 2 * wait))
    bench.another().timers.schedule(timer("near", now + wait))
    bench.another().timers.schedule(timer("past", now - 5))
    bench.backend.queue.ack(bench.receives("past"))
    bench.advance(wait + bench.harness.tick)
    bench.backend.queue.ack(bench.receives("near", through=bench.another()))
    bench.advance(wait)
    bench.receives("far")
    bench.mark("fired")


@proves("T2")
def a_timer_of_a_write_fires(bench: Bench) -> None:
    timers = (timer("t", bench.harness.now() + 1), timer("u", bench.harness.now() + 2, key("b")))
    bench.another().finish(Write(key(), stored(1), 0, timers=timers))
    bench.advance(2 + bench.harness.tick)
    bench.same(sorted(bench.drain()), ["t", "u"], "fired")


@proves("T2")
def a_timer_that_nobody_took_comes_again(bench: Bench) -> None:
    bench.backend.timers.schedule(timer("t", bench.harness.now() + 1))
    bench.advance(1 + bench.harness.tick)
    bench.receives("t", through=bench.another())
    bench.advance(bench.lease + bench.harness.tick)
    bench.receives("t")


@proves("T2")
def a_timer_fires_while_its_key_is_held(bench: Bench) -> None:
    bench.send(message("1"))
    held = bench.receives("1")
    bench.backend.timers.schedule(timer("t", bench.harness.now() + bench.lease / 4))
    bench.advance(bench.lease / 2)
    bench.receives_nothing()
    bench.backend.queue.ack(held)
    bench.receives("t")


@proves("T2")
def timers_of_many_keys_all_fire(bench: Bench) -> None:
    due = bench.harness.now() + 1
    ids = [f"t{number:02}" for number in range(25)]
    for number, id in enumerate(ids):
        bench.backend.timers.schedule(timer(id, due + number % 3 * bench.harness.tick, key(f"k{number}")))
    bench.advance(1 + 3 * bench.harness.tick)
    bench.same(sorted(bench.drain()), ids, "fired")


@proves("T2")
def a_timer_survives_an_interruption(bench: Bench) -> None:
    def arrange() -> Callable[[], object]:
        bench.another().backend.timers.schedule(timer("t", bench.harness.now() + 1))
        bench.advance(1 + bench.harness.tick)
        handle = bench.another().backend
        return lambda: handle.queue.receive(10)

    for trip in interrupted(bench, arrange):
        bench.advance(bench.lease + bench.harness.tick)
        found = [each.message.id for each in bench.receive_raw(bench.another().backend)]
        bench.same(list(dict.fromkeys(found)), ["t"], f"handed out, at least once, after an interruption at {trip}")


@proves("T3")
def cancelling_what_is_not_there_is_no_error(bench: Bench) -> None:
    bench.backend.timers.cancel("never scheduled")
    bench.backend.timers.schedule(timer("t", bench.harness.now()))
    bench.backend.queue.ack(bench.receives("t"))
    bench.backend.timers.cancel("t")


@proves("T3", needs=Capability.CANCELLED_STAYS_AWAY)
def a_timer_that_was_cancelled_does_not_fire(bench: Bench) -> None:
    now, wait = bench.harness.now(), bench.lease / 2
    for id in ("a", "b", "c"):
        bench.backend.timers.schedule(timer(id, now + wait, key(id)))
    bench.another().timers.cancel("a")
    bench.backend.finish(Write(key(), cancels=("b",)))
    bench.advance(wait + bench.harness.tick)
    bench.same(bench.drain(), ["c"], "fired")


@proves("T3", needs=Capability.CANCELLED_STAYS_AWAY)
def a_timer_may_be_scheduled_again_after_it_was_cancelled(bench: Bench) -> None:
    now, wait = bench.harness.now(), bench.lease / 3
    bench.backend.timers.schedule(timer("t", now + wait))
    bench.backend.timers.cancel("t")
    bench.backend.timers.schedule(timer("t", now + 2 * wait))
    bench.advance(wait + bench.harness.tick)
    bench.receives_nothing()
    bench.advance(wait)
    bench.receives("t")


@proves("T4", needs=Capability.CANCELLED_STAYS_AWAY)
def a_timer_that_was_put_off_fires_later(bench: Bench) -> None:
    now, wait = bench.harness.now(), bench.lease / 3
    bench.backend.timers.schedule(timer("t", now + wait))
    bench.another().timers.schedule(timer("t", now + 2 * wait))
    bench.advance(wait + bench.harness.tick)
    bench.receives_nothing()
    bench.advance(wait)
    bench.backend.queue.ack(bench.receives("t"))
    bench.receives_nothing()


@proves("T4", needs=Capability.CANCELLED_STAYS_AWAY)
def a_timer_that_was_brought_forward_fires_earlier(bench: Bench) -> None:
    now, wait = bench.harness.now(), bench.lease / 3
    bench.backend.timers.schedule(timer("t", now + 2 * wait))
    bench.backend.finish(Write(key(), timers=(timer("t", now + wait),)))
    bench.advance(wait + bench.harness.tick)
    bench.backend.queue.ack(bench.receives("t"))
    bench.advance(2 * wait)
    bench.receives_nothing()
