"""D: what was answered is there, whoever is lost after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from settled import Key, SettledError, Unavailable
from settled.durable import DeadLetter, Index, Stored, Timer, Write
from settled_conformance.checks import proves
from settled_conformance.fixture import Bench, key, letter, message, messages, stored, timer, tombstone

MOMENT = 1_764_331_234.53125
"""Seconds since the epoch of which a number of single precision keeps no more than the minutes."""

ODD = (
    "",
    "{}",
    "null",
    '{"n":9223372036854775809,"small":-9223372036854775809}',
    '{"x":1.0,"y":1e400,"z":0.1}',
    '{"twice":1,"twice":2}',
    "not JSON at all: \\ \" ' % ; -- \t\r\n",
    "a NUL \x00 and a DEL \x7f",
    "é e\u0301 Å 𝄞 🙂 \u202e \ufeff",
    "  around  ",
)


@proves("D1")
def a_send_outlives_its_sender(bench: Bench) -> None:
    bench.send(*messages("1 2"), through=bench.another())
    bench.another().queue.send(messages("3"))
    bench.receives("1", "2", "3", through=bench.another())
    bench.mark("sender lost")


@proves("D1")
def a_send_is_there_however_long_nobody_looks(bench: Bench) -> None:
    bench.send(message("1"), through=bench.another())
    bench.advance(bench.lease * 3)
    bench.receives("1", through=bench.another())


@proves("D1")
def what_waits_for_a_key_outlives_its_deletion(bench: Bench) -> None:
    bench.commit(key(), 1)
    bench.send(*messages("1 2"))
    held = bench.receives("1", limit=1)
    bench.backend.store.delete(key(), tombstone(2), 1)
    bench.backend.queue.ack(held)
    bench.receives("2", through=bench.another())


@proves("D1")
def a_send_is_there_after_a_day(bench: Bench) -> None:
    if not bench.harness.is_quick:
        return
    bench.send(*messages("1 2"))
    bench.backend.queue.ack(bench.receives("1", limit=1))
    bench.advance(25 * 3600.0)
    bench.receives("2", through=bench.another())
    bench.advance(25 * 3600.0)
    bench.receives("2")


@proves("D2")
def a_commit_outlives_its_committer(bench: Bench) -> None:
    bench.commit(key(), 1, through=bench.another(), bury=[letter("1")])
    bench.same(bench.another().store.load(key()), stored(1), "loaded")
    bench.another().finish(Write(key(), stored(2), 1, (letter("2"),)))
    bench.same(bench.another().store.load(key()), stored(2), "loaded")
    bench.same(list(bench.another().store.dead_letters(key())), [letter("1"), letter("2")], "dead letters")
    bench.mark("committer lost")


@proves("D3")
def a_message_outlives_its_receivers(bench: Bench) -> None:
    bench.send(*messages("1 2 3"))
    for _ in range(4):
        bench.receives("1", "2", "3", through=bench.another())
        bench.advance(bench.lease + bench.harness.tick)
    bench.mark("receiver lost")


@proves("D3")
def an_error_of_the_vendor_is_not_swallowed(bench: Bench) -> None:
    calls = _writes(bench)
    raised = set[str]()
    for name, call in calls.items():
        reached = list[str]()

        def point(trip: str, reached: list[str] = reached) -> None:
            reached.append(trip)
            raise Unavailable(f"{trip}: nobody there")

        bench.harness.instrument(point)
        try:
            call()
        except (SettledError, OSError):
            raised.add(name)
        finally:
            bench.harness.instrument(None)
        bench.holds(not reached or name in raised, f"{name}: the vendor failed, and the call was answered with success")


def _writes(bench: Bench) -> Mapping[str, Callable[[], object]]:
    backend, due = bench.backend.backend, bench.harness.now() + bench.lease / 4
    write = Write(key("e3"), stored(1), 0, sends=(message("2", key("e4")),))
    return {
        "send": lambda: backend.queue.send([message("1", key("e"))]),
        "commit": lambda: backend.store.commit(key("e"), stored(1), 0),
        "schedule": lambda: backend.timers.schedule(timer("t", due, key("e2"))),
        "finish": lambda: backend.finish(write),
    }


@proves("D5")
def what_was_acknowledged_does_not_come_again(bench: Bench) -> None:
    bench.send(*messages("1 2"))
    bench.backend.queue.ack(bench.receives("1", "2"))
    bench.mark("acknowledged")
    for _ in range(2):
        bench.receives_nothing()
        bench.receives_nothing(through=bench.another())
        bench.advance(bench.lease + bench.harness.tick)


@proves("D6")
def odd_texts_come_back_as_they_were(bench: Bench) -> None:
    for number, text in enumerate(ODD):
        mine = key(f"k{number}")
        bench.send(message(f"m{number}", mine, text))
        held = bench.receives(f"m{number}")
        bench.same(held[0].message.body, text, "a body")
        bench.backend.queue.ack(held)
        _store(bench, mine, text)
        bench.backend.timers.schedule(Timer(f"t{number}", message(f"t{number}", mine, text), bench.harness.now()))
        bench.advance(bench.harness.tick)
        held = bench.receives(f"t{number}")
        bench.same(held[0].message.body, text, "a timer's body")
        bench.backend.queue.ack(held)
    bench.mark("odd payloads")


def _store(bench: Bench, mine: Key, text: str) -> None:
    index = Index("active", ("a tag", text[:20] or "-", "🙂"), MOMENT)
    written = Stored(1, text, index)
    dead = DeadLetter(message("l", mine, text), f"reason {text}", MOMENT, text)
    bench.backend.store.commit(mine, written, 0, [dead])
    bench.same(bench.another().store.load(mine), written, "loaded")
    bench.same(list(bench.another().store.dead_letters(mine)), [dead], "dead letters")


@proves("D6")
def a_large_text_comes_back_whole_or_is_refused(bench: Bench) -> None:
    for size in (70_000, 300_000):
        text = '{"text":"' + "é" * (size // 2) + '"}'
        mine = key(f"k{size}")
        if bench.fits(partial(bench.send, message(f"m{size}", mine, text))):
            bench.backend.queue.ack(bench.receives(f"m{size}"))
        written, dead = stored(1, "é" * (size // 2)), letter("l", mine, text)
        if bench.fits(partial(bench.backend.store.commit, mine, written, 0, [dead])):
            bench.same(bench.another().store.load(mine), written, "loaded")
            bench.same(list(bench.another().store.dead_letters(mine)), [dead], "dead letters")
        else:
            bench.same(bench.another().store.load(mine), None, "loaded after TooLarge")
