"""The tests' own server, checked against what Google documents. Docstrings name the page or the message."""

from __future__ import annotations

import base64
import json
import threading
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from typing import Any

import pytest
from attrs import define, field
from google.api_core.exceptions import AlreadyExists, DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound

from settled_gcp.clients import PUBLISHER, client_of
from tests.adapters.gcp.fixtures import LEASE
from tests.adapters.gcp.messaging import ACCOUNT, Messaging
from tests.emulators.pubsub import GoogleServer, pubsub
from tests.support.builders import until


@pytest.fixture(scope="module")
def frozen() -> Generator[GoogleServer]:
    """A server whose clock is stopped."""
    with pubsub() as server:
        server.freeze()
        yield server


@pytest.fixture
def bare(frozen: GoogleServer) -> Generator[Messaging]:
    """A topic on that server, without a subscription."""
    messaging = Messaging.at(frozen)
    messaging.create_topic()
    messaging.create_task_queue()
    yield messaging
    messaging.close()


def publish(bare: Messaging, *texts: str, key: str = "k") -> None:
    messages = [{"data": text.encode(), "ordering_key": key} for text in texts]
    bare.publisher.publish(request={"topic": bare.topic, "messages": messages}, retry=None, timeout=5.0)


def pull(bare: Messaging, limit: int = 10, name: str = "", timeout: float = 0.3) -> list[Any]:
    request = {"subscription": f"{bare.subscription}{name}", "max_messages": limit}
    try:
        return list(bare.subscriber.pull(request=request, retry=None, timeout=timeout).received_messages)
    except DeadlineExceeded:
        return []


def acknowledge(bare: Messaging, *received: Any) -> None:
    request = {"subscription": bare.subscription, "ack_ids": [each.ack_id for each in received]}
    bare.subscriber.acknowledge(request=request, retry=None, timeout=5.0)


def hold(bare: Messaging, seconds: int, *received: Any) -> None:
    ack_ids = [each.ack_id for each in received]
    request = {"subscription": bare.subscription, "ack_ids": ack_ids, "ack_deadline_seconds": seconds}
    bare.subscriber.modify_ack_deadline(request=request, retry=None, timeout=5.0)


def texts(received: Sequence[Any]) -> list[str]:
    return [each.message.data.decode() for each in received]


class TestPublishing:
    """`PublishRequest`, `PubsubMessage`, and the page of quotas."""

    def test_all_messages_of_a_request_have_the_same_ordering_key(self, bare: Messaging) -> None:
        messages = [{"data": b"1", "ordering_key": "a"}, {"data": b"2", "ordering_key": "b"}]
        with pytest.raises(InvalidArgument, match="same ordering key"):
            bare.publisher.publish(request={"topic": bare.topic, "messages": messages}, retry=None, timeout=5.0)

    @pytest.mark.parametrize(
        "message", [{}, {"data": b"x", "ordering_key": "k" * 1025}, {"data": b"x" * 10_000_001}], ids=lambda _: ""
    )
    def test_a_message_has_something_in_it_and_is_not_too_large(self, bare: Messaging, message: Any) -> None:
        with pytest.raises(InvalidArgument):
            bare.publisher.publish(request={"topic": bare.topic, "messages": [message]}, retry=None, timeout=5.0)

    def test_a_topic_that_is_not_there_is_not_found(self, bare: Messaging) -> None:
        request = {"topic": f"{bare.topic}-not", "messages": [{"data": b"1"}]}
        with pytest.raises(NotFound):
            bare.publisher.publish(request=request, retry=None, timeout=5.0)

    def test_each_subscription_has_what_was_published_after_it_was_made(self, bare: Messaging) -> None:
        bare.subscribe()
        publish(bare, "1")
        bare.subscribe("-later")
        publish(bare, "2")
        assert texts(pull(bare)) == ["1", "2"]
        assert texts(pull(bare, name="-later")) == ["2"]


