"""The dedup window: which messages a record has taken, and their outcomes, so that a repeated message is recognised.

A message leaves the window only once its acknowledgement is certain: until then the queue may deliver it again.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import dropwhile
from typing import Any, TypeVar

from attrs import Factory, field, frozen

from settled._fast_frozen import evolve
from settled.data import parse, quoted
from settled.durable.messages import RESERVED_PREFIX, Message, SenderPosition
from settled.key import Key

WINDOW = 256
"""The default size of a window: how many messages may come between the first send of a message and a repetition."""

MAX_REASONS = 16
"""Of how many messages a window keeps the reasons: whoever waits for an outcome reads it soon."""

MAX_REASON_CHARACTERS = 300
"""How much of each reason it keeps."""

T = TypeVar("T")


class Outcome(StrEnum):
    """The result of a message."""

    TAKEN = "taken"
    """Its turn is over."""

    RESOLVED = "resolved"
    """Its turn is over and ended in a node tagged ``resolve``."""

    REJECTED = "rejected"
    """Its turn is over and ended in a node tagged ``reject``."""

    FAILED = "failed"
    """Its turn is over and left the machine in ``error``."""

    IGNORED = "ignored"
    """Nothing changed: no transition took it, or the machine had ended, or was already started."""

    INVALID = "invalid"
    """It was not valid for this instance, and became a dead letter."""

    DEAD_LETTERED = "dead-lettered"
    """It became a dead letter after its last attempt, or because the instance was halted."""

    POSTPONED = "postponed"
    """It waits among the dead letters until a suspended turn is over, and will be taken then: it has no outcome yet."""


@frozen
class Window:
    """The latest messages with their outcomes, and the position that each sender has reached.

    A message is identified by its id and the digest of its body. An id has one digest, unless a sender has reused it
    for another body. The window keeps the last `size` messages whose acknowledgement is certain and, beyond these, the
    pinned ones. The pinned messages never exceed the largest receive: the queue never delivers past an unacknowledged
    message, so a delivery shows that all earlier messages of its key were acknowledged.

    Undelayed messages of an instance arrive in the order of its steps. The position of the last one taken therefore
    identifies all earlier ones as repetitions, even when their ids have left the window.

    Attributes:
        size: how many acknowledged messages, and how many senders, are kept.
        encoded_ids: the acknowledged messages, oldest first, as they are in the record: for each a JSON string of id,
            space and digest, on a line of its own.
        other_outcomes: the outcomes other than ``taken``, by ``"ID DIGEST"``.
        senders: the start_nonce, commit version and index reached by each sender, by its key.
        pinned: the messages that may be delivered again, newer than all acknowledged ones: digests by id.
        count: the number of lines in `encoded_ids`.
        reasons: why the last `MAX_REASONS` messages that were ignored, or ended badly, did so, by ``"ID DIGEST"``.
    """

    size: int = WINDOW
    # Searched as text and never parsed: an object for each message would be most of the cost of a small record. JSON
    # escapes a line break within an id, so each line is exactly one message.
    encoded_ids: str = ""
    other_outcomes: Mapping[str, Outcome] = {}
    senders: Mapping[str, tuple[str, int, int]] = {}
    pinned: Mapping[str, tuple[str, ...]] = {}
    count: int = field(
        default=Factory(lambda self: self.encoded_ids.count("\n") + bool(self.encoded_ids), takes_self=True)
    )
    reasons: Mapping[str, str] = {}

    @classmethod
    def of(cls, size: int, entries: Iterable[str], **others: Any) -> Window:
        """Return a window of `entries`, each an id, a space and a digest, oldest first."""
        return cls(size, SEPARATOR.join(map(quoted, entries)), **others)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids, oldest first."""
        return (*(entry[:-DIGEST_CHARACTERS] for entry in parse(f"[{self.encoded_ids}]")), *self.pinned)

    def digests_of(self, id: str) -> tuple[str, ...]:
        """Return the digests with which `id` is known; empty if it is new, as it nearly always is."""
        pinned = self.pinned.get(id, ())
        text = quoted(id)[1:-1]
        at = self.encoded_ids.find(text)
        return pinned if at < 0 else (*self._digests_in_lines(text, at), *pinned)

    def _digests_in_lines(self, text: str, at: int) -> Iterator[str]:
        """Yield the digests of the lines whose encoded id is `text`, first found at offset `at`."""
        lines = self.encoded_ids
        while at >= 0:
            begin, end = at + len(text), at + len(text) + DIGEST_CHARACTERS
            # Compare the whole line: `text` may also be a prefix, a suffix or the middle of another id.
            if lines[at - 1 : at] == '"' and (at == 1 or lines[at - 2] == "\n") and lines[end : end + 1] == '"':
                yield lines[begin + 1 : end]
            at = lines.find(text, at + 1)

    def outcome_of_id(self, id: str, digest: str | None = None) -> Outcome | None:
        """Return the outcome of the message `id`, with this `digest` if one is given; None if it is not known."""
        for found in self.digests_of(id):
            if digest in (None, found):
                return self.other_outcomes.get(f"{id} {found}", Outcome.TAKEN)
        return None

    def reason_of_id(self, id: str, digest: str | None = None) -> str | None:
        """Return why the message `id` has its outcome, with this `digest` if one is given; None if none is kept."""
        return next((self.reasons.get(f"{id} {each}") for each in self.digests_of(id) if digest in (None, each)), None)

    def outcome_of_message(self, message: Message, sender: SenderPosition | None = None) -> Outcome | None:
        """Return the outcome of `message`; None if it is new."""
        known = self.outcome_of_id(message.id, message.digest)
        return Outcome.TAKEN if known is None and sender and self._has_passed(sender) else known

    def _has_passed(self, sender: SenderPosition) -> bool:
        start_nonce, *position = self.senders.get(str(sender.key), ("", 0, 0))
        # A sender that was started again begins to count anew: positions of another start_nonce say nothing.
        return start_nonce == sender.start_nonce and tuple(position) >= sender.order

    def is_reused(self, message: Message) -> bool:
        """Return whether the id of `message` belongs to another message, with another body."""
        # An invalid message never had an effect, so its id may still be used for the message that was meant.
        return any(
            digest != message.digest and self.other_outcomes.get(f"{message.id} {digest}") is not Outcome.INVALID
            for digest in self.digests_of(message.id)
        )

    def add(
        self,
        message: Message,
        outcome: Outcome,
        sender: SenderPosition | None = None,
        kept: Container[str] = (),
        reason: str | None = None,
    ) -> Window:
        """Add `message` as the newest, pinned until `unpin` finds it acknowledged.

        Args:
            message: a new message, or one taken from the dead letters, whose former outcome is replaced.
            outcome: its outcome.
            sender: its sender's position, if it has one.
            kept: the keys of senders that must not be evicted.
            reason: why it has this outcome; its first `MAX_REASON_CHARACTERS` are kept.
        """
        id, digest = message.id, message.digest
        window = self._without(id, digest) if id in self.pinned or f"{id} {digest}" in self.other_outcomes else self
        outcomes, senders, pinned = window.other_outcomes, window.senders, dict(window.pinned)
        pinned[id] = (*pinned.pop(id, ()), digest)
        if outcome is not Outcome.TAKEN:
            outcomes = {**outcomes, f"{id} {digest}": outcome}
        if sender is not None:
            senders = _with_newest(senders, str(sender.key), (sender.start_nonce, *sender.order), self.size, kept)
        reasons = window.reasons
        # Nobody waits for the outcomes of what machines send, and their reasons would displace those of others.
        if reason is not None and not id.startswith(RESERVED_PREFIX):
            newest = {**reasons, f"{id} {digest}": reason[:MAX_REASON_CHARACTERS]}
            reasons = dict(list(newest.items())[-MAX_REASONS:])
        return Window(self.size, window.encoded_ids, outcomes, senders, pinned, window.count, reasons)

    def _without(self, id: str, digest: str) -> Window:
        entry = f"{id} {digest}"
        line = quoted(entry)
        lines = [each for each in self.encoded_ids.split(SEPARATOR) if each != line] if self.encoded_ids else []
        outcomes = {each: outcome for each, outcome in self.other_outcomes.items() if each != entry}
        reasons = {each: reason for each, reason in self.reasons.items() if each != entry}
        pinned = {each: tuple(it for it in its if each != id or it != digest) for each, its in self.pinned.items()}
        pinned = {each: its for each, its in pinned.items() if its}
        return Window(self.size, SEPARATOR.join(lines), outcomes, self.senders, pinned, reasons=reasons)

    def unpin(self, received: Container[str], pinned_before: Iterable[str] = ()) -> Window:
        """Unpin the messages that are known to be acknowledged, and evict the oldest ones beyond `size`.

        Args:
            received: the ids of the deliveries of this turn.
            pinned_before: the ids that were pinned when the turn began, in their order.
        """
        # The queue never delivers past an unacknowledged message, so what was pinned ahead of the first delivery has
        # been acknowledged. Messages pinned behind it may not have been: an earlier, longer receive may have had
        # them, and if one were unpinned and evicted here, its redelivery would be taken as a new message.
        unacknowledged = frozenset(dropwhile(lambda id: id not in received, pinned_before))
        unpinned = [
            f"{id} {digest}"
            for id, digests in self.pinned.items()
            if id not in received and id not in unacknowledged
            for digest in digests
        ]
        if not unpinned:
            return self
        pinned = {id: digests for id, digests in self.pinned.items() if id in received or id in unacknowledged}
        added, count = SEPARATOR.join(map(quoted, unpinned)), self.count + len(unpinned)
        lines = f"{self.encoded_ids}{SEPARATOR}{added}" if self.encoded_ids else added
        window = Window(self.size, lines, self.other_outcomes, self.senders, pinned, count, self.reasons)
        return window.without_oldest(count - self.size) if count > self.size else window

    def without_oldest(self, count: int) -> Window:
        """Return this window without the oldest `count` of the acknowledged messages."""
        outcomes, reasons = self.other_outcomes, self.reasons
        oldest, lines = _split(self.encoded_ids, count)
        if outcomes:
            evicted = set(parse(f"[{oldest}]"))
            outcomes = {entry: outcome for entry, outcome in outcomes.items() if entry not in evicted}
            reasons = {entry: reason for entry, reason in reasons.items() if entry not in evicted}
        return Window(self.size, lines, outcomes, self.senders, self.pinned, self.count - count, reasons)

    def without_postponed(self) -> Window:
        """Return this window with the postponed messages as dead letters: nothing takes them by itself any more."""
        outcomes = {
            entry: Outcome.DEAD_LETTERED if outcome is Outcome.POSTPONED else outcome
            for entry, outcome in self.other_outcomes.items()
        }
        return evolve(self, other_outcomes=outcomes)

    def add_sender(self, sender: Key, start_nonce: str, kept: Container[str]) -> Window:
        """Add `sender`, from which messages may still arrive, unless it is known."""
        name = str(sender)
        if name in self.senders:
            return self
        return evolve(self, senders=_with_newest(self.senders, name, (start_nonce, 0, 0), self.size, kept))

    def remove_sender(self, sender: Key) -> Window:
        """Remove `sender`, from which nothing new can arrive."""
        if str(sender) not in self.senders:
            return self
        return evolve(self, senders={each: last for each, last in self.senders.items() if each != str(sender)})


def _split(lines: str, count: int) -> tuple[str, str]:
    """Return the first `count` of `lines`, and the others."""
    at = -1
    for _ in range(count):
        at = lines.find("\n", at + 1)
        if at < 0:
            return lines, ""
    return lines[: at - 1], lines[at + 1 :]


SEPARATOR = ",\n"
"""The text between two messages in `Window.encoded_ids`."""

DIGEST_CHARACTERS = 7
"""The length of an entry after its id: a space, and the digest."""


def _with_newest(items: Mapping[str, T], key: str, value: T, size: int, kept: Container[str]) -> Mapping[str, T]:
    copy = dict(items)
    copy.pop(key, None)
    copy[key] = value
    if len(copy) > size:
        # Parents and living children are kept however many there are: without its position, a redelivered message of
        # one of them whose id has left the window would be applied twice.
        evictable = [each for each in copy if each not in kept]
        if len(evictable) > size:
            del copy[evictable[0]]
    return copy


IN_DEAD_LETTERS = frozenset({Outcome.DEAD_LETTERED, Outcome.INVALID, Outcome.POSTPONED})
"""The outcomes of messages that became dead letters and may still be taken."""

EMPTY_WINDOW = Window()
