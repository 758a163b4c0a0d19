"""The mail of one key: what was put into the queue for it, and what all its lives have taken of that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from attrs import define, field

from settled import Json
from settled.data import write
from settled.durable import Message
from settled.durable.messages import ChildEnded, Content, Event, ImportChild, Start, decode


@define(eq=False)
class Mailbox:
    """`arrived` is what was said, by the ids of the messages. `offered` and `taken` count events by their text.

    `begun` are the ids of the starts that a life began with. `excused` are the ids of what may be gone: it lay among
    the dead letters of an instance that was deleted, or was taken by one that a restore has undone.
    """

    arrived: dict[str, Content] = field(factory=dict[str, Content])
    sent: Counter[str] = field(factory=Counter[str])
    taken: Counter[str] = field(factory=Counter[str])
    started: set[str] = field(factory=set[str])
    may_be_missing: set[str] = field(factory=set[str])

    def arrive(self, message: Message) -> None:
        """`message` was put into the queue."""
        if message.id in self.arrived:
            return
        content = self.arrived[message.id] = decode(message.body)
        if isinstance(content, Event):
            self.sent[write(content.event)] += 1
        if isinstance(content, ChildEnded):
            self.sent[_report_text(content.child, content.data)] += 1

    def starts(self) -> dict[str, Start]:
        """The starts that arrived, by their ids, in their order."""
        return {id: content for id, content in self.arrived.items() if isinstance(content, Start)}

    def imports(self) -> dict[str, ImportChild]:
        """The adoptions that arrived, by their ids, in their order."""
        return {id: content for id, content in self.arrived.items() if isinstance(content, ImportChild)}

    def was_taken(self, event: Json) -> bool:
        """Whether each message that brought `event` was taken."""
        text = write(event)
        return self.taken[text] >= self.sent[text]

    def checkpoint(self) -> Callable[[], None]:
        """What undoes, for a restore, all that is taken from now on."""
        taken, started = Counter(self.taken), set(self.started)

        def restore() -> None:
            self.reset()
            self.taken, self.started = Counter(taken), set(started)

        return restore

    def reset(self) -> None:
        """Nothing was taken, and nothing that has come so far need be."""
        self.may_be_missing |= set(self.arrived)
        self.taken, self.started = Counter(), set()


def _report_text(child: str, data: Json) -> str:
    return write(["report", child, data])
