"""Make a record that fills its store smaller, so that its instance can still be halted.

Uncounted, a failure would come back for ever. And a message for which there is room neither in its record nor in a dead
letter would keep all those behind it waiting, until the queue forgets them.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from settled._fast_frozen import evolve
from settled.data import Json, write
from settled.durable.limits import MAX_ID_BYTES
from settled.durable.messages import Message
from settled.durable.ports import DeadLetter
from settled.durable.record import Record

MIN_DETAIL_CHARACTERS = 100
"""How much of an error's text a record keeps at least."""

MAX_EXCERPT_CHARACTERS = 1000
"""How much of a body a dead letter keeps that cannot keep all of it."""


def smaller_records(record: Record, *, without_oldest: bool) -> Iterator[Record]:
    """Yield ever smaller versions of `record`: with less of the texts for people, and then of the window.

    Args:
        record: the record of an instance that fails or is halted.
        without_oldest: whether the oldest messages may leave the window early. A repetition of one that has left it is
            a dead letter while the instance is halted, and taken by its redrive.
    """
    failing = record.failing and evolve(record.failing, detail=record.failing.detail[:MIN_DETAIL_CHARACTERS])
    halted = record.halted and record.halted[: MAX_ID_BYTES + MIN_DETAIL_CHARACTERS]
    record = evolve(record, failing=failing, halted=halted, window=evolve(record.window, reasons={}))
    yield record
    while without_oldest and record.window.count:
        # Half of them at once: there will be room for many more messages, and it takes few attempts.
        record = evolve(record, window=record.window.without_oldest((record.window.count + 1) // 2))
        yield record
    yield evolve(record, halted=halted and halted[:MIN_DETAIL_CHARACTERS])


def without_body(dead_letter: DeadLetter) -> DeadLetter:
    """Return `dead_letter` with a reference in place of its body: its size, its digest and its beginning.

    A redrive finds it invalid, and makes it a dead letter again.
    """
    message, encoded = dead_letter.message, dead_letter.message.body.encode("utf-8", "surrogatepass")
    if len(message.body) <= MAX_EXCERPT_CHARACTERS:
        return dead_letter
    reference: Json = {
        "left_out": {"bytes": len(encoded), "sha256": sha256(encoded).hexdigest()},
        "begins": message.body[:MAX_EXCERPT_CHARACTERS],
    }
    reason = f"{dead_letter.reason}; the store cannot keep its body of {len(encoded):,} bytes, which was left out"
    message = Message(message.key, message.id, write(reference), message.headers)
    return evolve(dead_letter, message=message, reason=reason)
