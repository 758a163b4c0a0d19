"""settled on Google Cloud: Pub/Sub, Firestore and Cloud Tasks, pulled or pushed.

The law of an adapter: it translates one port call into one vendor call, and the vendor's errors into settled's. It
neither retries nor encodes, and knows nothing of statecharts.

`connect` builds the backend, from a URL (`open_gcp`) or over clients of your own (`assemble`). The ports are `store`
(with `documents`), `queue` or `streaming_pull`, and `cloud_tasks_timers` or `firestore_timers`; they share `envelope`,
`names`, `errors`, `clients` and `clock`. `doctor` examines a project. `push` handles push subscriptions, whose requests
`push_auth` authenticates.
"""

from __future__ import annotations

from settled_gcp.clients import FIRESTORE, PUBLISHER, SUBSCRIBER, TASKS, client_of
from settled_gcp.clock import ServerTime
from settled_gcp.cloud_tasks_timers import CloudTasksTimers
from settled_gcp.connect import assemble, open_gcp
from settled_gcp.doctor import examine_gcp
from settled_gcp.firestore_timers import FirestoreTimers
from settled_gcp.push import PushHandler, push_handler
from settled_gcp.push_auth import CERTIFICATES
from settled_gcp.queue import PubSubQueue
from settled_gcp.store import ConcurrencyMode, FirestoreStore
from settled_gcp.url import GcpUrl, TimerService

__all__ = [
    "CERTIFICATES",
    "FIRESTORE",
    "PUBLISHER",
    "SUBSCRIBER",
    "TASKS",
    "CloudTasksTimers",
    "ConcurrencyMode",
    "FirestoreStore",
    "FirestoreTimers",
    "GcpUrl",
    "PubSubQueue",
    "PushHandler",
    "ServerTime",
    "TimerService",
    "assemble",
    "client_of",
    "examine_gcp",
    "open_gcp",
    "push_handler",
]
