"""T1 to T4, as far as they are the port's: a timer comes once it is due, and as it was scheduled last."""

from __future__ import annotations

from collections.abc import Callable

from settled import Key
from settled.durable import Capability, Timer, Write
from settled_conformance.checks import proves
from settled_conformance.fixture import Bench, key, message, stored, timer
from settled_conformance.interruption import interrupted


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


@proves("T4")
def a_timer_in_the_place_of_another_has_nothing_of_it(bench: Bench) -> None:
    """Its time, its key, its message's id, and its body are all its own, each by itself and all together."""
    old = ("a", "old", '{"old":1}')
    news = [("b", *old[1:]), ("a", "new", old[2]), (*old[:2], '{"new":2}'), ("b", "new", '{"new":2}')]
    for through in (_scheduled, _written):
        bench.renew()
        for former, later in ((1, 2), (2, 1), (1, 1)):
            for number, parts in enumerate(news):
                _replaced(bench, through, f"t{number} {former} {later}", (old, former), (parts, later))


Parts = tuple[str, str, str]


def _scheduled(bench: Bench, timer: Timer) -> None:
    bench.another().timers.schedule(timer)


def _written(bench: Bench, timer: Timer) -> None:
    bench.backend.finish(Write(key("of nobody"), timers=(timer,)))


def _replaced(
    bench: Bench,
    through: Callable[[Bench, Timer], None],
    id: str,
    old: tuple[Parts, int],
    new: tuple[Parts, int],
) -> None:
    now, wait = bench.harness.now(), bench.lease / 4
    timers = [
        Timer(id, message(f"{id} {name}", Key(f"m {id}", instance), body), now + when * wait)
        for (instance, name, body), when in (old, new)
    ]
    bench.backend.timers.schedule(timers[0])
    through(bench, timers[1])
    heard = list[tuple[str, str, str]]()
    for _ in range(3):
        for each in bench.receive():
            bench.backend.queue.ack([each])
            # Where time is real, another proof asks whether timers are early (T1): here only which one it is counts.
            late = not bench.owns_time or bench.harness.now() >= timers[1].due - bench.harness.tick
            if each.message != timers[1].message or not late:
                bench.holds(not _stays_away(bench), f"handed out {each.message}, in whose place {timers[1]} was put")
                continue
            heard.append((each.message.key.instance, each.message.id, each.message.body))
        bench.advance(wait + bench.harness.tick)
    mine = timers[1].message
    bench.same(heard[:1], [(mine.key.instance, mine.id, mine.body)], "handed out of a timer in another's place")
    bench.holds(len(heard) == 1 or not _stays_away(bench), f"a timer in another's place fired {len(heard)} times")


def _stays_away(bench: Bench) -> bool:
    return Capability.CANCELLED_STAYS_AWAY in bench.harness.capabilities


@proves("T4")
def a_timer_under_the_id_of_one_that_fired_or_was_cancelled_has_nothing_of_it(bench: Bench) -> None:
    now, wait = bench.harness.now(), bench.lease / 4
    bench.backend.timers.schedule(Timer("t", message("one", key("a"), '{"one":1}'), now))
    bench.advance(bench.harness.tick)
    bench.backend.queue.ack(bench.receives("one"))
    bench.backend.timers.schedule(Timer("t", message("two", key("b"), '{"two":2}'), now + 40 * wait))
    bench.backend.timers.cancel("t")
    bench.backend.timers.schedule(Timer("t", message("three", key("c"), '{"three":3}'), now + 2 * wait))
    bench.advance(2 * wait + bench.harness.tick)
    bench.receives("three")
