"""Examine the resources of an AWS backend for settings that endanger settled's guarantees.

The doctor only reads. Each ``check_*`` function takes the description that AWS gives of a resource and yields its
problems; each ``_probe_*`` function makes the requests for it. A resource that the credentials cannot read is reported
as a problem, because its settings are unknown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from settled import BackendRefusedError
from settled.durable.release_delays import outage_of, receives_within
from settled_aws.connect import ONE_ATTEMPT, Addresses, botocore_session, find_addresses, queue_url_prefix
from settled_aws.envelope import largest_text
from settled_aws.errors import code_of, translated
from settled_aws.iam_permissions import (
    missing_permissions,
    schedule_role_permissions,
    set_aside_permissions,
    worker_permissions,
)
from settled_aws.queue import MAX_REQUEST_BYTES, MAX_RETENTION_SECONDS
from settled_aws.url import AwsUrl, parse_url
from settled_runtime.doctor import BackendProblem, Probe, in_words

Description = Mapping[str, Any]

RECEIVE_COUNT = 1000
"""The maxReceiveCount to use, which is SQS' limit: healthy messages of machines that wait are received often, too."""

MIN_TIMEOUT_RATIO = 6
"""AWS recommends a visibility timeout of at least six times the timeout of the function that the queue feeds."""


def examine_aws(url: str) -> Sequence[BackendProblem]:
    """Return the problems of the queues, the table, the schedules, the roles and the event source mappings of `url`.

    Raises:
        AccessDeniedError: there are no valid credentials, or they lack sqs:GetQueueUrl.
        BackendConfigError: the URL is invalid, or the queue does not exist.
        UnavailableError: AWS did not answer.
    """
    parsed = parse_url(url)
    account = Account(parsed, botocore_session(parsed.region))
    return [problem for probe in _PROBES for problem in _run_probe(probe, account)]


class Account:
    """Reads the resources of `url`, with the credentials of `session`."""

    def __init__(self, url: AwsUrl, session: Any) -> None:
        self.url, self._session = url, session
        sqs = self.client("sqs")
        self.addresses: Addresses = find_addresses(
            url, queue_url_prefix(url, sqs), str(session.get_partition_for_region(url.region))
        )

    def client(self, service: str) -> Any:
        return self._session.create_client(service, config=ONE_ATTEMPT)

    def mappings(self, queue: str) -> Sequence[Description]:
        """Return the event source mappings of the queue with the ARN `queue`."""
        response: Description = self.client("lambda").list_event_source_mappings(EventSourceArn=queue)
        mappings: Sequence[Description] = response["EventSourceMappings"]
        return mappings

    def queue_url(self, arn: str) -> str:
        """Return the URL of the queue with this ARN."""
        *_, owner, name = arn.split(":")
        return str(self.client("sqs").get_queue_url(QueueName=name, QueueOwnerAWSAccountId=owner)["QueueUrl"])

    def queue(self, url: str) -> Description:
        """Return the attributes of the queue at `url`."""
        response: Description = self.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        attributes: Description = response["Attributes"]
        return attributes


def check_queue(url: AwsUrl, name: str, queue: Description) -> Iterator[BackendProblem]:
    """Check the attributes of the FIFO queue `name`."""
    # EventBridge Scheduler cannot set a MessageDeduplicationId, and a FIFO queue rejects a message without one.
    if queue.get("ContentBasedDeduplication") != "true":
        yield BackendProblem(
            f"{name} has no content-based deduplication", "schedules cannot send to it", "Switch it on."
        )
    if queue.get("DeduplicationScope") != "messageGroup" or queue.get("FifoThroughputLimit") != "perMessageGroupId":
        consequence = "all instances together get 300 requests a second"
        yield BackendProblem(f"{name} is not set to high throughput", consequence, "Set both to the message group.")
    if int(queue["MessageRetentionPeriod"]) < MAX_RETENTION_SECONDS:
        consequence = "a message for which no worker comes is lost sooner than it need be"
        yield BackendProblem(
            f"{name} keeps messages for less than 14 days", consequence, "Set the retention period to 1209600."
        )
    yield from _check_message_size(url, name, queue)
    yield from _check_redrive_policy(name, int(queue["MessageRetentionPeriod"]), _redrive_policy(queue))


