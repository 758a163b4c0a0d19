"""Message ids: idempotency, reuse for another message, retries after a lost answer, and reserved ids."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from settled import EventError, IdReusedError, Key, Outcome, OutcomeUnknownError, UnavailableError
from settled.durable import Message
from settled_local.memory import MemoryBackend
from settled_runtime import Client, EventOutcomeError, Host
from tests.durable.machines import add, appending


class LosesAnswers:
    """A queue that loses its answers, or cannot be reached, while there are `errors`."""

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


class Deployment:
    """A host, a client and a backend in memory whose queue deduplicates the last `remember` ids."""

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
    def test_for_different_messages_raises_while_the_queue_remembers_it(self) -> None:
        deployment = Deployment()
        deployment.client.start("ada", message_id="x")
        deployment.work()
        with pytest.raises(IdReusedError, match="'x' belongs to another message"):
            deployment.client.ask("ada", add(1), message_id="x", timeout=timedelta(seconds=0))

    def test_for_different_messages_makes_a_dead_letter_once_the_queue_has_forgotten_it(self) -> None:
        deployment = Deployment(remember=0)
        deployment.client.start("ada", message_id="x")
        deployment.work()
        deployment.client.send("ada", add(1), message_id="x")
        deployment.work()
        assert deployment.applied == []
        (dead_letter,) = deployment.client.dead_letters("ada")
        assert "the id 'x' belongs to another message, with another body" in dead_letter.reason
        with pytest.raises(EventOutcomeError) as raised:
            deployment.client.ask("ada", add(1), message_id="x", timeout=timedelta(seconds=0))
        assert raised.value.outcome is Outcome.INVALID

    def test_does_not_halt_the_instance(self) -> None:
        deployment = Deployment(remember=0)
        deployment.client.start("ada", message_id="x")
        deployment.work()
        deployment.client.send("ada", add(1), message_id="x")
        deployment.client.send("ada", add(2), message_id="y")
        deployment.work()
        assert deployment.applied == [2]

    def test_for_the_same_message_has_no_effect(self) -> None:
        deployment = Deployment(remember=0)
        deployment.client.start("ada")
        for _ in range(3):
            deployment.client.send("ada", add(1), message_id="x")
            deployment.work()
        assert deployment.applied == [1]


class TestAnAnswerThatWasLost:
    def test_raises_with_the_id_under_which_the_message_can_be_sent_again(self) -> None:
        deployment = Deployment()
        deployment.client.start("ada")
        deployment.work()
        backend: Any = deployment.backend
        backend.queue = LosesAnswers(backend.queue, [OutcomeUnknownError("lost")])
        with pytest.raises(OutcomeUnknownError) as raised:
            deployment.client.send("ada", add(1))
        assert raised.value.message_id is not None
        assert raised.value.message_id in raised.value.__notes__[0]
        assert deployment.client.send("ada", add(1), message_id=raised.value.message_id) == raised.value.message_id
        deployment.work()
        assert deployment.applied == [1]


class TestAnEventThatIsSentAgainAfterTheDeletion:
    def test_still_has_its_outcome(self) -> None:
        deployment = Deployment()
        deployment.client.start("ada")
        deployment.client.send("ada", add(1), message_id="x")
        deployment.work()
        deployment.client.delete("ada")
        with pytest.raises(EventOutcomeError):
            deployment.client.ask("ada", add(1), message_id="x", timeout=timedelta(seconds=0))


class TestAReservedIdOrName:
    @pytest.mark.parametrize("id", ["settled:x", "settled:list/ada/n/1/0"])
    def test_cannot_be_the_id_of_a_message_from_outside(self, id: str) -> None:
        client = Deployment().client
        with pytest.raises(EventError, match="use another one"):
            client.start("ada", message_id=id)
        with pytest.raises(EventError, match="use another one"):
            client.send("ada", add(1), message_id=id)

    def test_cannot_be_the_name_of_an_instance_that_is_started_from_outside(self) -> None:
        with pytest.raises(EventError, match="in the names of child machines only"):
            Deployment().client.start("ada/~kid.n.1.0")

    def test_can_be_the_name_of_an_instance_that_events_are_sent_to(self) -> None:
        deployment = Deployment()
        deployment.client.send("ada/~kid.n.1.0", add(1))
        (delivery,) = deployment.backend.queue.receive(1)
        assert delivery.message.key == Key("list", "ada/~kid.n.1.0")
