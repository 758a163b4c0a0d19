"""What an event costs, counted in requests: the arithmetic in ``docs/aws.md`` begins here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from settled import Key
from settled.durable import Event, Message, encode
from settled_aws import Addresses, AwsUrl, lambda_handler
from settled_aws.envelope import to_text
from settled_runtime import Client, Host
from tests.adapters.aws.fixtures import Cloud, Unhurried, backend, records_of
from tests.support.traced_machine import MACHINE

LOOKS = {"receive_message"}
"""What a poller asks for, however few events there are. In front of a Lambda function, Lambda's own does it."""


class Till:
    """A host and a client whose requests are counted."""

    def __init__(self, cloud: Cloud, where: AwsUrl, found: Addresses) -> None:
        self.counted: Counter[str] = Counter()
        self._cloud, self._found = cloud, found
        watched = cloud.watched(self._count)
        self._host = Host([MACHINE], backend(watched, where, found), observers=())
        self.client = Client(MACHINE, backend(cloud, where, found))
        self.take(lambda: self.client.start("ada"))

    def _count(self, name: str) -> None:
        if name not in LOOKS:
            self.counted[name] += 1

    def take(self, send: Callable[[], Any]) -> Counter[str]:
        """What it takes to take all that `send` sends."""
        send()
        self.counted.clear()
        while deliveries := self._host.backend.queue.receive(10):
            self._host.handle(deliveries)
        return Counter(self.counted)

    def invoke(self, send: Callable[[], Any]) -> Counter[str]:
        """What it takes a Lambda function to take what `send` sends."""
        send()
        event = {"Records": records_of(self._cloud, self._found)}
        self.counted.clear()
        assert lambda_handler(self._host)(event, Unhurried()) == {"batchItemFailures": []}
        return Counter(self.counted)

    def forget(self) -> None:
        """Go on as another process would: with nothing in memory."""
        self._host = Host([MACHINE], self._host.backend, observers=())


@pytest.fixture
def till(cloud: Cloud, where: AwsUrl, found: Addresses) -> Till:
    return Till(cloud, where, found)


def event(type: str, **more: Any) -> dict[str, Any]:
    return {"type": type, "number": 1, **more}


def test_an_event_is_one_read_one_write_and_one_delete(till: Till) -> None:
    till.forget()
    counted = till.take(lambda: till.client.send("ada", event("TAKE")))
    assert counted == {"get_item": 1, "put_item": 1, "delete_message_batch": 1}


def test_the_next_event_of_an_instance_need_not_be_read_for(till: Till) -> None:
    counted = till.take(lambda: till.client.send("ada", event("TAKE")))
    assert counted == {"put_item": 1, "delete_message_batch": 1}


def test_a_function_that_need_not_read_asks_for_the_time(till: Till) -> None:
    till.forget()
    for _ in range(2):  # what it reads, or else what it asks, is the one `get_item`
        counted = till.invoke(lambda: till.client.send("ada", event("TAKE")))
        assert counted == {"get_item": 1, "put_item": 1, "delete_message_batch": 1}


def test_several_events_that_wait_are_taken_for_the_price_of_one(till: Till) -> None:
    def send() -> None:
        for _ in range(10):
            till.client.send("ada", event("TAKE"))

    till.forget()
    assert till.take(send) == {"get_item": 1, "put_item": 1, "delete_message_batch": 1}


def test_an_event_that_calls_an_actor_is_one_write_more(till: Till) -> None:
    till.forget()
    counted = till.take(lambda: till.client.send("ada", event("WORK")))
    assert counted == {"get_item": 1, "put_item": 2, "delete_message_batch": 1}


def test_a_timer_is_one_request(till: Till) -> None:
    counted = till.take(lambda: till.client.send("ada", event("WAIT")))
    assert counted["create_schedule"] == 1  # in 24 hours
    assert counted["send_message"] == 1  # in a second
    assert counted["put_item"] == 1


def test_a_duplicate_is_one_read_and_one_delete(till: Till, cloud: Cloud, found: Addresses) -> None:
    till.take(lambda: till.client.send("ada", event("TAKE"), message_id="once"))
    body = to_text(Message(Key("jobs", "ada"), "once", encode(Event(event("TAKE")))))
    again = {"MessageBody": body, "MessageGroupId": "jobs/ada", "MessageDeduplicationId": "five minutes later"}
    till.forget()
    counted = till.take(lambda: cloud.sqs.send_message(QueueUrl=found.queue, **again))
    assert counted == {"get_item": 1, "delete_message_batch": 1}