class TestOrdering:
    """ "Order messages": in the order in which the service received them, where the subscription has it enabled."""

    def test_messages_of_a_key_come_in_their_order(self, bare: Messaging) -> None:
        bare.subscribe()
        publish(bare, "1")
        publish(bare, "2", "3")
        assert texts(pull(bare)) == ["1", "2", "3"]

    def test_while_any_of_a_key_is_outstanding_nothing_more_of_it_is_pulled(self, bare: Messaging) -> None:
        bare.subscribe()
        publish(bare, "1", "2", "3")
        first = pull(bare, 2)
        publish(bare, "x", key="other")
        assert texts(pull(bare)) == ["x"]
        acknowledge(bare, first[0])
        assert pull(bare) == []
        acknowledge(bare, first[1])
        assert texts(pull(bare)) == ["3"]

    def test_what_is_redelivered_takes_all_later_ones_of_its_key_along(self, bare: Messaging) -> None:
        bare.subscribe()
        publish(bare, "1", "2", "3")
        hold(bare, 0, pull(bare)[0])
        assert texts(pull(bare)) == ["1", "2", "3"]

    def test_even_those_that_were_acknowledged(self, bare: Messaging, frozen: GoogleServer) -> None:
        frozen.repeat_acked(True)
        bare.subscribe()
        frozen.repeat_acked(False)
        publish(bare, "1", "2", "3")
        first, second, _ = pull(bare)
        acknowledge(bare, second)
        hold(bare, 0, first)
        assert texts(pull(bare)) == ["1", "2", "3"]

    def test_but_not_with_exactly_once_delivery(self, bare: Messaging, frozen: GoogleServer) -> None:
        frozen.repeat_acked(True)
        bare.subscribe(enable_exactly_once_delivery=True)
        frozen.repeat_acked(False)
        publish(bare, "1", "2", "3")
        first, second, _ = pull(bare)
        acknowledge(bare, second)
        hold(bare, 0, first)
        assert texts(pull(bare)) == ["1", "3"]

    def test_without_ordering_each_message_stands_alone(self, bare: Messaging) -> None:
        bare.subscribe(enable_message_ordering=False)
        publish(bare, "1", "2")
        assert texts(pull(bare, 1)) == ["1"]
        assert texts(pull(bare, 1)) == ["2"]


class TestDeadlines:
    """`ModifyAckDeadlineRequest`, and the page on lease management."""

    def test_what_is_not_acknowledged_in_time_comes_again(self, bare: Messaging, frozen: GoogleServer) -> None:
        bare.subscribe()
        publish(bare, "1")
        pull(bare)
        frozen.advance(LEASE - 0.001)
        assert pull(bare) == []
        frozen.advance(0.001)
        assert texts(pull(bare)) == ["1"]

    def test_the_deadline_is_counted_from_when_it_was_modified(self, bare: Messaging, frozen: GoogleServer) -> None:
        bare.subscribe()
        publish(bare, "1")
        held = pull(bare)
        frozen.advance(LEASE - 1)
        hold(bare, 600, *held)
        frozen.advance(599)
        assert pull(bare) == []
        frozen.advance(1)
        assert texts(pull(bare)) == ["1"]

    @pytest.mark.parametrize("seconds", [-1, 601])
    def test_a_deadline_is_of_ten_minutes_at_most(self, bare: Messaging, seconds: int) -> None:
        bare.subscribe()
        publish(bare, "1")
        with pytest.raises(InvalidArgument):
            hold(bare, seconds, *pull(bare))

    def test_an_old_acknowledgement_id_is_no_error(self, bare: Messaging) -> None:
        bare.subscribe()
        publish(bare, "1")
        held = pull(bare)
        hold(bare, 0, *held)
        acknowledge(bare, *held)
        assert texts(pull(bare)) == ["1"]

    def test_with_exactly_once_delivery_it_is_one_that_names_it(self, bare: Messaging) -> None:
        bare.subscribe(enable_exactly_once_delivery=True)
        publish(bare, "1", "2")
        first, second = pull(bare)
        acknowledge(bare, first)
        with pytest.raises(FailedPrecondition) as raised:
            acknowledge(bare, first, second)
        error: Any = raised.value
        assert error.metadata == {first.ack_id: "PERMANENT_FAILURE_INVALID_ACK_ID"}
        assert pull(bare) == []

    def test_what_is_given_back_waits_as_the_retry_policy_says(self, bare: Messaging, frozen: GoogleServer) -> None:
        bare.subscribe(retry_policy={"minimum_backoff": timedelta(seconds=2), "maximum_backoff": timedelta(seconds=3)})
        publish(bare, "1", "2")
        for wait in (2, 3, 3):
            hold(bare, 0, pull(bare)[0])
            frozen.advance(wait - 0.01)
            assert pull(bare) == []
            frozen.advance(0.01)

    def test_what_was_held_for_too_long_waits_as_the_retry_policy_says(
        self, bare: Messaging, frozen: GoogleServer
    ) -> None:
        bare.subscribe(retry_policy={"minimum_backoff": timedelta(seconds=2), "maximum_backoff": timedelta(seconds=3)})
        publish(bare, "1", "2")
        for wait in (2, 3, 3):
            hold(bare, 20, pull(bare)[0])
            frozen.advance(20 + wait - 0.01)
            assert pull(bare) == []
            frozen.advance(0.01)


