"""What the doctor finds, in an account that ministack stands in for, and rule by rule."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import pytest

from settled import BackendConfigError
from settled_aws import Addresses, AwsUrl, examine_aws
from settled_aws.doctor import of_a_mapping, of_the_queue, of_the_role, of_the_table
from settled_aws.iam_permissions import of_the_turns
from tests.adapters.aws.fixtures import REGION, Cloud, client, place

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


def examined(where: AwsUrl, options: str = "") -> list[str]:
    return [danger.problem for danger in examine_aws(f"aws://{REGION}/{where.table}{options}")]


def test_what_an_account_lacks_is_said(where: AwsUrl, found: Addresses) -> None:
    assert found.queue.endswith(where.queue)
    assert examined(where, "?keep_finished=3600") == [
        f"{where.queue} keeps messages for less than 14 days",
        f"{where.queue} has no dead-letter queue",
        f"{where.delays} keeps messages for less than 14 days",
        f"{where.table} has no time to live",
        "finished instances are kept for less than 14 days",
        "the role of the schedules is not there",
    ]


def test_a_sound_account_has_nothing_to_be_said_of(cloud: Cloud, where: AwsUrl, found: Addresses) -> None:
    dead = cloud.sqs.create_queue(QueueName=f"{where.table}-dead.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    arn = cloud.sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"maxReceiveCount": "1000", "deadLetterTargetArn": arn})
    for url, more in ((found.queue, {"RedrivePolicy": redrive}), (found.delays, {})):
        cloud.sqs.set_queue_attributes(QueueUrl=url, Attributes={"MessageRetentionPeriod": "1209600", **more})
    iam = client("iam", cloud.endpoint)
    trust = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "scheduler.amazonaws.com"}}]}
    iam.create_role(RoleName=where.role, AssumeRolePolicyDocument=json.dumps(trust))
    assert examined(where) == [f"{where.role} has no leave for sqs:SendMessage on {found.queue_arn}"]
    allow(iam, where.role, {found.queue_arn: ["sqs:SendMessage"]})
    iam.close()
    assert examined(where) == []


def test_what_the_functions_may_not_do_is_said(cloud: Cloud, where: AwsUrl, found: Addresses) -> None:
    iam, function, leave = client("iam", cloud.endpoint), f"{where.table}-work", dict(of_the_turns(where, found))
    role = iam.create_role(RoleName=function, AssumeRolePolicyDocument='{"Statement":[]}')["Role"]["Arn"]
    mapped(cloud, function, role, found.queue_arn)
    *all_but_the_last, last = leave
    allow(iam, function, {resource: leave[resource] for resource in all_but_the_last})
    iam.close()
    said = examined(where)
    assert f"{function} has no leave for iam:PassRole on {last}" in said
    assert len([what for what in said if "has no leave" in what]) == 1
    assert f"no mapping leads from {where.delays} to a function" in said


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


def allow(iam: Any, role: str, leave: Mapping[str, Sequence[str]]) -> None:
    """Give `role` the leave `leave`."""
    statements = [
        {"Effect": "Allow", "Action": list(actions), "Resource": resource} for resource, actions in leave.items()
    ]
    policy = {"Version": "2012-10-17", "Statement": statements}
    iam.put_role_policy(RoleName=role, PolicyName="leave", PolicyDocument=json.dumps(policy))


def test_a_queue_that_is_not_there_is_denied() -> None:
    with pytest.raises(BackendConfigError, match="looking for the queue"):
        examine_aws(f"aws://{REGION}/nowhere")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, ""),
        ({"ContentBasedDeduplication": "false"}, "no content-based deduplication"),
        ({"DeduplicationScope": "queue"}, "not set to high throughput"),
        ({"MessageRetentionPeriod": "345600"}, "less than 14 days"),
        ({"MaximumMessageSize": "262144"}, "takes 262144 bytes"),
        ({"RedrivePolicy": "{}"}, "no dead-letter queue"),
        (
            {"RedrivePolicy": '{"maxReceiveCount": 5, "deadLetterTargetArn": "arn:d.fifo"}'},
            "sets aside after 5 receives",
        ),
        ({"RedrivePolicy": '{"maxReceiveCount": 1000, "deadLetterTargetArn": "arn:d"}'}, "is no FIFO queue"),
    ],
)
def test_the_queue(change: dict[str, str], says: str) -> None:
    _says_only(of_the_queue(place("signup"), {**SOUND_QUEUE, **change}), says)


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
    _says_only(of_a_mapping("signup.fifo", 180, {**SOUND_MAPPING, **change}, timeout), says)


def test_the_table() -> None:
    _says_only(of_the_table(place("signup"), KEYS, {}), "")
    _says_only(of_the_table(place("signup"), {"KeySchema": []}, {}), "has the keys {}")


def test_the_role() -> None:
    _says_only(of_the_role("r", {"Statement": []}), "does not trust scheduler.amazonaws.com")


def _says_only(dangers: Any, says: str) -> None:
    found = [danger.what for danger in dangers]
    assert [says in what for what in found] == [True] * bool(says), found
