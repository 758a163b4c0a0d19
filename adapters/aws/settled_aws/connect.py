"""Build a backend from an `AwsUrl`: create the clients and assemble the ports over them.

botocore finds credentials and endpoints by itself, from its environment variables and files.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from botocore.config import Config
from botocore.session import get_session

from settled.durable.ports import Capability
from settled.errors import SettledError, UnavailableError
from settled_aws.clock import RESOLUTION, AwsClock, observed_by
from settled_aws.dead_letter_queues import find_dead_letter_queues
from settled_aws.delay_queue import DelayQueue
from settled_aws.errors import translated
from settled_aws.machine_queues import MachineQueues
from settled_aws.queue import MAX_RETENTION_SECONDS, SqsFifoQueue
from settled_aws.store import DynamoDBStore
from settled_aws.timers import EventBridgeTimers, ScheduleTarget
from settled_aws.url import AwsUrl, parse_url
from settled_runtime import CompositeBackend

if TYPE_CHECKING:
    from settled_aws.client_protocols import DynamoDBClient, SchedulerClient, SqsClient

ONE_ATTEMPT = Config(
    # No retries inside botocore: a conditional write that is retried after a lost answer fails by its own first
    # attempt, and would be reported as a conflict instead of an unknown outcome.
    retries={"total_max_attempts": 1, "mode": "standard"},
    connect_timeout=3,
    read_timeout=25,  # longer than SQS' longest long poll, 20 seconds
    max_pool_connections=32,
)
"""The botocore configuration of every client; clients given to `assemble` need it too."""

CAPABILITIES = frozenset({Capability.POSITIONS, Capability.UNORDERED_SCAN})
"""SQS numbers its messages, and DynamoDB lists its items by the hashes of their keys.

