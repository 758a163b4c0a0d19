"""Build a backend from a `GcpUrl`: create the clients and assemble the ports over them.

``google.auth`` finds the credentials, from its environment variables and files. Emulators are found by Google's
variables ``FIRESTORE_EMULATOR_HOST`` and ``PUBSUB_EMULATOR_HOST``, and likewise by ``CLOUD_TASKS_EMULATOR_HOST``.
Opening a backend makes no request to these services.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any, assert_never

from settled.durable import Capability, Queue, Timer, Timers
from settled_gcp.client_protocols import FirestoreClient, PublisherClient, SubscriberClient, TasksClient
from settled_gcp.clients import (
    FIRESTORE,
    FIRESTORE_ADMIN,
    PUBLISHER,
    SUBSCRIBER,
    TASKS,
    Service,
    client_of,
    default_credentials,
)
from settled_gcp.clock import RESOLUTION, ServerTime
from settled_gcp.cloud_tasks_timers import CloudTasksTimers, TaskTarget
from settled_gcp.dead_letter_queues import find_dead_letter_queues
from settled_gcp.firestore_timers import FirestoreTimers, SweptQueue
from settled_gcp.queue import MAX_RETENTION_SECONDS, PubSubQueue, SubscriptionQueue
from settled_gcp.store import FirestoreStore
from settled_gcp.streaming_pull import StreamingQueue
from settled_gcp.url import GcpUrl, PullMode, TimerService, parse_url
from settled_runtime import CompositeBackend

_EMULATORS = {
    FIRESTORE: "FIRESTORE_EMULATOR_HOST",
    FIRESTORE_ADMIN: "FIRESTORE_EMULATOR_HOST",
    PUBLISHER: "PUBSUB_EMULATOR_HOST",
    SUBSCRIBER: "PUBSUB_EMULATOR_HOST",
    TASKS: "CLOUD_TASKS_EMULATOR_HOST",
}

CAPABILITIES = frozenset({Capability.SCAN})
"""Firestore lists documents. It shares no transaction with Pub/Sub, so no finish is atomic or fenced.

With `GcpUrl.keep_finished` there is `Capability.EXPIRY`, too.
"""


def open_gcp(url: str) -> CompositeBackend:
    """Open the backend at a URL such as ``gcp://my-project/signup?location=europe-west1``; `GcpUrl` has the options.

    Raises:
        AccessDeniedError: there are no credentials.
        BackendConfigError: the URL is invalid, or a package is not installed.
    """
    parsed = parse_url(url)
    clients = Clients(parsed)
    return assemble(
        parsed,
        firestore=clients.of(FIRESTORE),
        publisher=clients.of(PUBLISHER),
        subscriber=clients.of(SUBSCRIBER),
        tasks=lambda: clients.of(TASKS),
        closing=(clients.close,),
    )


def assemble(
    url: GcpUrl,
    *,
    firestore: FirestoreClient,
    publisher: PublisherClient,
    subscriber: SubscriberClient,
    tasks: Callable[[], TasksClient],
    clock: Callable[[], float] | None = None,
    closing: tuple[Callable[[], None], ...] = (),
) -> CompositeBackend:
    """Build the backend of `url` over these clients.

    Args:
        url: names the collection, the topic, the subscription and the queue; has the lease and the modes.
        firestore: a generated client, as are the others.
        publisher: a client.
        subscriber: a client.
        tasks: returns a client; called when the first timer needs a task, so never with ``timers=sweep``.
        clock: the time in seconds since the epoch, used for intervals, too; without it the backend uses Firestore's
            time, from its responses.
        closing: functions that the backend's `close` calls.
    """
    now = ServerTime(firestore, url.records, clock)
    ticks = clock or time.monotonic
    store = FirestoreStore(
        firestore, url.records, keep_finished=url.keep_finished, contention=url.contention, clock=now
    )
    queue, timers, closing_queue = _queue_and_timers(url, firestore, publisher, subscriber, tasks, now, ticks)
    return CompositeBackend(
        store=store,
        queue=queue,
        timers=timers,
        lease=url.lease,
        capabilities=CAPABILITIES if url.keep_finished is None else CAPABILITIES | {Capability.EXPIRY},
        closing=(*closing_queue, *closing),
        clock=now,
        resolution=RESOLUTION,
        largest_message=url.largest_message,
        dead_letter_queues=lambda: find_dead_letter_queues(
            publisher, subscriber, url.subscription_name, url.dead_subscription_name
        ),
        retention=timedelta(seconds=MAX_RETENTION_SECONDS),
    )


def _queue_and_timers(
    url: GcpUrl,
    firestore: FirestoreClient,
    publisher: PublisherClient,
    subscriber: SubscriberClient,
    tasks: Callable[[], TasksClient],
    now: ServerTime,
    ticks: Callable[[], float],
) -> tuple[Queue, Timers, tuple[Callable[[], None], ...]]:
    """Return the queue, its timers, and the functions that close it."""
    names = (url.topic_name, url.subscription_name)
    # Queues use the lower bound of the time: after any response of Firestore's it takes no request, and the leases that
    # they report end too early rather than too late.
    match url.timers:
        case TimerService.TASKS:

            def reschedule(timer: Timer) -> None:
                timers.schedule(timer)  # assigned below: the queue and its timers need each other

            pubsub = PubSubQueue(publisher, subscriber, *names, url.lease, reschedule=reschedule, clock=now.lower_bound)
            target = TaskTarget(url.tasks_name, url.publish_url, url.account)
            timers = CloudTasksTimers(tasks, target, pubsub.send, now)
            queue, closing = _receiving_queue(url, pubsub, subscriber, now)
            return queue, timers, closing
        case TimerService.SWEEP:
            pubsub = PubSubQueue(publisher, subscriber, *names, url.lease, clock=now.lower_bound)
            swept = FirestoreTimers(firestore, url.records, pubsub.send, now)
            queue, closing = _receiving_queue(url, pubsub, subscriber, now)
            return SweptQueue(queue, swept, url.sweep_every, ticks), swept, closing
        case _:
            assert_never(url.timers)


def _receiving_queue(
    url: GcpUrl, pubsub: PubSubQueue, subscriber: SubscriberClient, now: ServerTime
) -> tuple[SubscriptionQueue, tuple[Callable[[], None], ...]]:
    """Return the queue that receives by the pull mode of `url`, and the functions that close it."""
    match url.pull:
        case PullMode.UNARY:
            return pubsub, ()
        case PullMode.STREAM:
            stream = StreamingQueue(pubsub, subscriber, clock=now.lower_bound)
            return stream, (stream.close,)
        case _:
            assert_never(url.pull)


class Clients:
    """The clients of the services of `url`; each is created when it is first used."""

    def __init__(self, url: GcpUrl) -> None:
        self._endpoints = {PUBLISHER: url.pubsub_endpoint, SUBSCRIBER: url.pubsub_endpoint}
        self._credentials = cache(default_credentials)
        self._clients: dict[Service, Any] = {}
        self._lock = threading.Lock()

    def of(self, service: Service) -> Any:
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._client(service)
            return self._clients[service]

    def close(self) -> None:
        with self._lock:
            clients, self._clients = self._clients, {}
        for client in clients.values():
            client.transport.close()

    def _client(self, service: Service) -> Any:
        if emulator := os.environ.get(_EMULATORS[service]):
            return client_of(service, emulator=emulator)
        return client_of(service, self._credentials(), endpoint=self._endpoints.get(service))
