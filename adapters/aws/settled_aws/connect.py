"""From a place to a backend: the clients, as they must be set up, and what is made of them.

botocore's own retries are off: one that nobody sees makes a lost answer look like a conflict. Where AWS is to be found
and with which credentials is botocore's own business: its environment variables and files are respected.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import frozen
from botocore.config import Config
from botocore.session import get_session

from settled.durable.ports import Capability
from settled_aws.clock import RESOLUTION, AwsClock, listening
from settled_aws.delay_queue import DelayQueue
from settled_aws.errors import translated
from settled_aws.queue import SqsFifoQueue
from settled_aws.store import DynamoDBStore
from settled_aws.timers import EventBridgeTimers, ScheduleTarget
from settled_aws.url import AwsUrl, place_in
from settled_runtime import CompositeBackend

if TYPE_CHECKING:
    from settled_aws.client_protocols import DynamoDBClient, SchedulerClient, SqsClient

ONE_ATTEMPT = Config(
    retries={"total_max_attempts": 1, "mode": "standard"},
    connect_timeout=3,
    read_timeout=25,  # a receive may wait for 20 seconds
    max_pool_connections=32,
)
"""How clients that are passed in should be set up, too."""

CAPABILITIES = frozenset({Capability.POSITIONS})
"""SQS numbers its messages. It shares no transaction with DynamoDB, so no finish is atomic or fenced."""


def open_aws(url: str) -> CompositeBackend:
    """The backend that a URL such as ``aws://eu-central-1/signup?lease=60`` names; `settled_aws.url` has the options.

    Raises:
        Denied: the URL is not understood, there are no credentials, or the queue is not there.
        Unavailable: nobody answered.
    """
    place = place_in(url)
    session = session_in(place.region)
    sqs, dynamodb = (session.create_client(service, config=ONE_ATTEMPT) for service in ("sqs", "dynamodb"))
    scheduler = _Once(lambda: session.create_client("scheduler", config=ONE_ATTEMPT))
    return assemble(
        place,
        find_addresses(place, root_of(place, sqs), str(session.get_partition_for_region(place.region))),
        dynamodb=dynamodb,
        sqs=sqs,
        scheduler=scheduler,
        closing=(sqs.close, dynamodb.close, scheduler.close),
    )


@frozen
class Addresses:
    """The URLs of both queues, and the ARNs of the FIFO queue and of the role that schedules assume."""

    queue: str
    delays: str
    queue_arn: str
    role_arn: str


def find_addresses(place: AwsUrl, root: str, partition: str = "aws") -> Addresses:
    """Where things are at `place`; `root` is the URL of its queues but for their names, and ends in the account."""
    account = root.rpartition("/")[2]
    return Addresses(
        queue=f"{root}/{place.queue}",
        delays=f"{root}/{place.delays}",
        queue_arn=f"arn:{partition}:sqs:{place.region}:{account}:{place.queue}",
        role_arn=place.role if place.role.startswith("arn:") else f"arn:{partition}:iam::{account}:role/{place.role}",
    )


def assemble(
    place: AwsUrl,
    found: Addresses,
    *,
    dynamodb: DynamoDBClient,
    sqs: SqsClient,
    scheduler: Callable[[], SchedulerClient],
    clock: Callable[[], float] | None = None,
    closing: tuple[Callable[[], None], ...] = (),
) -> CompositeBackend:
    """The backend at `place`, over these clients; `closing` is what `close` calls.

    `clock` is the time in seconds since the epoch, and taken to be exact. Without it the time is AWS's own.
    """
    now, resolution = clock or AwsClock(lambda: store.answer()), 0.0
    if isinstance(now, AwsClock):
        dynamodb, sqs, resolution = listening(dynamodb, now), listening(sqs, now), RESOLUTION
    delays = DelayQueue(sqs, found.delays, clock or time.monotonic)
    store = DynamoDBStore(dynamodb, place.table, place.keep_finished, now)
    queue = SqsFifoQueue(sqs, found.queue, place.lease, place.largest_message, delays, now)
    target = ScheduleTarget(place.schedules, found.queue_arn, found.role_arn)
    return CompositeBackend(
        store=store,
        queue=queue,
        timers=EventBridgeTimers(scheduler, target, delays, queue.send, now, resolution),
        lease=float(place.lease),
        capabilities=CAPABILITIES,
        closing=closing,
        clock=now,
        resolution=resolution,
    )


def session_in(region: str) -> Any:
    """The session of botocore for `region`, by whatever credentials it finds: boto3's is the same, and takes longer."""
    session: Any = get_session()
    session.set_config_variable("region", region)
    return session


def root_of(place: AwsUrl, sqs: Any) -> str:
    """The URL of the queues but for their names. One request asks for it where the account is not given."""
    if place.account is not None:
        return f"{sqs.meta.endpoint_url}/{place.account}"
    with translated(f"looking for the queue {place.queue} in {place.region}", reading=True):
        return str(sqs.get_queue_url(QueueName=place.queue)["QueueUrl"]).rpartition("/")[0]


class _Once:
    """The client that `make` makes, made when it is first called for."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._made: Any = None

    def __call__(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def close(self) -> None:
        with self._lock:
            if self._made is not None:
                self._made.close()
