"""Instances on a real store whose records fill it, and messages as large as a real queue takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from settled import Backoff, Key, Machine, Policy, assign, send_to, setup
from settled.durable import Backend, DeadLetter, Event, Message, encode
from settled_runtime import Client, Host

POLICY = Policy(max_attempts=2, backoff=Backoff(first=timedelta(milliseconds=1)))

LARGE_FOLLOWERS = 10


def growing(*, repaired: bool = False) -> Machine[Any]:
    """Return a machine with a context that grows, which fails at POISON; once `repaired`, any event empties it."""

    def fail(_args: Any) -> bool:
        if repaired:
            return True
        raise RuntimeError("no")

    empty: Any = assign(text="")
    return setup(
        guards={"fails": fail},
        actions={
            "grow": empty if repaired else assign(text=lambda a: a.context["text"] + a.event["text"]),
            "empty": empty,
        },
    ).machine(
        {
            "id": "list",
            "initial": "open",
            "context": {"text": ""},
            "states": {
                "open": {
                    "tags": ["settled"],
                    "on": {"GROW": {"actions": "grow"}, "POISON": {"guard": "fails", "actions": "empty"}},
                }
            },
        }
    )


def relaying() -> Machine[Any]:
    """Return a machine that sends each event it is sent to the instance ``list/ada``."""
    relay = send_to("list/ada", lambda a: {**a.event, "type": "GROW"})
    on = {"TELL": {"actions": "relay"}}
    return setup(actions={"relay": relay}).machine(
        {"id": "relay", "initial": "open", "states": {"open": {"tags": ["settled"], "on": on}}}
    )


class FullInstance:
    """The instance ``ada`` on `backend`, whose `size` of a record is limited to `limit` bytes."""

    def __init__(self, backend: Backend, size: Callable[[], int], limit: int) -> None:
        self.backend, self._size, self._limit = backend, size, limit
        self.client = Client(growing(), backend)

    def grow(self) -> None:
        """Let its record grow up to the limit."""
        self.client.start("ada")
        # The record keeps some room once it is large, and the id of each message.
        self.client.send("ada", {"type": "GROW", "text": "x" * 100_000}, message_id="1")
        self.work()
        self.client.send("ada", {"type": "GROW", "text": "x" * (self._limit - self._size() - 5000)}, message_id="2")
        self.work()
        before = self._size()
        self.client.send("ada", {"type": "GROW", "text": "x" * 100}, message_id="3")
        self.work()
        of_a_message = self._size() - before - 100
        rest = self._limit - self._size() - of_a_message
        self.client.send("ada", {"type": "GROW", "text": "x" * rest}, message_id="4")
        self.work()
        assert self._size() == self._limit

    def halt(self, largest: int) -> Sequence[DeadLetter]:
        """Let it fail with large messages behind the one that fails, the last of `largest` bytes."""
        self.client.send("ada", {"type": "POISON"}, message_id="poison")
        for number in range(LARGE_FOLLOWERS):
            self.client.send("ada", {"type": "GROW", "text": "x" * 390_000}, message_id=f"large{number}")
        body = encode(Event({"type": "GROW", "text": "é" * (largest // 2)}))
        self.backend.queue.send([Message(Key("list", "ada"), "foreign", body)])
        self.work()
        return self.client.dead_letters("ada")

    def redrive(self) -> None:
        """Let workers with a repaired machine take its dead letters."""
        self.client = Client(growing(repaired=True), self.backend)
        self.client.redrive("ada")
        self.work(growing(repaired=True))

    def context(self) -> Any:
        snapshot = self.client.get("ada")
        assert snapshot is not None
        return snapshot.context

    def work(self, *machines: Machine[Any]) -> None:
        """Handle what is in the queue."""
        with Host(machines or [growing()], self.backend, policy=POLICY, observers=()) as host:
            while deliveries := self.backend.queue.receive(10, 1.5):
                host.handle(deliveries)
