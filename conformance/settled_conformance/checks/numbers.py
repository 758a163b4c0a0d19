"""F6, F8, F9, R3, R4, R6, X6, X10, T2 past a number: what holds for the first ten holds for the thousandth.

Where calls cost little, the numbers are reached: in bulk, and past a thousand. Where a harness offers to let an
instance have come far, they are jumped to, as far as no test could go. Over an emulator or a service there are a few
dozen, and past them the guarantee rests on what the adapter's author knows of his vendor.
"""

from __future__ import annotations

from functools import partial

from settled.durable import Capability, Write
from settled_conformance.checks import proves
from settled_conformance.fixture import Bench, ids_of, is_refused, key, letter, message, stored, timer, tombstone
from settled_conformance.harness import Offer

FAR = (98, 254, 998, 9_998, 65_534, 99_998, 2**31 - 2, 2**32 - 2, 10**12 - 2)
"""Two before each number at which something has ever gone wrong: a digit more, a byte more, a word more."""


@proves("F8")
def a_thousand_messages_of_one_key_are_heard_in_order(bench: Bench) -> None:
    ids = [f"m{number}" for number in range(1, bench.many(1050, 30) + 1)]
    bench.send_together([message(id) for id in ids])
    heard, turn = list[str](), 0
    while len(heard) < len(ids) and (found := bench.receive(limit=100)):
        turn += 1
        if turn % 5 == 1:  # what comes again comes in its order, too
            bench.backend.queue.release(found)
            bench.advance(bench.harness.tick)
            again = bench.receive(limit=100, least=len(found))  # where time is real, perhaps in smaller hand-outs
            bench.same(ids_of(again)[: len(found)], ids_of(found)[: len(again)], "handed out again")
            found = again
        heard += ids_of(found)
        bench.backend.queue.ack(found)
    bench.same(heard, ids, "heard")
    bench.send(*(message(f"n{number}") for number in range(8)))
    bench.receives(*(f"n{number}" for number in range(8)))


@proves("F8", offered=Offer.AHEAD)
def messages_are_heard_in_order_however_many_there_were(bench: Bench) -> None:
    for number in FAR:
        _come_to(bench, f"k{number}", number)
        ids = [f"{number}+{each}" for each in range(5)]
        bench.send(*(message(id, key(f"k{number}")) for id in ids))
        bench.backend.queue.release(bench.receives(*ids[:3], limit=3))
        bench.advance(bench.harness.tick)
        bench.backend.queue.ack(bench.receives(*ids[:4], limit=4)[:2])
        bench.advance(bench.lease + bench.harness.tick)
        bench.backend.queue.ack(bench.receives(*ids[2:]))


@proves("F9", needs=Capability.POSITIONS, offered=Offer.AHEAD)
def positions_rise_however_many_there_were(bench: Bench) -> None:
    for number in FAR:
        _come_to(bench, f"k{number}", number)
        bench.send(*(message(f"{number}+{each}", key(f"k{number}")) for each in range(5)))
        for delivery in (found := bench.receive(limit=5, least=5)):
            rises = delivery.position is not None and delivery.position.number > number
            bench.holds(rises, f"the position {delivery.position} behind {number} messages")
        bench.backend.queue.ack(found)


def _come_to(bench: Bench, instance: str, number: int) -> None:
    bench.commit(key(instance), 1)
    bench.come_to(key(instance), number)


@proves("F6")
def a_thousand_keys_that_are_held_do_not_hold_up_another(bench: Bench) -> None:
    count = bench.many(1050, 24)
    bench.send_together([message("1", key(f"k{number}")) for number in range(count)])
    held = bench.receive(limit=100)
    while len(held) < count and (found := bench.receive(limit=100)):
        held += found
    bench.same(len({each.message.key for each in held}), count, "keys that were handed out, all before them being held")
    bench.send(message("x", key("x")))
    bench.receives("x")
    bench.backend.queue.release(held, bench.lease / 2)
    bench.send(message("y", key("y")))
    bench.receives("y")
    bench.advance(bench.lease / 2 + bench.harness.tick)
    heard = 0
    while heard < count and (found := bench.receive(limit=100)):
        heard += len(found)
        bench.backend.queue.ack(found)
    bench.same(heard, count, "keys that were handed out after a pause of all of them")
    bench.send(message("z", key("z")), message("2", key("k0")), message("2", key(f"k{count - 1}")))
    bench.same(sorted(ids_of(bench.receive(least=3))), ["2", "2", "z"], "handed out beside keys with nothing to do")


@proves("F6")
def keys_that_have_little_to_do_are_heard_beside_busy_ones(bench: Bench) -> None:
    busy = [key(f"busy {number}") for number in range(3)]
    sent, waiting = 0, {"first", "of a timer", "last"}
    bench.send(message("first", key("a")))
    for _ in range(2):
        for place in busy:
            sent += 1
            bench.send(message(f"{sent}", place))
    bench.backend.timers.schedule(timer("of a timer", bench.harness.now(), key("b")))
    bench.advance(bench.harness.tick)
    bench.send(message("last", key("z")))
    for _ in range(40):
        for delivery in bench.receive(limit=1):
            bench.backend.queue.ack([delivery])
            waiting.discard(delivery.message.id)
            if delivery.message.key in busy:
                sent += 1
                bench.send(message(f"{sent}", delivery.message.key))
        if not waiting:
            return
    bench.holds(False, f"three busy keys were handed out 40 times, and not {sorted(waiting)}, each alone of its key")


