"""Message ids: whose they are, what they repeat, and how a sender gets hold of them again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from settled import EventError, IdReusedError, Key, Outcome, OutcomeUnknownError, UnavailableError
from settled.durable import Message
from settled_local.memory import MemoryBackend
from settled_runtime import Client, EventRejectedError, Host
from tests.durable.machines import add, appending


class Losing:
    """A queue whose answers are lost, or that cannot be reached, as long as there are `errors`."""

    def __init__(self, queue: Any, errors: list[Exception]) -> None:
        self._queue, self.errors = queue, errors

    def send(self, messages: Sequence[Message]) -> None:
        if self.errors and isinstance(self.errors[0], UnavailableError):
            raise self.errors[0]
        self._queue.send(messages)
        if self.errors:
            raise self.errors.pop()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


class Place:
    """An instance in memory, whose queue may be one that forgets and loses."""

    def __init__(self, remember: int = 1000) -> None:
        self.backend = MemoryBackend(remember=remember)
        self.client = Client(appending(), self.backend)
        self._host = Host([appending()], self.backend, observers=())

    def work(self) -> None:
        while deliveries := self.backend.queue.receive(10):
            self._host.handle(deliveries)
        self._host.close()

    @property
    def applied(self) -> list[int]:
        snapshot = self.client.get("ada")
        return list(snapshot.context["applied"]) if snapshot else []


class TestAnIdThatIsUsedTwice:
    def test_for_a_start_and_an_event_is_refused_by_a_queue_that_remembers_it(self) -> None:
        place = Place()
        place.client.start("ada", message_id="x")
        place.work()
        with pytest.raises(IdReusedError, match="'x' is that of another message"):
            place.client.ask("ada", add(1), message_id="x", timeout=0)

    def test_is_set_aside_where_the_queue_has_forgotten_it(self) -> None:
        place = Place(remember=0)
        place.client.start("ada", message_id="x")
        place.work()
        place.client.send("ada", add(1), message_id="x")
        place.work()
        assert place.applied == []
        (letter,) = place.client.dead_letters("ada")
        assert "the id 'x' belongs to another message, with another body" in letter.reason
        with pytest.raises(EventRejectedError) as raised:
            place.client.ask("ada", add(1), message_id="x", timeout=0)
        assert raised.value.outcome is Outcome.INVALID

    def test_does_not_halt_the_instance(self) -> None:
        place = Place(remember=0)
        place.client.start("ada", message_id="x")
        place.work()
        place.client.send("ada", add(1), message_id="x")
        place.client.send("ada", add(2), message_id="y")
        place.work()
        assert place.applied == [2]

    def test_for_the_same_body_is_a_repetition(self) -> None:
        place = Place(remember=0)
        place.client.start("ada")
        for _ in range(3):
            place.client.send("ada", add(1), message_id="x")
            place.work()
        assert place.applied == [1]


class TestAnAnswerThatWasLost:
    def test_leaves_the_id_with_the_error_so_that_anyone_can_send_again(self) -> None:
        place = Place()
        place.client.start("ada")
        place.work()
        backend: Any = place.backend
        backend._queue = Losing(backend.queue, [OutcomeUnknownError("lost")])
        with pytest.raises(OutcomeUnknownError) as raised:
            place.client.send("ada", add(1))
        assert raised.value.message_id is not None
        assert raised.value.message_id in raised.value.__notes__[0]
        assert place.client.send("ada", add(1), message_id=raised.value.message_id) == raised.value.message_id
        place.work()
        assert place.applied == [1]


class TestAnEventThatIsRepeatedAfterTheDeletion:
    def test_is_answered_with_what_became_of_it(self) -> None:
        place = Place()
        place.client.start("ada")
        place.client.send("ada", add(1), message_id="x")
        place.work()
        place.client.delete("ada")
        with pytest.raises(EventRejectedError):
            place.client.ask("ada", add(1), message_id="x", timeout=0)


class TestAReservedName:
    @pytest.mark.parametrize("id", ["settled:x", "settled:list/ada/n/1/0"])
    def test_is_no_id_for_anybody_else(self, id: str) -> None:
        client = Place().client
        with pytest.raises(EventError, match="use another one"):
            client.start("ada", message_id=id)
        with pytest.raises(EventError, match="use another one"):
            client.send("ada", add(1), message_id=id)

    def test_is_no_name_for_an_instance_that_is_started(self) -> None:
        with pytest.raises(EventError, match="in the names of child machines only"):
            Place().client.start("ada/~kid.n.1.0")

    def test_is_a_name_that_events_can_be_sent_to(self) -> None:
        place = Place()
        place.client.send("ada/~kid.n.1.0", add(1))
        (delivery,) = place.backend.queue.receive(1)
        assert delivery.message.key == Key("list", "ada/~kid.n.1.0")
