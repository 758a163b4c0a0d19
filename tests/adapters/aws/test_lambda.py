"""The handler in a real Lambda runtime: awslambdaric runs it, and a simulated event source feeds it from the queue."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen

from settled import Key, TurnEnd
from settled.durable import Backend, Delivery
from settled_aws import Addresses, AwsUrl, lambda_handler
from settled_aws.envelope import to_text
from settled_aws.lambda_handler import begin_invocation
from settled_aws.names import group_id
from settled_runtime import Client, CodedBackend, CompositeBackend, Encryption, Host, StopSignal
from tests.adapters.aws.fixtures import (
    REGION,
    Cloud,
    Unhurried,
    add_dead_letter_queue,
    backend,
    records_of,
    texts_in,
)
from tests.emulators.lambda_runtime import Environment, Invocation
from tests.emulators.lambda_source import EventSource, failures
from tests.support.builders import PATIENCE, fresh_name, message, until
from tests.support.traced_machine import MACHINE


@frozen
class Function:
    """The function, deployed over its own resources, and the traces that its effects left."""

    cloud: Cloud
    url: AwsUrl
    addresses: Addresses
    client: Client[Any]
    traces: Path

    def environment(self, handler: str = "function.handler", timeout: float = 10.0, **variables: str) -> Environment:
        url = f"aws://{REGION}/{self.url.table}?lease={self.url.lease.seconds}"
        settings = {**self.cloud.environment, "SETTLED_URL": url, "TRACES": str(self.traces), **variables}
        return Environment(f"tests/adapters/aws/{handler}", settings, timeout)

    def source(self, pollers: int = 1, timeout: float = 10.0, **variables: str) -> EventSource:
        return EventSource(
            self.cloud.sqs, self.addresses.queue, lambda: self.environment(timeout=timeout, **variables), pollers
        )

    def delays(self) -> EventSource:
        return EventSource(self.cloud.sqs, self.addresses.delays, self.environment, pollers=1, window=0.5)

    def start(self, *instances: str) -> None:
        for instance in instances:
            self.client.start(instance)

    def send(self, instance: str, type: str, number: int, **more: Any) -> None:
        self.client.send(instance, {"type": type, "number": number, **more}, message_id=f"{instance}.{number}")

    def taken(self, instance: str) -> list[Any]:
        snapshot = self.client.get(instance)
        return [] if snapshot is None else list(snapshot.context["taken"])

    def performed(self) -> list[str]:
        return self.traces.read_text().splitlines() if self.traces.exists() else []


@pytest.fixture
def function(cloud: Cloud, url: AwsUrl, addresses: Addresses, aws: CompositeBackend, tmp_path: Path) -> Function:
    return Function(cloud, url, addresses, Client(MACHINE, aws), tmp_path / "traces")


def test_messages_of_many_keys_are_handled_each_key_in_order(function: Function) -> None:
    function.start(*"abc")
    for number in range(6):
        for instance in "abc":
            function.send(instance, "TAKE", number)
    with function.source(pollers=2) as source:
        until(lambda: all(len(function.taken(instance)) == 6 for instance in "abc"))
    assert [function.taken(instance) for instance in "abc"] == [list(range(6))] * 3
    assert all(ended.error is None for _, ended in source.invocations)


def test_a_poisoned_group_blocks_no_other_and_loses_nothing(function: Function) -> None:
    function.start("ada", "ben")
    function.send("ada", "TAKE", 1, poison=True)
    function.send("ada", "TAKE", 2)
    function.send("ben", "TAKE", 1)
    with function.source() as source:
        until(lambda: function.taken("ben") == [1] and len(function.client.dead_letters("ada")) == 2)
    assert [letter.message.id for letter in function.client.dead_letters("ada")] == ["ada.1", "ada.2"]
    assert any(ended.payload["batchItemFailures"] for _, ended in source.invocations)


def test_a_function_that_dies_in_an_effect_runs_it_again_under_its_key(function: Function) -> None:
    function.start("ada", "ben")
    function.send("ada", "WORK", 1, dies=True)
    function.send("ada", "TAKE", 2)
    function.send("ben", "TAKE", 1)
    with function.source() as source:
        until(lambda: function.taken("ada") == ["1", 2] and function.taken("ben") == [1])
        assert source.environments[0].starts >= 2
    first, second = function.performed()
    assert (first.split()[0], first.split()[1], second.split()[1]) == (second.split()[0], "1", "2")


def test_unfinished_messages_are_released_before_the_function_is_killed(function: Function) -> None:
    function.start("ada")
    function.send("ada", "WORK", 1, seconds=3.0)
    with function.source(timeout=2.5) as source:
        until(lambda: len(function.performed()) >= 2)
        assert source.environments[0].starts == 1
    assert source.invocations[0][1].error is None
    assert source.invocations[0][1].payload["batchItemFailures"]


def test_a_delayed_message_is_forwarded_by_the_same_function(function: Function) -> None:
    function.start("ada")
    function.send("ada", "WAIT", 1)
    with function.source(), function.delays():
        function.client.wait_for("ada", value="rung", timeout=timedelta(seconds=PATIENCE))


HANDLERS = pytest.mark.parametrize("handler", ["function.handler", "async_function.handler"])
"""A `Host` and an `AsyncHost`."""


class TestOneInvocation:
    """The exact response of the handler, invoked through the Runtime API alone."""

    @HANDLERS
    def test_a_duplicate_is_handled_once(self, function: Function, handler: str) -> None:
        function.start("ada")
        with invoking(function, handler) as invoke:
            invoke(received(function))
            again = to_text(message(Key("jobs", "ada"), "again", take(1)))
            for _ in range(2):
                records = queued(function, ("jobs/ada", again), ("jobs/ada", again))
                assert reported(invoke(records)) == []
        assert function.taken("ada") == [1]

    @HANDLERS
    def test_an_event_that_is_delivered_twice_is_handled_once(self, function: Function, handler: str) -> None:
        """Lambda may invoke a function twice for one batch. The second time its messages are gone."""
        function.start("ada")
        with invoking(function, handler) as invoke:
            invoke(received(function))
            records = queued(function, ("jobs/ada", to_text(message(Key("jobs", "ada"), "1", take(1)))))
            assert reported(invoke(records)) == []
            assert reported(invoke(records)) == [record["messageId"] for record in records]
        assert function.taken("ada") == [1]

    @HANDLERS
    def test_an_acknowledged_message_that_comes_again_is_recognised(self, function: Function, handler: str) -> None:
        """If the invocation fails after the acknowledgement, Lambda deletes nothing."""
        function.start("ada")
        function.send("ada", "TAKE", 1)
        with invoking(function, handler, deletes=False) as invoke:
            records = received(function)
            assert reported(invoke(records)) == []
            again = received_in_time(function)
            assert [each["messageId"] for each in again] == [each["messageId"] for each in records]
            assert reported(invoke(again)) == []
        assert function.taken("ada") == [1]

    @HANDLERS
    def test_of_a_group_what_follows_the_first_released_message_is_reported(
        self, function: Function, handler: str
    ) -> None:
        function.start("ada")
        with invoking(function, handler, timeout=9.0, RESERVE="6") as invoke:
            invoke(received(function))
            function.send("ada", "TAKE", 1)
            function.send("ada", "WORK", 2, seconds=20.0)
            function.send("ada", "TAKE", 3)
            records = received_in_time(function)
            assert reported(invoke(records)) == [each["messageId"] for each in records[1:]]
        assert function.taken("ada") == [1]

    @HANDLERS
    def test_no_group_waits_for_a_slow_one(self, function: Function, handler: str) -> None:
        function.start("ada", "ben")
        with invoking(function, handler) as invoke:
            invoke(received(function))
            function.send("ada", "WORK", 1, seconds=6.0)
            function.send("ben", "TAKE", 1)
            records = received(function)
            function.send("ben", "TAKE", 2)
            with ThreadPoolExecutor(1) as pool:
                invocation = pool.submit(invoke, records)
                (following,) = received_in_time(function)
                assert not invocation.done()
                assert reported(invocation.result()) == []
            assert reported(invoke([following])) == []
        assert (function.taken("ada"), function.taken("ben")) == (["1"], [1, 2])

    @HANDLERS
    @pytest.mark.parametrize("body", ["hello", "[" * 100_000])
    def test_a_message_that_is_not_settleds_becomes_a_dead_letter_and_delays_nothing(
        self, function: Function, body: str, handler: str
    ) -> None:
        function.start("ada", "ben")
        with invoking(function, handler) as invoke:
            invoke(received(function))
            ada, ben = (to_text(message(Key("jobs", name), "1", take(1))) for name in ("ada", "ben"))
            later = to_text(message(Key("jobs", "ada"), "2", take(2)))
            sent = [("jobs/ada", ada), ("jobs/ada", body), ("jobs/ada", later), ("jobs/ben", ben)]
            assert reported(invoke(queued(function, *sent))) == []
        assert (function.taken("ada"), function.taken("ben")) == ([1, 2], [1])
        (letter,) = function.client.dead_letters("ada")
        assert json.loads(letter.message.body) == {"kind": "malformed", "text": body}

    def test_a_message_in_the_group_of_another_key_becomes_a_dead_letter_there(self, function: Function) -> None:
        function.start("ada", "ben")
        with invoking(function) as invoke:
            invoke(received(function))
            text = to_text(message(Key("jobs", "ada"), "1", take(1)))
            assert reported(invoke(queued(function, ("jobs/ben", text)))) == []
        assert (function.taken("ada"), function.taken("ben")) == ([], [])
        (letter,) = function.client.dead_letters("ben")
        assert json.loads(letter.message.body)["text"] == text

    @pytest.mark.parametrize("has_dead_letter_queue", [True, False])
    def test_a_message_that_names_no_instance_is_moved_or_reported_with_what_follows(
        self, function: Function, has_dead_letter_queue: bool
    ) -> None:
        cloud, queue = function.cloud, function.addresses.queue
        dead = add_dead_letter_queue(cloud, queue) if has_dead_letter_queue else None
        key = Key("jobs", "x" * 200)
        function.start(key.instance)
        with invoking(function) as invoke:
            invoke(received(function))
            group, first, later = group_id(key), *(to_text(message(key, f"{n}", take(n))) for n in (1, 2))
            records = queued(function, (group, first), (group, "hello"), (group, later))
            failed = [] if dead else [each["messageId"] for each in records[1:]]
            assert reported(invoke(records)) == failed
        assert function.taken(key.instance) == ([1, 2] if dead else [1])
        if dead is not None:
            assert texts_in(cloud, dead) == [(group, "hello")]

    def test_a_message_for_an_unknown_machine_is_reported(self, function: Function) -> None:
        with invoking(function) as invoke:
            assert reported(invoke([record(message(Key("other", "ada"), "1", take(1)), "m1")])) == ["m1"]

    def test_delayed_messages_are_forwarded_and_others_reported(
        self, function: Function, aws: CompositeBackend
    ) -> None:
        with invoking(function) as invoke:
            ada = message(Key("jobs", "ada"), "t", take(1))
            records = [
                {**record(ada, id), "attributes": {"ApproximateReceiveCount": "1"}, "eventSourceARN": "arn:x:delays"}
                for id in ("m1", "m2")
            ]
            records[1]["body"] = "{}"
            assert reported(invoke(records)) == ["m2"]
        assert [each.message for each in aws.queue.receive(10)] == [ada]

    def test_delayed_messages_that_cannot_be_forwarded_come_back_later_each_time(
        self, function: Function, aws: CompositeBackend
    ) -> None:
        """And not after the visibility timeout of the queue, which is minutes."""
        sqs, url = function.cloud.sqs, function.addresses.delays
        sqs.send_message(QueueUrl=url, MessageBody=to_text(message(Key("jobs", "ada"), "t", take(1))))
        (sent,) = records_of(function.cloud, function.addresses, url)
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=sent["receiptHandle"], VisibilityTimeout=600)
        sqs.delete_queue(QueueUrl=function.addresses.queue)
        with Host([MACHINE], aws) as host:
            response = lambda_handler(host)({"Records": [sent]}, Unhurried())
        assert response == {"batchItemFailures": [{"itemIdentifier": sent["messageId"]}]}
        until(lambda: bool(records_of(function.cloud, function.addresses, url)))

    @HANDLERS
    def test_actors_are_run(self, function: Function, handler: str) -> None:
        function.start("ada", "ben")
        with invoking(function, handler) as invoke:
            invoke(received(function))
            for name in ("ada", "ben"):
                function.send(name, "WORK", 1)
            assert reported(invoke(received(function))) == []
        assert (function.taken("ada"), function.taken("ben")) == (["1"], ["1"])

    @HANDLERS
    def test_without_time_left_all_messages_are_released_at_once(
        self, function: Function, aws: CompositeBackend, handler: str
    ) -> None:
        function.start("ada", "ben")
        with invoking(function, handler, timeout=5.0, RESERVE="20") as invoke:
            assert len(reported(invoke(received(function)))) == 2
        assert len(aws.queue.receive(10)) == 2

    def test_from_the_start_of_the_process_to_the_first_commit(self, function: Function) -> None:
        function.start("ada")
        environment = function.environment()
        try:
            started = environment.start()
            began = time.monotonic()
            assert environment.invoke({"Records": received(function)}).error is None
            first = time.monotonic() - began
        finally:
            environment.close()
        print(f"cold start: {started:.2f} s to the first invocation, {first * 1000:.0f} ms for the first turn")
        assert started < 15.0  # about 0.6 s on an idle machine
        assert function.client.get("ada") is not None


class TestWithACodec:
    """Events have messages as they are stored: the handler decodes them, and forwards others as they are."""

    CODEC = Encryption({"a": bytes(64)})

    def test_turns_are_run(self, function: Function, aws: CompositeBackend) -> None:
        coded = CodedBackend(aws, self.CODEC)
        client = Client(MACHINE, coded)
        client.start("ada")
        client.send("ada", {"type": "TAKE", "number": 1})
        with Host([MACHINE], coded) as host:
            response = lambda_handler(host)({"Records": received(function)}, Unhurried())
        assert response == {"batchItemFailures": []}
        snapshot = client.get("ada")
        assert snapshot is not None and snapshot.context["taken"] == [1]

    def test_a_message_that_is_not_settleds_becomes_a_dead_letter(
        self, function: Function, aws: CompositeBackend
    ) -> None:
        """No sender has encoded it, and a codec that accepts no plain text must not hold it back."""
        coded = CodedBackend(aws, Encryption({"a": bytes(64)}, accepts_plain_text=False))
        client = Client(MACHINE, coded)
        client.start("ada")
        records = queued(function, ("jobs/ada", "hello"))
        with Host([MACHINE], coded) as host:
            assert lambda_handler(host)({"Records": records}, Unhurried()) == {"batchItemFailures": []}
        (letter,) = client.dead_letters("ada")
        assert json.loads(letter.message.body)["text"] == "hello"

    def test_delayed_messages_are_forwarded_as_they_are(self, function: Function, aws: CompositeBackend) -> None:
        coded = CodedBackend(aws, self.CODEC)
        coded.queue.send([message(Key("jobs", "ada"), "t", take(1))])
        (encoded,) = aws.queue.receive(1)
        aws.queue.ack([encoded])
        delayed = {**record(encoded.message, "m1"), "eventSourceARN": "arn:x:delays"}
        delayed["attributes"] = {"ApproximateReceiveCount": "1"}
        sent = list[Any]()
        aws = evolve(aws, queue=Recorded(aws.queue, sent))
        with Host([MACHINE], CodedBackend(aws, self.CODEC)) as host:
            assert lambda_handler(host)({"Records": [delayed]}, Unhurried()) == {"batchItemFailures": []}
        assert sent == [encoded.message]

    def test_deliveries_have_positions(self, function: Function, aws: CompositeBackend) -> None:
        function.start("ada")
        (delivery,) = deliveries_of(CodedBackend(aws, self.CODEC), received(function))
        assert delivery.position is not None

    def test_the_time_is_asked_for_in_each_invocation(self, cloud: Cloud, url: AwsUrl, addresses: Addresses) -> None:
        requests = list[str]()
        coded = CodedBackend(backend(cloud.watched(requests.append), url, addresses), self.CODEC)
        coded.now()
        count = len(requests)
        coded.now()
        assert len(requests) == count
        begin_invocation(coded)
        coded.now()
        assert len(requests) > count


class Recorded:
    """A queue that only keeps what is sent."""

    def __init__(self, queue: Any, sent: list[Any]) -> None:
        self._queue, self._sent = queue, sent

    def send(self, messages: Sequence[Any]) -> None:
        self._sent += messages

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


class TestDeliveries:
    """The deliveries that the handler makes from an event."""

    def test_they_equal_those_that_a_worker_receives(self, function: Function, aws: CompositeBackend) -> None:
        function.start("ada")
        function.send("ada", "TAKE", 1)
        deliveries = deliveries_of(aws, received(function))
        aws.queue.release(deliveries)
        again = aws.queue.receive(10)
        assert [(each.message, each.position) for each in deliveries] == [
            (each.message, each.position) for each in again
        ]
        assert None not in [each.position for each in deliveries]

    def test_the_lease_of_a_first_delivery_starts_at_its_receive_timestamp(self, aws: CompositeBackend) -> None:
        ada = record(message(Key("jobs", "ada"), "1", take(1)), "m1")
        ada["attributes"]["ApproximateFirstReceiveTimestamp"] = "1800000000250"
        (delivery,) = deliveries_of(aws, [ada])
        assert delivery.lease_until == 1_800_000_000.25 + aws.lease.total_seconds()

    def test_the_lease_of_a_later_delivery_starts_now(self, aws: CompositeBackend) -> None:
        ada = record(message(Key("jobs", "ada"), "1", take(1)), "m1")
        ada["attributes"] |= {"ApproximateReceiveCount": "2", "ApproximateFirstReceiveTimestamp": "1000"}
        (delivery,) = deliveries_of(aws, [ada])
        assert abs(delivery.lease_until - aws.lease.total_seconds() - time.time()) < 5.0

    def test_a_renewal_does_not_shorten_the_visibility_timeout_of_the_queue(
        self, function: Function, aws: CompositeBackend
    ) -> None:
        longer = {"VisibilityTimeout": "600"}
        function.cloud.sqs.set_queue_attributes(QueueUrl=function.addresses.queue, Attributes=longer)
        function.start("ada")
        aws.queue.extend(deliveries_of(aws, received(function)), aws.lease.total_seconds())
        time.sleep(aws.lease.total_seconds() + 0.5)
        assert received(function) == []

    def test_the_sequence_number_of_another_queue_is_ignored(self, aws: CompositeBackend) -> None:
        ada = record(message(Key("jobs", "ada"), "1", take(1)), "m1")
        ada["attributes"]["SequenceNumber"] = "00000000000000000001"
        assert [each.position for each in deliveries_of(aws, [ada])] == [None]

    def test_a_first_delivery_takes_no_request_before_its_turn(
        self, function: Function, cloud: Cloud, url: AwsUrl, addresses: Addresses
    ) -> None:
        counted = Counter[str]()
        aws = backend(cloud.watched(lambda name: counted.update([name])), url, addresses)
        for request in ({"get_queue_attributes": 1}, {}):
            function.start(f"{request}")
            counted.clear()
            assert len(deliveries_of(aws, received(function))) == 1
            assert counted == request


def deliveries_of(aws: Backend, records: Sequence[Any]) -> list[Delivery]:
    """Return the deliveries that a host is given for an event with `records`."""
    given: list[Delivery] = []

    class Recording(Host):
        def handle(
            self, deliveries: Sequence[Delivery], stop_signal: StopSignal | None = None, deadline: float | None = None
        ) -> Mapping[Key, TurnEnd | Exception]:
            given.extend(deliveries)
            return {each.message.key: TurnEnd.DONE for each in deliveries}

    lambda_handler(Recording([MACHINE], aws))({"Records": records}, Unhurried())
    return given


class TestHttp:
    def test_starts_events_and_reads(self, function: Function) -> None:
        environment = function.environment("function.http")
        with function.source():
            try:
                assert answer(environment, "PUT", "/jobs/ada", wait=10)[0] == 200
                status, body = answer(environment, "POST", "/prod/jobs/ada", '{"type":"TAKE","number":1}', wait=10)
                assert (status, body["value"], body["tags"], body["status"]) == (200, "open", ["settled"], "active")
                assert answer(environment, "POST", "/jobs/ada", '{"type":"TAKE","number":2}')[0] == 202
                assert answer(environment, "GET", "/jobs/ada") == (
                    200,
                    {"value": "open", "tags": ["settled"], "status": "active"},
                )
                assert answer(environment, "POST", "/jobs/nobody", '{"type":"TAKE"}', wait=10)[0] == 409
                assert answer(environment, "GET", "/jobs/nobody")[0] == 404
                assert answer(environment, "GET", "/other/ada")[0] == 404
                assert answer(environment, "GET", "/")[0] == 400
                assert answer(environment, "POST", "/jobs/ada", "no JSON")[0] == 400
                assert answer(environment, "POST", "/jobs/ada", '{"no":"type"}')[0] == 400
                assert answer(environment, "DELETE", "/jobs/ada")[0] == 405
            finally:
                environment.close()

    def test_the_payload_format_of_a_rest_api(self, function: Function) -> None:
        environment = function.environment("function.http")
        event = {"httpMethod": "PUT", "path": "/jobs/ada", "headers": {"Idempotency-Key": "k"}, "body": None}
        try:
            ended = environment.invoke({**event, "queryStringParameters": None})
        finally:
            environment.close()
        assert (ended.payload["statusCode"], ended.payload["body"]) == (202, '{"id": "k"}')


class TestTheEventSource:
    """The messages of a batch that stay in the queue, as AWS documents it."""

    @pytest.mark.parametrize(
        ("payload", "remaining"),
        [
            (None, ""),
            ({}, ""),
            ({"batchItemFailures": []}, ""),
            ({"batchItemFailures": None}, ""),
            ({"batchItemFailures": [{"itemIdentifier": "b"}]}, "b"),
            ({"batchItemFailures": [{"itemIdentifier": "x"}]}, "ab"),
            ({"batchItemFailures": [{"itemIdentifier": ""}]}, "ab"),
            ({"batchItemFailures": [{"wrong": "b"}]}, "ab"),
            ("a text", "ab"),
        ],
    )
    def test_after_a_response(self, payload: Any, remaining: str) -> None:
        assert failures(Invocation(payload), {"a", "b"}) == set(remaining)

    def test_after_a_failed_invocation(self) -> None:
        assert failures(Invocation(None, "Sandbox.Timedout"), {"a", "b"}) == {"a", "b"}


def take(number: int) -> str:
    return f'{{"kind":"event","event":{{"type":"TAKE","number":{number}}}}}'


def reported(ended: Invocation) -> list[str]:
    assert ended.error is None, ended
    return [item["itemIdentifier"] for item in ended.payload["batchItemFailures"]]


def received(function: Function) -> list[Any]:
    """Receive the records of the messages in the queue."""
    return records_of(function.cloud, function.addresses)


def received_in_time(function: Function) -> list[Any]:
    """Receive the records of the messages in the queue, once one of them can be received."""
    records = list[Any]()

    def found() -> bool:
        records.extend(received(function))
        return bool(records)

    until(found)
    return records


def delete(function: Function, records: Sequence[Any]) -> None:
    entries = [{"Id": str(at), "ReceiptHandle": each["receiptHandle"]} for at, each in enumerate(records)]
    if entries:
        function.cloud.sqs.delete_message_batch(QueueUrl=function.addresses.queue, Entries=entries)


def queued(function: Function, *sent: tuple[str, str]) -> list[Any]:
    """Send texts to the queue, each to its group and past SQS' deduplication, and receive their records."""
    for group, text in sent:
        function.cloud.sqs.send_message(
            QueueUrl=function.addresses.queue,
            MessageBody=text,
            MessageGroupId=group,
            MessageDeduplicationId=fresh_name(),
        )
    return received(function)