class TestDeadLetters:
    """`DeadLetterPolicy`, `ReceivedMessage.delivery_attempt`, and the page on dead-letter topics."""

    def test_after_so_many_attempts_a_message_goes_to_the_dead_letter_topic(self, bare: Messaging) -> None:
        policy = {"dead_letter_topic": bare.dead_letters(), "max_delivery_attempts": 5}
        bare.subscribe(dead_letter_policy=policy)
        publish(bare, "1", "2")
        attempts: list[int] = []
        for _ in range(5):
            (held,) = pull(bare, 1)
            attempts.append(held.delivery_attempt)
            hold(bare, 0, held)
        assert attempts == [1, 2, 3, 4, 5]
        assert texts(pull(bare)) == ["2"]
        (dead,) = pull(bare, name="-dead")
        assert (dead.message.data, dead.message.ordering_key) == (b"1", "k")
        assert dead.message.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"

    def test_without_a_policy_attempts_are_not_counted(self, bare: Messaging) -> None:
        bare.subscribe()
        publish(bare, "1")
        assert pull(bare)[0].delivery_attempt == 0

    @pytest.mark.parametrize("attempts", [4, 101])
    def test_attempts_are_from_5_to_100(self, bare: Messaging, attempts: int) -> None:
        with pytest.raises(InvalidArgument):
            bare.subscribe(dead_letter_policy={"dead_letter_topic": bare.topic, "max_delivery_attempts": attempts})


@define(eq=False)
class Endpoint:
    """An endpoint for push requests. It answers with each of `statuses`, and then with the last of them."""

    url: str
    statuses: list[int]
    bodies: list[Mapping[str, Any]] = field(factory=list[Mapping[str, Any]])
    headers: list[Mapping[str, str]] = field(factory=list[Mapping[str, str]])
    free: threading.Event = field(factory=threading.Event)

    def texts(self) -> list[str]:
        return [base64.b64decode(body["message"]["data"]).decode() for body in self.bodies]


