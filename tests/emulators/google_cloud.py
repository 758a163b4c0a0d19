"""The state and behaviour of the tests' Google: topics, subscriptions and tasks, deliveries, pushes and dispatches.

Its calls take and return the types of Google's client libraries. Callers hold `Google.changed`, except for the two
calls that wait, which acquire it themselves.
"""

from __future__ import annotations

import base64
import itertools
import json
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any, Protocol

import grpc
from attrs import define, field
from google.cloud.tasks_v2 import types as tasks
from google.pubsub_v1 import types as pubsub

from tests.emulators.google_tokens import Signer
from tests.emulators.pubsub_rules import Copy, Subscription, dead_letter_attributes, moment

POLL_INTERVAL = 0.02
"""Seconds between two checks for due work."""

RESERVED_SECONDS = 24 * 60 * 60
"""For how many seconds the name of a task that has ended stays reserved; Cloud Tasks documents up to 24 hours."""

MAX_TASK_SECONDS = 30 * 24 * 60 * 60
TOO_FAR = "The Task.scheduleTime, {}, is too far in the future. The schedule time must be no more than 720h0m0s"
ACCEPTED = (200, 201, 202, 204)
"""Statuses that acknowledge a push; 102, an interim response, is left out."""

PUSH_HOLDER = "pushed"
"""The holder of all pushed messages."""

Code = grpc.StatusCode
Empty: Any = import_module("google.protobuf.empty_pb2").Empty  # it has no types


class Context(Protocol):
    """The part of gRPC's context that is used."""

    def time_remaining(self) -> float | None: ...

    def is_active(self) -> bool: ...

    def abort(self, code: Any, details: str) -> Any: ...

    def abort_with_status(self, status: Any) -> Any: ...


