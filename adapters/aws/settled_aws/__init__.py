"""settled on AWS: SQS FIFO, DynamoDB, EventBridge Scheduler and Lambda.

The law of an adapter: it translates one port call into one vendor call, and the vendor's errors into settled's. It
neither retries nor encodes, and knows nothing of statecharts.

`connect` builds the backend, from a URL (`open_aws`) or over clients of your own (`assemble`). The ports are `store`
(with `dynamodb_items`), `queue`, and `timers` (with `delay_queue`); they share `envelope`, `names`, `errors` and
`clock`. `doctor` (with `iam_permissions`) examines an account. `lambda_handler` and `http_handler` are the entry points
of Lambda functions.
"""

from __future__ import annotations

from settled_aws.connect import ONE_ATTEMPT, Addresses, assemble, find_addresses, open_aws
from settled_aws.doctor import examine_aws
from settled_aws.http_handler import HttpRequest, anyone, http_handler
from settled_aws.lambda_handler import lambda_handler
from settled_aws.queue import SqsFifoQueue
from settled_aws.store import DynamoDBStore
from settled_aws.timers import EventBridgeTimers
from settled_aws.url import AwsUrl

__all__ = [
    "ONE_ATTEMPT",
    "Addresses",
    "AwsUrl",
    "DynamoDBStore",
    "EventBridgeTimers",
    "HttpRequest",
    "SqsFifoQueue",
    "anyone",
    "assemble",
    "examine_aws",
    "find_addresses",
    "http_handler",
    "lambda_handler",
    "open_aws",
]
