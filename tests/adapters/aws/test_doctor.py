"""The doctor, on an account emulated by ministack and check by check."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import pytest

from settled import BackendConfigError
from settled_aws import Addresses, AwsUrl, examine_aws
from settled_aws.doctor import (
    check_dead_letter_queue,
    check_delay_queue,
    check_mapping,
    check_queue,
    check_role,
    check_schedules_dead,
    check_table,
)
from settled_aws.iam_permissions import worker_permissions
from tests.adapters.aws.fixtures import REGION, Cloud, add_dead_letter_queue, aws_url, client

SOUND_QUEUE = {
    "ContentBasedDeduplication": "true",
    "DeduplicationScope": "messageGroup",
    "FifoThroughputLimit": "perMessageGroupId",
    "MessageRetentionPeriod": "1209600",
    "MaximumMessageSize": "1048576",
    "RedrivePolicy": '{"maxReceiveCount": 1000, "deadLetterTargetArn": "arn:aws:sqs:x:1:dead.fifo"}',
}
SOUND_MAPPING = {
    "FunctionArn": "arn:aws:lambda:x:1:function:signup",
    "FunctionResponseTypes": ["ReportBatchItemFailures"],
    "State": "Enabled",
}
KEYS = {"KeySchema": [{"KeyType": "HASH", "AttributeName": "key"}, {"KeyType": "RANGE", "AttributeName": "part"}]}


@pytest.fixture(autouse=True)
def credentials(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)


def examined(url: AwsUrl, options: str = "") -> list[str]:
    return [problem.problem for problem in examine_aws(f"aws://{REGION}/{url.table}{options}")]


def test_settings_that_an_account_lacks_are_reported(url: AwsUrl, addresses: Addresses) -> None:
    assert addresses.queue.endswith(url.queue)
    assert examined(url, "?keep_finished=3600") == [
        f"{url.queue} keeps messages for less than 14 days",
        f"{url.queue} has no dead-letter queue",
        f"{url.delays} keeps messages for less than 14 days",
        f"{url.table} has no time to live",
        "finished instances are kept for less than 14 days",
        f"{url.schedules_dead} keeps messages for less than 14 days",
        "the role of the schedules does not exist",
    ]


def test_a_sound_account_has_no_problems(cloud: Cloud, url: AwsUrl, addresses: Addresses) -> None:
    dead = cloud.sqs.create_queue(QueueName=f"{url.table}-dead.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    arn = cloud.sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"maxReceiveCount": "1000", "deadLetterTargetArn": arn})
    more: dict[str, dict[str, str]] = {addresses.queue: {"RedrivePolicy": redrive}}
    for queue_url in (addresses.queue, addresses.delays, addresses.schedules_dead):
        attributes = {"MessageRetentionPeriod": "1209600", **more.get(queue_url, {})}
        cloud.sqs.set_queue_attributes(QueueUrl=queue_url, Attributes=attributes)
    iam = client("iam", cloud.endpoint)
    trust = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "scheduler.amazonaws.com"}}]}
    iam.create_role(RoleName=url.role, AssumeRolePolicyDocument=json.dumps(trust))
    short = f"{url.table}-dead.fifo keeps messages for less than 14 days"
    targets = (addresses.queue_arn, addresses.schedules_dead_arn)
    missing = [f"{url.role} lacks the permission sqs:SendMessage on {each}" for each in targets]
    assert examined(url) == [short, *missing]
    cloud.sqs.set_queue_attributes(QueueUrl=dead, Attributes={"MessageRetentionPeriod": "1209600"})
    allow(iam, url.role, dict.fromkeys(targets, ("sqs:SendMessage",)))
    iam.close()
    assert examined(url) == []


def test_permissions_that_the_functions_lack_are_reported(cloud: Cloud, url: AwsUrl, addresses: Addresses) -> None:
    iam, function = client("iam", cloud.endpoint), f"{url.table}-work"
    permissions = dict(worker_permissions(url, addresses))
    role = iam.create_role(RoleName=function, AssumeRolePolicyDocument='{"Statement":[]}')["Role"]["Arn"]
    mapped(cloud, function, role, addresses.queue_arn)
    *all_but_the_last, last = permissions
    allow(iam, function, {resource: permissions[resource] for resource in all_but_the_last})
    iam.close()
    problems = examined(url)
    assert f"{function} lacks the permission iam:PassRole on {last}" in problems
    assert len([each for each in problems if "lacks the permission" in each]) == 1
    assert f"no mapping leads from {url.delays} to a function" in problems


def test_the_permission_to_move_messages_to_the_dead_letter_queue_is_checked(
    cloud: Cloud, url: AwsUrl, addresses: Addresses
) -> None:
    iam, function = client("iam", cloud.endpoint), f"{url.table}-work"
    role = iam.create_role(RoleName=function, AssumeRolePolicyDocument='{"Statement":[]}')["Role"]["Arn"]
    mapped(cloud, function, role, addresses.queue_arn)
    allow(iam, function, worker_permissions(url, addresses))
    iam.close()
    dead = add_dead_letter_queue(cloud, addresses.queue).rpartition("/")[2]
    (problem,) = [each for each in examined(url) if "lacks the permission" in each]
    assert problem.startswith(f"{function} lacks the permission sqs:SendMessage on ")
    assert problem.endswith(f":{dead}")


def mapped(cloud: Cloud, function: str, role: str, queue: str) -> None:
    """Map `queue` to a function that does nothing."""
    packed = BytesIO()
    with ZipFile(packed, "w") as file:
        file.writestr("f.py", "def handler(event, context): pass")
    functions = client("lambda", cloud.endpoint)
    functions.create_function(
        FunctionName=function, Runtime="python3.13", Role=role, Handler="f.handler", Code={"ZipFile": packed.getvalue()}
    )
    functions.create_event_source_mapping(EventSourceArn=queue, FunctionName=function, Enabled=False)
    functions.close()


def allow(iam: Any, role: str, permissions: Mapping[str, Sequence[str]]) -> None:
    """Allow `permissions` to `role`."""
    statements = [
        {"Effect": "Allow", "Action": list(actions), "Resource": resource} for resource, actions in permissions.items()
    ]
    policy = {"Version": "2012-10-17", "Statement": statements}
    iam.put_role_policy(RoleName=role, PolicyName="permissions", PolicyDocument=json.dumps(policy))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, ""),
        ({"FifoQueue": "true"}, "signup-schedules-dead is a FIFO queue"),
        ({"MessageRetentionPeriod": "345600"}, "signup-schedules-dead keeps messages for less than 14 days"),
    ],
)
def test_the_dead_letter_queue_of_the_schedules(change: dict[str, str], says: str) -> None:
    queue = {"MessageRetentionPeriod": "1209600", **change}
    _reports_only(check_schedules_dead(aws_url("signup"), queue), says)


def test_a_missing_queue_is_a_configuration_error() -> None:
    with pytest.raises(BackendConfigError, match="looking for the queue"):
        examine_aws(f"aws://{REGION}/nowhere")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, ""),
        ({"ContentBasedDeduplication": "false"}, "no content-based deduplication"),
        ({"DeduplicationScope": "queue"}, "not set to high throughput"),
        ({"MessageRetentionPeriod": "345600"}, "less than 14 days"),
        ({"MaximumMessageSize": "851967"}, "takes 851967 bytes"),
        ({"RedrivePolicy": "{}"}, "no dead-letter queue"),
        (
            {"RedrivePolicy": '{"maxReceiveCount": 5, "deadLetterTargetArn": "arn:d.fifo"}'},
            "has a maxReceiveCount of 5",
        ),
        (
            {"RedrivePolicy": '{"maxReceiveCount": 411, "deadLetterTargetArn": "arn:d.fifo"}'},
            "has a maxReceiveCount of 411",
        ),
        ({"RedrivePolicy": '{"maxReceiveCount": 412, "deadLetterTargetArn": "arn:d.fifo"}'}, ""),
        ({"RedrivePolicy": '{"maxReceiveCount": 1000, "deadLetterTargetArn": "arn:d"}'}, "is not a FIFO queue"),
    ],
)
def test_the_queue(change: dict[str, str], says: str) -> None:
    _reports_only(check_queue(aws_url("signup"), "signup.fifo", {**SOUND_QUEUE, **change}), says)


@pytest.mark.parametrize(("receives", "outage"), [(5, "5 seconds"), (50, "18 minutes"), (100, "23 hours")])
def test_a_receive_count_that_an_outage_uses_up_is_reported_with_its_length(receives: int, outage: str) -> None:
    redrive = json.dumps({"maxReceiveCount": receives, "deadLetterTargetArn": "arn:d.fifo"})
    (found,) = check_queue(aws_url("signup"), "signup.fifo", {**SOUND_QUEUE, "RedrivePolicy": redrive})
    assert f"an outage of {outage} moves messages" in found.consequence
    assert "one as long as the retention takes 412 receives" in found.consequence
    assert "a maxReceiveCount of 1000" in found.remedy


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, ""),
        ({"MessageRetentionPeriod": "345600"}, "dead.fifo keeps messages for less than 14 days"),
        ({"MaximumMessageSize": "262144"}, "dead.fifo takes 262144 bytes at most"),
    ],
)
def test_a_dead_letter_queue(change: dict[str, str], says: str) -> None:
    sound = {"MessageRetentionPeriod": "1209600", "MaximumMessageSize": "1048576"}
    _reports_only(check_dead_letter_queue("dead.fifo", {**sound, **change}), says)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, ""),
        ({"MessageRetentionPeriod": "345600"}, "signup-delays keeps messages for less than 14 days"),
        ({"RedrivePolicy": '{"maxReceiveCount": 1000}'}, ""),
        ({"RedrivePolicy": '{"maxReceiveCount": 5}'}, "signup-delays has a maxReceiveCount of 5"),
    ],
)
def test_the_delay_queue(change: dict[str, str], says: str) -> None:
    _reports_only(check_delay_queue(aws_url("signup"), {"MessageRetentionPeriod": "1209600", **change}), says)


@pytest.mark.parametrize(
    ("change", "timeout", "says"),
    [
        ({}, 30, ""),
        ({"FunctionResponseTypes": []}, 30, "does not report batch item failures"),
        ({"State": "Disabled"}, 30, "is Disabled"),
        ({}, 31, "visibility timeout of 180 s"),
    ],
)
def test_a_mapping(change: dict[str, Any], timeout: int, says: str) -> None:
    _reports_only(check_mapping("signup.fifo", 180, {**SOUND_MAPPING, **change}, timeout), says)


def test_the_table() -> None:
    _reports_only(check_table(aws_url("signup"), KEYS, {}), "")
    _reports_only(check_table(aws_url("signup"), {"KeySchema": []}, {}), "has the keys {}")


def test_the_role() -> None:
    _reports_only(check_role("r", {"Statement": []}), "does not trust scheduler.amazonaws.com")


def _reports_only(problems: Any, says: str) -> None:
    found = [each.problem for each in problems]
    assert [says in problem for problem in found] == [True] * bool(says), found