class CallError(Exception):
    """The error response to a call. `receipts` has the reason for each ack id on which the call had no effect."""

    def __init__(self, code: Any, text: str, receipts: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.code, self.text, self.receipts = code, text, receipts or {}


@define(eq=False)
class Clock:
    """The server's clock: this machine's, or a stopped one, plus the time by which it was advanced."""

    added: float = 0.0
    frozen: float | None = None

    def __call__(self) -> float:
        return (time.time() if self.frozen is None else self.frozen) + self.added


@define(eq=False)
class Failure:
    """Makes the next `times` calls of `method`, after `skip` more, fail before or after they are `done`.

    `code` is a gRPC status, or the reason that a subscription with exactly-once delivery gives for all ack ids.
    """

    method: str
    code: str
    times: int = 1
    skip: int = 0
    done: bool = False


@define(eq=False)
class ScheduledTask:
    """A task that is not dispatched yet."""

    task: Any
    due: float
    dispatches: int = 0


@define(eq=False)
class Google:
    """The state of the server, guarded by `changed`."""

    clock: Clock = field(factory=Clock)
    signer: Signer = field(factory=Signer)
    changed: threading.Condition = field(factory=lambda: threading.Condition(threading.RLock()))
    topics: dict[str, Any] = field(factory=dict[str, Any])
    subscriptions: dict[str, Subscription] = field(factory=dict[str, Subscription])
    queues: dict[str, Any] = field(factory=dict[str, Any])
    tasks: dict[str, ScheduledTask] = field(factory=dict[str, ScheduledTask])
    ended: dict[str, float] = field(factory=dict[str, float])
    failures: list[Failure] = field(factory=list[Failure])
    requests: Counter[str] = field(factory=Counter[str])
    dispatching: int = 0
    repeats_acked: bool = False
    numbers: Iterator[int] = field(factory=lambda: itertools.count(1))
    pool: ThreadPoolExecutor = field(factory=lambda: ThreadPoolExecutor(32))

    # Pub/Sub

    def create_topic(self, request: Any) -> Any:
        if request.name in self.topics:
            raise CallError(Code.ALREADY_EXISTS, "Topic already exists")
        self.topics[request.name] = request
        return request

    def get_topic(self, request: Any) -> Any:
        return _get(self.topics, request.topic)

    def list_topic_subscriptions(self, request: Any) -> Any:
        found = [name for name, each in self.subscriptions.items() if each.config.topic == request.topic]
        return pubsub.ListTopicSubscriptionsResponse(subscriptions=found)

    def publish(self, request: Any) -> Any:
        _get(self.topics, request.topic)
        if not 1 <= len(request.messages) <= 1000:
            raise CallError(Code.INVALID_ARGUMENT, "The request must have 1 to 1000 messages.")
        if len({message.ordering_key for message in request.messages}) > 1:
            raise CallError(Code.INVALID_ARGUMENT, "All messages of a request must have the same ordering key.")
        if len(request.messages[0].ordering_key.encode()) > 1024:
            raise CallError(Code.INVALID_ARGUMENT, "The ordering key is longer than 1024 bytes.")
        if any(not message.data and not message.attributes for message in request.messages):
            raise CallError(Code.INVALID_ARGUMENT, "A message must have data or attributes.")
        if sum(len(message.data) for message in request.messages) > 10_000_000:
            raise CallError(Code.INVALID_ARGUMENT, "The value for message_size is too large.")
        return pubsub.PublishResponse(message_ids=[self._put(request.topic, each) for each in request.messages])

    def _put(self, topic: str, message: Any) -> str:
        published = pubsub.PubsubMessage(
            data=message.data,
            attributes=message.attributes,
            ordering_key=message.ordering_key,
            message_id=str(next(self.numbers)),
            publish_time=moment(self.clock()),
        )
        for subscription in self.subscriptions.values():
            if subscription.config.topic == topic:
                subscription.add(published)
        self.changed.notify_all()
        return str(published.message_id)

    def create_subscription(self, request: Any) -> Any:
        _get(self.topics, request.topic)
        if request.name in self.subscriptions:
            raise CallError(Code.ALREADY_EXISTS, "Subscription already exists")
        policy = request.dead_letter_policy
        if policy.dead_letter_topic and not 5 <= (policy.max_delivery_attempts or 5) <= 100:
            raise CallError(Code.INVALID_ARGUMENT, "max_delivery_attempts must be from 5 to 100")
        if request.ack_deadline_seconds and not 10 <= request.ack_deadline_seconds <= 600:
            raise CallError(Code.INVALID_ARGUMENT, "ack_deadline_seconds must be from 10 to 600")
        if request.enable_exactly_once_delivery and request.push_config.push_endpoint:
            raise CallError(Code.INVALID_ARGUMENT, "Exactly-once delivery is only for pull subscriptions.")
        request.ack_deadline_seconds = request.ack_deadline_seconds or 10

        def dead_letter(topic: str, copy: Copy) -> None:
            attributes = dead_letter_attributes(request.name, copy)
            message = pubsub.PubsubMessage(
                data=copy.message.data, attributes=attributes, ordering_key=copy.message.ordering_key
            )
            self._put(topic, message)

        self.subscriptions[request.name] = Subscription(request, self.clock, dead_letter, self.repeats_acked)
        return request

    def get_subscription(self, request: Any) -> Any:
        return self._subscription(request.subscription).config

    def delete_subscription(self, request: Any) -> Any:
        self._subscription(request.subscription)
        del self.subscriptions[request.subscription]
        return Empty()

    def modify_push_config(self, request: Any) -> Any:
        self._subscription(request.subscription).config.push_config = request.push_config
        return Empty()

    def acknowledge(self, request: Any) -> Any:
        subscription = self._subscription(request.subscription)
        lost = [ack_id for ack_id in request.ack_ids if not subscription.ack(ack_id)]
        return self._ack_response(subscription, lost)

    def modify_ack_deadline(self, request: Any) -> Any:
        subscription = self._subscription(request.subscription)
        if not 0 <= request.ack_deadline_seconds <= 600:
            raise CallError(Code.INVALID_ARGUMENT, "ack_deadline_seconds must be from 0 to 600")
        known = [ack_id for ack_id in request.ack_ids if ack_id in subscription.outstanding]
        for ack_id in known:
            subscription.modify(ack_id, request.ack_deadline_seconds)
        return self._ack_response(subscription, [ack_id for ack_id in request.ack_ids if ack_id not in known])

    def _ack_response(self, subscription: Subscription, lost: list[str]) -> Any:
        """Return the response to an ack; with exactly-once delivery raise an error for `lost` ack ids."""
        self.changed.notify_all()
        if lost and subscription.is_exactly_once:
            reasons = dict.fromkeys(lost, "PERMANENT_FAILURE_INVALID_ACK_ID")
            raise CallError(Code.FAILED_PRECONDITION, "Some acknowledgement ids in the request were invalid.", reasons)
        return Empty()

    def pull(self, request: Any, context: Context) -> Any:
        """Wait for the first message until the caller's deadline."""
        if request.max_messages < 1:
            raise CallError(Code.INVALID_ARGUMENT, "max_messages must be positive")
        end = time.monotonic() + min(90.0, context.time_remaining() or 90.0) - 0.02
        with self.changed:
            while context.is_active():
                subscription = self._subscription(request.subscription)
                lease = subscription.config.ack_deadline_seconds
                found = subscription.deliver(object(), request.max_messages, lease)
                left = end - time.monotonic()
                if found or request.return_immediately or left <= 0:
                    received = [_received(subscription, copy) for copy in found]
                    return pubsub.PullResponse(received_messages=received)
                self.changed.wait(left)
        return pubsub.PullResponse()

    def streaming_pull(self, requests: Iterator[Any], context: Context) -> Iterator[Any]:
        """Deliver until the caller ends the stream. Acks within the stream are not supported."""
        first = next(requests)
        holder, limit = object(), first.max_outstanding_messages or 1000
        with self.changed:
            self.requests["StreamingPull"] += 1
            self._subscription(first.subscription)
        threading.Thread(target=_drain, args=(requests,), daemon=True).start()
        while context.is_active():
            with self.changed:
                subscription = self._subscription(first.subscription)
                held = sum(copy.holder is holder for copy in subscription.outstanding.values())
                lease = first.stream_ack_deadline_seconds or subscription.config.ack_deadline_seconds
                found = subscription.deliver(holder, limit - held, lease) if held < limit else ()
                if not found:
                    if self._failing("StreamingPull", done=False):
                        raise CallError(Code.UNAVAILABLE, "The stream was closed by the server.")
                    self.changed.wait(0.05)
                    continue
                received = [_received(subscription, copy) for copy in found]
            yield pubsub.StreamingPullResponse(received_messages=received)

    def _subscription(self, name: str) -> Subscription:
        found: Subscription = _get(self.subscriptions, name)
        return found

    # Push

    def push(self, subscription: Subscription, copy: Copy) -> None:
        """Make a push request; its response acknowledges the message or not."""
        config, ack_id = subscription.config, copy.ack_id
        token = config.push_config.oidc_token
        headers = {"Content-Type": "application/json", "User-Agent": "CloudPubSub-Google"}
        if token.service_account_email:
            audience = token.audience or config.push_config.push_endpoint
            headers["Authorization"] = f"Bearer {self.signer.token(token.service_account_email, audience)}"
        body = json.dumps(push_body(subscription, copy)).encode()
        status = _post(config.push_config.push_endpoint, body, headers, config.ack_deadline_seconds)
        with self.changed:
            self.requests["push"] += 1
            if status in ACCEPTED:
                subscription.ack(ack_id)
            else:
                subscription.modify(ack_id, 0)
            self.changed.notify_all()

    # Cloud Tasks

    def create_queue(self, request: Any) -> Any:
        self.queues[request.queue.name] = request.queue
        return request.queue

    def get_queue(self, request: Any) -> Any:
        return _get(self.queues, request.name)

    def create_task(self, request: Any) -> Any:
        _get(self.queues, request.parent)
        task = request.task
        task.name = task.name or f"{request.parent}/tasks/{next(self.numbers)}"
        if task.name in self.tasks or self.ended.get(task.name, 0.0) > self.clock():
            raise CallError(Code.ALREADY_EXISTS, "A task with this name exists, or existed too recently.")
        due = task.schedule_time.timestamp() if task.schedule_time else self.clock()
        if due > self.clock() + MAX_TASK_SECONDS:
            raise CallError(Code.INVALID_ARGUMENT, TOO_FAR.format(task.schedule_time))
        self.tasks[task.name] = ScheduledTask(task, due)
        self.changed.notify_all()
        return task

    def delete_task(self, request: Any) -> Any:
        _get(self.tasks, request.name)
        self._end(request.name)
        return Empty()

    def list_tasks(self, request: Any) -> Any:
        found = [each.task for name, each in self.tasks.items() if name.startswith(f"{request.parent}/")]
        return tasks.ListTasksResponse(tasks=found)

    def _end(self, name: str) -> None:
        if self.tasks.pop(name, None) is not None:
            self.ended[name] = self.clock() + RESERVED_SECONDS

    def dispatch(self, scheduled: ScheduledTask) -> None:
        """Make a task's request. Without a success status it is retried, each time later."""
        request = scheduled.task.http_request
        headers = {**dict(request.headers), "User-Agent": "Google-Cloud-Tasks"}
        headers["X-CloudTasks-TaskName"] = scheduled.task.name.rpartition("/")[2]
        headers["X-CloudTasks-TaskRetryCount"] = str(scheduled.dispatches)
        if request.oauth_token.service_account_email:
            headers["Authorization"] = f"Bearer ya29.{request.oauth_token.service_account_email}"
        elif request.oidc_token.service_account_email:
            account, audience = request.oidc_token.service_account_email, request.oidc_token.audience or request.url
            headers["Authorization"] = f"Bearer {self.signer.token(account, audience)}"
        status = _post(request.url, request.body, headers, 30.0)
        with self.changed:
            self.requests["dispatch"] += 1
            scheduled.dispatches += 1
            if 200 <= status < 300:
                self._end(scheduled.task.name)
            scheduled.due = self.clock() + min(3600.0, 0.1 * 2**scheduled.dispatches)
            self.dispatching -= 1
            self.changed.notify_all()

    # Time

    def tick(self) -> None:
        """Do all work that is due."""
        now = self.clock()
        for subscription in list(self.subscriptions.values()):
            if subscription.outstanding:
                subscription.expire()
            if subscription.config.push_config.push_endpoint:
                lease = subscription.config.ack_deadline_seconds
                for copy in subscription.deliver(PUSH_HOLDER, 100, lease, one_each=True):
                    self.pool.submit(self.push, subscription, copy)
        for scheduled in self.tasks.values():
            if scheduled.due <= now + 1e-6:  # schedule times are rounded to microseconds
                scheduled.due = float("inf")
                self.dispatching += 1
                self.pool.submit(self.dispatch, scheduled)

    def run(self) -> None:
        while True:
            time.sleep(POLL_INTERVAL)
            with self.changed:
                self.tick()
                self.changed.notify_all()

    def advance(self, seconds: float) -> None:
        """Advance the clock, and wait until all tasks that are due by then were dispatched."""
        self.clock.added += seconds
        self.tick()
        self.changed.notify_all()
        self.changed.wait_for(lambda: self.dispatching == 0, timeout=5.0)

    # Failures

    def fail(self, method: str, request: Any, done: bool) -> None:
        """Raise the failure that a test requested for this call; `done`: the call has been carried out."""
        failure = self._failing(method, done)
        if failure is None:
            return
        if failure.code.startswith("TRANSIENT_FAILURE"):
            reasons = dict.fromkeys(request.ack_ids, failure.code)
            raise CallError(Code.FAILED_PRECONDITION, "Some acknowledgement ids in the request failed.", reasons)
        raise CallError(getattr(Code, failure.code), "requested by the test")

    def _failing(self, method: str, done: bool) -> Failure | None:
        for failure in self.failures:
            if failure.method == method and failure.done == done:
                if failure.skip > 0:
                    failure.skip -= 1
                    return None
                failure.times -= 1
                if failure.times == 0:
                    self.failures.remove(failure)
                return failure
        return None


def push_body(subscription: Subscription, copy: Copy) -> Mapping[str, Any]:
    """Return the body of a push request."""
    message = copy.message
    message_json = {
        "data": base64.b64encode(message.data).decode(),
        "messageId": message.message_id,
        "message_id": message.message_id,
        "publishTime": message.publish_time.isoformat(),
        "publish_time": message.publish_time.isoformat(),
    }
    if message.attributes:
        message_json["attributes"] = dict(message.attributes)
    if message.ordering_key:
        message_json["orderingKey"] = message.ordering_key
    attempt = {"deliveryAttempt": copy.attempts} if subscription.counts_attempts else {}
    return {"message": message_json, "subscription": subscription.config.name, **attempt}


def _received(subscription: Subscription, copy: Copy) -> Any:
    attempt = copy.attempts if subscription.counts_attempts else 0
    return pubsub.ReceivedMessage(ack_id=copy.ack_id, message=copy.message, delivery_attempt=attempt)


def _get(things: Mapping[str, Any], name: str) -> Any:
    if name not in things:
        raise CallError(Code.NOT_FOUND, f"Resource not found (resource={name.rpartition('/')[2]}).")
    return things[name]


def _drain(requests: Iterator[Any]) -> None:
    """Read the requests of a stream until the caller ends it."""
    try:
        for _ in requests:
            pass
    except grpc.RpcError:
        return


def _post(url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> int:
    """Make a POST request. Return the status of the response; 0 if there was none."""
    request = urllib.request.Request(url, data=body, headers=dict(headers), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
