"""Test fixtures: emulated services, real clients, and resources with unique names."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from attrs import evolve, frozen

from settled.durable import Message
from settled_gcp.clients import FIRESTORE, PUBLISHER, SUBSCRIBER, TASKS, client_of
from settled_gcp.connect import assemble
from settled_gcp.documents import Collection
from settled_gcp.envelope import to_text
from settled_gcp.names import ordering_key
from settled_gcp.url import GcpUrl, parse_url
from settled_runtime import CompositeBackend
from tests.emulators.pubsub import GoogleServer
from tests.support.builders import fresh_name, watched

PROJECT = "settled-test"
DATABASE = f"projects/{PROJECT}/databases/(default)"
LOCATION = "europe-west1"
LEASE = 10
"""Pub/Sub's shortest ack deadline, in seconds."""


@frozen
class Cloud:
    """Clients of one project, connected to its emulators."""

    server: GoogleServer
    firestore_address: str
    firestore: Any
    publisher: Any
    subscriber: Any
    tasks: Any

    @classmethod
    def at(cls, server: GoogleServer, firestore_address: str) -> Cloud:
        return cls(
            server,
            firestore_address,
            client_of(FIRESTORE, emulator=firestore_address),
            *(client_of(service, emulator=server.address) for service in (PUBLISHER, SUBSCRIBER, TASKS)),
        )

    def close(self) -> None:
        for client in (self.firestore, self.publisher, self.subscriber, self.tasks):
            client.transport.close()

    def watched(self, report: Callable[[str], None]) -> Cloud:
        """Return the same project with clients that report each request before they make it."""
        return evolve(
            self,
            firestore=watched(self.firestore, report),
            publisher=watched(self.publisher, report),
            subscriber=watched(self.subscriber, report),
            tasks=watched(self.tasks, report),
        )

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables by which a process finds these emulators."""
        return {
            "FIRESTORE_EMULATOR_HOST": self.firestore_address,
            "PUBSUB_EMULATOR_HOST": self.server.address,
            "CLOUD_TASKS_EMULATOR_HOST": self.server.address,
        }

    def url(self, name: str, **options: str) -> str:
        """Return the URL of the backend with this name."""
        defaults = {"location": LOCATION, "lease": f"{LEASE}", "publish": self.server.url, **options}
        return f"gcp://{PROJECT}/{name}?{urlencode(defaults)}"

    def gcp_url(self, name: str, **options: str) -> GcpUrl:
        return parse_url(self.url(name, **options))


def create(cloud: Cloud, url: GcpUrl, **options: Any) -> None:
    """Create what the module in ``examples/gcp-signup`` creates, with these `options` of the subscription."""
    dead_letters = f"{url.topic_name}-dead"
    for name in (url.topic_name, dead_letters):
        cloud.publisher.create_topic(request={"name": name})
    subscription = {
        "name": url.subscription_name,
        "topic": url.topic_name,
        "ack_deadline_seconds": url.lease.seconds,
        "enable_message_ordering": True,
        "enable_exactly_once_delivery": True,
        "dead_letter_policy": {"dead_letter_topic": dead_letters, "max_delivery_attempts": 100},
        **options,
    }
    cloud.subscriber.create_subscription(request=subscription)
    queue = {"name": url.tasks_name, "retry_config": {"max_attempts": -1}}
    queues = url.tasks_name.rpartition("/queues/")[0]
    cloud.tasks.create_queue(request={"parent": queues, "queue": queue})


def backend(cloud: Cloud, url: GcpUrl, clock: Callable[[], float] | None = None) -> CompositeBackend:
    return assemble(
        url,
        firestore=cloud.firestore,
        publisher=cloud.publisher,
        subscriber=cloud.subscriber,
        tasks=lambda: cloud.tasks,
        clock=clock,
    )


def ahead(client: Any, seconds: float) -> Any:
    """Return a client of Firestore whose responses have times that are `seconds` later."""
    return _Ahead(client, seconds)


class _Ahead:
    def __init__(self, client: Any, seconds: float) -> None:
        self._client, self._by = client, timedelta(seconds=seconds)

    def batch_get_documents(self, request: Any, retry: None, timeout: float) -> Iterator[Any]:
        yield from self._later(self._client.batch_get_documents(request=request, retry=retry, timeout=timeout))

    def run_query(self, request: Any, retry: None, timeout: float) -> Iterator[Any]:
        yield from self._later(self._client.run_query(request=request, retry=retry, timeout=timeout))

    def commit(self, request: Any, retry: None, timeout: float) -> Any:
        answer = self._client.commit(request=request, retry=retry, timeout=timeout)
        answer.commit_time += self._by
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def _later(self, answers: Iterable[Any]) -> Iterator[Any]:
        for answer in answers:
            if answer.read_time:
                answer.read_time += self._by
            yield answer


def pushed(sent: Message, content: bytes | None = None, **changes: Any) -> bytes:
    """Return the body of a push request, with these `changes` to its message."""
    about = {
        "data": base64.b64encode(content or to_text(sent)).decode(),
        "orderingKey": ordering_key(sent.key),
        "messageId": "1",
        **changes,
    }
    return json.dumps({"message": about, "subscription": "s", "deliveryAttempt": 1}).encode()


def fresh_collection() -> Collection:
    return Collection(DATABASE, fresh_name())