def record(sent: Any, id: str) -> dict[str, Any]:
    """Return a record of a message that is no longer in any queue."""
    return {
        "messageId": id,
        "receiptHandle": f"gone-{id}",
        "body": to_text(sent),
        "attributes": {"ApproximateReceiveCount": "1", "MessageGroupId": str(sent.key)},
        "eventSourceARN": "arn:aws:sqs:eu-central-1:000000000000:q.fifo",
    }


@contextmanager
def invoking(
    function: Function,
    handler: str = "function.handler",
    timeout: float = 15.0,
    deletes: bool = True,
    **variables: str,
) -> Generator[Callable[[Sequence[Any]], Invocation]]:
    """Yield a function that invokes the handler with records, and then deletes what it has not reported."""
    environment = function.environment(handler, timeout, **variables)

    def invoke(records: Sequence[Any]) -> Invocation:
        ended = environment.invoke({"Records": list(records)})
        failed = failures(ended, {each["messageId"] for each in records})
        delete(function, [each for each in records if each["messageId"] not in failed])
        return ended

    try:
        yield invoke if deletes else lambda records: environment.invoke({"Records": list(records)})
    finally:
        environment.close()


def answer(environment: Environment, method: str, path: str, body: str = "", wait: int = 0) -> tuple[int, Any]:
    """Return the status and the body of the response to a request to the function URL."""
    ended = environment.invoke(
        {
            "rawPath": path,
            "requestContext": {"http": {"method": method}},
            "headers": {"content-type": "application/json"},
            "queryStringParameters": {"wait": str(wait)} if wait else None,
            "body": body,
            "isBase64Encoded": False,
        }
    )
    assert ended.error is None, ended
    return ended.payload["statusCode"], json.loads(ended.payload["body"])
