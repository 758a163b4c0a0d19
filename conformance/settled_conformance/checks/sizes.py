"""Checks of D6: a text of any size comes back whole, or fails with TooLargeError.

The texts contain running numbers, so that a piece that is lost, repeated or moved is noticed.
"""

from __future__ import annotations

from functools import partial
from itertools import count

from settled import Key
from settled.durable import DeadLetter, Index, Message, Stored, Timer
from settled.durable.limits import MAX_ID_BYTES, MAX_NAME_BYTES, MAX_SENDER_BYTES
from settled_conformance.checks import checks
from settled_conformance.fixture import BackendFixture, dead_letter, key, message, stored

SIZES = (65_536, 65_537, 150_001, 262_145, 2**20, 2**20 + 1, 2**21 + 1)
"""Typical limits of vendors, columns and buffers, and sizes just above them."""


def _plain(size: int) -> str:
    """Return a text of `size` single-byte characters."""
    return f'{{"text":"{_long(_COUNTED, size - 11)}"}}'


def _quotes(size: int) -> str:
    """Return a text of `size` bytes, nearly all of which become two within another JSON text."""
    text = r"\"" * ((size - 11) // 2)
    return f'{{"text":"{text}"}}'.ljust(size)


def _various(size: int) -> str:
    """Return a text of about `size` bytes, with characters of one to four bytes at varying offsets."""
    return f'{{"text":"{_long(_VARIOUS, size * 7 // 13)}"}}'


def _long(text: str, size: int) -> str:
    return (text * (size // len(text) + 1))[:size]


_COUNTED = "".join(f"{number:03} " for number in range(997))
_VARIOUS = "".join(f"xé€🙂{number:03}" for number in range(991))
"""The period of neither text is a likely size of a piece, so that swapped pieces differ."""


@checks("D6")
def a_body_of_any_size_comes_back_whole_or_is_refused(fixture: BackendFixture) -> None:
    for number, text in enumerate(_texts(fixture)):
        mine, id = key(f"k{number}"), f"m{number}"
        if fixture.fits(partial(fixture.send, message(id, mine, text))):
            held = fixture.receives(id)
            _require_whole(fixture, held[0].message.body, text, "the body of a message")
            fixture.backend.queue.ack(held)


@checks("D6")
def a_message_of_the_size_that_the_backend_declares_is_taken(fixture: BackendFixture) -> None:
    longest = Key("m" * MAX_NAME_BYTES, '"' * MAX_NAME_BYTES)
    headers = {f"h{number}": '"' * 1000 for number in range(4)}
    largest = fixture.backend.largest_message + MAX_SENDER_BYTES
    for number, text in enumerate((_plain(largest), _quotes(largest))):
        id = f"{number}".rjust(MAX_ID_BYTES, '"')
        large = Message(longest, id, text, headers)
        fixture.require(fixture.fits(partial(fixture.send, large)), "a message was refused as too large")
        held = fixture.receives(id)
        _require_whole(fixture, held[0].message.body, text, "the body of a message")
        fixture.backend.queue.ack(held)


@checks("D6")
def a_timer_of_any_size_comes_back_whole_or_is_refused(fixture: BackendFixture) -> None:
    for number, text in enumerate(_texts(fixture)):
        late = Timer(f"t{number}", message(f"t{number}", key(f"k{number}"), text), fixture.harness.now())
        if fixture.fits(partial(fixture.backend.timers.schedule, late)):
            fixture.advance(fixture.harness.tick)
            held = fixture.receives(late.id)
            _require_whole(fixture, held[0].message.body, text, "the body of a timer")
            fixture.backend.queue.ack(held)


@checks("D6")
def a_record_of_any_size_comes_back_whole_or_is_refused(fixture: BackendFixture) -> None:
    for number, text in enumerate(_texts(fixture)):
        mine = key(f"k{number}")
        written = Stored(1, text, Index("active"))
        if fixture.fits(partial(fixture.backend.store.commit, mine, written, 0)):
            found = fixture.open_handle().store.load(mine)
            _require_whole(fixture, found.body if found else "", text, "a record")
        else:
            fixture.require_equal(fixture.open_handle().store.load(mine), None, "loaded after TooLarge")


@checks("D6")
def a_dead_letter_of_any_size_comes_back_whole_or_is_refused(fixture: BackendFixture) -> None:
    for number, text in enumerate(_texts(fixture)):
        mine = key(f"k{number}")
        dead = dead_letter("l", mine, text)
        if fixture.fits(partial(fixture.backend.store.commit, mine, stored(1), 0, [dead])):
            (found,) = fixture.open_handle().store.dead_letters(mine)
            _require_whole(fixture, found.message.body, text, "a dead letter")
        else:
            fixture.require_equal(
                list(fixture.open_handle().store.dead_letters(mine)), [], "dead letters after TooLarge"
            )


@checks("D6")
def the_reason_and_detail_of_a_dead_letter_come_back_whole_or_are_refused(fixture: BackendFixture) -> None:
    for size in (300, 1100, 5000, 70_000):
        mine, text = key(f"k{size}"), _various(size)
        dead = DeadLetter(message("l", mine), text[: size // 2], 11.25, text)
        if fixture.fits(partial(fixture.backend.store.commit, mine, stored(1), 0, [dead])):
            (found,) = fixture.open_handle().store.dead_letters(mine)
            _require_whole(fixture, found.reason, dead.reason, "the reason of a dead letter")
            _require_whole(fixture, found.detail, text, "the detail of a dead letter")


def _texts(fixture: BackendFixture) -> list[str]:
    sizes = SIZES if fixture.harness.is_quick else (65_537, 131_072, 262_145, 2**20 + 1)
    return [(_plain, _various)[number % 2](size) for number, size in enumerate(sizes)]


def _require_whole(fixture: BackendFixture, found: str, text: str, what: str) -> None:
    if found != text:
        at = next((at for at, each, other in zip(count(), found, text, strict=False) if each != other), len(found))
        fixture.require(
            False, f"{what} of {len(text):,} characters has {len(found):,}, and differs from offset {at:,} on"
        )
