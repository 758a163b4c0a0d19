"""The window: the messages that a record remembers, so that one that comes again is told from a new one."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import dropwhile
from typing import Any, TypeVar

from attrs import Factory, field, frozen

from settled._fast_frozen import evolve
from settled.data import parse, quoted
from settled.durable.messages import Message, SenderPosition
from settled.key import Key

WINDOW = 256
"""How many message ids a record remembers unless a policy says otherwise: for so long a sender may repeat a message."""

T = TypeVar("T")


class Outcome(StrEnum):
    """What became of a message."""

    TAKEN = "taken"
    """Its turn is over."""

    RESOLVED = "resolved"
    """Its turn is over and ended in a node tagged ``resolve``."""

    REJECTED = "rejected"
    """Its turn is over and ended in a node tagged ``reject``."""

    FAILED = "failed"
    """Its turn is over and left the machine in ``error``."""

    IGNORED = "ignored"
    """The machine was not active any more, or was started already; nothing changed."""

    INVALID = "invalid"
    """It is no event for this machine; it lies among the dead letters."""

    DEAD_LETTERED = "dead-lettered"
    """It was set aside after its last attempt, or behind one that was; it lies among the dead letters."""


@frozen
class Window:
    """The last messages and their outcomes, and the furthest step seen of each sender.

    `size` messages whose acknowledgement is certain are remembered, and besides them all of which it is not: these are
    `pinned`, because they may be handed out again, however many others came since. They are at most as many as the
    largest hand-out: what stands ahead of a hand-out was acknowledged, and what was taken behind it was taken with it.

    A message is told by its id and the digest of its body: `lines` are both as they stand in the record, oldest first,
    each pair as JSON in a line of its own. There is no other form of them, because to make one for each message would
    be most of what a small record costs; and a line break inside an id is escaped, so a line is one message and nothing
    else. `pinned` are newer than all of these: the digests by the ids. There is one digest for an id, unless somebody
    has used it again for another message. `unusual` are the outcomes other than ``taken``, by id and digest. `count` is
    how many lines there are.

    An instance's undelayed messages arrive in the order of its steps, so its furthest one tells all its earlier ones
    apart from new ones, even after their ids have left the window: `senders` has it for the last `size` senders.
    """

    size: int = WINDOW
    encoded_ids: str = ""
    other_outcomes: Mapping[str, Outcome] = {}
    senders: Mapping[str, tuple[str, int, int]] = {}
    pinned: Mapping[str, tuple[str, ...]] = {}
    count: int = field(
        default=Factory(lambda self: self.encoded_ids.count("\n") + bool(self.encoded_ids), takes_self=True)
    )

    @classmethod
    def of(cls, size: int, entries: Iterable[str], **others: Any) -> Window:
        """The window of `entries`, each an id, a space and a digest, oldest first."""
        return cls(size, SEPARATOR.join(map(quoted, entries)), **others)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids, oldest first."""
        return (*(entry[:-DIGEST_CHARACTERS] for entry in parse(f"[{self.encoded_ids}]")), *self.pinned)

    def digests_of(self, id: str) -> tuple[str, ...]:
        """The digests under which `id` is known; empty if it is new, as it nearly always is."""
        pinned = self.pinned.get(id, ())
        text = quoted(id)[1:-1]
        at = self.encoded_ids.find(text)
        return pinned if at < 0 else (*self._digests_in_lines(text, at), *pinned)

    def _digests_in_lines(self, text: str, at: int) -> Iterator[str]:
        """The digests of the lines whose id reads `text`, which is found `at` some place first."""
        lines = self.encoded_ids
        while at >= 0:
            begin, end = at + len(text), at + len(text) + DIGEST_CHARACTERS
            # An id may end as another one does, begin so, or contain what looks like it.
            if lines[at - 1 : at] == '"' and (at == 1 or lines[at - 2] == "\n") and lines[end : end + 1] == '"':
                yield lines[begin + 1 : end]
            at = lines.find(text, at + 1)

    def outcome_of(self, id: str, digest: str | None = None) -> Outcome | None:
        """What became of the message `id`, of the body with this `digest` if it is given; None if it is not known."""
        for found in self.digests_of(id):
            if digest in (None, found):
                return self.other_outcomes.get(f"{id} {found}", Outcome.TAKEN)
        return None

    def outcome(self, message: Message, sender: SenderPosition | None = None) -> Outcome | None:
        """What became of `message`; None if it is new."""
        known = self.outcome_of(message.id, message.digest)
        return Outcome.TAKEN if known is None and sender and self._has_passed(sender) else known

    def _has_passed(self, sender: SenderPosition) -> bool:
        birth, *position = self.senders.get(str(sender.key), ("", 0, 0))
        return birth == sender.birth and tuple(position) >= sender.order

    def is_reused(self, message: Message) -> bool:
        """Whether the id of `message` is that of another one, with another body."""
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
    ) -> Window:
        """This window with `message` as its newest, which is pinned until `settle`.

        It may be known already as set aside; what was taken is never added again. `kin`: senders that are never
        forgotten.
        """
        id, digest = message.id, message.digest
        window = self._without(id, digest) if id in self.pinned or f"{id} {digest}" in self.other_outcomes else self
        unusual, senders, pinned = window.other_outcomes, window.senders, dict(window.pinned)
        pinned[id] = (*pinned.pop(id, ()), digest)
        if outcome is not Outcome.TAKEN:
            unusual = {**unusual, f"{id} {digest}": outcome}
        if sender is not None:
            senders = _newest(senders, str(sender.key), (sender.birth, *sender.order), self.size, kept)
        return Window(self.size, window.encoded_ids, unusual, senders, pinned, window.count)

    def _without(self, id: str, digest: str) -> Window:
        entry = f"{id} {digest}"
        line = quoted(entry)
        lines = [each for each in self.encoded_ids.split(SEPARATOR) if each != line] if self.encoded_ids else []
        unusual = {each: outcome for each, outcome in self.other_outcomes.items() if each != entry}
        pinned = {each: tuple(it for it in its if each != id or it != digest) for each, its in self.pinned.items()}
        pinned = {each: its for each, its in pinned.items() if its}
        return Window(self.size, SEPARATOR.join(lines), unusual, self.senders, pinned)

    def unpin(self, in_hand: Container[str], before: Iterable[str] = ()) -> Window:
        """This window once somebody was handed the messages `in_hand`, by their ids; what no longer fits is forgotten.

        What stood ahead of these is known to be acknowledged. What stands behind them is not: `before` are the ids that
        were pinned until now, in their order, and another hand-out may have had more of them.
        """
        behind = frozenset(dropwhile(lambda id: id not in in_hand, before))
        gone = [
            f"{id} {digest}"
            for id, its in self.pinned.items()
            if id not in in_hand and id not in behind
            for digest in its
        ]
        if not gone:
            return self
        pinned = {id: its for id, its in self.pinned.items() if id in in_hand or id in behind}
        added, count, unusual = SEPARATOR.join(map(quoted, gone)), self.count + len(gone), self.other_outcomes
        lines = f"{self.encoded_ids}{SEPARATOR}{added}" if self.encoded_ids else added
        if count > self.size:
            oldest, lines, count = *_split(lines, count - self.size), self.size
            if unusual:
                forgotten = set(parse(f"[{oldest}]"))
                unusual = {entry: outcome for entry, outcome in unusual.items() if entry not in forgotten}
        return Window(self.size, lines, unusual, self.senders, pinned, count)

    def remember_sender(self, sender: Key, birth: str, kept: Container[str]) -> Window:
        """This window, in which `sender` is known to be somebody of whom something may still come."""
        name = str(sender)
        if name in self.senders:
            return self
        return evolve(self, senders=_newest(self.senders, name, (birth, 0, 0), self.size, kept))

    def forget_sender(self, sender: Key) -> Window:
        """This window without `sender`, of which nothing new can come."""
        if str(sender) not in self.senders:
            return self
        return evolve(self, senders={each: last for each, last in self.senders.items() if each != str(sender)})


def _split(lines: str, count: int) -> tuple[str, str]:
    """The first `count` of `lines`, and the others."""
    at = -1
    for _ in range(count):
        at = lines.find("\n", at + 1)
        if at < 0:
            return lines, ""
    return lines[: at - 1], lines[at + 1 :]


SEPARATOR = ",\n"
"""What stands between two messages of a window."""

DIGEST_CHARACTERS = 7
"""How many characters of an entry come behind the id: a space, and the digest."""


def _newest(items: Mapping[str, T], key: str, value: T, size: int, kept: Container[str]) -> Mapping[str, T]:
    copy = dict(items)
    copy.pop(key, None)
    copy[key] = value
    if len(copy) > size:
        strangers = [each for each in copy if each not in kept]
        if len(strangers) > size:
            del copy[strangers[0]]
    return copy


IN_DEAD_LETTERS = frozenset({Outcome.DEAD_LETTERED, Outcome.INVALID})
"""The outcomes of messages that lie among the dead letters, and may still be taken from there."""

EMPTY_WINDOW = Window()
