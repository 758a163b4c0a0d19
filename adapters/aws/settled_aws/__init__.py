"""A place to live on AWS: SQS FIFO, DynamoDB, EventBridge Scheduler, Lambda.

The law of an adapter: it translates, one vendor call for one port call, and the vendor's errors into settled's. It
neither retries nor encodes, and it does not know what a statechart is.

The way in is `open_aws`, or `assemble` with clients of one's own. Below it stand the ports: `store` with its `item`,
`queue`, and `timers` with the `delays`; `envelope` and `names` say how a message and a key look to AWS, `errors` what
went wrong, `clock` what time it is. `doctor` looks at an account. Above it, `invocation` is where Lambda comes
in, and `door` where HTTP does.
"""

from __future__ import annotations

from settled_aws.connect import ONE_ATTEMPT, Addresses, assemble, find_addresses, open_aws
from settled_aws.doctor import examine_aws
from settled_aws.http_handler import http_handler
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
    "SqsFifoQueue",
    "assemble",
    "examine_aws",
    "find_addresses",
    "http_handler",
    "lambda_handler",
    "open_aws",
]
