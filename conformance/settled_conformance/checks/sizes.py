"""D6: a text of any size comes back whole, or is refused as too large. It is never cut, and no part of it is lost.

Each text says everywhere how far it has come, so that a piece that is lost, repeated or moved is seen.
"""

from __future__ import annotations

from functools import partial
from itertools import count

from settled.durable import DeadLetter, Index, Stored, Timer
from settled_conformance.checks import proves
from settled_conformance.fixture import Bench, key, letter, message, stored

SIZES = (65_536, 65_537, 150_001, 262_145, 2**20, 2**20 + 1, 2**21 + 1)
"""Sizes at which a vendor, a column or a buffer ends, and just past them."""


def _plain(size: int) -> str:
    """A text of `size` characters, each of which is a byte."""
    return f'{{"text":"{_long(_COUNTED, size - 11)}"}}'


def _various(size: int) -> str:
    """A text of `size` bytes or a few more, whose characters are of one to four bytes, at odd places."""
    return f'{{"text":"{_long(_VARIOUS, size * 7 // 13)}"}}'


def _long(text: str, size: int) -> str:
    return (text * (size // len(text) + 1))[:size]


_COUNTED = "".join(f"{number:03} " for number in range(997))
_VARIOUS = "".join(f"xé€🙂{number:03}" for number in range(991))
"""Neither is as long as a piece into which anybody might cut it."""


@proves("D6")
def a_body_of_any_size_comes_back_whole_or_is_refused(bench: Bench) -> None:
    for number, text in enumerate(_texts(bench)):
        mine, id = key(f"k{number}"), f"m{number}"
        if bench.fits(partial(bench.send, message(id, mine, text))):
            held = bench.receives(id)
            _is_whole(bench, held[0].message.body, text, "the body of a message")
            bench.backend.queue.ack(held)


@proves("D6")
def a_timer_of_any_size_comes_back_whole_or_is_refused(bench: Bench) -> None:
    for number, text in enumerate(_texts(bench)):
        late = Timer(f"t{number}", message(f"t{number}", key(f"k{number}"), text), bench.harness.now())
        if bench.fits(partial(bench.backend.timers.schedule, late)):
            bench.advance(bench.harness.tick)
            held = bench.receives(late.id)
            _is_whole(bench, held[0].message.body, text, "the body of a timer")
            bench.backend.queue.ack(held)


@proves("D6")
def a_record_of_any_size_comes_back_whole_or_is_refused(bench: Bench) -> None:
    for number, text in enumerate(_texts(bench)):
        mine = key(f"k{number}")
        written = Stored(1, text, Index("active"))
        if bench.fits(partial(bench.backend.store.commit, mine, written, 0)):
            found = bench.another().store.load(mine)
            _is_whole(bench, found.body if found else "", text, "a record")
        else:
            bench.same(bench.another().store.load(mine), None, "loaded after TooLarge")


@proves("D6")
def a_dead_letter_of_any_size_comes_back_whole_or_is_refused(bench: Bench) -> None:
    for number, text in enumerate(_texts(bench)):
        mine = key(f"k{number}")
        dead = letter("l", mine, text)
        if bench.fits(partial(bench.backend.store.commit, mine, stored(1), 0, [dead])):
            (found,) = bench.another().store.dead_letters(mine)
            _is_whole(bench, found.message.body, text, "a dead letter")
        else:
            bench.same(list(bench.another().store.dead_letters(mine)), [], "dead letters after TooLarge")


@proves("D6")
def what_a_dead_letter_tells_comes_back_whole_or_is_refused(bench: Bench) -> None:
    for size in (300, 1100, 5000, 70_000):
        mine, text = key(f"k{size}"), _various(size)
        dead = DeadLetter(message("l", mine), text[: size // 2], 11.25, text)
        if bench.fits(partial(bench.backend.store.commit, mine, stored(1), 0, [dead])):
            (found,) = bench.another().store.dead_letters(mine)
            _is_whole(bench, found.reason, dead.reason, "the reason of a dead letter")
            _is_whole(bench, found.detail, text, "the detail of a dead letter")


def _texts(bench: Bench) -> list[str]:
    sizes = SIZES if bench.harness.is_quick else (65_537, 131_072, 262_145, 2**20 + 1)
    return [(_plain, _various)[number % 2](size) for number, size in enumerate(sizes)]


def _is_whole(bench: Bench, found: str, text: str, what: str) -> None:
    if found != text:
        at = next((at for at, each, other in zip(count(), found, text, strict=False) if each != other), len(found))
        bench.holds(False, f"{what} of {len(text):,} characters has {len(found):,}, and differs from place {at:,} on")
