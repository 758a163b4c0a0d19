"""The push handler of the tests."""

from __future__ import annotations

import os
from datetime import timedelta

from settled import Backoff, Policy
from settled_gcp.clients import PUBLISHER, SUBSCRIBER, TASKS, client_of
from settled_gcp.cloud_tasks_timers import CloudTasksTimers, TaskTarget
from settled_gcp.push import PushHandler, push_handler
from settled_gcp.queue import PubSubQueue
from settled_local import open_sqlite
from settled_runtime import CompositeBackend, Host
from tests.support.traced_machine import MACHINE

AUDIENCE = "https://signup.example/push"
LEASE = timedelta(seconds=10)
PUSHER = "pusher@settled-test.iam.gserviceaccount.com"


def backend(name: str, project: str, address: str, url: str, file: str) -> CompositeBackend:
    """Return a backend with records in SQLite, and messages and timers in the tests' server."""
    topic = f"projects/{project}/topics/{name}"
    publisher, subscriber, tasks = (client_of(each, emulator=address) for each in (PUBLISHER, SUBSCRIBER, TASKS))
    queue = PubSubQueue(publisher, subscriber, topic, f"projects/{project}/subscriptions/{name}", LEASE)
    target = TaskTarget(
        f"projects/{project}/locations/europe-west1/queues/{name}",
        f"{url}/v1/{topic}:publish",
        f"timers@{project}.iam.gserviceaccount.com",
    )
    records = open_sqlite(f"sqlite:///{file}")
    timers = CloudTasksTimers(lambda: tasks, target, queue.send)
    return CompositeBackend(records.store, queue, timers, lease=LEASE, closing=(records.close,))


def host() -> Host:
    """Create the host of the backend that the environment variables describe."""
    variables = os.environ
    configured = backend(
        variables["NAME"], variables["PROJECT"], variables["ADDRESS"], variables["URL"], variables["RECORDS"]
    )
    policy = Policy(max_attempts=int(variables.get("ATTEMPTS", "3")), backoff=Backoff(first=timedelta(0)))
    return Host([MACHINE], configured, policy=policy)


def handler() -> PushHandler:
    """Return the handler, which creates that host at the first request."""
    reserve, certificates = timedelta(seconds=float(os.environ.get("RESERVE", "2"))), f"{os.environ['URL']}/certs"
    return push_handler(host, audience=AUDIENCE, email=PUSHER, reserve=reserve, certificates=certificates)


if "RECORDS" in os.environ:
    pushed = handler()
    function, wsgi, asgi = pushed.function, pushed.wsgi, pushed.asgi
