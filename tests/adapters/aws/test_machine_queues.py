"""Machines with queues of their own, on ministack."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from attrs import evolve

from settled import ConflictError, Key, TooLargeError
from settled.durable.malformed import is_malformed
from settled_aws import Addresses, AwsUrl, examine_aws, lambda_handler
from settled_runtime import Client, CompositeBackend, Host, Worker
from tests.adapters.aws.fixtures import REGION, Cloud, Unhurried, backend, records_of
from tests.support.builders import ids, message, timer, until
from tests.support.traced_machine import MACHINE

ORDER, BILL, OTHER = Key("order", "1"), Key("bill", "1"), Key("other", "1")


@pytest.fixture
def url(url: AwsUrl) -> AwsUrl:
    name = url.table
    return evolve(url, queues={"order": f"{name}-orders.fifo", "bill": f"{name}-bills.fifo"})


@pytest.fixture
def plain(cloud: Cloud, url: AwsUrl, addresses: Addresses) -> CompositeBackend:
    """The same backend, as a process knows it whose URL has no queues of machines."""
    return backend(cloud, evolve(url, queues={}), evolve(addresses, queues={}, queue_arns={}))


def test_a_receive_for_a_machine_reads_its_queue_only(aws: CompositeBackend) -> None:
    aws.queue.send([message(ORDER, "order"), message(BILL, "bill"), message(OTHER, "other")])
    assert ids(aws.queue.receive(10, machines={"bill"})) == ["bill"]
    assert ids(aws.queue.receive(10, machines={"bill"})) == []
    assert ids(aws.queue.receive(10, machines={"something else"})) == ["other"]
    assert ids(aws.queue.receive(10, machines={"order"})) == ["order"]


def test_a_receive_for_several_machines_reads_the_queue_of_each(aws: CompositeBackend) -> None:
    aws.queue.send([message(Key(machine, f"{n}"), f"{machine}{n}") for machine in ("order", "bill") for n in range(3)])
    received = [id for _ in range(6) for id in ids(aws.queue.receive(1, machines=("order", "bill")))]
    assert len(set(received)) == 6
    assert {id[:-1] for id in received[:2]} == {"order", "bill"}


def test_deliveries_of_several_queues_are_extended_released_and_acknowledged_in_theirs(aws: CompositeBackend) -> None:
    aws.queue.send([message(ORDER, "order"), message(BILL, "bill")])
    held = [*aws.queue.receive(10, machines={"order"}), *aws.queue.receive(10, machines={"bill"})]
    aws.queue.extend(held, 30)
    aws.queue.release(held)
    held = [*aws.queue.receive(10, machines={"order"}), *aws.queue.receive(10, machines={"bill"})]
    assert ids(held) == ["order", "bill"]
    aws.queue.ack(held[:1])
    with pytest.raises(ConflictError, match="order"):
        aws.queue.extend(held, 30)
    aws.queue.release(held[1:])
    assert ids(aws.queue.receive(10)) == ["bill"] or ids(aws.queue.receive(10, 2.0)) == ["bill"]


def test_none_is_sent_if_one_is_too_large(aws: CompositeBackend) -> None:
    with pytest.raises(TooLargeError):
        aws.queue.send([message(ORDER, "order"), message(BILL, "bill", "x" * 1_100_000)])
    assert ids(aws.queue.receive(10, machines={"order"})) == []


def test_timers_send_to_the_queue_of_their_machine(cloud: Cloud, aws: CompositeBackend, url: AwsUrl) -> None:
    """Short ones by the delay queue, long ones by schedules."""
    aws.timers.schedule(timer("short", time.time() + 0.1, BILL))
    end, found = time.monotonic() + 10, list[str]()
    while not found and time.monotonic() < end:
        found = ids(aws.queue.receive(10, 1.0, {"bill"}))
    assert found == ["short"]
    aws.timers.schedule(timer("long", time.time() + 3600, ORDER))
    (schedule,) = cloud.scheduler.list_schedules(GroupName=url.schedules)["Schedules"]
    assert schedule["Target"]["Arn"].endswith(url.queues["order"])


class TestAMessageInAnotherQueue:
    """Sent before its machine had a queue of its own, or by a process with another URL."""

    def test_is_forwarded_by_whoever_receives_it(self, aws: CompositeBackend, plain: CompositeBackend) -> None:
        plain.queue.send([message(ORDER, "1"), message(ORDER, "2"), message(OTHER, "other")])
        received = [id for _ in range(2) for id in ids(aws.queue.receive(10, machines={"other"}))]
        assert received == ["other"]
        assert ids(aws.queue.receive(10, machines={"order"})) == ["1", "2"]
        assert ids(plain.queue.receive(10)) == []

    def test_that_cannot_be_forwarded_comes_back_later_each_time(
        self, cloud: Cloud, addresses: Addresses, aws: CompositeBackend, plain: CompositeBackend
    ) -> None:
        plain.queue.send([message(ORDER, "1")])
        for _ in range(30):
            plain.queue.release(plain.queue.receive(1))
        cloud.sqs.delete_queue(QueueUrl=addresses.queues["order"])
        assert ids(aws.queue.receive(10, machines={"other"})) == []
        time.sleep(aws.lease.total_seconds() + 1.0)
        assert ids(plain.queue.receive(1)) == []

    def test_is_forwarded_as_malformed_if_it_is_not_settleds(
        self, cloud: Cloud, aws: CompositeBackend, addresses: Addresses
    ) -> None:
        cloud.sqs.send_message(QueueUrl=addresses.queue, MessageBody="hello", MessageGroupId=str(ORDER))
        assert ids(aws.queue.receive(10, machines={"other"})) == []
        (delivery,) = aws.queue.receive(10, machines={"order"})
        assert delivery.message.key == ORDER
        assert is_malformed(delivery.message)

    def test_is_forwarded_by_a_function(
        self, cloud: Cloud, url: AwsUrl, addresses: Addresses, aws: CompositeBackend, plain: CompositeBackend
    ) -> None:
        plain.queue.send([message(ORDER, "1")])
        handler = lambda_handler(Host([MACHINE], aws))
        assert handler({"Records": records_of(cloud, addresses)}, Unhurried()) == {"batchItemFailures": []}
        assert ids(aws.queue.receive(10, machines={"order"})) == ["1"]

    def test_that_a_function_cannot_forward_comes_back_later_each_time(
        self, cloud: Cloud, addresses: Addresses, aws: CompositeBackend, plain: CompositeBackend
    ) -> None:
        plain.queue.send([message(ORDER, "1")])
        for _ in range(30):
            plain.queue.release(plain.queue.receive(1))
        records = records_of(cloud, addresses)
        cloud.sqs.change_message_visibility(
            QueueUrl=addresses.queue, ReceiptHandle=records[0]["receiptHandle"], VisibilityTimeout=1
        )
        cloud.sqs.delete_queue(QueueUrl=addresses.queues["order"])
        failed = {"batchItemFailures": [{"itemIdentifier": records[0]["messageId"]}]}
        assert lambda_handler(Host([MACHINE], aws))({"Records": records}, Unhurried()) == failed
        time.sleep(2.0)
        assert ids(plain.queue.receive(1)) == []


def test_a_worker_takes_the_messages_of_its_own_queue(cloud: Cloud, url: AwsUrl, addresses: Addresses) -> None:
    own = evolve(addresses, queues={MACHINE.id: addresses.queues["order"]})
    aws = backend(cloud, url, own)
    client = Client(MACHINE, aws)
    with Worker([MACHINE], aws, receive_wait=timedelta(seconds=0.1)).running():
        client.start("ada")
        until(lambda: client.get("ada") is not None)


def test_the_doctor_examines_the_queue_of_each_machine(
    cloud: Cloud, url: AwsUrl, addresses: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    cloud.sqs.delete_queue(QueueUrl=addresses.queues["bill"])
    options = f"order:{url.queues['order']},bill:{url.queues['bill']}"
    problems = [each.problem for each in examine_aws(f"aws://{REGION}/{url.table}?queues={options}")]
    assert f"{url.queues['order']} has no dead-letter queue" in problems
    assert "a queue of a machine does not exist" in problems
