"""A place to live on Google Cloud: Pub/Sub, Firestore, Cloud Tasks, push handlers.

The law of an adapter: it translates, one vendor call for one port call, and the vendor's errors into settled's. It
neither retries nor encodes, and it does not know what a statechart is.

The way in is `open_gcp`, or `assemble` with clients of one's own. Below it stand the ports: `store` with its
`documents`, `queue` with its `envelope`, and timers of two kinds, `tasks` and `sweep`; `names` says how a key looks to
Google, `errors` what went wrong, `services` what it is asked, `clients` how clients are made, `clock` what time it is.
`doctor` looks at a project. Above it, `push` is where Pub/Sub comes in, and `streaming` where it is listened to.
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
