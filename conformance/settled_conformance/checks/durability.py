"""Checks of D1 to D3, D5 and D6: confirmed sends and commits outlive the process that made them, unchanged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from settled import BackendReplacedError, Key, SettledError, UnavailableError
from settled.durable import DeadLetter, Index, Stored, Timer, Write
from settled_conformance.checks import checks
from settled_conformance.fixture import BackendFixture, dead_letter, key, message, messages, stored, timer, tombstone
from settled_conformance.harness import HarnessFeature

PRECISE_TIME = 1_764_331_234.53125
"""Seconds since the epoch that a single-precision float keeps only to the minute."""

UNUSUAL_TEXTS = (
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


@checks("D1")
def a_send_outlives_its_sender(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2"), through=fixture.open_handle())
    fixture.open_handle().queue.send(messages("3"))
    fixture.receives("1", "2", "3", through=fixture.open_handle())
    fixture.mark("sender lost")


@checks("D1")
def a_send_is_kept_however_long_nothing_is_received(fixture: BackendFixture) -> None:
    fixture.send(message("1"), through=fixture.open_handle())
    fixture.advance(fixture.lease * 3)
    fixture.receives("1", through=fixture.open_handle())


@checks("D1")
def queued_messages_outlive_the_deletion_of_their_key(fixture: BackendFixture) -> None:
    fixture.commit(key(), 1)
    fixture.send(*messages("1 2"))
    held = fixture.receives("1", limit=1)
    fixture.backend.store.delete(key(), tombstone(2), 1)
    fixture.backend.queue.ack(held)
    fixture.receives("2", through=fixture.open_handle())


@checks("D1")
def a_send_is_kept_for_a_day(fixture: BackendFixture) -> None:
    if not fixture.harness.is_quick:
        return
    fixture.send(*messages("1 2"))
    fixture.backend.queue.ack(fixture.receives("1", limit=1))
    fixture.advance(25 * 3600.0)
    fixture.receives("2", through=fixture.open_handle())
    fixture.advance(25 * 3600.0)
    fixture.receives("2")


@checks("D1", feature=HarnessFeature.DATA_LOSS)
def no_send_is_confirmed_after_the_data_were_lost(fixture: BackendFixture) -> None:
    backend, due = fixture.open_handle().backend, fixture.harness.now() + fixture.lease
    backend.queue.send(messages("1"))
    fixture.harness.lose_data()
    _require_replaced(
        fixture,
        {
            "send": lambda: backend.queue.send(messages("2")),
            "schedule": lambda: backend.timers.schedule(timer("t", due)),
            "receive": lambda: backend.queue.receive(1),
        },
    )


@checks("D2", feature=HarnessFeature.DATA_LOSS)
def no_commit_is_confirmed_after_the_data_were_lost(fixture: BackendFixture) -> None:
    backend = fixture.open_handle().backend
    backend.store.commit(key(), stored(1), 0)
    fixture.harness.lose_data()
    _require_replaced(
        fixture,
        {
            "load": lambda: backend.store.load(key()),
            "commit": lambda: backend.store.commit(key("b"), stored(1), 0),
            "finish": lambda: backend.finish(Write(key("b"), stored(1))),
        },
    )


def _require_replaced(fixture: BackendFixture, calls: Mapping[str, Callable[[], object]]) -> None:
    for name, call in calls.items():
        try:
            call()
        except BackendReplacedError:
            continue
        fixture.require(False, f"{name}: was answered although the data were lost since the handle was opened")
    fixture.reset()


@checks("D2")
def a_commit_outlives_its_committer(fixture: BackendFixture) -> None:
    fixture.commit(key(), 1, through=fixture.open_handle(), add_dead_letters=[dead_letter("1")])
    fixture.require_equal(fixture.open_handle().store.load(key()), stored(1), "loaded")
    fixture.open_handle().finish(Write(key(), stored(2), 1, (dead_letter("2"),)))
    fixture.require_equal(fixture.open_handle().store.load(key()), stored(2), "loaded")
    fixture.require_equal(
        list(fixture.open_handle().store.dead_letters(key())), [dead_letter("1"), dead_letter("2")], "dead letters"
    )
    fixture.mark("committer lost")


@checks("D3")
def a_message_outlives_its_receivers(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2 3"))
    for _ in range(4):
        fixture.receives("1", "2", "3", through=fixture.open_handle())
        fixture.advance(fixture.lease + fixture.harness.tick)
    fixture.mark("receiver lost")


@checks("D3")
def a_vendor_error_is_not_swallowed(fixture: BackendFixture) -> None:
    calls = _writes(fixture)
    raised = set[str]()
    for name, call in calls.items():
        reached = list[str]()

        def point(round_trip: str, reached: list[str] = reached) -> None:
            reached.append(round_trip)
            raise UnavailableError(f"{round_trip}: not reachable")

        fixture.harness.instrument(point)
        try:
            call()
        except (SettledError, OSError):
            raised.add(name)
        finally:
            fixture.harness.instrument(None)
        fixture.require(
            not reached or name in raised, f"{name}: the vendor failed, and the call was answered with success"
        )


def _writes(fixture: BackendFixture) -> Mapping[str, Callable[[], object]]:
    backend, due = fixture.backend.backend, fixture.harness.now() + fixture.lease / 4
    write = Write(key("e3"), stored(1), 0, sends=(message("2", key("e4")),))
    return {
        "send": lambda: backend.queue.send([message("1", key("e"))]),
        "commit": lambda: backend.store.commit(key("e"), stored(1), 0),
        "schedule": lambda: backend.timers.schedule(timer("t", due, key("e2"))),
        "finish": lambda: backend.finish(write),
    }


@checks("D5")
def an_acknowledged_message_is_not_redelivered(fixture: BackendFixture) -> None:
    fixture.send(*messages("1 2"))
    fixture.backend.queue.ack(fixture.receives("1", "2"))
    fixture.mark("acknowledged")
    for _ in range(2):
        fixture.receives_nothing()
        fixture.receives_nothing(through=fixture.open_handle())
        fixture.advance(fixture.lease + fixture.harness.tick)


@checks("D6")
def unusual_texts_come_back_unchanged(fixture: BackendFixture) -> None:
    for number, text in enumerate(UNUSUAL_TEXTS):
        mine = key(f"k{number}")
        fixture.send(message(f"m{number}", mine, text))
        held = fixture.receives(f"m{number}")
        fixture.require_equal(held[0].message.body, text, "a body")
        fixture.backend.queue.ack(held)
        _store(fixture, mine, text)
        fixture.backend.timers.schedule(Timer(f"t{number}", message(f"t{number}", mine, text), fixture.harness.now()))
        fixture.advance(fixture.harness.tick)
        held = fixture.receives(f"t{number}")
        fixture.require_equal(held[0].message.body, text, "a timer's body")
        fixture.backend.queue.ack(held)
    fixture.mark("unusual payloads")


def _store(fixture: BackendFixture, mine: Key, text: str) -> None:
    index = Index("active", ("a tag", text[:20] or "-", "🙂"), PRECISE_TIME)
    written = Stored(1, text, index)
    dead = DeadLetter(message("l", mine, text), f"reason {text}", PRECISE_TIME, text)
    fixture.backend.store.commit(mine, written, 0, [dead])
    fixture.require_equal(fixture.open_handle().store.load(mine), written, "loaded")
    fixture.require_equal(list(fixture.open_handle().store.dead_letters(mine)), [dead], "dead letters")


@checks("D6")
def a_large_text_comes_back_whole_or_is_refused(fixture: BackendFixture) -> None:
    for size in (70_000, 300_000):
        text = '{"text":"' + "é" * (size // 2) + '"}'
        mine = key(f"k{size}")
        if fixture.fits(partial(fixture.send, message(f"m{size}", mine, text))):
            fixture.backend.queue.ack(fixture.receives(f"m{size}"))
        written, dead = stored(1, "é" * (size // 2)), dead_letter("l", mine, text)
        if fixture.fits(partial(fixture.backend.store.commit, mine, written, 0, [dead])):
            fixture.require_equal(fixture.open_handle().store.load(mine), written, "loaded")
            fixture.require_equal(list(fixture.open_handle().store.dead_letters(mine)), [dead], "dead letters")
        else:
            fixture.require_equal(fixture.open_handle().store.load(mine), None, "loaded after TooLarge")
