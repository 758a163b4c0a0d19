"""Responses of the HTTP handler, over the memory backend: idempotency keys, and the id in an error."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from settled import OutcomeUnknownError
from settled.durable import Message
from settled.durable.headers import NO_HEADERS
from settled_aws import anyone, http_handler
from settled_local import MemoryBackend
from settled_runtime import Host
from tests.durable.machines import appending


class Context:
    def get_remaining_time_in_millis(self) -> int:
        return 3_000


class Service:
    """The handler, and a host for the messages that it sends."""

    def __init__(self, remember: int = 1000) -> None:
        self.backend = MemoryBackend(remember=remember)
        self._handler = http_handler([appending()], self.backend, authorize=anyone)
        self._host = Host([appending()], self.backend, observers=())

    def request(
        self,
        method: str,
        body: Any = None,
        id: str | None = None,
        wait: float = 0.0,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> tuple[int, Any]:
        return self.send_text(method, json.dumps(body), id, wait, headers)

    def send_text(
        self,
        method: str,
        body: str,
        id: str | None = None,
        wait: float = 0.0,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> tuple[int, Any]:
        headers = {**headers, **({} if id is None else {"Idempotency-Key": id})}
        event: Mapping[str, Any] = {
            "rawPath": "/list/ada",
            "requestContext": {"http": {"method": method}},
            "headers": headers,
            "body": body,
            "queryStringParameters": {"wait": str(wait)},
        }
        answer = self._handler(event, Context())
        return answer["statusCode"], json.loads(answer["body"])

    def work(self) -> None:
        while deliveries := self.backend.queue.receive(10):
            self._host.handle(deliveries)
        self._host.close()


def test_an_id_that_another_message_has_is_a_conflict() -> None:
    service = Service()
    assert service.request("PUT", id="x")[0] == 202
    service.work()
    status, body = service.request("POST", {"type": "ADD", "n": 1}, id="x")
    assert (status, "belongs to another message" in body["error"]) == (409, True)


def test_an_id_that_the_queue_has_forgotten_is_a_conflict_too() -> None:
    service = Service(remember=0)
    service.request("PUT", id="x")
    service.work()
    service.request("POST", {"type": "ADD", "n": 1}, id="x")
    service.work()
    status, body = service.request("POST", {"type": "ADD", "n": 1}, id="x", wait=0.01)
    assert (status, body["id"], "invalid" in body["error"]) == (409, "x", True)


def test_a_repeated_request_has_the_same_response() -> None:
    service = Service()
    service.request("PUT")
    service.request("POST", {"type": "ADD", "n": 1}, id="x")
    service.work()
    assert service.request("POST", {"type": "ADD", "n": 1}, id="x", wait=0.01)[0] == 200


def test_an_event_that_was_ignored_is_a_conflict_and_the_response_says_why() -> None:
    service = Service()
    service.request("PUT")
    service.request("POST", {"type": "SING"}, id="x")
    service.work()
    status, body = service.request("POST", {"type": "SING"}, id="x", wait=0.01)
    assert (status, body["outcome"], body["value"]) == (409, "ignored", "open")
    assert body["reason"] == 'no transition takes SING in "list.open"; events taken here: ADD, TELL, CLOSE'
    assert body["error"] == f"list/ada: the message x was ignored: {body['reason']}"


def test_a_put_of_an_instance_that_exists_succeeds_and_changes_nothing() -> None:
    service = Service()
    service.request("PUT")
    service.request("PUT", id="x")
    service.work()
    status, body = service.request("PUT", id="x", wait=0.01)
    assert (status, body["value"]) == (200, "open")


def test_the_response_has_the_id_if_the_queues_answer_was_lost() -> None:
    service = Service()
    send = service.backend.queue.send

    def lost(messages: Sequence[Message]) -> None:
        send(messages)
        raise OutcomeUnknownError("lost")

    queue: Any = service.backend.queue
    queue.send = lost
    status, body = service.request("PUT")
    assert status == 503
    (delivery,) = service.backend.queue.receive(1)
    assert body["id"] == delivery.message.id


HTTP_HEADERS = {"Traceparent": "00-1", "Settled-Header-Tenant": "acme", "Content-Type": "application/json"}


@pytest.mark.parametrize(("method", "wait"), [("PUT", 0.0), ("POST", 0.0), ("POST", 0.01)])
def test_the_trace_context_and_headers_with_the_prefix_become_headers_of_the_message(method: str, wait: float) -> None:
    service = Service()
    assert service.request(method, {"type": "ADD", "n": 1}, wait=wait, headers=HTTP_HEADERS)[0] == 202
    (delivery,) = service.backend.queue.receive(10)
    assert delivery.message.headers == {"traceparent": "00-1", "tenant": "acme"}


def test_a_trace_context_that_is_too_long_is_left_out() -> None:
    """A proxy may have added it, so it must not fail the request."""
    service = Service()
    assert service.request("PUT", headers={"Tracestate": "x" * 2000, "Traceparent": "00-1"})[0] == 202
    (delivery,) = service.backend.queue.receive(10)
    assert delivery.message.headers == {"traceparent": "00-1"}


@pytest.mark.parametrize("wait", [float("nan"), float("inf")])
def test_a_wait_that_is_no_time_is_a_bad_request(wait: float) -> None:
    service = Service()
    assert service.request("PUT", wait=wait)[0] == 400
    assert not service.backend.queue.receive(10)


def test_a_header_that_is_not_allowed_is_a_bad_request() -> None:
    service = Service()
    status, body = service.request("PUT", headers={"Settled-Header-Tenant": "x" * 2000})
    assert (status, "the header 'tenant': its value has 2000 characters" in body["error"]) == (400, True)
    assert not service.backend.queue.receive(10)


@pytest.mark.parametrize("levels", [64, 490, 100_000])
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_body_that_is_nested_too_deeply_is_a_bad_request(method: str, levels: int) -> None:
    service = Service()
    status, body = service.send_text(method, f'{{"type": "ADD", "n": {"[" * levels}{"]" * levels}}}')
    assert (status, "nested" in body["error"]) == (400, True)
    assert not service.backend.queue.receive(10)


@pytest.mark.parametrize("text", ['{"type": "ADD", "n": NaN}', "{"])
def test_a_body_that_is_not_json_is_a_bad_request(text: str) -> None:
    assert Service().send_text("POST", text)[0] == 400


def test_a_body_that_is_too_large_is_refused() -> None:
    service = Service()
    status, body = service.request("POST", {"type": "ADD", "n": "x" * 1024 * 1024})
    assert (status, "the limit is 1,048,576" in body["error"]) == (413, True)
    assert not service.backend.queue.receive(10)
