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
    offered: Counter[str] = field(factory=Counter[str])
    taken: Counter[str] = field(factory=Counter[str])
    begun: set[str] = field(factory=set[str])
    excused: set[str] = field(factory=set[str])

    def arrive(self, message: Message) -> None:
        """`message` was put into the queue."""
        if message.id in self.arrived:
            return
        content = self.arrived[message.id] = decode(message.body)
        if isinstance(content, Event):
            self.offered[write(content.event)] += 1
        if isinstance(content, ChildEnded):
            self.offered[_report_text(content.child, content.data)] += 1

    def starts(self) -> dict[str, Start]:
        """The starts that arrived, by their ids, in their order."""
        return {id: content for id, content in self.arrived.items() if isinstance(content, Start)}

    def adoptions(self) -> dict[str, ImportChild]:
        """The adoptions that arrived, by their ids, in their order."""
        return {id: content for id, content in self.arrived.items() if isinstance(content, ImportChild)}

    def was_taken(self, event: Json) -> bool:
        """Whether each message that brought `event` was taken."""
        text = write(event)
        return self.taken[text] >= self.offered[text]

    def remember(self) -> Callable[[], None]:
        """What undoes, for a restore, all that is taken from now on."""
        taken, begun = Counter(self.taken), set(self.begun)

        def restore() -> None:
            self.forget()
            self.taken, self.begun = Counter(taken), set(begun)

        return restore

    def forget(self) -> None:
        """Nothing was taken, and nothing that has come so far need be."""
        self.excused |= set(self.arrived)
        self.taken, self.begun = Counter(), set()


def _report_text(child: str, data: Json) -> str:
    return write(["report", child, data])
