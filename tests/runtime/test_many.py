"""Many messages at once: in few calls of the queue, each refused or taken by itself, none out of order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from settled import EventError, IdReusedError, OutcomeUnknownError, TooLargeError, UnavailableError, setup
from settled.durable import Message
from settled_local import MemoryBackend
from settled_runtime import Client, Host, Outgoing
from settled_runtime.many import MAX_MESSAGES

machine = setup().machine(
    {
        "id": "counter",
        "initial": "even",
        "states": {
            "even": {"tags": ["settled"], "on": {"NEXT": "odd"}},
            "odd": {"tags": ["settled"], "on": {"NEXT": "even"}},
        },
    }
)


class Counting(MemoryBackend):
    """Counts the calls of `send`; the one with the number `fails` raises `error`."""

    def __init__(self, fails: int = 0, error: Exception | None = None) -> None:
        super().__init__(largest_message=1000)
        self.calls = 0
        send = self.queue.send

        def counted(messages: Sequence[Message]) -> None:
            self.calls += 1
            if error is not None and self.calls >= fails:
                raise error
            send(messages)

        self.queue.send = counted  # type: ignore[method-assign]


def work(backend: MemoryBackend) -> None:
    with Host([machine], backend) as host:
        while deliveries := backend.queue.receive(100):
            host.handle(deliveries)


def next_of(names: Sequence[str]) -> list[Outgoing]:
    return [Outgoing(name, {"type": "NEXT"}) for name in names]


def test_hundreds_go_to_the_queue_in_one_call() -> None:
    backend = Counting()
    client: Client[Any] = Client(machine, backend)
    names = [f"n{number}" for number in range(MAX_MESSAGES)]
    assert [each.error for each in client.start_many(Outgoing(name) for name in names)] == [None] * MAX_MESSAGES
    assert backend.calls == 1
    client.send_many(next_of(names + names[:1]))
    assert backend.calls == 3
    work(backend)
    found = [client.get(name) for name in names[:2]]
    assert [snapshot and snapshot.value for snapshot in found] == ["even", "odd"]


def test_one_that_is_refused_keeps_none_of_the_others_from_being_sent() -> None:
    backend = Counting()
    client: Client[Any] = Client(machine, backend)
    entries = [
        Outgoing("ada", {"type": "NEXT"}, "1"),
        Outgoing("ada", {"type": "xstate.done"}),
        Outgoing("ada", {"type": "NEXT", "more": "x" * 2000}),
        Outgoing("ada", {"type": "NEXT", "other": True}, "1"),
        Outgoing("", {"type": "NEXT"}),
        Outgoing("ben", {"type": "NEXT"}, "1"),
        Outgoing("ada", {"type": "NEXT"}, "2"),
    ]
    results = client.send_many(entries)
    kinds = [None, EventError, TooLargeError, IdReusedError, EventError, None, None]
    assert [each.error and type(each.error) for each in results] == kinds
    assert [each.instance for each in results] == [each.instance for each in entries]
    assert [(each.message.key.instance, each.message.id) for each in backend.queue.receive(10)] == [
        ("ada", "1"),
        ("ada", "2"),
        ("ben", "1"),
    ]


def once(send: Callable[[Sequence[Message]], None], messages: Sequence[Message]) -> None:
    send(messages)


@pytest.mark.parametrize("error", [UnavailableError("down"), OutcomeUnknownError("lost")])
def test_nothing_is_sent_after_what_could_not_be_sent(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("settled_runtime.many.retried", once)
    backend = Counting(fails=2, error=error)
    results = Client(machine, backend).send_many(next_of(["ada"] * (MAX_MESSAGES * 3)))
    assert [each.error for each in results] == [None] * MAX_MESSAGES + [error] * (MAX_MESSAGES * 2)
    assert backend.calls == 2
    assert all(each.message_id for each in results), "without its id, none could be sent again"


def test_sending_them_again_sends_each_once() -> None:
    backend = Counting()
    client: Client[Any] = Client(machine, backend)
    entries = [Outgoing("ada", {"type": "NEXT"}, f"{number}") for number in range(10)]
    client.send_many(entries[:5])
    client.send_many(entries)
    assert [each.message.id for each in backend.queue.receive(100)] == [f"{number}" for number in range(10)]


def test_nothing_is_nothing() -> None:
    backend = Counting()
    assert list(Client(machine, backend).send_many([])) == []
    assert backend.calls == 0
