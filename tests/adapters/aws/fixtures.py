"""A place to try the adapter in: emulated services, real clients, and a table and queues of its own for each test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
from attrs import evolve, frozen

from settled_aws import ONE_ATTEMPT, Addresses, AwsUrl, assemble, find_addresses
from settled_runtime import CompositeBackend
from tests.emulators.ministack import ACCOUNT
from tests.support.builders import watched

REGION = "eu-central-1"
LEASE = 2


@frozen
class Cloud:
    """The clients of one account, each at its emulator."""

    dynamodb: Any
    sqs: Any
    scheduler: Any
    endpoint: str
    dynamodb_endpoint: str

    def close(self) -> None:
        for client in (self.dynamodb, self.sqs, self.scheduler):
            client.close()

    def watched(self, tell: Callable[[str], None]) -> Cloud:
        """The same account through clients that tell of each request before they make it."""
        return evolve(
            self,
            dynamodb=watched(self.dynamodb, tell),
            sqs=watched(self.sqs, tell),
            scheduler=watched(self.scheduler, tell),
        )

    @property
    def environment(self) -> dict[str, str]:
        """What botocore reads to find this account by itself."""
        return {
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ENDPOINT_URL_DYNAMODB": self.dynamodb_endpoint,
        }


def client(service: str, endpoint: str) -> Any:
    session: Any = boto3.Session(ACCOUNT, "test", region_name=REGION)
    return session.client(service, endpoint_url=endpoint, config=ONE_ATTEMPT)


def cloud_at(endpoint: str, dynamodb_endpoint: str) -> Cloud:
    """The account that the emulators at these URLs stand in for."""
    return Cloud(
        dynamodb=client("dynamodb", dynamodb_endpoint),
        sqs=client("sqs", endpoint),
        scheduler=client("scheduler", endpoint),
        endpoint=endpoint,
        dynamodb_endpoint=dynamodb_endpoint,
    )


def place(name: str, **changes: Any) -> AwsUrl:
    named: dict[str, Any] = {
        "table": name,
        "queue": f"{name}.fifo",
        "delays": f"{name}-delays",
        "schedules": name,
        "role": f"{name}-scheduler",
        "lease": LEASE,
    }
    return AwsUrl(region=REGION, **{**named, **changes})


def create(cloud: Cloud, where: AwsUrl) -> Addresses:
    """Make what the template in ``examples/aws-signup`` makes."""
    create_table(cloud.dynamodb, where.table)
    cloud.sqs.create_queue(
        QueueName=where.queue,
        Attributes={
            "FifoQueue": "true",
            "ContentBasedDeduplication": "true",
            "DeduplicationScope": "messageGroup",
            "FifoThroughputLimit": "perMessageGroupId",
            "VisibilityTimeout": str(where.lease),
        },
    )
    cloud.sqs.create_queue(QueueName=where.delays)
    cloud.scheduler.create_schedule_group(Name=where.schedules)
    return find_addresses(where, f"{cloud.endpoint}/{ACCOUNT}")


def create_table(dynamodb: Any, table: str) -> None:
    dynamodb.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": "key", "AttributeType": "S"},
            {"AttributeName": "part", "AttributeType": "S"},
        ],
        KeySchema=[{"AttributeName": "key", "KeyType": "HASH"}, {"AttributeName": "part", "KeyType": "RANGE"}],
    )


def records_of(cloud: Cloud, found: Addresses) -> list[Any]:
    """What is in the queue now, as the records that Lambda is handed."""
    messages = cloud.sqs.receive_message(
        QueueUrl=found.queue, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
    )["Messages"]
    return [
        {
            "messageId": each["MessageId"],
            "receiptHandle": each["ReceiptHandle"],
            "body": each["Body"],
            "attributes": each["Attributes"],
            "eventSourceARN": found.queue_arn,
        }
        for each in messages
    ]


class Unhurried:
    """The context of an invocation that has ten seconds left."""

    def get_remaining_time_in_millis(self) -> int:
        return 10_000


def backend(
    cloud: Cloud, where: AwsUrl, found: Addresses, clock: Callable[[], float] | None = None
) -> CompositeBackend:
    """What `open_aws` makes, over the clients of `cloud`; by `clock`, if there is one."""
    clients: dict[str, Any] = {"dynamodb": cloud.dynamodb, "sqs": cloud.sqs, "scheduler": lambda: cloud.scheduler}
    return assemble(where, found, clock=clock, **clients)