def _climb(bench: Bench, versions: int) -> None:
    for version in range(1, versions + 1):
        bench.commit(key(), version)


def _one_wins(bench: Bench, version: int) -> None:
    """Of the commits that would follow version `version` or a former one, only that which follows it is taken."""
    store = bench.place.handles[-1].store
    others = {0, 1, version - 1, version - 2, version - 10, version - 100, version - 256, version - 1000}
    for expected in sorted(each for each in (*others, version + 1) if each >= 0 and each != version):
        late = partial(store.commit, key(), stored(expected + 1, "late"), expected, [letter("late")])
        bench.holds(is_refused(late), f"version {version} is there, and a commit that expected {expected} was taken")
    write = Write(key(), stored(version, "late"), version - 1)
    bench.holds(is_refused(lambda: bench.backend.finish(write)), f"a write over version {version - 1} was taken")
    bench.same(store.load(key()), stored(version), f"loaded at version {version}")
    bench.same(ids_of(store.dead_letters(key())), [], "dead letters of commits that were refused")


@proves("R6")
def of_several_commits_past_a_thousand_one_wins(bench: Bench) -> None:
    last = bench.many(1027, 14)
    bench.another()
    for version in range(1, last + 1):
        bench.commit(key(), version)
        if version in (11, 101, 129, 258, 513, 1001, last):
            _one_wins(bench, version)


@proves("R4")
def a_late_commit_past_many_versions_is_refused(bench: Bench) -> None:
    bench.place.contract.blame = "R4"
    bench.another()
    _climb(bench, bench.many(300, 12))
    _one_wins(bench, bench.many(300, 12))


@proves("R6", offered=Offer.AHEAD)
def of_several_commits_one_wins_however_many_there_were(bench: Bench) -> None:
    for number in FAR:
        bench.commit(key(), 1)
        bench.come_to(key(), number)
        bench.another()
        for version in range(number + 1, number + 5):
            bench.commit(key(), version)
            _one_wins(bench, version)
        bench.renew()


@proves("R3")
def a_key_goes_on_counting_past_many_versions(bench: Bench) -> None:
    last = bench.many(300, 12)
    _climb(bench, last)
    bench.backend.store.delete(key(), tombstone(last + 1), last)
    other = bench.another()
    bench.same(other.store.load(key()), tombstone(last + 1), f"loaded after a deletion at version {last}")
    bench.holds(is_refused(partial(other.store.commit, key(), stored(1), 0)), "a deleted key began again at version 1")
    bench.commit(key(), last + 2, through=other)
    _one_wins(bench, last + 2)


@proves("X6")
def many_hand_outs_are_counted_one_by_one(bench: Bench) -> None:
    bench.send(message("1"))
    for attempt in range(1, bench.many(260, 8) + 1):
        (held,) = bench.receives("1")
        bench.same(held.attempt, attempt, "the attempt")
        bench.backend.queue.release([held])
        bench.advance(bench.harness.tick)


@proves("X6")
def many_dead_letters_are_kept_in_order(bench: Bench) -> None:
    count = bench.many(300, 12)
    dead = [letter(f"l{number}") for number in range(1, count + 1)]
    bench.commit(key(), 1, bury=dead[: count // 2])
    bench.commit(key(), 2, bury=dead[count // 2 :])
    bench.same(list(bench.another().store.dead_letters(key())), dead, "dead letters")
    bench.backend.store.commit(key(), stored(3), 2, [letter("last")], count // 2 + 1)
    rest = [*dead[count // 2 + 1 :], letter("last")]
    bench.same(list(bench.another().store.dead_letters(key())), rest, "dead letters after half of them have left")


@proves("T2")
def many_timers_that_are_due_at_once_all_fire(bench: Bench) -> None:
    due, count = bench.harness.now() + 1, bench.many(300, 12)
    timers = [timer(f"t{number}", due, key(f"k{number}")) for number in range(count)]
    for start in range(0, count, 100):
        bench.backend.finish(Write(key(), timers=tuple(timers[start : start + 100])))
    bench.advance(1 + bench.harness.tick)
    heard = list[str]()
    while len(heard) < count and (found := bench.receive(limit=100)):
        heard += ids_of(found)
        bench.backend.queue.ack(found)
    bench.same(sorted(heard), sorted(each.id for each in timers), "fired")


@proves("D4")
def all_that_a_write_owes_is_sent_however_much_it_is(bench: Bench) -> None:
    ids = [f"o{number}" for number in range(bench.many(260, 12))]
    bench.another().finish(Write(key(), stored(1), 0, sends=tuple(message(id, key("b")) for id in ids)))
    heard = list[str]()
    while len(heard) < len(ids) and (found := bench.receive(limit=100)):
        heard += ids_of(found)
        bench.backend.queue.ack(found)
    bench.same(heard, ids, "handed out of what one write sent")
