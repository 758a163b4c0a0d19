"""What the HTTP entry answers, over a backend in memory: an id is one message, and an error says under which."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from settled import OutcomeUnknownError
from settled.durable import Message
from settled_aws import http_handler
from settled_local import MemoryBackend
from settled_runtime import Host
from tests.durable.machines import appending


class Context:
    def get_remaining_time_in_millis(self) -> int:
        return 3_000


class Door:
    """A door, and what a host makes of what came in."""

    def __init__(self, remember: int = 1000) -> None:
        self.backend = MemoryBackend(remember=remember)
        self._handler = http_handler([appending()], self.backend)
        self._host = Host([appending()], self.backend, observers=())

    def asks(self, method: str, body: Any = None, id: str | None = None, wait: float = 0.0) -> tuple[int, Any]:
        headers = {} if id is None else {"Idempotency-Key": id}
        event: Mapping[str, Any] = {
            "rawPath": "/list/ada",
            "requestContext": {"http": {"method": method}},
            "headers": headers,
            "body": json.dumps(body),
            "queryStringParameters": {"wait": str(wait)},
        }
        answer = self._handler(event, Context())
        return answer["statusCode"], json.loads(answer["body"])

    def work(self) -> None:
        while deliveries := self.backend.queue.receive(10):
            self._host.handle(deliveries)
        self._host.close()


def test_an_id_that_was_another_messages_is_a_conflict() -> None:
    door = Door()
    assert door.asks("PUT", id="x")[0] == 202
    door.work()
    status, said = door.asks("POST", {"type": "ADD", "n": 1}, id="x")
    assert (status, "that of another message" in said["error"]) == (409, True)


def test_an_id_that_the_queue_has_forgotten_is_a_conflict_too() -> None:
    door = Door(remember=0)
    door.asks("PUT", id="x")
    door.work()
    door.asks("POST", {"type": "ADD", "n": 1}, id="x")
    door.work()
    status, said = door.asks("POST", {"type": "ADD", "n": 1}, id="x", wait=0.01)
    assert (status, said["id"], "refused" in said["error"]) == (409, "x", True)


def test_a_repetition_is_answered_as_the_first() -> None:
    door = Door()
    door.asks("PUT")
    door.asks("POST", {"type": "ADD", "n": 1}, id="x")
    door.work()
    assert door.asks("POST", {"type": "ADD", "n": 1}, id="x", wait=0.01)[0] == 200


def test_where_the_answer_was_lost_it_says_the_id() -> None:
    door = Door()
    send = door.backend.queue.send

    def lost(messages: Sequence[Message]) -> None:
        send(messages)
        raise OutcomeUnknownError("lost")

    queue: Any = door.backend.queue
    queue.send = lost
    status, said = door.asks("PUT")
    assert status == 503
    (delivery,) = door.backend.queue.receive(1)
    assert said["id"] == delivery.message.id