def _check_message_size(url: AwsUrl, name: str, queue: Description) -> Iterator[BackendProblem]:
    size, needed = int(queue["MaximumMessageSize"]), largest_text(url.largest_message)
    if size < needed:
        consequence = "a large message that a machine sends is refused after its step is committed, again and again"
        remedy = (
            f"Raise it to {MAX_REQUEST_BYTES}, or set a smaller largest_message in the URL: it is sent as {needed}."
        )
        yield BackendProblem(f"{name} takes {size} bytes at most", consequence, remedy)


def _check_redrive_policy(name: str, retention: int, redrive: Description) -> Iterator[BackendProblem]:
    remedy = f"Give it a FIFO dead-letter queue with a maxReceiveCount of {RECEIVE_COUNT}."
    if not redrive:
        consequence = "a message that is not settled's and names no instance blocks its group for its retention period"
        yield BackendProblem(f"{name} has no dead-letter queue", consequence, remedy)
        return
    yield from _check_receive_count(name, retention, redrive, "later ones are processed without them", remedy)
    if not str(redrive["deadLetterTargetArn"]).endswith(".fifo"):
        yield BackendProblem(f"the dead-letter queue of {name} is not a FIFO queue", "SQS moves nothing to it", remedy)


def _check_receive_count(
    name: str, retention: int, redrive: Description, effect: str, remedy: str
) -> Iterator[BackendProblem]:
    allowed, needed = int(redrive["maxReceiveCount"]), receives_within(retention)
    if allowed < needed:
        consequence = (
            f"an outage of {in_words(outage_of(allowed))} moves messages to the dead-letter queue, and {effect}; "
            f"one as long as the retention takes {needed} receives"
        )
        yield BackendProblem(f"{name} has a maxReceiveCount of {allowed}", consequence, remedy)


def check_dead_letter_queue(name: str, queue: Description) -> Iterator[BackendProblem]:
    """Check the attributes of the dead-letter queue `name` of one of the queues."""
    if int(queue["MessageRetentionPeriod"]) < MAX_RETENTION_SECONDS:
        consequence = "what an outage has moved there may be lost before anybody brings it back"
        yield BackendProblem(f"{name} keeps messages for less than 14 days", consequence, "Set it to 1209600.")
    if (size := int(queue["MaximumMessageSize"])) < MAX_REQUEST_BYTES:
        consequence = "a larger message that is not settled's and names no instance cannot be moved there"
        yield BackendProblem(f"{name} takes {size} bytes at most", consequence, f"Raise it to {MAX_REQUEST_BYTES}.")


def _redrive_policy(queue: Description) -> Description:
    policy: Description = json.loads(queue.get("RedrivePolicy", "{}"))
    return policy


def check_delay_queue(url: AwsUrl, queue: Description) -> Iterator[BackendProblem]:
    """Check the attributes of the delay queue."""
    if int(queue["MessageRetentionPeriod"]) < MAX_RETENTION_SECONDS:
        consequence = "a timer is lost if no worker or function forwards it for that long"
        yield BackendProblem(
            f"{url.delays} keeps messages for less than 14 days", consequence, "Set the retention to 1209600."
        )
    if redrive := _redrive_policy(queue):
        effect, remedy = "their timers do not fire", f"Raise it to {RECEIVE_COUNT}."
        yield from _check_receive_count(url.delays, int(queue["MessageRetentionPeriod"]), redrive, effect, remedy)


def check_schedules_dead(url: AwsUrl, queue: Description) -> Iterator[BackendProblem]:
    """Check the attributes of the dead-letter queue of the schedules."""
    if queue.get("FifoQueue") == "true":
        consequence = "the Scheduler puts nothing there, and a timer that it cannot send is lost"
        yield BackendProblem(f"{url.schedules_dead} is a FIFO queue", consequence, "Make it a standard queue.")
    if int(queue["MessageRetentionPeriod"]) < MAX_RETENTION_SECONDS:
        consequence = "a timer that could not be sent is lost unless it is recovered before"
        yield BackendProblem(
            f"{url.schedules_dead} keeps messages for less than 14 days", consequence, "Set the retention to 1209600."
        )


