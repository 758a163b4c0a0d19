"""How what stands in an account differs from what the promises need.

It only reads. Each rule is a function of what AWS says of one thing, and yields what is off with it. What these
credentials may not look at is said, too: nobody has seen that it is right.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from settled import BackendRefusedError
from settled_aws.connect import ONE_ATTEMPT, Addresses, find_addresses, root_of, session_in
from settled_aws.errors import code_of, translated
from settled_aws.iam_permissions import missing_permissions, of_the_schedules, of_the_turns
from settled_aws.url import AwsUrl, place_in
from settled_runtime.doctor import BackendProblem, Probe

Facts = Mapping[str, Any]

LONGEST_RETENTION = 14 * 24 * 60 * 60
FEWEST_RECEIVES = 100
"""A redrive policy below this sets healthy messages aside, because every pause and every neighbour's failure counts."""

TIMEOUTS = 6
"""How many times a function's timeout AWS wants a queue's visibility timeout to be."""


def examine_aws(url: str) -> Sequence[BackendProblem]:
    """What is off with the queues, the table, the schedules, the role and the event source mappings at `url`.

    Raises:
        Denied: the URL is not understood, there are no credentials, or the queue is not there.
        Unavailable: nobody answered.
    """
    place = place_in(url)
    account = Account(place, session_in(place.region))
    return [danger for look in _LOOKS for danger in _looked(look, account)]


class Account:
    """The account that `place` is in, as one session sees it."""

    def __init__(self, place: AwsUrl, session: Any) -> None:
        self.place, self._session = place, session
        sqs = self.client("sqs")
        self.found: Addresses = find_addresses(
            place, root_of(place, sqs), str(session.get_partition_for_region(place.region))
        )

    def client(self, service: str) -> Any:
        return self._session.create_client(service, config=ONE_ATTEMPT)

    def mappings(self, queue: str) -> Sequence[Facts]:
        """The event source mappings from the queue of this ARN."""
        answer: Facts = self.client("lambda").list_event_source_mappings(EventSourceArn=queue)
        mappings: Sequence[Facts] = answer["EventSourceMappings"]
        return mappings

    def queue(self, url: str) -> Facts:
        answer: Facts = self.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        attributes: Facts = answer["Attributes"]
        return attributes


def of_the_queue(place: AwsUrl, queue: Facts) -> Iterator[BackendProblem]:
    """The FIFO queue."""
    name = place.queue
    if queue.get("ContentBasedDeduplication") != "true":
        yield BackendProblem(
            f"{name} has no content-based deduplication", "schedules cannot send to it", "Switch it on."
        )
    if queue.get("DeduplicationScope") != "messageGroup" or queue.get("FifoThroughputLimit") != "perMessageGroupId":
        harm = "all instances together get 300 requests a second"
        yield BackendProblem(f"{name} is not set to high throughput", harm, "Set both to the message group.")
    if int(queue["MessageRetentionPeriod"]) < LONGEST_RETENTION:
        harm = "a message that waits longer behind a parked one is lost"
        yield BackendProblem(
            f"{name} keeps messages for less than 14 days", harm, "Set the retention period to 1209600."
        )
    if int(queue["MaximumMessageSize"]) < place.largest_message:
        harm = "what is larger is refused only when it is sent"
        remedy = f"Raise it, or say largest_message={queue['MaximumMessageSize']} in the URL."
        yield BackendProblem(f"{name} takes {queue['MaximumMessageSize']} bytes at most", harm, remedy)
    yield from _of_the_redrive(name, json.loads(queue.get("RedrivePolicy", "{}")))


def _of_the_redrive(name: str, redrive: Facts) -> Iterator[BackendProblem]:
    remedy = f"Give it a FIFO dead-letter queue with a maxReceiveCount of {FEWEST_RECEIVES} or more."
    if not redrive:
        harm = "a message that is not settled's holds up its group until it is too old"
        yield BackendProblem(f"{name} has no dead-letter queue", harm, remedy)
        return
    if int(redrive["maxReceiveCount"]) < FEWEST_RECEIVES:
        harm = "healthy messages behind a failing one are set aside, out of order"
        yield BackendProblem(f"{name} sets aside after {redrive['maxReceiveCount']} receives", harm, remedy)
    if not str(redrive["deadLetterTargetArn"]).endswith(".fifo"):
        yield BackendProblem(f"the dead-letter queue of {name} is no FIFO queue", "SQS moves nothing to it", remedy)


def of_the_delays(place: AwsUrl, queue: Facts) -> Iterator[BackendProblem]:
    """The queue of short waits."""
    if int(queue["MessageRetentionPeriod"]) < LONGEST_RETENTION:
        harm = "a timer that nobody forwards for that long is lost"
        yield BackendProblem(
            f"{place.delays} keeps messages for less than 14 days", harm, "Set the retention to 1209600."
        )


def of_the_table(place: AwsUrl, table: Facts, expiry: Facts) -> Iterator[BackendProblem]:
    """The table, and what DynamoDB forgets of it by itself."""
    schema = {part["KeyType"]: part["AttributeName"] for part in table["KeySchema"]}
    if schema != {"HASH": "key", "RANGE": "part"}:
        remedy = "Make a table with the partition key `key` and the sort key `part`, both texts."
        yield BackendProblem(f"{place.table} has the keys {schema}", "nothing can be stored in it", remedy)
    is_on = expiry.get("TimeToLiveStatus") in ("ENABLED", "ENABLING") and expiry.get("AttributeName") == "expires"
    if place.keep_finished is not None and not is_on:
        harm = "finished instances are kept for ever"
        yield BackendProblem(f"{place.table} has no time to live", harm, "Switch it on for the attribute `expires`.")
    if place.keep_finished is not None and place.keep_finished < LONGEST_RETENTION:
        harm = "a duplicate that comes later than that starts the instance again"
        yield BackendProblem(
            "finished instances are kept for less than 14 days", harm, "Raise keep_finished to 1209600."
        )


