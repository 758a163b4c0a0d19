"""Test fixtures: emulated services, real clients, and a table and queues of its own for each test."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
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
    """Clients of one account, each connected to its emulator."""

    dynamodb: Any
    sqs: Any
    scheduler: Any
    endpoint: str
    dynamodb_endpoint: str

    def close(self) -> None:
        for client in (self.dynamodb, self.sqs, self.scheduler):
            client.close()

    def watched(self, report: Callable[[str], None]) -> Cloud:
        """Return the same account with clients that report each request before they make it."""
        return evolve(
            self,
            dynamodb=watched(self.dynamodb, report),
            sqs=watched(self.sqs, report),
            scheduler=watched(self.scheduler, report),
        )

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables by which botocore finds this account."""
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
    """Return clients for the emulators at these URLs."""
    return Cloud(
        dynamodb=client("dynamodb", dynamodb_endpoint),
        sqs=client("sqs", endpoint),
        scheduler=client("scheduler", endpoint),
        endpoint=endpoint,
        dynamodb_endpoint=dynamodb_endpoint,
    )


def aws_url(name: str, **changes: Any) -> AwsUrl:
    named: dict[str, Any] = {
        "table": name,
        "queue": f"{name}.fifo",
        "delays": f"{name}-delays",
        "schedules": name,
        "schedules_dead": f"{name}-schedules-dead",
        "role": f"{name}-scheduler",
        "lease": timedelta(seconds=LEASE),
    }
    return AwsUrl(region=REGION, **{**named, **changes})


def create(cloud: Cloud, url: AwsUrl) -> Addresses:
    """Create what the template in ``examples/aws-signup`` creates."""
    create_table(cloud.dynamodb, url.table)
    for name in (url.queue, *url.queues.values()):
        cloud.sqs.create_queue(
            QueueName=name,
            Attributes={
                "FifoQueue": "true",
                "ContentBasedDeduplication": "true",
                "DeduplicationScope": "messageGroup",
                "FifoThroughputLimit": "perMessageGroupId",
                "VisibilityTimeout": str(url.lease.seconds),
            },
        )
    cloud.sqs.create_queue(QueueName=url.delays)
    cloud.sqs.create_queue(QueueName=url.schedules_dead)
    cloud.scheduler.create_schedule_group(Name=url.schedules)
    return find_addresses(url, f"{cloud.endpoint}/{ACCOUNT}")


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


def add_dead_letter_queue(cloud: Cloud, queue: str) -> str:
    """Give the queue at the URL `queue` a dead-letter queue, and return the URL of that."""
    name, is_fifo = queue.rpartition("/")[2], queue.endswith(".fifo")
    dead = f"{name.removesuffix('.fifo')}-dead{'.fifo' * is_fifo}"
    url = str(cloud.sqs.create_queue(QueueName=dead, Attributes={"FifoQueue": "true"} if is_fifo else {})["QueueUrl"])
    attributes = cloud.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    policy = json.dumps({"deadLetterTargetArn": attributes["QueueArn"], "maxReceiveCount": 1000})
    cloud.sqs.set_queue_attributes(QueueUrl=queue, Attributes={"RedrivePolicy": policy})
    return url


def texts_in(cloud: Cloud, queue: str) -> list[tuple[str, str]]:
    """Receive what is in the queue at the URL `queue`: the group and the body of each message."""
    received = cloud.sqs.receive_message(
        QueueUrl=queue, MaxNumberOfMessages=10, MessageSystemAttributeNames=["MessageGroupId"]
    ).get("Messages", [])
    return [(each.get("Attributes", {}).get("MessageGroupId", ""), each["Body"]) for each in received]


def records_of(cloud: Cloud, addresses: Addresses, url: str | None = None) -> list[Any]:
    """Receive what is in the queue now, or in the one at `url`, as records of a Lambda event."""
    url = url or addresses.queue
    messages = cloud.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]).get(
        "Messages", ()
    )
    return [
        {
            "messageId": each["MessageId"],
            "receiptHandle": each["ReceiptHandle"],
            "body": each["Body"],
            "attributes": each["Attributes"],
            "eventSourceARN": addresses.queue_arn.rpartition(":")[0] + ":" + url.rpartition("/")[2],
        }
        for each in messages
    ]


class Unhurried:
    """The context of an invocation that has ten seconds left."""

    def get_remaining_time_in_millis(self) -> int:
        return 10_000


def backend(
    cloud: Cloud, url: AwsUrl, addresses: Addresses, clock: Callable[[], float] | None = None
) -> CompositeBackend:
    """Build the backend that `open_aws` would, over the clients of `cloud`, on `clock` if it is given."""
    clients: dict[str, Any] = {"dynamodb": cloud.dynamodb, "sqs": cloud.sqs, "scheduler": lambda: cloud.scheduler}
    return assemble(url, addresses, clock=clock, **clients)
