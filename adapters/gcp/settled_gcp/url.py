"""Parse ``gcp://`` URLs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any

from attrs import frozen

from settled.errors import BackendConfigError
from settled_gcp.documents import Collection
from settled_gcp.store import ConcurrencyMode
from settled_runtime.url import duration, message_size, number, options_in, without_credentials

EXPECTED = "expected gcp://PROJECT/NAME, as in gcp://my-project/signup?location=europe-west1"


class TimerService(StrEnum):
    """Where timers are kept: in Cloud Tasks, or in Firestore, which workers query for due ones."""

    TASKS = "tasks"
    SWEEP = "sweep"


class PullMode(StrEnum):
    """How messages are received: by a Pull request for each batch, or by StreamingPull."""

    UNARY = "unary"
    STREAM = "stream"


@frozen
class GcpUrl:
    """A parsed ``gcp://PROJECT/NAME?OPTIONS``.

    Options that are not given follow from NAME: the collection, the topic, the subscription and the Cloud Tasks queue
    are called NAME, and the tasks' service account is NAME-timers in the project. `location` is the region of that
    queue and of the Pub/Sub endpoint; without it the client uses Pub/Sub's global endpoint, and `timers` must be
    ``sweep``. `machines` are those whose messages the filter of the subscription selects; only the doctor uses them.
    `dead_subscription` delivers what a dead-letter policy has moved away; without it, it is found by the policy.
    `publish` is the base URL at which tasks publish, if it is another one. `lease` is whole seconds, and
    `largest_message` is in bytes.
    """

    project: str
    collection: str
    topic: str
    subscription: str
    tasks: str
    account: str
    location: str | None = None
    database: str = "(default)"
    timers: TimerService = TimerService.TASKS
    sweep_every: timedelta = timedelta(seconds=5)
    contention: ConcurrencyMode = ConcurrencyMode.PRECONDITION
    pull: PullMode = PullMode.UNARY
    lease: timedelta = timedelta(seconds=60)
    keep_finished: timedelta | None = None
    publish: str | None = None
    machines: frozenset[str] = frozenset()
    dead_subscription: str | None = None
    # A Firestore document holds 1 MiB: a larger message does not fit into the record of an instance that must keep it.
    largest_message: int = 960 * 1024

    @property
    def records(self) -> Collection:
        return Collection(f"projects/{self.project}/databases/{self.database}", self.collection)

    @property
    def topic_name(self) -> str:
        return f"projects/{self.project}/topics/{self.topic}"

    @property
    def subscription_name(self) -> str:
        return f"projects/{self.project}/subscriptions/{self.subscription}"

    @property
    def dead_subscription_name(self) -> str | None:
        return self.dead_subscription and f"projects/{self.project}/subscriptions/{self.dead_subscription}"

    @property
    def tasks_name(self) -> str:
        return f"projects/{self.project}/locations/{self.location}/queues/{self.tasks}"

    @property
    def pubsub_endpoint(self) -> str | None:
        """The host of Pub/Sub in `location`; None for the global endpoint."""
        # Pub/Sub keeps the order of a key only among messages published in the same region.
        return None if self.location is None else f"{self.location}-pubsub.googleapis.com"

    @property
    def publish_url(self) -> str:
        """The URL of the publish method that tasks call."""
        return f"{self.publish or f'https://{self.pubsub_endpoint}'}/v1/{self.topic_name}:publish"


def parse_url(url: str) -> GcpUrl:
    """Parse ``gcp://PROJECT/NAME?OPTIONS``; the options are the fields of `GcpUrl`.

    Raises:
        BackendConfigError: the URL does not have this form, has an unknown option or an invalid value, or lacks
            ``location``.
    """
    shown = without_credentials(url)
    base, _, query = url.partition("?")
    project, _, name = base.removeprefix("gcp://").partition("/")
    if not base.startswith("gcp://") or not project or not name or "/" in name:
        raise BackendConfigError(f"{shown}: {EXPECTED}")
    parsed = GcpUrl(project=project, **{**_default_names(project, name), **options_in(query, _OPTIONS, shown)})
    if parsed.timers is TimerService.TASKS and parsed.location is None:
        raise BackendConfigError(f"{shown}: Cloud Tasks needs a location: set location=REGION, or timers=sweep")
    return parsed


def _default_names(project: str, name: str) -> dict[str, Any]:
    same = dict.fromkeys(("collection", "topic", "subscription", "tasks"), name)
    return {**same, "account": f"{name}-timers@{project}.iam.gserviceaccount.com"}


def _name(text: str) -> str:
    if not text or "/" in text:
        raise ValueError("expected a name")
    return text


def _machines(text: str) -> frozenset[str]:
    machines = text.split(",")
    if not all(machines):
        raise ValueError("expected MACHINE,MACHINE,...")
    return frozenset(machines)


def _lease(text: str) -> timedelta:
    lease = number(text, 1)
    if not 10 <= lease <= 600:
        raise ValueError("expected whole seconds, from 10 to 600: Pub/Sub's limits for an ack deadline")
    return timedelta(seconds=lease)


def _base_url(text: str) -> str:
    if not text.startswith(("https://", "http://")):
        raise ValueError("expected https://HOST")
    return text.rstrip("/")


MAX_LARGEST_MESSAGE = 4 * 1024 * 1024
"""The highest `GcpUrl.largest_message`: however it has to be escaped, Pub/Sub takes such a message."""


def _largest_message(text: str) -> int:
    size = message_size(text)
    if size > MAX_LARGEST_MESSAGE:
        raise ValueError(f"expected {MAX_LARGEST_MESSAGE} bytes at most: more may not fit into Pub/Sub")
    return size


_OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "collection": _name,
    "topic": _name,
    "subscription": _name,
    "tasks": _name,
    "account": _name,
    "location": _name,
    "database": _name,
    "timers": TimerService,
    "sweep_every": duration,
    "contention": ConcurrencyMode,
    "pull": PullMode,
    "lease": _lease,
    "keep_finished": duration,
    "publish": _base_url,
    "machines": _machines,
    "dead_subscription": _name,
    "largest_message": _largest_message,
}