def check_table(url: AwsUrl, table: Description, time_to_live: Description) -> Iterator[BackendProblem]:
    """Check the key schema and the time to live."""
    schema = {part["KeyType"]: part["AttributeName"] for part in table["KeySchema"]}
    if schema != {"HASH": "key", "RANGE": "part"}:
        remedy = "Make a table with the partition key `key` and the sort key `part`, both strings."
        yield BackendProblem(f"{url.table} has the keys {schema}", "nothing can be stored in it", remedy)
    is_on = (
        time_to_live.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
        and time_to_live.get("AttributeName") == "expires"
    )
    if url.keep_finished is not None and not is_on:
        consequence = "finished instances are never deleted"
        yield BackendProblem(
            f"{url.table} has no time to live", consequence, "Switch it on for the attribute `expires`."
        )
    if url.keep_finished is not None and url.keep_finished.total_seconds() < MAX_RETENTION_SECONDS:
        consequence = "a duplicate that is delivered later starts the instance again"
        yield BackendProblem(
            "finished instances are kept for less than 14 days", consequence, "Raise keep_finished to 1209600."
        )


def check_mapping(queue: str, visibility: int, mapping: Description, timeout: int) -> Iterator[BackendProblem]:
    """Check a mapping from `queue`; `visibility` and `timeout`, in seconds, are the queue's and the function's."""
    name = f"the mapping from {queue} to {str(mapping['FunctionArn']).rpartition(':')[2]}"
    if "ReportBatchItemFailures" not in mapping.get("FunctionResponseTypes", ()):
        consequence = "one failure returns its whole batch, and messages that the function returns are deleted"
        yield BackendProblem(
            f"{name} does not report batch item failures", consequence, "Set FunctionResponseTypes to it."
        )
    if mapping.get("State") not in ("Enabled", "Enabling", "Creating", "Updating"):
        yield BackendProblem(f"{name} is {mapping.get('State')}", "it delivers no messages", "Enable it.")
    if visibility < MIN_TIMEOUT_RATIO * timeout:
        consequence = "messages may be delivered again while the function works on them"
        remedy = f"Set the queue's to {MIN_TIMEOUT_RATIO * timeout} or more."
        yield BackendProblem(
            f"{queue} has a visibility timeout of {visibility} s and its function one of {timeout} s",
            consequence,
            remedy,
        )


def check_mapping_counts(url: AwsUrl, fifo: int, delays: int) -> Iterator[BackendProblem]:
    """Check how many mappings the FIFO queues and the delay queue have."""
    if fifo and not delays:
        consequence = "timers of less than 15 minutes do not fire, unless a worker runs as well"
        yield BackendProblem(
            f"no mapping leads from {url.delays} to a function", consequence, "Map it to the same function."
        )


def check_role(role: str, trust: Any) -> Iterator[BackendProblem]:
    """Check the trust policy of the schedules' role."""
    if "scheduler.amazonaws.com" not in json.dumps(trust):
        consequence = "timers of 15 minutes and more do not fire"
        yield BackendProblem(
            f"{role} does not trust scheduler.amazonaws.com", consequence, "Let that service assume it."
        )


def _probe_queue(account: Account) -> Iterator[BackendProblem]:
    yield from check_queue(account.url, account.url.queue, account.queue(account.addresses.queue))


def _probe_machine_queues(account: Account) -> Iterator[BackendProblem]:
    queues = dict(zip(account.url.queues.values(), account.addresses.queues.values(), strict=True))
    for name, queue_url in queues.items():
        yield from check_queue(account.url, name, account.queue(queue_url))


def _probe_dead_letter_queues(account: Account) -> Iterator[BackendProblem]:
    addresses = account.addresses
    queues = (account.queue(url) for url in (addresses.queue, *addresses.queues.values(), addresses.delays))
    for arn in dict.fromkeys(str(_redrive_policy(each).get("deadLetterTargetArn", "")) for each in queues):
        if arn:
            yield from check_dead_letter_queue(arn.rpartition(":")[2], account.queue(account.queue_url(arn)))


def _probe_delay_queue(account: Account) -> Iterator[BackendProblem]:
    yield from check_delay_queue(account.url, account.queue(account.addresses.delays))