def of_a_mapping(queue: str, visibility: int, mapping: Facts, timeout: int) -> Iterator[BackendProblem]:
    """An event source mapping, and the timeout of its function."""
    name = f"the mapping from {queue} to {str(mapping['FunctionArn']).rpartition(':')[2]}"
    if "ReportBatchItemFailures" not in mapping.get("FunctionResponseTypes", ()):
        harm = "one failure sends its whole batch back, and what is handed back is deleted"
        yield BackendProblem(f"{name} does not report batch item failures", harm, "Set FunctionResponseTypes to it.")
    if mapping.get("State") not in ("Enabled", "Enabling", "Creating", "Updating"):
        yield BackendProblem(f"{name} is {mapping.get('State')}", "nothing is taken through it", "Enable it.")
    if visibility < TIMEOUTS * timeout:
        harm = "messages may be handed out again while the function has them"
        remedy = f"Set the queue's to {TIMEOUTS * timeout} or more."
        yield BackendProblem(
            f"{queue} has a visibility timeout of {visibility} s and its function one of {timeout} s", harm, remedy
        )


def of_the_mappings(place: AwsUrl, of_the_queue: int, of_the_delays: int) -> Iterator[BackendProblem]:
    """How many mappings lead from each of the queues."""
    if of_the_queue and not of_the_delays:
        harm = "timers of less than 15 minutes do not fire, unless a worker runs somewhere else"
        yield BackendProblem(
            f"no mapping leads from {place.delays} to a function", harm, "Map it to the same function."
        )


def of_the_role(role: str, trust: Any) -> Iterator[BackendProblem]:
    """The role of the schedules, by whom it may be assumed."""
    if "scheduler.amazonaws.com" not in json.dumps(trust):
        harm = "timers of 15 minutes and more do not fire"
        yield BackendProblem(f"{role} does not trust scheduler.amazonaws.com", harm, "Let that service assume it.")


# What each rule is shown


def _queue(account: Account) -> Iterator[BackendProblem]:
    yield from of_the_queue(account.place, account.queue(account.found.queue))


def _delays(account: Account) -> Iterator[BackendProblem]:
    yield from of_the_delays(account.place, account.queue(account.found.delays))


def _table(account: Account) -> Iterator[BackendProblem]:
    dynamodb, name = account.client("dynamodb"), account.place.table
    table = dynamodb.describe_table(TableName=name)["Table"]
    expiry = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    yield from of_the_table(account.place, table, expiry)


def _schedules(account: Account) -> Iterator[BackendProblem]:
    account.client("scheduler").get_schedule_group(Name=account.place.schedules)
    yield from ()


def _mappings(account: Account) -> Iterator[BackendProblem]:
    functions, found, place = account.client("lambda"), account.found, account.place
    counts: list[int] = []
    for name, url in ((place.queue, found.queue), (place.delays, found.delays)):
        queue = account.queue(url)
        mappings = account.mappings(queue["QueueArn"])
        counts.append(len(mappings))
        for mapping in mappings:
            about = functions.get_function_configuration(FunctionName=mapping["FunctionArn"])
            yield from of_a_mapping(name, int(queue["VisibilityTimeout"]), mapping, int(about["Timeout"]))
    yield from of_the_mappings(place, *counts)


def _functions(account: Account) -> Iterator[BackendProblem]:
    functions = account.client("lambda")
    for mapping in account.mappings(account.found.queue_arn):
        role = functions.get_function_configuration(FunctionName=mapping["FunctionArn"])["Role"]
        leave = of_the_turns(account.place, account.found)
        yield from missing_permissions(account.client("iam"), role, leave, "turns that need it fail, again and again")


def _role(account: Account) -> Iterator[BackendProblem]:
    name, iam = account.found.role_arn.rpartition("/")[2], account.client("iam")
    role = iam.get_role(RoleName=name)["Role"]
    yield from of_the_role(name, role["AssumeRolePolicyDocument"])
    yield from missing_permissions(
        iam, role["Arn"], of_the_schedules(account.found), "timers of 15 minutes and more do not fire"
    )


_LOOKS = (
    Probe("the queue", "nothing can be sent", _queue),
    Probe("the queue of short waits", "timers of less than 15 minutes cannot be kept", _delays),
    Probe("the table", "nothing can be stored", _table),
    Probe("the schedule group", "timers of 15 minutes and more cannot be kept", _schedules),
    Probe("the event source mappings", "nobody knows whether they are right", _mappings),
    Probe("what the functions may do", "nobody knows whether it is enough", _functions),
    Probe("the role of the schedules", "timers of 15 minutes and more do not fire", _role),
)

_NOT_THERE = frozenset(
    {"ResourceNotFoundException", "NoSuchEntity", "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"}
)


def _looked(look: Probe[Account], account: Account) -> Iterator[BackendProblem]:
    try:
        with translated(f"looking at {look.what}", reading=True):
            yield from look.rule(account)
    except BackendRefusedError as error:
        cause = error.__cause__
        if isinstance(cause, ClientError) and code_of(cause) in _NOT_THERE:
            yield look.not_found("examples/aws-signup for a template of all")
        else:
            yield look.unreadable(error)