SQS shares no transaction with DynamoDB, so no finish is atomic or fenced. With `AwsUrl.keep_finished` there is
`Capability.EXPIRY`, too.
"""


def open_aws(url: str) -> CompositeBackend:
    """Open the backend at a URL such as ``aws://eu-central-1/signup?lease=60``; `AwsUrl` has the options.

    Raises:
        AccessDeniedError: there are no valid credentials, or they lack a permission.
        BackendConfigError: the URL is invalid, or the queue does not exist.
        UnavailableError: AWS did not answer.
    """
    parsed = parse_url(url)
    session = botocore_session(parsed.region)
    sqs, dynamodb = (session.create_client(service, config=ONE_ATTEMPT) for service in ("sqs", "dynamodb"))
    scheduler = _LazyClient(lambda: session.create_client("scheduler", config=ONE_ATTEMPT))
    partition = str(session.get_partition_for_region(parsed.region))
    return assemble(
        parsed,
        find_addresses(parsed, queue_url_prefix(parsed, sqs), partition),
        dynamodb=dynamodb,
        sqs=sqs,
        scheduler=scheduler,
        closing=(sqs.close, dynamodb.close, scheduler.close),
    )


@frozen
class Addresses:
    """URLs of the queues, and ARNs of the FIFO queue, of the schedules' dead-letter queue and of the schedules' role.

    `queues` and `queue_arns` are the URLs and ARNs of the FIFO queues of machines that have one of their own, by their
    ids.
    """

    queue: str
    delays: str
    schedules_dead: str
    queue_arn: str
    schedules_dead_arn: str
    role_arn: str
    queues: Mapping[str, str] = field(factory=dict[str, str])
    queue_arns: Mapping[str, str] = field(factory=dict[str, str])

    @property
    def all_queue_arns(self) -> tuple[str, ...]:
        """The ARNs of all FIFO queues, each once."""
        return tuple(dict.fromkeys((self.queue_arn, *self.queue_arns.values())))


def find_addresses(url: AwsUrl, root: str, partition: str = "aws") -> Addresses:
    """Derive the addresses of the resources of `url`.

    Args:
        url: what names them.
        root: the URL of its queues without their names; it ends in the account id.
        partition: the ARN partition, such as ``aws`` or ``aws-cn``.
    """
    account = root.rpartition("/")[2]
    sqs = f"arn:{partition}:sqs:{url.region}:{account}"
    return Addresses(
        queue=f"{root}/{url.queue}",
        delays=f"{root}/{url.delays}",
        schedules_dead=f"{root}/{url.schedules_dead}",
        queue_arn=f"{sqs}:{url.queue}",
        schedules_dead_arn=f"{sqs}:{url.schedules_dead}",
        role_arn=url.role if url.role.startswith("arn:") else f"arn:{partition}:iam::{account}:role/{url.role}",
        queues={machine: f"{root}/{name}" for machine, name in url.queues.items()},
        queue_arns={machine: f"{sqs}:{name}" for machine, name in url.queues.items()},
    )


def assemble(
    url: AwsUrl,
    addresses: Addresses,
    *,
    dynamodb: DynamoDBClient,
    sqs: SqsClient,
    scheduler: Callable[[], SchedulerClient],
    clock: Callable[[], float] | None = None,
    closing: tuple[Callable[[], None], ...] = (),
) -> CompositeBackend:
    """Build the backend of `url` over these clients.

    Args:
        url: names the table and the schedule group; has the lease and the limits.
        addresses: of the queues and the role.
        dynamodb: a client configured by `ONE_ATTEMPT`, as are the others.
        sqs: a client.
        scheduler: returns a client; called when the first timer needs a schedule.
        clock: the exact time in seconds since the epoch; without it the backend uses AWS's time, from its responses.
        closing: functions that the backend's `close` calls.
    """
    now, resolution = clock or AwsClock(lambda: _ask_for_time(store, sqs, addresses.queue)), timedelta()
    if isinstance(now, AwsClock):
        dynamodb, sqs, resolution = observed_by(dynamodb, now), observed_by(sqs, now), RESOLUTION
    delays = DelayQueue(sqs, addresses.delays, clock or time.monotonic)
    store = DynamoDBStore(dynamodb, url.table, url.keep_finished, now)
    queue = _queue(url, addresses, sqs, delays, now)
    target = ScheduleTarget(
        group=url.schedules,
        queue=addresses.queue_arn,
        role=addresses.role_arn,
        dead_letters=addresses.schedules_dead_arn,
        queues=addresses.queue_arns,
    )
    queues = (addresses.queue, *addresses.queues.values())
    return CompositeBackend(
        store=store,
        queue=queue,
        timers=EventBridgeTimers(scheduler, target, delays, queue.send, now, resolution),
        lease=url.lease,
        capabilities=CAPABILITIES if url.keep_finished is None else CAPABILITIES | {Capability.EXPIRY},
        closing=closing,
        clock=now,
        resolution=resolution,
        largest_message=url.largest_message,
        dead_letter_queues=lambda: find_dead_letter_queues(sqs, queues, addresses.delays, addresses.schedules_dead),
        retention=timedelta(seconds=MAX_RETENTION_SECONDS),
    )


def _ask_for_time(store: DynamoDBStore, sqs: SqsClient, queue: str) -> None:
    """Make a request for the date of its response.

    Raises:
        UnavailableError: DynamoDB did not answer. Another request was made to SQS, whose response has a date, too.
        AccessDeniedError, BackendConfigError: DynamoDB refused, in a response that has a date.
    """
    try:
        store.ping()
    except UnavailableError:
        # Messages are released by the time: without it, each of them would come back when its lease ends, and an outage
        # of DynamoDB alone would use up their receives.
        with suppress(SettledError), translated("asking SQS for the time", repeatable=True):
            sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        raise


def _queue(
    url: AwsUrl, addresses: Addresses, sqs: SqsClient, delays: DelayQueue, clock: Callable[[], float]
) -> SqsFifoQueue | MachineQueues:
    if not addresses.queues:
        return SqsFifoQueue(sqs, addresses.queue, url.lease, delays, clock)
    default, *others = (
        SqsFifoQueue(sqs, each, url.lease, clock=clock)
        for each in dict.fromkeys((addresses.queue, *addresses.queues.values()))
    )
    by_url = {queue.url: queue for queue in (default, *others)}
    return MachineQueues(default, {machine: by_url[each] for machine, each in addresses.queues.items()}, delays)


def botocore_session(region: str) -> Any:
    """Return a botocore session for `region`, with the credentials that botocore finds."""
    session: Any = get_session()  # boto3's session does the same and takes longer to import: a cold start pays for it
    session.set_config_variable("region", region)
    return session


def queue_url_prefix(url: AwsUrl, sqs: Any) -> str:
    """Return the URL of the queues without their names. Without `url.account` this takes one request.

    Raises:
        BackendConfigError: the queue does not exist.
    """
    if url.account is not None:
        return f"{sqs.meta.endpoint_url}/{url.account}"
    with translated(f"looking for the queue {url.queue} in {url.region}", repeatable=True):
        return str(sqs.get_queue_url(QueueName=url.queue)["QueueUrl"]).rpartition("/")[0]


class _LazyClient:
    """Creates a client at its first call, and returns the same one at each."""

    def __init__(self, create: Callable[[], Any]) -> None:
        self._create, self._lock = create, threading.Lock()
        self._client: Any = None

    def __call__(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._create()
            return self._client

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