@contextmanager
def endpoint(*statuses: int, held: bool = False) -> Generator[Endpoint]:
    """An endpoint; while it is `held`, it answers nothing until it is set `free`."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.headers.append({name.lower(): value for name, value in self.headers.items()})
            found.bodies.append(json.loads(body))
            found.free.wait(10.0)
            self.send_response(found.statuses.pop(0) if len(found.statuses) > 1 else found.statuses[0])
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    found = Endpoint(f"http://127.0.0.1:{server.server_port}/push", list(statuses))
    if not held:
        found.free.set()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield found
    finally:
        found.free.set()
        server.shutdown()
        thread.join()
        server.server_close()


class TestPush:
    """ "Push subscriptions" and "Authentication for push subscriptions"."""

    def test_a_request_has_the_message_and_its_ordering_key_and_attempt(self, messaging: Messaging) -> None:
        with endpoint(204) as target:
            policy = {"dead_letter_topic": messaging.dead_letters(), "max_delivery_attempts": 5}
            name = messaging.subscribe("-push", push_config={"push_endpoint": target.url}, dead_letter_policy=policy)
            publish(messaging, "1")
            until(lambda: len(target.bodies) == 1)
        (body,) = target.bodies
        assert (body["subscription"], body["deliveryAttempt"]) == (name, 1)
        assert base64.b64decode(body["message"]["data"]) == b"1"
        assert body["message"]["orderingKey"] == "k"
        assert body["message"]["messageId"] and body["message"]["publishTime"]

    def test_a_token_is_of_google_for_the_account_and_the_audience(self, messaging: Messaging) -> None:
        with endpoint(204) as target:
            token = {"service_account_email": ACCOUNT, "audience": "https://signup.example"}
            messaging.subscribe("-push", push_config={"push_endpoint": target.url, "oidc_token": token})
            publish(messaging, "1")
            until(lambda: len(target.bodies) == 1)
        kind, _, signed = target.headers[0]["authorization"].partition(" ")
        with urllib.request.urlopen(messaging.server.certificates) as answer:
            certificates = json.load(answer)
        claims = import_module("google.auth.jwt").decode(signed, certificates, audience="https://signup.example")
        assert (kind, claims["iss"], claims["email"]) == ("Bearer", "https://accounts.google.com", ACCOUNT)
        assert claims["email_verified"] is True

    def test_one_message_of_a_key_is_outstanding_and_other_keys_are_not_held_up(self, messaging: Messaging) -> None:
        with endpoint(204, held=True) as target:
            messaging.subscribe("-push", push_config={"push_endpoint": target.url})
            publish(messaging, "1", "2")
            publish(messaging, "x", key="other")
            until(lambda: len(target.bodies) == 2)
            assert sorted(target.texts()) == ["1", "x"]
            target.free.set()
            until(lambda: len(target.bodies) == 3)
        assert target.texts()[2] == "2"

    @pytest.mark.parametrize("status", [200, 201, 202, 204])
    def test_these_answers_acknowledge(self, messaging: Messaging, status: int) -> None:
        with endpoint(status) as target:
            messaging.subscribe("-push", push_config={"push_endpoint": target.url})
            publish(messaging, "1", "2")
            until(lambda: target.texts() == ["1", "2"])

    @pytest.mark.parametrize("status", [302, 400, 404, 429, 500, 503])
    def test_all_others_do_not_and_the_message_comes_again_before_later_ones(
        self, messaging: Messaging, status: int
    ) -> None:
        with endpoint(status, 204) as target:
            messaging.subscribe("-push", push_config={"push_endpoint": target.url})
            publish(messaging, "1", "2")
            until(lambda: target.texts() == ["1", "1", "2"])

    def test_exactly_once_delivery_is_not_for_push(self, messaging: Messaging) -> None:
        with pytest.raises(InvalidArgument):
            messaging.subscribe("-push", push_config={"push_endpoint": "http://x"}, enable_exactly_once_delivery=True)


class TestTasks:
    """`CreateTaskRequest`, `Task`, `HttpRequest`."""

    def create(self, bare: Messaging, url: str, due: float, id: str | None = None, **request: Any) -> None:
        name = {} if id is None else {"name": f"{bare.task_queue}/tasks/{id}"}
        task = {
            **name,
            "schedule_time": datetime.fromtimestamp(due, UTC),
            "http_request": {"url": url, "http_method": "POST", "body": b'{"n":1}', **request},
        }
        bare.tasks.create_task(request={"parent": bare.task_queue, "task": task}, retry=None, timeout=5.0)

    def test_a_task_calls_its_target_once_it_is_due(self, bare: Messaging) -> None:
        with endpoint(200) as target:
            self.create(bare, target.url, bare.server.now() + 60, "a")
            bare.server.advance(59.9)
            assert target.bodies == []
            bare.server.advance(0.1)
            assert target.bodies == [{"n": 1}]
            assert target.headers[0]["x-cloudtasks-taskname"] == "a"

    def test_a_target_that_does_not_answer_with_success_is_called_again(self, bare: Messaging) -> None:
        with endpoint(503, 404, 200) as target:
            self.create(bare, target.url, bare.server.now())
            for _ in range(4):
                bare.server.advance(60)
        assert len(target.bodies) == 3
        assert target.headers[2]["x-cloudtasks-taskretrycount"] == "2"

    def test_a_name_is_given_once_and_for_a_day_after_its_end_not_again(self, bare: Messaging) -> None:
        with endpoint(200) as target:
            self.create(bare, target.url, bare.server.now() + 60, "a")
            with pytest.raises(AlreadyExists):
                self.create(bare, target.url, bare.server.now() + 60, "a")
            bare.server.advance(60)
            with pytest.raises(AlreadyExists):
                self.create(bare, target.url, bare.server.now() + 60, "a")
            bare.server.advance(24 * 60 * 60)
            self.create(bare, target.url, bare.server.now() + 60, "a")

    def test_what_is_deleted_is_not_called_and_cannot_be_deleted_again(self, bare: Messaging) -> None:
        with endpoint(200) as target:
            self.create(bare, target.url, bare.server.now() + 60, "a")
            name = {"name": f"{bare.task_queue}/tasks/a"}
            bare.tasks.delete_task(request=name, retry=None, timeout=5.0)
            with pytest.raises(NotFound):
                bare.tasks.delete_task(request=name, retry=None, timeout=5.0)
            bare.server.advance(60)
            assert target.bodies == []

    def test_a_task_waits_for_thirty_days_at_most(self, bare: Messaging) -> None:
        with pytest.raises(InvalidArgument, match="too far in the future"):
            self.create(bare, "http://x", bare.server.now() + 30 * 24 * 60 * 60 + 1)

    def test_a_token_is_of_the_kind_that_was_asked_for(self, bare: Messaging) -> None:
        with endpoint(200) as target:
            self.create(bare, target.url, bare.server.now(), oidc_token={"service_account_email": ACCOUNT})
            bare.server.advance(0)
            self.create(bare, target.url, bare.server.now(), oauth_token={"service_account_email": ACCOUNT})
            bare.server.advance(0)
        first, second = (each["authorization"] for each in target.headers)
        assert first.startswith("Bearer ey")
        assert second.startswith("Bearer ya29.")

    def test_pubsub_takes_what_a_task_publishes_only_with_a_token(self, bare: Messaging) -> None:
        bare.subscribe()
        body = json.dumps({"messages": [{"data": "MQ==", "orderingKey": "k"}]}).encode()
        url = bare.server.publish_url(bare.topic)
        self.create(bare, url, bare.server.now(), body=body)
        bare.server.advance(0)
        assert pull(bare) == []
        self.create(bare, url, bare.server.now(), body=body, oauth_token={"service_account_email": ACCOUNT})
        bare.server.advance(0)
        assert texts(pull(bare)) == ["1"]


class TestTheServerItself:
    def test_its_time_is_the_machines_until_it_is_frozen(self, google: GoogleServer, frozen: GoogleServer) -> None:
        assert google.now() < google.now()
        assert frozen.now() == frozen.now()

    def test_a_failure_may_come_before_or_after_what_was_asked(self, bare: Messaging) -> None:
        bare.subscribe()
        bare.server.fail("Publish", "UNAVAILABLE", skip=1)
        publish(bare, "1")
        with pytest.raises(Exception, match="503"):
            publish(bare, "2")
        bare.server.fail("Publish", "UNAVAILABLE", done=True)
        with pytest.raises(Exception, match="503"):
            publish(bare, "3")
        publish(bare, "4")
        assert texts(pull(bare)) == ["1", "3", "4"]

    def test_it_ends_with_its_block(self) -> None:
        with pubsub() as server:
            address = server.address
        publisher = client_of(PUBLISHER, emulator=address)
        with pytest.raises(Exception, match="503"):
            publisher.get_topic(request={"topic": "projects/p/topics/t"}, retry=None, timeout=5.0)
        publisher.transport.close()
