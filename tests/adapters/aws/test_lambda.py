"""In a real Lambda runtime: awslambdaric runs the handler, and an event source of ours feeds it from the queue."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from settled import Key, TurnEnd
from settled.durable import Delivery
from settled_aws import Addresses, AwsUrl, lambda_handler
from settled_aws.envelope import to_text
from settled_runtime import Client, CompositeBackend, Host, StopSignal
from settled_runtime.leases import HeldDeliveries
from tests.adapters.aws.fixtures import REGION, Cloud, Unhurried, backend, records_of
from tests.emulators.lambda_runtime import Environment, Invocation
from tests.emulators.lambda_source import EventSource, failures
from tests.support.builders import PATIENCE, fresh_name, message, until
from tests.support.traced_machine import MACHINE


@frozen
class Function:
    """The function, deployed over one place, and what its effects left behind."""

    cloud: Cloud
    place: AwsUrl
    found: Addresses
    client: Client[Any]
    traces: Path

    def environment(self, handler: str = "function.handler", timeout: float = 10.0, **variables: str) -> Environment:
        url = f"aws://{REGION}/{self.place.table}?lease={self.place.lease}"
        settings = {**self.cloud.environment, "SETTLED_URL": url, "TRACES": str(self.traces), **variables}
        return Environment(f"tests/adapters/aws/{handler}", settings, timeout)

    def source(self, pollers: int = 1, timeout: float = 10.0, **variables: str) -> EventSource:
        return EventSource(
            self.cloud.sqs, self.found.queue, lambda: self.environment(timeout=timeout, **variables), pollers
        )

    def delays(self) -> EventSource:
        return EventSource(self.cloud.sqs, self.found.delays, self.environment, pollers=1, window=0.5)

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
def function(cloud: Cloud, where: AwsUrl, found: Addresses, aws: CompositeBackend, tmp_path: Path) -> Function:
    return Function(cloud, where, found, Client(MACHINE, aws), tmp_path / "traces")


def test_messages_of_many_keys_are_taken_each_in_its_order(function: Function) -> None:
    function.start(*"abc")
    for number in range(6):
        for instance in "abc":
            function.send(instance, "TAKE", number)
    with function.source(pollers=2) as source:
        until(lambda: all(len(function.taken(instance)) == 6 for instance in "abc"))
    assert [function.taken(instance) for instance in "abc"] == [list(range(6))] * 3
    assert all(ended.error is None for _, ended in source.invocations)


def test_a_poisoned_group_holds_up_nobody_and_loses_nothing(function: Function) -> None:
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


def test_what_would_not_end_in_time_is_handed_back_before_the_function_is_killed(function: Function) -> None:
    function.start("ada")
    function.send("ada", "WORK", 1, seconds=3.0)
    with function.source(timeout=2.5) as source:
        until(lambda: len(function.performed()) >= 2)
        assert source.environments[0].starts == 1
    assert source.invocations[0][1].error is None
    assert source.invocations[0][1].payload["batchItemFailures"]


def test_a_short_wait_comes_back_through_the_same_function(function: Function) -> None:
    function.start("ada")
    function.send("ada", "WAIT", 1)
    with function.source(), function.delays():
        function.client.wait_for("ada", value="rung", timeout=PATIENCE)


HANDLERS = pytest.mark.parametrize("handler", ["function.handler", "async_function.handler"])
"""Of a host that calls, and of one that awaits."""


class TestOneInvocation:
    """The handler, and nothing in front of it but the Runtime API: what it answers, exactly."""

    @HANDLERS
    def test_a_duplicate_is_taken_once(self, function: Function, handler: str) -> None:
        function.start("ada")
        with invoking(function, handler) as invoke:
            invoke(received(function))
            again = to_text(message(Key("jobs", "ada"), "again", take(1)))
            for _ in range(2):
                records = queued(function, ("jobs/ada", again), ("jobs/ada", again))
                assert named(invoke(records)) == []
        assert function.taken("ada") == [1]

    @HANDLERS
    def test_an_event_that_comes_twice_is_taken_once(self, function: Function, handler: str) -> None:
        """Lambda may invoke a function twice for one batch; whose the messages are by then it cannot tell."""
        function.start("ada")
        with invoking(function, handler) as invoke:
            invoke(received(function))
            records = queued(function, ("jobs/ada", to_text(message(Key("jobs", "ada"), "1", take(1)))))
            assert named(invoke(records)) == []
            assert named(invoke(records)) == [record["messageId"] for record in records]
        assert function.taken("ada") == [1]

    @HANDLERS
    @pytest.mark.parametrize("body", ["hello", "[" * 100_000])
    def test_what_is_not_ours_is_reported_with_its_followers_and_fails_no_neighbour(
        self, function: Function, body: str, handler: str
    ) -> None:
        function.start("ada", "ben")
        with invoking(function, handler) as invoke:
            invoke(received(function))
            ada, ben = (to_text(message(Key("jobs", name), "1", take(1))) for name in ("ada", "ben"))
            later = to_text(message(Key("jobs", "ada"), "2", take(2)))
            sent = [("jobs/ada", ada), ("jobs/ada", body), ("jobs/ada", later), ("jobs/ben", ben)]
            _, strange, behind, _ = records = queued(function, *sent)
            assert named(invoke(records)) == [strange["messageId"], behind["messageId"]]
        assert (function.taken("ada"), function.taken("ben")) == ([1], [1])

    def test_a_message_in_the_group_of_another_key_is_not_taken(self, function: Function) -> None:
        with invoking(function) as invoke:
            ada = record(message(Key("jobs", "ada"), "1", take(1)), "m1")
            ada["attributes"] = {**ada["attributes"], "MessageGroupId": "jobs/ben"}
            assert named(invoke([ada])) == ["m1"]

    def test_a_message_for_a_machine_that_does_not_live_here_is_reported(self, function: Function) -> None:
        with invoking(function) as invoke:
            assert named(invoke([record(message(Key("other", "ada"), "1", take(1)), "m1")])) == ["m1"]

    def test_what_has_waited_is_sent_on_and_what_is_not_ours_is_reported(
        self, function: Function, aws: CompositeBackend
    ) -> None:
        with invoking(function) as invoke:
            ada = message(Key("jobs", "ada"), "t", take(1))
            records = [
                {**record(ada, id), "attributes": {"ApproximateReceiveCount": "1"}, "eventSourceARN": "arn:x:delays"}
                for id in ("m1", "m2")
            ]
            records[1]["body"] = "{}"
            assert named(invoke(records)) == ["m2"]
        assert [each.message for each in aws.queue.receive(10)] == [ada]

    @HANDLERS
    def test_what_an_actor_has_to_do_is_done(self, function: Function, handler: str) -> None:
        function.start("ada", "ben")
        with invoking(function, handler) as invoke:
            invoke(received(function))
            for name in ("ada", "ben"):
                function.send(name, "WORK", 1)
            assert named(invoke(received(function))) == []
        assert (function.taken("ada"), function.taken("ben")) == (["1"], ["1"])

    @HANDLERS
    def test_with_no_time_left_all_is_handed_back_at_once(
        self, function: Function, aws: CompositeBackend, handler: str
    ) -> None:
        function.start("ada", "ben")
        with invoking(function, handler, timeout=5.0, RESERVE="20") as invoke:
            assert len(named(invoke(received(function)))) == 2
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
        assert started < 15.0  # some 0.6 s on a machine with nothing else to do
        assert function.client.get("ada") is not None


class TestWhatTheHostIsHanded:
    """The deliveries that are made of an event."""

    def test_they_are_those_that_a_worker_would_receive(self, function: Function, aws: CompositeBackend) -> None:
        function.start("ada")
        function.send("ada", "TAKE", 1)
        handed = handed_over(aws, received(function))
        aws.queue.release(handed)
        again = aws.queue.receive(10)
        assert [(each.message, each.position) for each in handed] == [(each.message, each.position) for each in again]
        assert None not in [each.position for each in handed]

    def test_what_is_handed_out_for_the_first_time_is_held_since_the_queue_says(self, aws: CompositeBackend) -> None:
        ada = record(message(Key("jobs", "ada"), "1", take(1)), "m1")
        ada["attributes"]["ApproximateFirstReceiveTimestamp"] = "1800000000250"
        (delivery,) = handed_over(aws, [ada])
        assert delivery.until == 1_800_000_000.25 + aws.lease

    def test_what_was_handed_out_before_is_held_since_now(self, aws: CompositeBackend) -> None:
        ada = record(message(Key("jobs", "ada"), "1", take(1)), "m1")
        ada["attributes"] |= {"ApproximateReceiveCount": "2", "ApproximateFirstReceiveTimestamp": "1000"}
        (delivery,) = handed_over(aws, [ada])
        assert abs(delivery.until - aws.lease - time.time()) < 5.0

    def test_the_number_of_another_queue_says_nothing(self, aws: CompositeBackend) -> None:
        ada = record(message(Key("jobs", "ada"), "1", take(1)), "m1")
        ada["attributes"]["SequenceNumber"] = "00000000000000000001"
        assert [each.position for each in handed_over(aws, [ada])] == [None]

    def test_a_new_message_needs_no_request_before_its_turn(
        self, function: Function, cloud: Cloud, where: AwsUrl, found: Addresses
    ) -> None:
        counted = Counter[str]()
        aws = backend(cloud.watched(lambda name: counted.update([name])), where, found)
        for request in ({"get_queue_attributes": 1}, {}):
            function.start(f"{request}")
            counted.clear()
            assert len(handed_over(aws, received(function))) == 1
            assert counted == request


def handed_over(aws: CompositeBackend, records: Sequence[Any]) -> list[Delivery]:
    """What a host is given of an event with `records`."""
    handed: list[Delivery] = []

    class Recording(Host):
        def hold(self, deliveries: Sequence[Delivery]) -> HeldDeliveries:
            handed.extend(deliveries)
            return HeldDeliveries(tuple(deliveries))

        def take(
            self, key: Key, held: HeldDeliveries, interruption: StopSignal, deadline: float | None = None
        ) -> TurnEnd:
            return TurnEnd.DONE

    lambda_handler(Recording([MACHINE], aws))({"Records": records}, Unhurried())
    return handed


class TestTheDoor:
    def test_a_start_an_event_and_a_look(self, function: Function) -> None:
        environment = function.environment("function.door")
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

    def test_the_form_of_a_rest_api(self, function: Function) -> None:
        environment = function.environment("function.door")
        event = {"httpMethod": "PUT", "path": "/jobs/ada", "headers": {"Idempotency-Key": "k"}, "body": None}
        try:
            ended = environment.invoke({**event, "queryStringParameters": None})
        finally:
            environment.close()
        assert (ended.payload["statusCode"], ended.payload["body"]) == (202, '{"id": "k"}')


class TestTheRulesOfTheEventSource:
    """What of a batch stays in the queue, as AWS documents it."""

    @pytest.mark.parametrize(
        ("payload", "stays"),
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
    def test_an_answer(self, payload: Any, stays: str) -> None:
        assert failures(Invocation(payload), {"a", "b"}) == set(stays)

    def test_an_invocation_that_failed(self) -> None:
        assert failures(Invocation(None, "Sandbox.Timedout"), {"a", "b"}) == {"a", "b"}


def take(number: int) -> str:
    return f'{{"kind":"event","event":{{"type":"TAKE","number":{number}}}}}'


def named(ended: Invocation) -> list[str]:
    assert ended.error is None, ended
    return [item["itemIdentifier"] for item in ended.payload["batchItemFailures"]]


def received(function: Function) -> list[Any]:
    """Records of what is in the queue now."""
    return records_of(function.cloud, function.found)


def queued(function: Function, *sent: tuple[str, str]) -> list[Any]:
    """Records of texts that were put into the queue, each in its group, as if SQS had forgotten what it had before."""
    for group, text in sent:
        function.cloud.sqs.send_message(
            QueueUrl=function.found.queue, MessageBody=text, MessageGroupId=group, MessageDeduplicationId=fresh_name()
        )
    return received(function)


def record(sent: Any, id: str) -> dict[str, Any]:
    """A record of a message that is in no queue any more."""
    return {
        "messageId": id,
        "receiptHandle": f"gone-{id}",
        "body": to_text(sent),
        "attributes": {"ApproximateReceiveCount": "1", "MessageGroupId": str(sent.key)},
        "eventSourceARN": "arn:aws:sqs:eu-central-1:000000000000:q.fifo",
    }


@contextmanager
def invoking(
    function: Function, handler: str = "function.handler", timeout: float = 15.0, **variables: str
) -> Generator[Callable[[Sequence[Any]], Invocation]]:
    environment = function.environment(handler, timeout, **variables)
    try:
        yield lambda records: environment.invoke({"Records": list(records)})
    finally:
        environment.close()


def answer(environment: Environment, method: str, path: str, body: str = "", wait: int = 0) -> tuple[int, Any]:
    """What a request to the function URL is answered."""
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
