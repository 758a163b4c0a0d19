"""What a backend's URL says, and nothing of what is done about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from attrs import frozen

from settled.errors import BackendConfigError
from settled_gcp.documents import Collection
from settled_gcp.store import ConcurrencyMode
from settled_runtime.url import options_in, seconds

EXPECTED = "expected gcp://PROJECT/NAME, as in gcp://my-project/signup?location=europe-west1"


class TimerService(StrEnum):
    """Who wakes what waits: tasks of Cloud Tasks, or whoever works, by looking into Firestore."""

    TASKS = "tasks"
    SWEEP = "sweep"


class Pull(StrEnum):
    """How messages are received: one request for each batch, or a stream that brings them as they come."""

    UNARY = "unary"
    STREAM = "stream"


@frozen
class GcpUrl:
    """Where on Google Cloud a backend is.

    What is not given has its name from NAME: the collection, the topic, the subscription and the queue of Cloud Tasks
    are called NAME, and the service account of the tasks is NAME-timers of the project. `location` is the region of
    that queue, and the one in which everybody asks Pub/Sub, which keeps order within a region only; without it Pub/Sub
    is asked wherever it is nearest, and `timers` must be a sweep. `publish` is where tasks publish, if it is not there.
    `lease`, `sweep_every` and `keep_finished` are in seconds.
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
    sweep_every: float = 5.0
    contention: ConcurrencyMode = ConcurrencyMode.PRECONDITION
    pull: Pull = Pull.UNARY
    lease: int = 60
    keep_finished: float | None = None
    publish: str | None = None

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
    def tasks_name(self) -> str:
        return f"projects/{self.project}/locations/{self.location}/queues/{self.tasks}"

    @property
    def pubsub(self) -> str | None:
        """The host that is asked for Pub/Sub, if it is not the nearest."""
        return None if self.location is None else f"{self.location}-pubsub.googleapis.com"

    @property
    def publish_url(self) -> str:
        """What a task calls."""
        return f"{self.publish or f'https://{self.pubsub}'}/v1/{self.topic_name}:publish"


def place_in(url: str) -> GcpUrl:
    """The place that ``gcp://PROJECT/NAME?OPTIONS`` names; the options are the fields of `Place`.

    Raises:
        Denied: the URL is another one, has an option that is not known, or lacks one that is needed.
    """
    start, _, query = url.partition("?")
    project, _, name = start.removeprefix("gcp://").partition("/")
    if not start.startswith("gcp://") or not project or not name or "/" in name:
        raise BackendConfigError(f"{url}: {EXPECTED}")
    place = GcpUrl(project=project, **{**_named(project, name), **options_in(query, _KNOWN, url)})
    if place.timers is TimerService.TASKS and place.location is None:
        raise BackendConfigError(f"{url}: Cloud Tasks needs a location: say location=REGION, or timers=sweep")
    return place


def _named(project: str, name: str) -> dict[str, Any]:
    same = dict.fromkeys(("collection", "topic", "subscription", "tasks"), name)
    return {**same, "account": f"{name}-timers@{project}.iam.gserviceaccount.com"}


def _name(text: str) -> str:
    if not text or "/" in text:
        raise ValueError("expected a name")
    return text


def _lease(text: str) -> int:
    lease = int(text)
    if not 10 <= lease <= 600:
        raise ValueError("expected whole seconds, from 10 to 600: what Pub/Sub lets an ack deadline be")
    return lease


def _address(text: str) -> str:
    if not text.startswith(("https://", "http://")):
        raise ValueError("expected https://HOST")
    return text.rstrip("/")


_KNOWN: Mapping[str, Callable[[str], Any]] = {
    "collection": _name,
    "topic": _name,
    "subscription": _name,
    "tasks": _name,
    "account": _name,
    "location": _name,
    "database": _name,
    "timers": TimerService,
    "sweep_every": seconds,
    "contention": ConcurrencyMode,
    "pull": Pull,
    "lease": _lease,
    "keep_finished": seconds,
    "publish": _address,
}
