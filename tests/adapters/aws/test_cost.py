"""The cost of an event in requests, from which ``docs/aws.md`` computes prices."""

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

POLLS = {"receive_message"}
"""The requests of an idle poller. In front of a Lambda function Lambda makes them."""


class CountedHost:
    """A host and a client whose requests are counted."""

    def __init__(self, cloud: Cloud, url: AwsUrl, addresses: Addresses) -> None:
        self.counts: Counter[str] = Counter()
        self._cloud, self._addresses = cloud, addresses
        watched = cloud.watched(self._count)
        self._host = Host([MACHINE], backend(watched, url, addresses), observers=())
        self.client = Client(MACHINE, backend(cloud, url, addresses))
        self.take(lambda: self.client.start("ada"))

    def _count(self, name: str) -> None:
        if name not in POLLS:
            self.counts[name] += 1

    def take(self, send: Callable[[], Any]) -> Counter[str]:
        """Return the requests for handling all that `send` sends."""
        send()
        self.counts.clear()
        while deliveries := self._host.backend.queue.receive(10):
            self._host.handle(deliveries)
        return Counter(self.counts)

    def invoke(self, send: Callable[[], Any]) -> Counter[str]:
        """Return the requests for handling all that `send` sends in a Lambda function."""
        send()
        records = records_of(self._cloud, self._addresses)
        self.counts.clear()
        assert lambda_handler(self._host)({"Records": records}, Unhurried()) == {"batchItemFailures": []}
        for each in records:  # as Lambda does
            self._cloud.sqs.delete_message(QueueUrl=self._addresses.queue, ReceiptHandle=each["receiptHandle"])
        return Counter(self.counts)

    def take_elsewhere(self, send: Callable[[], Any]) -> None:
        """Let another process handle all that `send` sends."""
        send()
        with Host([MACHINE], self._host.backend, observers=()) as other:
            while deliveries := other.backend.queue.receive(10):
                other.handle(deliveries)

    def forget(self) -> None:
        """Continue as a new process would, with an empty cache."""
        self._host = Host([MACHINE], self._host.backend, observers=())


@pytest.fixture
def host(cloud: Cloud, url: AwsUrl, addresses: Addresses) -> CountedHost:
    return CountedHost(cloud, url, addresses)


def event(type: str, **more: Any) -> dict[str, Any]:
    return {"type": type, "number": 1, **more}


def test_an_event_is_one_read_one_write_and_one_delete(host: CountedHost) -> None:
    host.forget()
    counted = host.take(lambda: host.client.send("ada", event("TAKE")))
    assert counted == {"get_item": 1, "put_item": 1, "delete_message_batch": 1}


def test_the_next_event_of_an_instance_takes_no_read(host: CountedHost) -> None:
    counted = host.take(lambda: host.client.send("ada", event("TAKE")))
    assert counted == {"put_item": 1, "delete_message_batch": 1}


def test_an_invocation_that_reads_nothing_asks_for_the_time(host: CountedHost) -> None:
    host.forget()
    for _ in range(2):  # first the read of the record, then the request for the time
        counted = host.invoke(lambda: host.client.send("ada", event("TAKE")))
        assert counted == {"get_item": 1, "put_item": 1}


def test_an_invocation_acknowledges_without_a_request_however_many_instances_it_has(host: CountedHost) -> None:
    def send() -> None:
        for number in range(10):
            host.client.send(f"{number}", event("TAKE"))

    for number in range(10):
        host.take(lambda: host.client.start(f"{number}"))  # noqa: B023 (called at once)
    assert host.invoke(send)["delete_message_batch"] == 0


def test_several_waiting_events_cost_as_much_as_one(host: CountedHost) -> None:
    def send() -> None:
        for _ in range(10):
            host.client.send("ada", event("TAKE"))

    host.forget()
    assert host.take(send) == {"get_item": 1, "put_item": 1, "delete_message_batch": 1}


def test_an_event_that_runs_an_actor_takes_one_more_write(host: CountedHost) -> None:
    host.forget()
    counted = host.take(lambda: host.client.send("ada", event("WORK")))
    assert counted == {"get_item": 1, "put_item": 2, "delete_message_batch": 1}


def test_a_conflict_is_one_more_write_and_no_read(host: CountedHost) -> None:
    host.take(lambda: host.client.send("ada", event("TAKE")))
    host.take_elsewhere(lambda: host.client.send("ada", event("TAKE")))
    counted = host.take(lambda: host.client.send("ada", event("TAKE")))
    assert counted == {"put_item": 2, "delete_message_batch": 1}


def test_a_timer_is_one_request(host: CountedHost) -> None:
    counted = host.take(lambda: host.client.send("ada", event("WAIT")))
    assert counted["create_schedule"] == 1  # in 24 hours
    assert counted["send_message"] == 1  # in a second
    assert counted["put_item"] == 1


def test_a_duplicate_is_one_read_and_one_delete(host: CountedHost, cloud: Cloud, addresses: Addresses) -> None:
    host.take(lambda: host.client.send("ada", event("TAKE"), message_id="once"))
    body = to_text(Message(Key("jobs", "ada"), "once", encode(Event(event("TAKE")))))
    again = {"MessageBody": body, "MessageGroupId": "jobs/ada", "MessageDeduplicationId": "five minutes later"}
    host.forget()
    counted = host.take(lambda: cloud.sqs.send_message(QueueUrl=addresses.queue, **again))
    assert counted == {"get_item": 1, "delete_message_batch": 1}
