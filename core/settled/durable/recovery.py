"""Recover: what a queue has given up comes back, as dead letters of its instances that are redriven.

A vendor's queue may move a message to a dead-letter queue of its own after so many receives, and then delivers what
came after it. Sent to the queue again, the message would come after all that waits there. So one commit adds it to the
dead letters of the instance and begins their redrive, which takes it before anything newer.

It needs no machine: a queue has messages of many.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from settled.durable.commands import Commands, finish, load, load_dead_letters
from settled.durable.messages import Message, Wake, encode, internal_id
from settled.durable.ports import POSTPONED, DeadLetter, Traits, Write
from settled.durable.record_json import record_with_redrive
from settled.durable.record_view import RecordView
from settled.durable.window import EMPTY_WINDOW
from settled.errors import ConflictError
from settled.key import Key

_NOTHING = RecordView(None, {}, None, None, None, None, None, None, (), EMPTY_WINDOW)


@frozen
class Recovered:
    """The result of `recover`.

    Attributes:
        key: the instance.
        added: the ids of those that are dead letters now, in their order.
        known: the ids of those that the instance has taken, or has among its dead letters, already.
        halted: whether the instance waits for an operator, whose redrive takes them too.
        overtaken: whether the instance has gone on since one of them was given up: it may have taken later messages.
    """

    key: Key
    added: tuple[str, ...]
    known: tuple[str, ...]
    halted: bool
    overtaken: bool


def recover(key: Key, dropped: Sequence[DeadLetter], nonce: str, traits: Traits | None = None) -> Commands[Recovered]:
    """Add `dropped`, messages that a queue has given up, to the dead letters of `key`, and redrive them.

    Safe to repeat. They come before the dead letters that no redrive takes, but after what was postponed before they
    were given up, which is redriven with them. Those of a halted instance are ordered by their times, and wait with it.
    An instance that does not exist gets them too: a start among them creates it.

    Args:
        key: the instance.
        dropped: the messages in the order of the queue, each with the time when it was given up.
        nonce: unique text.
        traits: what the backend declares beyond the contract.

    Raises:
        RecordError: the record is damaged, encoded, or has a format that this version of settled does not read.
        ConflictError: a worker committed in the meantime, or has the lease of an open turn, which would be lost to it;
            nothing was changed. Try again.
        TooLargeError: the store cannot add that many dead letters at once; nothing was changed.
    """
    loaded = yield from load(key)
    stored, found = loaded.stored, (yield from load_dead_letters(key)).dead_letters
    view = RecordView.of(key, stored.body) if stored else _NOTHING
    new = [each for each in dropped if not _is_known(each.message, view, found)]
    result = Recovered(
        key,
        added=tuple([each.message.id for each in new]),
        known=tuple([each.message.id for each in dropped if each not in new]),
        halted=view.halted is not None,
        overtaken=stored is not None and any(stored.index.updated > each.at for each in new),
    )
    if not new and (result.halted or not _is_unfinished(dropped, view)):
        return result
    if _is_leased(view, loaded.now) and not any(_is_of_turn(each.message, view) for each in dropped):
        # Any commit takes the turn from its worker, and what that runs would be run once more.
        raise ConflictError(f"{key}: a turn is open, and its worker has a lease")
    if result.halted:
        # The first one stays the first while its turn is open: a redrive goes on with that turn, and then removes it.
        first = int(view.turn is not None and view.turn.from_dead_letters)
        placed, taken = _by_time(found, new, first), 0
    else:
        placed, taken = _before_others(found, new, view.redriving or 0)
    removed = 0 if placed[: len(found)] == [*found] else len(found)
    expected = stored.version if stored else 0
    version = expected + 1 if expected else (traits or Traits()).first_version(loaded.now)
    redriving = None if result.halted else taken
    record = record_with_redrive(key, stored, version, loaded.now, f"{nonce}.{version}", redriving)
    wake = Message(key, internal_id(f"wake/{nonce}"), encode(Wake()))
    sends = () if result.halted else (wake,)
    added = placed if removed else placed[len(found) :]
    yield from finish(Write(key, record, expected, tuple(added), removed, sends))
    return result


def _is_known(message: Message, view: RecordView, found: Sequence[DeadLetter]) -> bool:
    is_dead_letter = any(each.message.entry == message.entry for each in found)
    return is_dead_letter or _is_of_turn(message, view) or view.window.outcome_of_message(message) is not None


def _is_of_turn(message: Message, view: RecordView) -> bool:
    return view.turn is not None and view.turn.message.entry == message.entry


def _is_unfinished(dropped: Sequence[DeadLetter], view: RecordView) -> bool:
    """Return whether a worker has to go on with one of `dropped`, and may have no message that tells it to."""
    # In a redrive too: the write that began it may have ended before its `Wake` was sent. Likewise that which has
    # postponed one of them may have ended before the turn's timer was scheduled.
    is_open = any(_is_of_turn(each.message, view) or each.message.id in view.unfinished for each in dropped)
    return is_open or view.redriving is not None or view.postponed is not None


def _is_leased(view: RecordView, now: float) -> bool:
    # A turn that is suspended, or of a halted instance, has no worker.
    if view.turn is None or view.turn.suspension is not None or view.halted is not None:
        return False
    return now < view.turn.lease_until


def _before_others(found: Sequence[DeadLetter], new: Sequence[DeadLetter], taken: int) -> tuple[list[DeadLetter], int]:
    """Return `found` with `new` behind the first `taken`, which a redrive takes, and how many it takes by then.

    What was postponed before one of `new` was given up had been sent before it, and is redriven before it.
    """
    last, rest = max((each.at for each in new), default=0.0), found[taken:]
    earlier = [each for each in rest if each.reason == POSTPONED and each.at <= last]
    others = [each for each in rest if each not in earlier]
    placed = [*found[:taken], *_by_time(earlier, new)]
    return [*placed, *others], len(placed)


def _by_time(found: Sequence[DeadLetter], new: Sequence[DeadLetter], at: int = 0) -> list[DeadLetter]:
    """Return `found` with `new` placed among it by their times, but none before the index `at`."""
    placed = list(found)
    for letter in new:
        while at < len(placed) and placed[at].at <= letter.at:
            at += 1
        placed.insert(at, letter)
        at += 1
    return placed
