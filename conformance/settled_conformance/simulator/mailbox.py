"""`Mailbox`: the messages sent to one key, and which of them its lifetimes have taken."""

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
    """The messages of one key.

    `arrived` are their contents by id. `sent` and `taken` count events by their JSON text; `ids` are those of the
    messages with an event. `started` are the ids of the
    starts that began a lifetime. `may_be_missing` are ids of messages that may be lost: they were dead letters of an
    instance that was deleted, or were taken by one that a restore has undone.
    """

    arrived: dict[str, Content] = field(factory=dict[str, Content])
    ids: dict[str, list[str]] = field(factory=dict[str, list[str]])
    sent: Counter[str] = field(factory=Counter[str])
    taken: Counter[str] = field(factory=Counter[str])
    started: set[str] = field(factory=set[str])
    may_be_missing: set[str] = field(factory=set[str])

    def arrive(self, message: Message) -> None:
        """Record that `message` was sent. A message with a known id is not counted again."""
        if message.id in self.arrived:
            return
        content = self.arrived[message.id] = decode(message.body)
        if isinstance(content, Event):
            self.sent[write(content.event)] += 1
            self.ids.setdefault(write(content.event), []).append(message.id)
        if isinstance(content, ChildEnded):
            self.sent[_report_text(content.child, content.data)] += 1

    def starts(self) -> dict[str, Start]:
        """Return the starts that arrived, by id, in order."""
        return {id: content for id, content in self.arrived.items() if isinstance(content, Start)}

    def imports(self) -> dict[str, ImportChild]:
        """Return the imports that arrived, by id, in order."""
        return {id: content for id, content in self.arrived.items() if isinstance(content, ImportChild)}

    def was_taken(self, event: Json) -> bool:
        """Return whether every message with this `event` was taken."""
        text = write(event)
        return self.taken[text] >= self.sent[text]

    def checkpoint(self) -> Callable[[], None]:
        """Return a function that undoes, for a restore, all takes from now on."""
        taken, started = Counter(self.taken), set(self.started)

        def restore() -> None:
            self.reset()
            self.taken, self.started = Counter(taken), set(started)

        return restore

    def reset(self) -> None:
        """Forget what was taken; no message that has arrived so far need be taken any more."""
        self.may_be_missing |= set(self.arrived)
        self.taken, self.started = Counter(), set()


def _report_text(child: str, data: Json) -> str:
    return write(["report", child, data])