def _probe_schedules_dead(account: Account) -> Iterator[BackendProblem]:
    yield from check_schedules_dead(account.url, account.queue(account.addresses.schedules_dead))


def _probe_table(account: Account) -> Iterator[BackendProblem]:
    dynamodb, name = account.client("dynamodb"), account.url.table
    table = dynamodb.describe_table(TableName=name)["Table"]
    time_to_live = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    yield from check_table(account.url, table, time_to_live)


def _probe_schedule_group(account: Account) -> Iterator[BackendProblem]:
    account.client("scheduler").get_schedule_group(Name=account.url.schedules)
    yield from ()  # its existence is all that is checked


def _probe_mappings(account: Account) -> Iterator[BackendProblem]:
    functions, addresses = account.client("lambda"), account.addresses
    counts = {True: 0, False: 0}
    names = (account.url.queue, *account.url.queues.values(), account.url.delays)
    urls = (addresses.queue, *addresses.queues.values(), addresses.delays)
    for name, queue_url in dict(zip(names, urls, strict=True)).items():
        queue = account.queue(queue_url)
        mappings = account.mappings(queue["QueueArn"])
        counts[queue_url != addresses.delays] += len(mappings)
        for mapping in mappings:
            function = functions.get_function_configuration(FunctionName=mapping["FunctionArn"])
            yield from check_mapping(name, int(queue["VisibilityTimeout"]), mapping, int(function["Timeout"]))
    yield from check_mapping_counts(account.url, counts[True], counts[False])


def _probe_function_permissions(account: Account) -> Iterator[BackendProblem]:
    functions = account.client("lambda")
    addresses = account.addresses
    mappings = [each for queue in addresses.all_queue_arns for each in account.mappings(queue)]
    queues = [account.queue(each) for each in (addresses.queue, *addresses.queues.values(), addresses.delays)]
    for mapping in mappings:
        role = functions.get_function_configuration(FunctionName=mapping["FunctionArn"])["Role"]
        permissions = worker_permissions(account.url, account.addresses)
        yield from missing_permissions(account.client("iam"), role, permissions, "turns that need it fail each time")
        consequence = "a message that is not settled's and names no instance blocks its group"
        yield from missing_permissions(account.client("iam"), role, set_aside_permissions(queues), consequence)


def _probe_role(account: Account) -> Iterator[BackendProblem]:
    name, iam = account.addresses.role_arn.rpartition("/")[2], account.client("iam")
    role = iam.get_role(RoleName=name)["Role"]
    yield from check_role(name, role["AssumeRolePolicyDocument"])
    yield from missing_permissions(
        iam, role["Arn"], schedule_role_permissions(account.addresses), "timers of 15 minutes and more do not fire"
    )


_PROBES = (
    Probe("the queue", "nothing can be sent", _probe_queue),
    Probe("a queue of a machine", "nothing can be sent to that machine", _probe_machine_queues),
    Probe("a dead-letter queue", "what an outage has moved there may be lost", _probe_dead_letter_queues),
    Probe("the delay queue", "timers of less than 15 minutes cannot be kept", _probe_delay_queue),
    Probe("the table", "nothing can be stored", _probe_table),
    Probe("the schedule group", "timers of 15 minutes and more cannot be kept", _probe_schedule_group),
    Probe(
        "the dead-letter queue of the schedules", "timers that cannot be sent for a day are lost", _probe_schedules_dead
    ),
    Probe("the event source mappings", "their settings are unknown", _probe_mappings),
    Probe("the permissions of the functions", "they may not suffice", _probe_function_permissions),
    Probe("the role of the schedules", "timers of 15 minutes and more do not fire", _probe_role),
)

_NOT_FOUND = frozenset(
    {"ResourceNotFoundException", "NoSuchEntity", "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"}
)


def _run_probe(probe: Probe[Account], account: Account) -> Iterator[BackendProblem]:
    try:
        with translated(f"looking at {probe.what}", repeatable=True):
            yield from probe.rule(account)
    except BackendRefusedError as error:
        cause = error.__cause__
        if isinstance(cause, ClientError) and code_of(cause) in _NOT_FOUND:
            yield probe.not_found("examples/aws-signup for a template with all of it")
        else:
            yield probe.unreadable(error)
