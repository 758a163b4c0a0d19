"""From a place to a backend: the clients, and what is made of them.

With which credentials Google is asked is ``google.auth``'s own business: its environment variables and files count, as
do the variables by which Google's emulators are found (``FIRESTORE_EMULATOR_HOST``, ``PUBSUB_EMULATOR_HOST``, and
``CLOUD_TASKS_EMULATOR_HOST`` in their manner). Nothing is asked before it is needed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
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
    credentials_here,
)
from settled_gcp.clock import RESOLUTION, ServerTime
from settled_gcp.cloud_tasks_timers import CloudTasksTimers, TaskTarget
from settled_gcp.firestore_timers import FirestoreTimers, SweptQueue
from settled_gcp.queue import PubSubQueue
from settled_gcp.store import FirestoreStore
from settled_gcp.streaming_pull import StreamingQueue
from settled_gcp.url import GcpUrl, Pull, TimerService, place_in
from settled_runtime import CompositeBackend

_EMULATORS = {
    FIRESTORE: "FIRESTORE_EMULATOR_HOST",
    FIRESTORE_ADMIN: "FIRESTORE_EMULATOR_HOST",
    PUBLISHER: "PUBSUB_EMULATOR_HOST",
    SUBSCRIBER: "PUBSUB_EMULATOR_HOST",
    TASKS: "CLOUD_TASKS_EMULATOR_HOST",
}


def open_gcp(url: str) -> CompositeBackend:
    """The backend that a URL such as ``gcp://my-project/signup?location=europe-west1`` names.

    `settled_gcp.url` has the options.

    Raises:
        Denied: the URL is not understood, there are no credentials, or a package is not installed.
    """
    place = place_in(url)
    clients = Clients(place)
    return assemble(
        place,
        firestore=clients.of(FIRESTORE),
        publisher=clients.of(PUBLISHER),
        subscriber=clients.of(SUBSCRIBER),
        tasks=lambda: clients.of(TASKS),
        closing=(clients.close,),
    )


def assemble(
    place: GcpUrl,
    *,
    firestore: FirestoreClient,
    publisher: PublisherClient,
    subscriber: SubscriberClient,
    tasks: Callable[[], TasksClient],
    clock: Callable[[], float] | None = None,
    closing: tuple[Callable[[], None], ...] = (),
) -> CompositeBackend:
    """The backend at `place`, over these clients; `closing` is what `close` calls.

    `tasks` makes its client when the first timer needs one, which is never where timers are swept. `clock`, if there is
    one, is the time for all of it, also where seconds are only counted; without it that is Firestore's.
    """
    now = ServerTime(firestore, place.records, clock)
    ticks = clock or time.monotonic
    store = FirestoreStore(
        firestore, place.records, keep_finished=place.keep_finished, contention=place.contention, clock=now
    )
    queue, timers, ending = _line(place, firestore, publisher, subscriber, tasks, now, ticks)
    return CompositeBackend(
        store=store,
        queue=queue,
        timers=timers,
        lease=float(place.lease),
        capabilities=frozenset({Capability.SCAN}),
        closing=(*ending, *closing),
        clock=now,
        resolution=RESOLUTION,
    )


def _line(
    place: GcpUrl,
    firestore: FirestoreClient,
    publisher: PublisherClient,
    subscriber: SubscriberClient,
    tasks: Callable[[], TasksClient],
    now: ServerTime,
    ticks: Callable[[], float],
) -> tuple[Queue, Timers, tuple[Callable[[], None], ...]]:
    """The queue, what puts timers into it, and how to end it."""
    names = (place.topic_name, place.subscription_name)
    match place.timers:
        case TimerService.TASKS:

            def rearm(timer: Timer) -> None:
                timers.schedule(timer)

            line = PubSubQueue(publisher, subscriber, *names, place.lease, rearm=rearm, clock=now.at_least)
            target = TaskTarget(place.tasks_name, place.publish_url, place.account)
            timers = CloudTasksTimers(tasks, target, line.send, now)
            queue, ending = _received(place, line, subscriber, now)
            return queue, timers, ending
        case TimerService.SWEEP:
            line = PubSubQueue(publisher, subscriber, *names, place.lease, clock=now.at_least)
            swept = FirestoreTimers(firestore, place.records, line.send, now)
            queue, ending = _received(place, line, subscriber, now)
            return SweptQueue(queue, swept, place.sweep_every, ticks), swept, ending
        case _:
            assert_never(place.timers)


def _received(
    place: GcpUrl, line: PubSubQueue, subscriber: SubscriberClient, now: ServerTime
) -> tuple[Queue, tuple[Callable[[], None], ...]]:
    """`line` as its messages are received here, and how to end that."""
    match place.pull:
        case Pull.UNARY:
            return line, ()
        case Pull.STREAM:
            stream = StreamingQueue(line, subscriber, clock=now.at_least)
            return stream, (stream.close,)
        case _:
            assert_never(place.pull)


class Clients:
    """The clients of the services at `place`, each made when it is first asked for."""

    def __init__(self, place: GcpUrl) -> None:
        self._endpoints = {PUBLISHER: place.pubsub, SUBSCRIBER: place.pubsub}
        self._credentials = cache(credentials_here)
        self._made: dict[Service, Any] = {}
        self._lock = threading.Lock()

    def of(self, service: Service) -> Any:
        with self._lock:
            if service not in self._made:
                self._made[service] = self._client(service)
            return self._made[service]

    def close(self) -> None:
        with self._lock:
            made, self._made = self._made, {}
        for client in made.values():
            client.transport.close()

    def _client(self, service: Service) -> Any:
        if emulator := os.environ.get(_EMULATORS[service]):
            return client_of(service, emulator=emulator)
        return client_of(service, self._credentials(), endpoint=self._endpoints.get(service))
